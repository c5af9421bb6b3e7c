"""Figures by matplotlib, as objects: no window, no process-wide state, and the same bytes for the same numbers.

pyplot would be shorter, but it keeps a global list of figures and picks a backend by what screen there is.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.kernel.extras import need
from latentbench.views.escape import Html, drawn, xml
from latentbench.views.number import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, SOFT, MARK, WARN, LINE = "#1b1f24", "#8a939c", "#1f5f99", "#b45309", "#d9dee3"
REAL, CONTROL, PAPER = MARK, SOFT, "#8a4b00"
SERIES = ("#1f5f99", "#b5541c", "#3c7d3f", "#7a4a9e", "#5b6570")
STYLE: Any = {
    "svg.hashsalt": "latentbench",
    "svg.fonttype": "none",
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#5b6570",
    "axes.labelcolor": INK,
    "axes.titlesize": 9.5,
    "axes.titleweight": "bold",
    "legend.frameon": False,
    "hatch.linewidth": 0.6,
    "figure.dpi": 130,
}
COARSE = 84
"""Dots per inch of PNG files, which lie in the repository for pages that show no SVG; who wants more has the SVG beside it."""


def styled() -> AbstractContextManager[None]:
    """The look of the figures, for the time of drawing; matplotlib's process-wide settings come back after."""
    need("matplotlib", what="a figure")
    from matplotlib import rc_context

    return rc_context(STYLE)


def panels(n: int, width: float = 3.4, height: float = 3.0, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with n panels in rows of at most `columns`, as even as can be; sizes in inches per panel. Draw inside `styled`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    down = -(-n // columns)
    across = -(-n // down)
    figure = Figure(figsize=(width * across, height * down), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, [figure.add_subplot(down, across, i + 1) for i in range(n)]


def points(
    axis: Axes,
    x: Sequence[float],
    estimate: Sequence[float],
    low: Sequence[float],
    high: Sequence[float],
    *,
    colour: str,
    label: str | None = None,
    line: bool = False,
) -> None:
    """Estimates with intervals."""
    e, lo, hi = (np.asarray(v, dtype=np.float64) for v in (estimate, low, high))
    error = np.nan_to_num(np.stack([e - lo, hi - e])).clip(min=0)
    axis.errorbar(
        x, e, error, fmt="o-" if line else "o", color=colour, label=label, markersize=4.5, capsize=2.5, linewidth=1.2
    )


def legend_above(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, above them: what has a name need not be in the first, and no panel has room for sure."""
    named = {label: mark for axis in axes for mark, label in zip(*axis.get_legend_handles_labels(), strict=True)}
    figure.legend(list(named.values()), list(named), loc="outside upper left", ncols=min(len(named), 4), fontsize=7)


def heatmap(
    axis: Axes, values: Any, rows: Sequence[str], columns: Sequence[str], notes: Any | None = None, limit: float = 1.0
) -> None:
    """A matrix with its numbers written in; NaN stays white.

    Args:
        notes: text under each number [rows][columns].
        limit: value of the darkest colour.
    """
    table = np.asarray(values, dtype=np.float64)
    axis.imshow(np.ma.masked_invalid(table), cmap="Blues", vmin=0.0, vmax=limit, aspect="auto")
    for i in range(len(rows)):
        for j in range(len(columns)):
            if not np.isfinite(table[i, j]):
                continue
            text = number(float(table[i, j]), 2) + (f"\n{notes[i][j]}" if notes is not None else "")
            dark = table[i, j] > 0.6 * limit
            axis.text(j, i, text, ha="center", va="center", fontsize=7, color="white" if dark else "#1b1f24")
    axis.set_xticks(range(len(columns)), [*map(drawn, columns)], rotation=35, ha="right")
    axis.set_yticks(range(len(rows)), [*map(drawn, rows)])


def write(figure: Figure, path: Path) -> list[Path]:
    """Write `path` with the suffixes .png and .svg, whose text stays text; no dates inside."""
    png: dict[str, Any] = {"metadata": {"Software": None}, "dpi": COARSE, "pil_kwargs": {"optimize": True}}
    written = []
    with styled():
        file = path.with_name(path.name + ".png")
        figure.savefig(file, **png)
        written.append(file)
    file = path.with_name(path.name + ".svg")
    file.write_text(_as_svg(figure), encoding="utf-8")
    return [*written, file]


def _as_svg(figure: Figure, transparent: bool = False) -> str:
    """The figure as SVG without dates; matplotlib escapes what opens a tag, and leaves in what no XML can hold."""
    out = io.StringIO()
    with styled():
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None}, transparent=transparent)
    return xml(out.getvalue())


def svg(figure: Figure) -> Html:
    """A figure as an element of an HTML page."""
    text = _as_svg(figure, transparent=True)
    return Html(text[text.index("<svg") :].strip())


def embedded(path: Path) -> str:
    """An SVG file as a `data:` address, so that ids of two figures on one page cannot meet."""
    return "data:image/svg+xml;base64," + base64.b64encode(path.read_bytes()).decode()


def levels_figure(
    series: Mapping[str, Sequence[Mapping[str, Any]]],
    levels: Sequence[str],
    axis_name: str,
    floor: Mapping[str, float | None],
) -> Figure:
    """One panel per scorer: score by level with intervals, its shuffled control in grey, the paper's numbers as diamonds.

    Args:
        series: panel title -> rows with explainer, level, score, score_low, score_high, shuffled, shuffled_low, shuffled_high,
            paper.
        levels: labels in order.
        axis_name: of the factor.
        floor: panel title -> declared floor of the metric.
    """
    with styled():
        figure, axes = panels(len(series), width=max(3.0, 0.5 * len(levels) + 1.6))
        for axis, (title, rows) in zip(axes, series.items(), strict=True):
            _levels_panel(axis, rows, levels)
            value = floor.get(title)
            if value is not None:
                axis.axhline(value, color=PAPER, linestyle=":", linewidth=0.9)
            axis.set_title(drawn(title))
            axis.set_xlabel(drawn(axis_name))
        legend_above(figure, axes)
    return figure


def _levels_panel(axis: Axes, rows: Sequence[Mapping[str, Any]], levels: Sequence[str]) -> None:
    place = {label: i for i, label in enumerate(levels)}
    names = list(dict.fromkeys(str(r["explainer"]) for r in rows))
    for k, name in enumerate(names):
        mine = [r for r in rows if r["explainer"] == name]
        x = [place[str(r["level"])] + (k - (len(names) - 1) / 2) * 0.22 for r in mine]
        for column, colour, label, shift in (
            ("shuffled", CONTROL, None if k else "another latent's", 0.08),
            ("score", SERIES[k % len(SERIES)], drawn(name), 0.0),
        ):
            triple = ([_float(r.get(f"{column}{end}")) for r in mine] for end in ("", "_low", "_high"))
            points(axis, [v + shift for v in x], *triple, colour=colour, label=label)
    paper = {place[str(r["level"])]: _float(r.get("paper")) for r in rows}
    if any(np.isfinite(v) for v in paper.values()):
        axis.scatter(
            list(paper),
            list(paper.values()),
            marker="D",
            s=18,
            facecolors="none",
            edgecolors=PAPER,
            label="the paper's",
        )
    slanted = max(map(len, levels)) > 6
    axis.set_xticks(
        range(len(levels)), [*map(drawn, levels)], rotation=30 if slanted else 0, ha="right" if slanted else "center"
    )
    axis.set_xlim(-0.6, len(levels) - 0.4)


def _float(value: Any) -> float:
    return float("nan") if value is None else float(value)
