"""The formats of a gate's report: terminal, Markdown, JUnit XML, annotations of GitHub Actions, tags of MLflow.

All are made from `GateReport` alone, so none can reach another verdict. JUnit XML is the one format that every CI system
shows; there a `failure` is a worse score or a broken invariant and an `error` what could not be found out. What is inconclusive
is what the policy says, as in the exit code (`latentbench.analysis.gate.policy`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from latentbench.analysis.gate.gate_report import WORST_FIRST, Check, GateReport
from latentbench.analysis.gate.policy import Inconclusive, State, Verdict
from latentbench.views.escape import annotation, annotation_property, xml
from latentbench.views.number import ratio, seconds
from latentbench.views.page import Block, Bullets, Folded, Page, Prose
from latentbench.views.table import Cell, Column, Table, Tone

if TYPE_CHECKING:
    from rich.console import RenderableType

    from latentbench.tracking.mlflow import TrackResult

MARKS = {Verdict.FAIL: "x", Verdict.NOT_COMPARABLE: "!", Verdict.INCONCLUSIVE: "?", Verdict.PASS: "."}
SIGNS = {Verdict.FAIL: "❌", Verdict.NOT_COMPARABLE: "🚫", Verdict.INCONCLUSIVE: "❔", Verdict.PASS: "✅"}
TONES: dict[Verdict, Tone] = {
    Verdict.FAIL: "bad",
    Verdict.NOT_COMPARABLE: "apart",
    Verdict.INCONCLUSIVE: "open",
    Verdict.PASS: "",
}
LEGEND = "x fail  ! not comparable  ? inconclusive  . pass; bound: one-sided 95 %"
MARKER = "<!-- latentbench-gate -->"
"""First line, by which a later comment finds and replaces this one."""

NAME = "latentbench.gate"
NOTHING = Check("comparability", "gate", Verdict.NOT_COMPARABLE, "nothing was compared")
"""The case of a report without a check, which would otherwise be a file of no failures."""

MOST = 10
"""GitHub shows ten annotations of a level and step, and drops the others in silence."""

PREFIX = "latentbench.gate."
NAMED = 20
"""Checks named in a tag; the rest is counted."""


def terminal(report: GateReport, width: int = 80) -> RenderableType:
    """What is not in order first: what fits in a line in the table, sentences below it. A passing invariant is counted."""
    tested = [c for c in report.checks if c.statistical]
    blocks: list[Block] = [
        Prose(report.summary(), tone=TONES[report.verdict], strong=True),
        Prose(report.title, soft=True),
    ]
    if tested:
        # Stable sort: within a verdict the order of the run.
        blocks += [_table(sorted(tested, key=_worst_first)), Prose(LEGEND, soft=True)]
    for verdict in WORST_FIRST[:-1]:
        said = [c for c in report.checks if c.verdict is verdict and not _told(c)]
        blocks.append(Bullets([_line(c) for c in said], tone=TONES[verdict]))
    held = sum(c.verdict is Verdict.PASS for c in report.checks if not c.statistical)
    blocks.append(Prose(f". {held} of {len(report.checks) - len(tested)} invariants hold", soft=True))
    return Page("", [*blocks, Bullets([f"note: {note}" for note in report.notes], soft=True)]).terminal(width)


def markdown(report: GateReport) -> str:
    """The whole report for a step summary and a pull-request comment; what passed is folded away."""
    bad = sorted((c for c in report.checks if c.verdict is not Verdict.PASS), key=_worst_first)
    good = [c for c in report.checks if c.verdict is Verdict.PASS]
    tested = [c for c in report.checks if c.statistical]
    tested.sort(key=lambda c: c.verdict is Verdict.PASS)
    blocks: list[Block] = [Prose(report.title), _list(bad), Bullets(report.notes)]
    if tested:
        blocks.append(Folded(f"{len(tested)} differences", [_table(tested)]))
    rest = [c for c in good if not c.statistical]
    if rest:
        blocks.append(Folded(f"{len(rest)} invariants hold", [_list(rest)]))
    return MARKER + "\n\n" + Page(f"{SIGNS[report.verdict]} Score gate: {report.summary()}", blocks).markdown(level=3)


def junit(report: GateReport, inconclusive: Inconclusive = Inconclusive.FAIL) -> str:
    """One test suite with one test case per check."""
    checks = report.checks or [NOTHING]
    states = [c.state(inconclusive) for c in checks]
    counts = {
        "tests": len(states),
        "failures": states.count(State.FAILURE),
        "errors": states.count(State.ERROR),
        "skipped": states.count(State.SKIPPED),
    }
    attributes = {"name": NAME, **{k: str(v) for k, v in counts.items()}, "time": f"{report.seconds:.3f}"}
    # The root of the usual schema has no count of skipped cases.
    root = ET.Element("testsuites", {k: v for k, v in attributes.items() if k != "skipped"})
    suite = ET.SubElement(root, "testsuite", attributes)
    for check, state in zip(checks, states, strict=True):
        case = ET.SubElement(
            suite, "testcase", {"classname": f"{NAME}.{check.kind}", "name": xml(check.name), "time": "0"}
        )
        if state is State.PASSED:
            continue
        said = ET.SubElement(case, state.value, {"message": xml(check.message)})
        if state is not State.SKIPPED:
            said.set("type", check.verdict.value)
        said.text = xml(f"{check.name}: {check.message}")
    said = ET.SubElement(suite, "system-out")
    said.text = xml("\n".join([report.title, report.summary(), *report.notes]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def github(report: GateReport, inconclusive: Inconclusive = Inconclusive.FAIL) -> str:
    """`::error` and `::warning` lines; "" if everything passed. What is beyond the tenth of a level is counted in the tenth."""
    lines = []
    for level in ("error", "warning"):
        own = [c for c in report.checks if _level(c.state(inconclusive), c.verdict) == level]
        shown = own if len(own) <= MOST else own[: MOST - 1]
        lines += [
            f"::{level} title={annotation_property(f'{c.verdict.value}: {c.name}')}::{annotation(c.message)}"
            for c in shown
        ]
        if len(own) > len(shown):
            lines.append(f"::{level} title=gate::and {len(own) - len(shown)} more, see the summary")
    return "".join(f"{line}\n" for line in lines)


def _level(state: State, verdict: Verdict) -> str:
    """An error is what stops; what else is not in order is a warning."""
    return "error" if state.stops else "" if verdict is Verdict.PASS else "warning"


def tags(report: GateReport) -> dict[str, str]:
    """Tag name -> text."""
    found = {"verdict": report.verdict.value, "summary": report.summary(), "compared": report.title}
    for verdict, n in report.counts.items():
        found[f"n_{verdict.value.replace(' ', '_')}"] = str(n)
    failed = [c.name for c in report.checks if c.verdict is Verdict.FAIL]
    more = f", and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    # An empty tag, not a missing one: a second gate of the same run must not leave the first one's failures standing.
    found["failed"] = ", ".join(failed[:NAMED]) + more
    return {PREFIX + name: text for name, text in found.items()}


def tag_run(folder: Path, report: GateReport, uri: str | None = None) -> TrackResult:
    """Log a run to MLflow, or find it there, and tag it.

    Returns:
        As `track`: a fault of MLflow is `ok=False` with a message, never an exception.
    """
    from latentbench.analysis.people.people_track import track
    from latentbench.tracking.entries import tag
    from latentbench.tracking.mlflow import TrackResult, reason
    from latentbench.tracking.mlflow_settings import BASE, WORK, lent

    result = track(folder, uri=uri)
    if not result.ok or result.parent is None:
        return result
    with lent(BASE), lent(WORK):
        from mlflow.entities import RunTag
        from mlflow.tracking import MlflowClient

        # The server that answered `track` may be gone by now, in as many ways.
        try:
            MlflowClient(tracking_uri=result.uri).log_batch(
                result.parent, tags=[RunTag(name, tag(text)) for name, text in tags(report).items()]
            )
        except Exception as e:
            return TrackResult(False, result.uri, f"the gate's tags were not logged ({reason(e)})")
    return result


def _table(checks: Sequence[Check]) -> Table:
    columns = [
        Column("", "text", face="terminal"),
        Column("", "text", face="page"),
        Column("what", "text"),
        Column("base", "number"),
        Column("head", "number"),
        Column("difference", "signed", brief="diff"),
        Column("95 % bound", "signed", brief="bound"),
        Column("delta", "number"),
        Column("latents", "count", brief="n"),
    ]
    rows: list[list[Cell]] = [[MARKS[c.verdict], SIGNS[c.verdict], c.name, *_numbers(c), c.n] for c in checks]
    return Table("", columns, rows, tones=[TONES[c.verdict] for c in checks])


def _numbers(c: Check) -> tuple[Cell, ...]:
    """Base, head, difference, bound and delta; for speed times and ratios."""
    if c.kind != "speed":
        return c.base, c.head, c.estimate, c.low, c.delta
    return seconds(c.base), seconds(c.head), *(ratio(math.exp(x)) for x in (-c.estimate, -c.low, c.delta))


def _list(checks: Sequence[Check]) -> Bullets:
    return Bullets([f"{SIGNS[c.verdict]} {c.name}: {c.message}" for c in checks])


def _line(check: Check) -> str:
    what = "error" if check.infrastructure and check.verdict is Verdict.FAIL else check.verdict.value
    return f"{MARKS[check.verdict]} {what}: {check.name}: {check.message}"


def _worst_first(check: Check) -> int:
    return WORST_FIRST.index(check.verdict)


def _told(check: Check) -> bool:
    """Whether the table has said it all: a failure with its numbers."""
    return check.statistical and check.verdict is Verdict.FAIL and not math.isnan(check.low)
