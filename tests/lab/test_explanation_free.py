"""The study of scores without explanations: its numbers against scipy, and latents that part by luck or in truth."""

from __future__ import annotations

import json
import math

import numpy as np
import pandas as pd
import pytest
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.lab.studies.explanation_free import DrawnScores, latent_rows, pair_rows, part, ranks, within
from latentbench.runs.finished import load_run
from latentbench.scorers.explained import asks_about_explanation
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite
from scipy.stats import rankdata, spearmanr

from tests.builders.study_builder import PROFILE, carry_out

FEW = {"positives": 4, "negatives": 4}
MEASURES = [
    {"label": "example", "use": "example_embedding", "params": FEW, "judge": "words", "metric": "auroc"},
    {"label": "intruder", "use": "intruder", "params": {"groups": 2, "trials": 1}, "judge": "odd", "metric": "score"},
    {"label": "detection", "use": "detection", "preset": "single", "params": FEW, "judge": "words", "metric": "auroc"},
]
ROUGH = {
    **PROFILE,
    "explainers": {"main": {"use": "tokens"}},
    "judges": {**PROFILE["judges"], "odd": "mock:label?error=0.4"},
}
OPTIONS = {"measures": MEASURES, "parted": [["example", "detection"]]}
STUDY = {"kind": "explanation-free", "levels": [], "scorers": [], "latents": {"small": 30}}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):  # type: ignore[no-untyped-def]
    return carry_out(tmp_path_factory.mktemp("free"), "free", ROUGH, **STUDY, options=OPTIONS)


def record(folder):  # type: ignore[no-untyped-def]
    return json.loads((folder / "study.json").read_text(encoding="utf-8"))


def values(folder):  # type: ignore[no-untyped-def]
    """Scores of both draws, read from the runs' tables without the study: {measure: [latents, draws]}."""
    runs = [load_run(folder.parent.parent / "work" / "runs" / r["id"]) for r in record(folder)["runs"]]
    assert [r.record.spec.seed for r in runs] == [0, 1]
    found = {}
    for name, metric in (("example", "auroc"), ("detection", "auroc"), ("intruder", None)):
        draws = []
        for run in runs:
            table = run.judgements if metric is None else run.scores[run.scores.metric == metric]
            own = table[(table.scorer == name) & (table.explainer == "main")]
            draws.append(own.groupby("latent")["value" if metric else "score"].mean())
        found[name] = pd.concat(draws, axis=1).to_numpy()
    return found


def test_correlations_are_those_of_the_means_of_both_draws(folder):
    scores = values(folder)
    rows = pd.read_csv(folder / "table.csv").set_index(["a", "b"])
    assert len(rows) == 3
    for (a, b), row in rows.iterrows():
        x, y = scores[a], scores[b]
        assert row.n == 30
        assert row.spearman == pytest.approx(spearmanr(x.mean(axis=1), y.mean(axis=1)).statistic, abs=1e-5)
        across = [spearmanr(x[:, i], y[:, 1 - i]).statistic for i in (0, 1)]
        assert row.across_draws == pytest.approx(np.mean(across), abs=1e-5)
        # One coder: nothing to take out.
        assert row.within_coders == pytest.approx(row.spearman, abs=1e-5)
    measured = pd.read_csv(folder / "scorers.csv").set_index("scorer")
    assert list(measured.asks) == ["nothing", "nothing", "an explanation"]
    assert measured.score["intruder"] == pytest.approx(scores["intruder"].mean(), abs=1e-5)
    assert measured.floor["intruder"] == 0.2
    assert measured.floor["example"] == 0.5
    again = spearmanr(scores["detection"][:, 0], scores["detection"][:, 1]).statistic
    assert measured.reliability["detection"] == pytest.approx(again, abs=1e-5)
    assert measured.reads["detection"] == "yes"
    assert measured.reads[["example", "intruder"]].isna().all()


def test_a_score_without_explanations_is_the_same_for_every_explainer_and_paid_once(folder):
    run = load_run(folder.parent.parent / "work" / "runs" / record(folder)["runs"][0]["id"])
    own = run.scores[run.scores.scorer.isin(["example", "intruder"])]
    wide = own.pivot(index=["scorer", "latent", "metric"], columns="explainer", values="value")
    assert len(wide.columns) == 2
    assert wide["main"].equals(wide["shuffled main"])
    calls = run.calls
    asked = calls.assign(words=calls.messages.map(str), scorer=calls.owner.str.split("/").str[1])
    assert run.record.totals.paid.calls == len(asked.drop_duplicates(["form", "words"])) < len(calls)
    for name in ("example", "intruder"):
        own = asked[asked.scorer == name]
        assert own.words.nunique() == own[own.owner.str.startswith("main/")].words.nunique() <= len(own) / 2


