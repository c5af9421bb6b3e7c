"""Simulation, surprisal, intruder and saebench through the harness, on planted latents with judges of known quality."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite
from rich.console import Console

SPEC: dict[str, Any] = {
    "name": "four",
    "suite": "planted-1",
    "limit": 4,
    # A list of words alone: quoted contexts hold words that a judge by word overlap finds everywhere.
    "explainers": [{"use": "tokens", "params": {"n_contexts": 0}}, "empty"],
    "scorers": ["simulation", "surprisal", "intruder", "saebench"],
    "judges": [
        {"use": "mock:label", "label": "knows"},
        {"use": "mock:lexical", "label": "reads"},
        {"use": "mock:constant", "label": "constant"},
    ],
}


def carry_out(folder: Path, **changes: Any) -> Path:
    spec = folder / "spec.yaml"
    spec.write_text(yaml.safe_dump(SPEC | changes), encoding="utf-8")
    start(spec, folder / "run", folder / "cache.sqlite", Console(quiet=True))
    return folder / "run"


def means(run: Path) -> pd.Series[float]:
    """Mean over latents by (scorer, judge, explainer, metric)."""
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    assert (scores.n_judged == scores.n_attempted).all()
    return scores.groupby(["scorer", "judge", "explainer", "metric"]).value.mean()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carry_out(tmp_path_factory.mktemp("four"))


HEADLINES = {
    "simulation": "pearson",
    "surprisal": "ap_normalised",
    "intruder": "accuracy",
    "saebench": "accuracy_normalised",
}


def test_every_cell_has_its_headline_for_every_latent(run: Path) -> None:
    record = read_record(run)
    assert record.status == "complete"
    assert len(record.cells) == 4 * 2 * 3
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    for scorer, headline in HEADLINES.items():
        rows = scores[(scores.scorer == scorer) & (scores.metric == headline)]
        assert len(rows) == 4 * 2 * 3
        assert rows.value.notna().all()
        known = {m.name for m in load_scorer(scorer).metric_table()}
        assert set(scores[scores.scorer == scorer].metric) <= known
    floors = {m.name: m.floor for c in record.cells if c.scorer.label == "intruder" for m in c.scorer.metrics}
    assert floors["accuracy"] == 0.2


@pytest.mark.parametrize("scorer", HEADLINES)
def test_a_judge_that_knows_is_near_perfect_and_one_without_opinion_at_the_floor(run: Path, scorer: str) -> None:
    found = means(run)
    headline = HEADLINES[scorer]
    # Simulation: the mock scales every window to its own maximum, so weak windows are overrated.
    assert found[scorer, "knows", "tokens", headline] > (0.8 if scorer == "simulation" else 0.95)
    floor = load_scorer(scorer).floor(headline)
    if scorer == "saebench":  # "all of them" is worse than "none": (4/14 - 10/14) / (4/14)
        assert found[scorer, "constant", "tokens", headline] == pytest.approx(-1.5)
    else:
        assert found[scorer, "constant", "tokens", headline] == pytest.approx(floor, abs=1e-9)


@pytest.mark.parametrize("scorer", ["simulation", "surprisal", "saebench"])
def test_an_explanation_that_names_words_beats_an_empty_one(run: Path, scorer: str) -> None:
    found = means(run)
    assert (
        found[scorer, "reads", "tokens", HEADLINES[scorer]] > found[scorer, "reads", "empty", HEADLINES[scorer]] + 0.05
    )


def test_intruder_does_not_depend_on_the_explanation(run: Path) -> None:
    found = means(run)["intruder"]
    for judge in ("knows", "reads", "constant"):
        assert found[judge, "tokens"].equals(found[judge, "empty"])


@pytest.mark.parametrize("scorer", HEADLINES)
def test_the_order_of_a_suite_s_rows_changes_no_question(scorer: str) -> None:
    loaded = load_scorer(scorer)
    for latent in load_suite("planted-1").latents(limit=4):
        turned = replace(latent, test=latent.test[::-1])
        asked = list(loaded.trials(latent, "z", 0))
        assert asked == list(loaded.trials(turned, "z", 0))
        assert asked != list(loaded.trials(latent, "z", 1)) or scorer == "surprisal"


def test_written_answers_give_what_log_probabilities_give(run: Path, tmp_path: Path) -> None:
    chatting = carry_out(
        tmp_path,
        explainers=["tokens"],
        scorers=[{"use": "simulation", "preset": "json"}, "intruder", "saebench"],
        judges=[
            {"use": "mock:label?can=chat", "label": "talks"},
            {"use": "mock:constant?answer=0&can=chat", "label": "never"},
        ],
    )
    found, before = means(chatting), means(run)
    assert found["simulation", "talks", "tokens", "pearson"] == pytest.approx(
        before["simulation", "knows", "tokens", "pearson"], abs=0.02
    )
    assert found["intruder", "talks", "tokens", "accuracy"] == 1
    assert found["saebench", "talks", "tokens", "accuracy_normalised"] == 1
    assert found["simulation", "never", "tokens", "pearson"] == 0
    assert found["intruder", "never", "tokens", "accuracy"] == pytest.approx(0.2)
    assert found["saebench", "never", "tokens", "accuracy"] == pytest.approx(10 / 14)
    assert found["saebench", "never", "tokens", "accuracy_normalised"] == pytest.approx(0)


def test_nonsense_lowers_coverage_and_scores_nothing(tmp_path: Path) -> None:
    run = carry_out(
        tmp_path,
        explainers=["tokens"],
        scorers=[{"use": "simulation", "preset": "json"}, "intruder", "saebench"],
        judges=[{"use": "mock:label?nonsense=1&can=chat", "label": "talks"}],
        max_failures=1.0,
    )
    judgements = pq.read_table(run / "judgements.parquet").to_pandas()
    assert set(judgements.outcome) == {"parse"}
    assert judgements.answer.isna().all()
    assert pq.read_table(run / "scores.parquet").to_pandas().value.isna().all()
