"""A run's tables, leaderboard and comparison are what `recompute` makes of its judgements, and a change of them is found."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.cli import app
from latentbench.runs.run import start
from rich.console import Console
from typer.testing import CliRunner

from tests.builders.signed_runs import unsigned
from tests.independent.recompute import Finished, Report, check_comparison, check_leaderboard, check_windows, recompute

SPEC = """
name: independent
suite: planted-1
split: test
limit: 24
seed: 5
repeats: 2
explainers:
  - {use: planted, label: truth}
  - tokens
  - {use: llm, label: written, model: label}
  - {use: shuffled, params: {of: truth}}
scorers:
  - {use: detection, label: listed, preset: paper, params: {positives: 4, negatives: 4, simulate: never}}
  - {use: detection, label: single, preset: single, params: {positives: 3, negatives: 3, simulate: never}, judges: [label]}
  - {use: fuzzing, preset: paper, params: {positives: 3, negatives: 4, simulate: never}, judges: [label]}
  - {use: simulation, params: {positives: 2, negatives: 2}, judges: [label]}
  - {use: embedding, params: {positives: 2, negatives: 2, negative_kinds: [random, near-miss]}, judges: [label]}
  - {use: surprisal, params: {positives: 2, negatives: 2}, judges: [label]}
  - {use: intruder, params: {k: 4, groups: 2, trials: 1}, judges: [label]}
judges:
  - {use: "mock:label?error=0.2&fail=0.1&nonsense=0.1", label: label}
  - {use: "mock:lexical", label: lexical}
"""
SUITE = Path(__file__).parents[2] / "tasks" / "suites" / "planted-1"


def bench(*words: str | Path) -> None:
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with its leaderboard; a judge that errs, fails and talks nonsense, and one that reads."""
    place = tmp_path_factory.mktemp("independent")
    (place / "spec.yaml").write_text(SPEC, encoding="utf-8")
    folder, _ = start(place / "spec.yaml", place / "run", place / "replies.sqlite", Console(quiet=True))
    bench("leaderboard", folder)
    return folder


@pytest.fixture(scope="module")
def known(run: Path) -> tuple[Finished, Report]:
    """What is recomputed of it, and what that says of its tables."""
    return recompute(run)


def copied(run: Path, to: Path) -> Path:
    """A copy without digests, so that its tables may be changed."""
    return unsigned(Path(shutil.copytree(run, to, ignore=shutil.ignore_patterns("*.jsonl"))))


def change(folder: Path, table: str, how: Callable[[pd.DataFrame], None]) -> None:
    """Write a table of a run again, changed."""
    path = folder / f"{table}.parquet"
    schema = pq.read_schema(path)
    frame = pd.read_parquet(path)
    how(frame)
    pq.write_table(pa.Table.from_pandas(frame, schema=schema, preserve_index=False), path)


def test_scores_and_totals(known: tuple[Finished, Report]) -> None:
    run, report = known
    assert report.wrong == []
    for metric in ("auroc", "ap", "ap_normalised", "accuracy", "balanced_accuracy", "recall", "f1", "precision"):
        assert report.checked[f"value of {metric}"] > 300
        assert report.checked[f"bounds of {metric}"] > 100 or metric == "precision"
    assert report.checked["value of pearson"] > 300
    assert not [what for what in report.checked if "not recomputed" in what]
    assert set(run.judgements["outcome"]) == {"ok", "api", "parse", "skipped"}


def test_windows(known: tuple[Finished, Report]) -> None:
    report = Report()
    check_windows(known[0], report, SUITE)
    assert report.wrong == []
    assert report.checked["true activations"] > 500


def test_leaderboard(run: Path, known: tuple[Finished, Report]) -> None:
    report = Report()
    check_leaderboard(known[0], report, run / "leaderboard.json")
    assert report.wrong == []
    assert report.checked["low of an interval"] > 200


def test_paired_ranks(run: Path, known: tuple[Finished, Report], tmp_path: Path) -> None:
    bench("leaderboard", run, "--paired", "--out", tmp_path)
    report = Report()
    check_leaderboard(known[0], report, tmp_path / "leaderboard.json", paired=True)
    assert report.wrong == []


