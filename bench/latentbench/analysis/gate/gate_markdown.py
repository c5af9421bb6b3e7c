"""Report -> Markdown for a step summary and a pull-request comment."""

from __future__ import annotations

from collections.abc import Iterable

from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import WORST_FIRST, Check, Report
from latentbench.analysis.gate.gate_terminal import cells

MARKER = "<!-- latentbench-gate -->"
"""First line, by which a later comment finds and replaces this one."""
HEAD = ("", "what", "base", "head", "difference", "95 % bound", "delta", "latents")
SIGNS = {Verdict.FAIL: "❌", Verdict.NOT_COMPARABLE: "🚫", Verdict.INCONCLUSIVE: "❔", Verdict.PASS: "✅"}


def markdown(report: Report) -> str:
    """The whole report; what passed is folded away."""
    bad = [c for c in report.checks if c.verdict is not Verdict.PASS]
    good = [c for c in report.checks if c.verdict is Verdict.PASS]
    parts = [MARKER, f"### {SIGNS[report.verdict]} Score gate: {_safe(report.summary())}", f"`{report.title}`"]
    if bad:
        parts.append(_list(sorted(bad, key=lambda c: WORST_FIRST.index(c.verdict))))
    parts += [f"- {_safe(note)}" for note in report.notes]
    tested = [c for c in (*bad, *good) if c.statistical]
    if tested:
        parts.append(_folded(f"{len(tested)} differences", _table(tested)))
    rest = [c for c in good if not c.statistical]
    if rest:
        parts.append(_folded(f"{len(rest)} invariants hold", _list(rest)))
    return "\n\n".join(parts) + "\n"


def _list(checks: Iterable[Check]) -> str:
    return "\n".join(f"- {SIGNS[c.verdict]} **{_safe(c.name)}**: {_safe(c.message)}" for c in checks)


def _table(checks: Iterable[Check]) -> str:
    lines = [_row(HEAD), _row(["---", "---", *["---:"] * (len(HEAD) - 2)])]
    lines += [_row([SIGNS[c.verdict], _safe(c.name), *cells(c)]) for c in checks]
    return "\n".join(lines)


def _row(values: Iterable[str]) -> str:
    return "| " + " | ".join(values) + " |"


def _folded(summary: str, body: str) -> str:
    return f"<details><summary>{summary}</summary>\n\n{body}\n\n</details>"


def _safe(text: str) -> str:
    """Text that neither opens a tag nor a column, nor addresses a person."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("@", "&#64;").replace("\n", " ")