def test_the_page_says_power_floors_and_where_latents_part(folder):
    said = record(folder)["findings"]
    assert sum("its floor" in line for line in said) == 2
    assert sum("Spearman" in line for line in said) == 3
    assert sum(line.startswith("Latents that are") for line in said) == 2
    page = (folder / "README.md").read_text(encoding="utf-8")
    assert "## Where they part" in page
    for line in said:
        if "not shown, Spearman" in line:
            assert "is found in 4 of 5 studies" in line


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"parted": [["example", "detektion"]]}, SpecError, "'detektion'"),
        ({"measures": [*MEASURES, MEASURES[0]]}, SpecError, "two measures have the same label"),
        ({"measures": [{**MEASURES[0], "judge": "wrods"}, MEASURES[2]]}, UnknownName, "Did you mean 'words'"),
    ],
)
def test_wrong_options_are_refused_before_anything_runs(tmp_path, change, error, message):
    with pytest.raises(error, match=message):
        carry_out(tmp_path, "free", ROUGH, **STUDY, options=OPTIONS | change)
    assert not list(tmp_path.glob("work/runs/*"))


def drawn(a: np.ndarray, b: np.ndarray, coders: list[str] | None = None) -> DrawnScores:
    n = len(a)
    return DrawnScores(
        ("a", "b"), tuple(f"sae/{i}" for i in range(n)), tuple(coders or ["sae"] * n), np.stack([a, b], axis=1)
    )


def test_latents_that_part_in_truth_do_so_in_both_draws_and_those_of_luck_do_not():
    rng = np.random.default_rng(0)
    trait, other = rng.normal(size=(2, 90, 1))
    real = part(
        drawn(trait + 0.3 * rng.normal(size=(90, 2)), other + 0.3 * rng.normal(size=(90, 2))),
        "a",
        "b",
        "coherent, badly explained",
    )
    assert real["by_chance"] == 10
    assert real["still"] > 0.5
    assert real["p"] < 0.01
    assert real["coherent_rank"] > 0.7 > 0.4 > real["explained_rank"]
    luck = part(drawn(*rng.normal(size=(2, 90, 2))), "a", "b", "coherent, badly explained")
    assert 0.3 < luck["coherent_rank"] < 0.7
    assert luck["p"] > 0.05
    few = part(drawn(*rng.normal(size=(2, 12, 2))), "a", "b", "coherent, badly explained")
    assert math.isnan(few["p"])


def test_listed_latents_part_in_both_draws():
    a = np.array([[9.0, 8], [7, 9], [1, 2], [2, 1], [5, 5], [4, 4]])
    b = np.array([[1.0, 2], [6, 1], [8, 9], [9, 8], [5, 5], [4, 4]])
    rows = latent_rows(drawn(a, b), "a", "b", "coherent, badly explained", {"sae/0": "Rivers."})
    assert [(r["latent"], r["coherence"], r["explained"], r["explanation"]) for r in rows] == [
        ("sae/0", 8.5, 1.5, "Rivers.")
    ]
    rows = latent_rows(drawn(a, b), "a", "b", "incoherent, well explained", {})
    assert {r["latent"] for r in rows} == {"sae/2", "sae/3"}


def test_a_correlation_of_coders_is_none_within_them():
    rng = np.random.default_rng(1)
    coders = ["high"] * 40 + ["low"] * 40
    shift = np.repeat([3.0, 0.0], 40)[:, None]
    (row,) = pair_rows(drawn(shift + rng.normal(size=(80, 2)), shift + rng.normal(size=(80, 2)), coders))
    assert row["p_holm"] < 0.001
    assert row["spearman"] > 0.6
    assert row["within_coders_low"] < 0 < row["within_coders_high"]


def test_ranks_within_are_scipys_and_gaps_stay():
    values = np.array([[3.0], [1], [np.nan], [2], [2], [5]])
    found = within(values, ["x", "x", "x", "y", "y", "y"])[:, 0]
    assert found[[0, 1]] == pytest.approx((rankdata([3, 1]) - 0.5) / 2 - 0.5)
    assert math.isnan(found[2])
    assert found[3:] == pytest.approx((rankdata([2, 2, 5]) - 0.5) / 3 - 0.5)
    assert ranks(np.array([4.0, 1.0])) == pytest.approx([0.75, 0.25])


def test_who_asks_about_an_explanation_is_seen_in_what_is_asked():
    latent = load_suite("planted-1").latents(limit=1)[0]
    asks = {
        name: asks_about_explanation(load_scorer(name), latent)
        for name in ("detection", "embedding", "intruder", "example_embedding")
    }
    assert asks == {"detection": True, "embedding": True, "intruder": False, "example_embedding": False}
