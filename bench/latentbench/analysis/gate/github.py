"""Report -> workflow commands of GitHub Actions: annotations on the run's page."""

from __future__ import annotations

from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import Report

LEVELS = {Verdict.FAIL: "error", Verdict.NOT_COMPARABLE: "error", Verdict.INCONCLUSIVE: "warning"}
MOST = 10
"""GitHub shows ten annotations of a level and step, and drops the others in silence."""


def github(report: Report) -> str:
    """`::error` and `::warning` lines; "" if everything passed. What is beyond the tenth of a level is counted in the tenth."""
    lines = []
    for level in ("error", "warning"):
        own = [c for c in report.checks if LEVELS.get(c.verdict) == level]
        shown = own if len(own) <= MOST else own[: MOST - 1]
        lines += [f"::{level} title={_property(f'{c.verdict.value}: {c.name}')}::{_data(c.message)}" for c in shown]
        if len(own) > len(shown):
            lines.append(f"::{level} title=gate::and {len(own) - len(shown)} more, see the summary")
    return "".join(f"{line}\n" for line in lines)


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
