"""A comparison of two runs as a page, and as rows for programs."""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.analysis.compare import Comparison
from latentbench.views.page import Block, Bullets, Heading, Page, Prose
from latentbench.views.table import Cell, Column, Table

LEGEND = (
    "+ B is better, - B is worse, ~ no difference shown, x not comparable. p is Holm-corrected over the table; "
    "`sees` is the difference that four of five experiments of this size would show."
)
COLUMNS = (
    Column("mark", "text", brief=" "),
    Column("explainer", "text"),
    Column("A", "number"),
    Column("B", "number"),
    Column("B - A", "signed"),
    Column("95 % CI", "number"),
    Column("p", "p"),
    Column("n", "count"),
    Column("sees", "number"),
)


def compare_page(found: Sequence[Comparison], a: str, b: str) -> Page:
    """Tables by scorer and judge, then what cannot be compared and why.

    Args:
        a, b: names of the runs.
    """
    blocks: list[Block] = []
    for title, group in _groups([c for c in found if c.mark != "x"]):
        blocks.append(Table(title, COLUMNS, [_cells(c) for c in group]))
        blocks.append(Bullets([f"{names}: {why}" for why, names in _by_reason(group)], soft=True))
    apart = [c for c in found if c.mark == "x"]
    if apart:
        blocks.append(Heading(f"not comparable: {len(apart)} of {len(found)}"))
        blocks.append(Bullets([f"x {why}: {names}" for why, names in _by_reason(apart)]))
    return Page(f"{a} (A) and {b} (B)", [*blocks, Prose(LEGEND, soft=True)])


def compare_csv(found: Sequence[Comparison]) -> str:
    """Every number, one line per comparison."""
    return Table.of_records(map(compare_row, found)).csv()


def compare_row(c: Comparison) -> dict[str, Cell]:
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


def _cells(c: Comparison) -> list[Cell]:
    d = c.difference
    sees = c.detectable if c.mark == "~" and c.detectable > 0 else ""
    return [c.mark, _name(c), c.mean_a, c.mean_b, d.estimate, (d.low, d.high), c.p_holm, d.n or None, sees]
