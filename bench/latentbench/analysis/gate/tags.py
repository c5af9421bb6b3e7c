"""Report -> tags of the run in MLflow, so that a search finds the runs that failed their gate.

As for all tracking, the files are the truth: nothing that MLflow does can change a verdict.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.analysis.gate.decide import Verdict
from latentbench.analysis.gate.gate_report import Report
from latentbench.tracking.mlflow import TrackResult, track
from latentbench.tracking.mlflow_settings import BASE, WORK, lent

PREFIX = "latentbench.gate."
NAMED = 20
"""Checks named in a tag; the rest is counted."""


def tags(report: Report) -> dict[str, str]:
    """Tag name -> text."""
    found = {"verdict": report.verdict.value, "summary": report.summary(), "compared": report.title}
    for verdict, n in report.counts.items():
        found[f"n_{verdict.value.replace(' ', '_')}"] = str(n)
    failed = [c.name for c in report.checks if c.verdict is Verdict.FAIL]
    more = f", and {len(failed) - NAMED} more" if len(failed) > NAMED else ""
    # An empty tag, not a missing one: a second gate of the same run must not leave the first one's failures standing.
    found["failed"] = ", ".join(failed[:NAMED]) + more
    return {PREFIX + name: text for name, text in found.items()}


def tag_run(folder: Path, report: Report, uri: str | None = None) -> TrackResult:
    """Log a run to MLflow, or find it there, and tag it.

    Returns:
        As `track`: a fault of MLflow is `ok=False` with a message, never an exception.
    """
    result = track(folder, uri=uri)
    if not result.ok or result.parent is None:
        return result
    with lent(BASE), lent(WORK):
        from mlflow.entities import RunTag
        from mlflow.tracking import MlflowClient

        # The server that answered `track` may be gone by now, in as many ways.
        try:
            MlflowClient(tracking_uri=result.uri).log_batch(
                result.parent, tags=[RunTag(name, text) for name, text in tags(report).items()]
            )
        except Exception as e:
            reason = " ".join(str(e).split())[:120]
            return TrackResult(False, result.uri, f"the gate's tags were not logged ({type(e).__name__}: {reason})")
    return result
