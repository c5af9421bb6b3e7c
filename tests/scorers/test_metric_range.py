"""What a metric declares of its range, and the bounds under missing judgements that follow from it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from latentbench.leaderboards.row import read_rows
from latentbench.scorers.metrics.yes_no import average_precision
from latentbench.scorers.scorer import load_scorer

from tests.builders.run_builder import Grid, build_run

RANGES: dict[tuple[str, str], tuple[float | None, float | None]] = {
    ("detection", "ap_normalised"): (-1, 1),
    ("detection", "auroc"): (0, 1),
    ("detection", "auroc@neighbour"): (0, 1),
    ("fuzzing", "balanced_accuracy"): (0, 1),
    ("fuzzing", "accuracy"): (0, 1),
    ("fuzzing", "ap_normalised@wrong_marks"): (-1, 1),
    ("detection", "n"): (None, None),
    ("embedding", "auroc"): (0, 1),
    ("surprisal", "ap_normalised"): (-1, 1),
    ("surprisal", "mean_gap"): (None, None),
    ("simulation", "pearson"): (-1, 1),
    ("simulation", "pearson@quantile:3"): (-1, 1),
    ("simulation", "r2"): (None, 1),
    ("intruder", "accuracy"): (0, 1),
    ("intruder", "accuracy@quantile:0"): (0, 1),
    ("intruder", "accuracy_normalised"): (-1 / 4, 1),
    ("example_embedding", "auroc"): (0, 1),
    ("example_embedding", "auroc@quantile:0"): (0, 1),
    ("example_embedding", "auroc@similar"): (0, 1),
    ("direction", "auroc"): (0, 1),
    ("direction", "first"): (0, 1),
    ("saebench", "accuracy_normalised"): (-2.5, 1),
    ("intervention", "nats"): (None, None),
}


@pytest.mark.parametrize(("scorer", "metric"), RANGES)
def test_metrics_declare_their_range(scorer: str, metric: str) -> None:
    assert load_scorer(scorer).range(metric) == pytest.approx(RANGES[scorer, metric])


def test_the_normalised_range_is_that_of_no_and_all_right_answers() -> None:
    # Five places: never right is (0 - 1/5) / (1 - 1/5) = -1/4. Ten silent of fourteen: (0 - 10/14) / (4/14) = -5/2.
    assert load_scorer({"use": "intruder", "params": {"k": 3}}).range("accuracy_normalised") == pytest.approx((-0.5, 1))
    saebench = load_scorer({"use": "saebench", "params": {"negatives": 4}})
    assert saebench.range("accuracy_normalised") == pytest.approx((-1, 1))


@pytest.mark.parametrize(("n_on", "n_off"), [(1, 1), (5, 5), (50, 50), (50, 20), (2, 10), (100, 28)])
def test_the_worst_ranking_is_within_the_range_of_the_normalised_precision(n_on: int, n_off: int) -> None:
    """One silent window for four activating ones or more; the closed form of the comment beside the declaration."""
    labels = [0] * n_off + [1] * n_on
    prevalence = n_on / (n_on + n_off)
    worst = (average_precision(labels, np.arange(len(labels))[::-1]) - prevalence) / (1 - prevalence)
    r = n_off / n_on
    assert -1 <= 1 - (1 + r) * math.log(1 + 1 / r) <= worst + 1e-12 <= 0 + 1e-9


@pytest.fixture
def holes(tmp_path: Path) -> Path:
    return build_run(tmp_path / "r", Grid(explainers={"llm": 0.8}, coders={"x": 12}, windows=20, fail=0.3))


def rewritten(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """A run whose scores were written otherwise."""
    path = folder / "scores.parquet"
    change(pd.read_parquet(path)).to_parquet(path)
    return folder


def test_bounds_are_the_mean_of_the_extremes_of_the_latents(holes: Path) -> None:
    (row,) = read_rows([holes])
    scores = pd.read_parquet(holes / "scores.parquet").query("metric == 'accuracy'")
    assert row.worst == pytest.approx(scores.lowest.mean())
    assert row.best == pytest.approx(scores.highest.mean())
    whole = build_run(holes.parent / "whole", Grid(explainers={"llm": 0.8}, coders={"x": 12}, windows=20, fail=0.02))
    scores = pd.read_parquet(whole / "scores.parquet").query("metric == 'accuracy'")
    assert scores.lowest.isna().any()  # a latent whose judgements are all there has one value
    (row,) = read_rows([whole])
    assert row.worst == pytest.approx(scores.lowest.fillna(scores.value).mean())
    assert row.best == pytest.approx(scores.highest.fillna(scores.value).mean())


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.drop(columns=["lowest", "highest"]),  # an older run
        lambda t: t.assign(lowest=None, highest=None).astype({"lowest": float, "highest": float}),
        lambda t: t.assign(lowest=t.lowest.where(t.index > t.lowest.first_valid_index())),
    ],
)
def test_without_the_extremes_of_every_latent_there_are_no_bounds_and_the_report_says_so(
    holes: Path, change: Callable[[pd.DataFrame], pd.DataFrame]
) -> None:
    from latentbench.leaderboards.board import tables
    from latentbench.leaderboards.run_page import limits
    from latentbench.runs.finished import load_run

    (row,) = found = read_rows([rewritten(holes, change)])
    assert row.coverage is not None
    assert row.coverage < 1
    assert (row.worst, row.best) == (None, None)
    said = " ".join(limits(load_run(holes), tables(found)))
    assert "judgements are missing" in said
    assert "no bounds are known for accuracy" in said


def test_a_run_records_the_ranges_of_its_scorers(tmp_path: Path) -> None:
    import yaml
    from latentbench.runs.run import start
    from rich.console import Console

    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 2,
        "explainers": ["tokens"],
        "scorers": [{"use": "detection", "params": {"positives": 3, "negatives": 3}}],
        "judges": ["mock:lexical?fail=0.5"],
        "max_failures": 1.0,
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    folder, record = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    metrics = {m.name: (m.low, m.high) for m in record.cells[0].scorer.metrics}
    assert metrics["ap_normalised"] == (-1, 1)
    assert metrics["auroc@nearest"] == (0, 1)
    (row,) = read_rows([folder])
    assert row.coverage is not None
    assert row.coverage < 1
    assert row.worst is not None
    assert row.best is not None
    assert -1 <= row.worst < row.best <= 1
