"""The figures of a search as SVG: history, slices, importances, Pareto. Pure; matplotlib without its global state.

Optuna's own figures need plotly or pyplot and show every trial as a dot of one kind. Here a trial that was stopped early, that
broke a constraint or that failed looks like what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentbench.kernel.file_name import file_name
from latentbench.views.escape import Html, drawn
from latentbench.views.figure import INK, LINE, MARK, SOFT, WARN, styled, svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3


def figures(result: Mapping[str, Any]) -> dict[str, Html]:
    """Name -> SVG of every figure that the search has data for."""
    found: dict[str, Figure] = {}
    with styled():
        for objective in result["objectives"]:
            suffix = "" if len(result["objectives"]) == 1 else f"-{file_name(objective['name'])}"
            name = objective["name"]
            found[f"history{suffix}"] = history(result, name)
            if any(t["state"] == "complete" for t in result["trials"]):
                found[f"slices{suffix}"] = slices(result, name)
            if result["importances"].get(name):
                found[f"importances{suffix}"] = bars(result["importances"][name])
        if len(result["objectives"]) > 1:
            found["pareto"] = pareto(result)
    return {name: svg(figure) for name, figure in found.items()}


def history(result: Mapping[str, Any], objective: str) -> Figure:
    """Score over trial number, and the best so far as a line."""
    figure, (axes,) = _figure(1, 1, 8.2, 2.9)
    larger = next(o["larger_is_better"] for o in result["objectives"] if o["name"] == objective)
    _dots(axes, result, objective, lambda t: t["number"])
    at: list[int] = []
    best: list[float] = []
    for t in result["trials"]:
        if t["state"] == "complete" and not t["breaks"]:
            value = t["means"][objective]
            best.append(value if not best else max(best[-1], value) if larger else min(best[-1], value))
            at.append(t["number"])
    axes.step(at, best, where="post", color=MARK, linewidth=1.2, label="best so far", zorder=1)
    failed = [t["number"] for t in result["trials"] if t["state"] == "failed"]
    if failed:
        axes.plot(failed, [axes.get_ylim()[0]] * len(failed), "x", color=WARN, label="failed", clip_on=False)
    axes.set_xlabel("trial")
    axes.set_ylabel(f"{drawn(objective)} (tuning latents)")
    axes.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    return figure


def slices(result: Mapping[str, Any], objective: str) -> Figure:
    """Score over each parameter."""
    space = result["spec"]["space"]
    used = [name for name in space if any(name in t["settings"] for t in result["trials"])]
    rows = -(-len(used) // COLUMNS)
    figure, grid = _figure(rows, min(COLUMNS, len(used)), 8.2, 2.3 * rows)
    for axes, name in zip(grid, used, strict=False):
        values = space[name]["values"]
        names = list(values) if values is not None else None

        def place(t: Mapping[str, Any], name: str = name, names: list[Any] | None = names) -> float | None:
            if name not in t["settings"]:
                return None
            value = t["settings"][name]
            # A fixed spread, so that trials of one value do not hide each other.
            return names.index(value) + ((t["number"] * 0.618) % 1 - 0.5) * 0.4 if names is not None else float(value)

        _dots(axes, result, objective, place)
        if names is not None:
            axes.set_xticks(range(len(names)), [drawn(str(n), 14) for n in names], rotation=20 if len(names) > 3 else 0)
        elif space[name]["log"]:
            axes.set_xscale("log")
        axes.set_xlabel(drawn(name))
    for i, axes in enumerate(grid):
        if i >= len(used):
            axes.set_visible(False)
        elif i % COLUMNS == 0:
            axes.set_ylabel(drawn(objective))
    return figure


def bars(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Importances with their ranges, and the chance level of each as a tick."""
    figure, (axes,) = _figure(1, 1, 8.2, 0.8 + 0.34 * len(rows))
    for i, row in enumerate(reversed(rows)):
        shown = row["importance"] > row["chance"]
        axes.barh(i, row["importance"], 0.55, color=MARK if shown else LINE)
        axes.plot([row["low"], row["high"]], [i, i], color=INK, linewidth=1)
        axes.plot([row["chance"]] * 2, [i - 0.38, i + 0.38], color=WARN, linewidth=1.6, linestyle=(0, (2, 1)))
    axes.set_yticks(range(len(rows)), [drawn(r["parameter"]) for r in reversed(rows)])
    axes.tick_params(axis="y", labelcolor=INK, length=0)
    axes.set_xlabel("share of the variance between trials; line: bootstrap range; dashed: chance level")
    axes.set_xlim(left=0)
    return figure


def pareto(result: Mapping[str, Any]) -> Figure:
    """The first objective against each other one; the Pareto set is connected."""
    first, *others = [o["name"] for o in result["objectives"]]
    figure, grid = _figure(1, len(others), 8.2, 3.2)
    front = [t for t in result["trials"] if t["number"] in result["winners"]]
    for axes, other in zip(grid, others, strict=True):
        _dots(axes, result, first, lambda t, other=other: t["means"].get(other))
        ordered = sorted(front, key=lambda t: t["means"][other])
        axes.plot(
            [t["means"][other] for t in ordered],
            [t["means"][first] for t in ordered],
            color=MARK,
            linewidth=1,
            marker="o",
            markersize=7,
            markerfacecolor="none",
        )
        axes.set_xlabel(drawn(other))
    grid[0].set_ylabel(drawn(first))
    return figure


def _dots(axes: Axes, result: Mapping[str, Any], objective: str, x: Any) -> None:
    kinds: list[tuple[str, Any, dict[str, Any]]] = [
        ("all latents", lambda t: t["state"] == "complete" and not t["breaks"], {"color": MARK}),
        ("stopped early", lambda t: t["state"] == "stopped", {"markerfacecolor": "none", "color": SOFT}),
        ("breaks a constraint", lambda t: bool(t["breaks"]), {"color": WARN, "marker": "s"}),
        ("default", lambda t: t["name"] == "default" and t["state"] == "complete", {"color": INK, "marker": "D"}),
    ]
    for label, wanted, style in kinds:
        points = [(x(t), t["means"].get(objective)) for t in result["trials"] if wanted(t)]
        points = [p for p in points if None not in p]
        if points:
            axes.plot(
                *zip(*points, strict=True),
                linestyle="none",
                **{"marker": "o", "markersize": 4, "label": label, **style},
            )


def _figure(rows: int, columns: int, width: float, height: float) -> tuple[Figure, list[Axes]]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, sharey=rows * columns > 1)
    return figure, list(grid.ravel())
