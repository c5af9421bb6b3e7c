"""Report -> the terminal: what is not in order first, readable at 80 columns.

Everything that fits in a line is in the table; sentences stand below it and wrap. A passing invariant is counted, not printed.
"""

from __future__ import annotations

import math

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import WORST_FIRST, Check, Report

MARKS = {Verdict.FAIL: "x", Verdict.NOT_COMPARABLE: "!", Verdict.INCONCLUSIVE: "?", Verdict.PASS: "."}
STYLES = {Verdict.FAIL: "bold red", Verdict.NOT_COMPARABLE: "magenta", Verdict.INCONCLUSIVE: "yellow", Verdict.PASS: ""}
LEGEND = "x fail  ! not comparable  ? inconclusive  . pass; bound: one-sided 95 %"


def terminal(report: Report) -> RenderableType:
    """Rich renderable of a report."""
    parts: list[RenderableType] = [
        Text(report.summary(), style=STYLES[report.verdict] or "bold green"),
        Text(report.title, style="dim"),
        Text(),
    ]
    tested = [c for c in report.checks if c.statistical]
    if tested:
        parts += [_table(tested), Text(LEGEND, style="dim"), Text()]
    for verdict in WORST_FIRST[:-1]:
        parts += [_line(c) for c in report.checks if c.verdict is verdict and not _told(c)]
    held = sum(c.verdict is Verdict.PASS for c in report.checks if not c.statistical)
    parts.append(Text(f". {held} of {len(report.checks) - len(tested)} invariants hold", style="dim"))
    parts += [Text(f"note: {note}", style="dim") for note in report.notes]
    return Group(*parts)


def _table(checks: list[Check]) -> Table:
    out = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    out.add_column("", no_wrap=True)
    out.add_column("what", overflow="fold")
    for head in ("base", "head", "diff", "bound", "delta", "n"):
        out.add_column(head, justify="right", no_wrap=True)
    # Stable sort: within a verdict the order of the run.
    for c in sorted(checks, key=lambda c: WORST_FIRST.index(c.verdict)):
        out.add_row(MARKS[c.verdict], Text(c.name), *cells(c), style=STYLES[c.verdict])
    return out


def cells(check: Check) -> tuple[str, str, str, str, str, str]:
    """base, head, difference, bound, delta and n of a statistical check, as text; ratios for speed."""
    c = check
    if c.kind == "speed":
        return (
            _seconds(c.base), _seconds(c.head), _ratio(-c.estimate), _ratio(-c.low), _ratio(c.delta), str(c.n)
        )  # fmt: skip
    delta = "–" if math.isnan(c.delta) else f"{c.delta:g}"
    return _number(c.base), _number(c.head), _number(c.estimate, "+"), _number(c.low, "+"), delta, str(c.n)


def _number(value: float, sign: str = "") -> str:
    return "–" if math.isnan(value) else f"{value:{sign}.3f}"


def _seconds(value: float) -> str:
    """Three significant digits with a unit: 1.23ms."""
    if math.isnan(value):
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g}{unit}"
    return f"{value / 1e-9:.3g}ns"


def _ratio(log: float) -> str:
    return "–" if math.isnan(log) else f"x{math.exp(log):.2f}"


def _told(check: Check) -> bool:
    """Whether the table has said it all: a failure with its numbers."""
    return check.statistical and check.verdict is Verdict.FAIL and not math.isnan(check.low)


def _line(check: Check) -> Text:
    what = "error" if check.infrastructure and check.verdict is Verdict.FAIL else check.verdict.value
    return Text(f"{MARKS[check.verdict]} {what}: {check.name}: {check.message}", style=STYLES[check.verdict])