def test_prices(run: Path, known: tuple[Finished, Report], tmp_path: Path) -> None:
    """Judges without weights are free and take no time, so a copy of the run has made-up bills."""
    folder, rng = copied(run, tmp_path / "priced"), np.random.default_rng(0)

    def bill(table: pd.DataFrame) -> None:
        table["cost"] = rng.random(len(table)) / 1000
        table.loc[(table["explainer"] == "tokens") & (np.arange(len(table)) % 7 == 0), "cost"] = np.nan

    change(folder, "explanations", bill)
    change(folder, "judgements", bill)
    took = [(name, row, rng.random()) for name in ("explanations", "judgements") for row in range(0, 190, 3)]
    times = pd.DataFrame(took, columns=["table", "row", "seconds"])
    pq.write_table(pa.Table.from_pandas(times, preserve_index=False), folder / "seconds.parquet")
    bench("leaderboard", folder)
    priced, report = Finished(folder), Report()
    priced.values, priced.ends, priced.counts = known[0].values, known[0].ends, known[0].counts
    check_leaderboard(priced, report, folder / "leaderboard.json")
    assert report.wrong == []


def test_comparison(run: Path, known: tuple[Finished, Report], tmp_path: Path) -> None:
    """The run against a copy in which explainers have exchanged their scores."""
    other = copied(run, tmp_path / "other")
    place = ["explainer", "scorer", "judge", "latent", "repeat", "metric"]
    turned = {"truth": "written", "written": "truth", "tokens": "shuffled", "shuffled": "tokens"}

    def exchange(scores: pd.DataFrame) -> None:
        value = scores.set_index(place)["value"]
        index = pd.MultiIndex.from_frame(scores[place].assign(explainer=scores["explainer"].map(turned)))
        scores["value"] = value.reindex(index).to_numpy()

    change(other, "scores", exchange)
    bench("compare", run, other, "--out", tmp_path)
    report = Report()
    check_comparison(known[0], Finished.as_written(other), report, tmp_path / "compare.csv")
    assert report.wrong == []
    assert report.checked["p"] == 32


def test_a_change_is_found(run: Path, known: tuple[Finished, Report], tmp_path: Path) -> None:
    folder = copied(run, tmp_path / "changed")
    changes: list[str] = []

    def flip(judgements: pd.DataFrame) -> None:
        own = judgements.index[judgements["answer"].notna() & (judgements["cell"] == "truth/listed/label/1")][40]
        judgements.loc[own, "answer"] = 1 - judgements.loc[own, "answer"]

    def move(scores: pd.DataFrame) -> None:
        for number, metric in enumerate(scores["metric"].unique()):
            own = scores.index[(scores["metric"] == metric) & scores["value"].notna() & (scores["repeat"] == 0)][number]
            scores.loc[own, "value"] += 3e-6 * max(1.0, abs(scores.loc[own, "value"]))
            changes.append(metric)
        for number, column in enumerate(("lowest", "highest")):
            own = scores.index[scores[column].notna() & (scores["repeat"] == 0)][number + 50]
            scores.loc[own, column] += 3e-6
            changes.append(column)
        scores.loc[7, "n_judged"] -= 1
        changes.append("n_judged")

    change(folder, "judgements", flip)
    change(folder, "scores", move)
    wrong = recompute(folder)[1].wrong
    assert len([line for line in wrong if "truth/listed/label/1" not in line]) == len(changes)
    assert any(line.startswith("value of accuracy") and "truth/listed/label/1" in line for line in wrong)

    data = json.loads((folder / "leaderboard.json").read_text(encoding="utf-8"))
    row = data["tables"][0]["rows"][1]
    row["score"]["low"] += 3e-6
    row["metrics"]["ap"]["high"] += 3e-6
    row["worst"] += 3e-6
    row["rank"][1] += 1
    row["coverage"] -= 3e-6
    row["judging"]["tokens_in"] += 0.1
    (folder / "leaderboard.json").write_text(json.dumps(data), encoding="utf-8")
    report = Report()
    check_leaderboard(known[0], report, folder / "leaderboard.json")
    assert len(report.wrong) == 6
