"""A run with its ratings -> MLflow; without ratings, what `latentbench.tracking.mlflow.track` logs and nothing else.

Tracking stands below analysis and knows no ratings, so it is handed what they come to.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.analysis.people.rated_run import RatedRun, rated_run
from latentbench.runs.finished import load_run
from latentbench.tracking.mlflow import TrackResult
from latentbench.tracking.mlflow import track as log
from latentbench.tracking.tracked_people import PeopleFigure, TrackedPeople


def track(
    run_dir: Path, suite_dir: Path | None = None, uri: str | None = None, *, per_coder: bool = False
) -> TrackResult:
    """Log a finished run to MLflow with what people said of it, or update what was logged before.

    Args and returns: as `latentbench.tracking.mlflow.track`.

    Raises:
        RunError: no finished run there. CorruptTable: a table that cannot be read, as that of the ratings.
    """
    rated = rated_run(load_run(run_dir))
    return log(run_dir, suite_dir, uri, per_coder=per_coder, people=None if rated is None else tracked_people(rated))


def tracked_people(rated: RatedRun) -> TrackedPeople:
    """What a tracker is told of ratings."""
    found = rated.agreement
    if found is None:
        return TrackedPeople((), rated.csv())
    figures = [PeopleFigure(name, "rho", c.estimate, c.low, c.high, c.n) for name, c in found.scorers.items()]
    figures += [
        PeopleFigure(name, "agreed_choices", c.estimate, c.low, c.high, c.n) for name, c in found.choices.items()
    ]
    figures += [
        PeopleFigure("", name, c.estimate, c.low, c.high, c.n)
        for name, c in (
            ("alpha_ordinal", found.ordinal), ("alpha_interval", found.interval), ("alpha_choices", found.nominal),
            ("two_raters", found.rater),
        )
    ]  # fmt: skip
    figures.append(PeopleFigure("", "ceiling", *found.ceiling, found.rater.n))
    return TrackedPeople(tuple(figures), rated.csv())
