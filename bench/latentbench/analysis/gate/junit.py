"""Report -> JUnit XML, the one format that every CI system shows.

    failure   something scores worse, or an invariant of the measurement is broken
    error     it could not be found out: not comparable, not carried out
    skipped   inconclusive

A CI system that counts only failures and errors therefore lets an inconclusive gate through; the exit code (3) does not.
"""

from __future__ import annotations

import re
from xml.etree import ElementTree as ET

from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import Check, Report

NAME = "latentbench.gate"
ILLEGAL = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def junit(report: Report) -> str:
    """One test suite with one test case per check."""
    kinds = [outcome(c) for c in report.checks]
    counts = {
        "tests": len(kinds),
        "failures": kinds.count("failure"),
        "errors": kinds.count("error"),
        "skipped": kinds.count("skipped"),
    }
    attributes = {"name": NAME, **{k: str(v) for k, v in counts.items()}, "time": f"{report.seconds:.3f}"}
    # The root of the usual schema has no count of skipped cases.
    root = ET.Element("testsuites", {k: v for k, v in attributes.items() if k != "skipped"})
    suite = ET.SubElement(root, "testsuite", attributes)
    for check, kind in zip(report.checks, kinds, strict=True):
        case = ET.SubElement(
            suite, "testcase", {"classname": f"{NAME}.{check.kind}", "name": _legal(check.name), "time": "0"}
        )
        if kind == "passed":
            continue
        said = ET.SubElement(case, kind, {"message": _legal(check.message)})
        if kind != "skipped":
            said.set("type", check.verdict.value)
        said.text = _legal(f"{check.name}: {check.message}")
    said = ET.SubElement(suite, "system-out")
    said.text = _legal("\n".join([report.title, report.summary(), *report.notes]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def outcome(check: Check) -> str:
    """`passed`, `failure`, `error` or `skipped`."""
    if check.verdict is Verdict.PASS:
        return "passed"
    if check.verdict is Verdict.INCONCLUSIVE:
        return "skipped"
    return "error" if check.infrastructure or check.verdict is Verdict.NOT_COMPARABLE else "failure"


def _legal(text: str) -> str:
    return ILLEGAL.sub("�", text)
