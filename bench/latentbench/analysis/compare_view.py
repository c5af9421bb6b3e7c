"""Comparisons of two runs as people and programs read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latentbench.analysis.compare import Comparison
from latentbench.views.table import number, p_value, signed, span, terminal_table, to_csv, to_markdown

if TYPE_CHECKING:
    from rich.console import RenderableType

LEGEND = (
    "+ B is better, - B is worse, ~ no difference shown, x not comparable. p is Holm-corrected over the table; "
    "`sees` is the difference that four of five experiments of this size would show."
)


def compare_terminal(found: Sequence[Comparison], a: str, b: str) -> RenderableType:
    """Tables by scorer and judge that read at 80 columns.

    Args:
        a, b: names of the runs.
    """
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"A  {a}\nB  {b}")]
    for title, group in _groups([c for c in found if c.mark != "x"]):
        parts += [Text(), Text(title, style="bold"), terminal_table([_cells(c) for c in group], names=("explainer",))]
        parts += [Text(f"{names}: {why}", style="dim") for why, names in _by_reason(group)]
    apart = [c for c in found if c.mark == "x"]
    if apart:
        parts += [Text(), Text(f"not comparable: {len(apart)} of {len(found)}", style="bold")]
        parts += [Text(f"x {why}: {names}") for why, names in _by_reason(apart)]
    return Group(*parts, Text(), Text(LEGEND, style="dim"))


def compare_markdown(found: Sequence[Comparison], a: str, b: str) -> str:
    """The same as Markdown."""
    parts = [f"# {a} (A) and {b} (B)\n"]
    for title, group in _groups(found):
        parts.append(f"## {title}\n")
        parts.append(to_markdown([{**_cells(c), "why": "; ".join(c.why)} for c in group], names=("explainer", "why")))
    return "\n".join([*parts, LEGEND]) + "\n"


def compare_csv(found: Sequence[Comparison]) -> str:
    """Every number at full precision, one line per comparison."""
    return to_csv([compare_row(c) for c in found])


def compare_row(c: Comparison) -> dict[str, Any]:
    """A comparison as a flat row."""
    nobody = (None, None, None)
    names = zip(("explainer", "scorer", "judge"), c.a or nobody, c.b or nobody, strict=True)
    return {
        **{f"{part}_{side}": value for part, x, y in names for side, value in (("a", x), ("b", y))},
        "metric": c.metric,
        "mark": c.mark,
        "mean_a": c.mean_a,
        "mean_b": c.mean_b,
        "difference": c.difference.estimate,
        "low": c.difference.low,
        "high": c.difference.high,
        "p": c.p,
        "p_holm": c.p_holm,
        "detectable": c.detectable,
        "n": c.difference.n,
        "why": "; ".join(c.why),
    }


def _groups(found: Sequence[Comparison]) -> list[tuple[str, list[Comparison]]]:
    groups: dict[str, list[Comparison]] = {}
    for c in found:
        sides = [side for side in (c.a, c.b) if side]
        scorer, judge = (" / ".join(dict.fromkeys(side[i] for side in sides)) for i in (1, 2))
        groups.setdefault(f"{scorer}, judged by {judge}: {c.metric}", []).append(c)
    return list(groups.items())


def _by_reason(group: Sequence[Comparison]) -> list[tuple[str, str]]:
    """(reason or note, explainers that have it), so that what holds for many is said once."""
    found: dict[str, dict[str, None]] = {}
    for c in group:
        if c.why:
            found.setdefault("; ".join(c.why), {})[_name(c)] = None
    return [(why, ", ".join(names)) for why, names in found.items()]


def _name(c: Comparison) -> str:
    return " / ".join(dict.fromkeys(side[0] for side in (c.a, c.b) if side))


def _cells(c: Comparison) -> dict[str, str]:
    d = c.difference
    return {
        " ": c.mark,
        "explainer": _name(c),
        "A": number(c.mean_a),
        "B": number(c.mean_b),
        "B - A": signed(d.estimate),
        "95 % CI": span(d.low, d.high),
        "p": p_value(c.p_holm),
        "n": str(d.n) if d.n else "–",
        "sees": number(c.detectable) if c.mark == "~" and c.detectable > 0 else "",
    }
