"""Another order of the same windows: nothing is drawn anew, nothing lost."""

from __future__ import annotations

from collections import Counter

import pytest
from latentbench.runs.judging import reordered, trials_of
from latentbench.runs.run_spec import RunSpec
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite


@pytest.fixture(scope="module")
def latent():
    return load_suite("planted-1").latents(split="test", limit=1)[0]


def _shown(trials):
    """What is shown with what is true of it, however it is dealt to prompts."""
    return Counter(
        (w, truth, actual) for t in trials for w, truth, actual in zip(t.windows, t.truth, t.token_truth, strict=True)
    )


@pytest.mark.parametrize("scorer", ["detection", "fuzzing"])
def test_lists_show_the_same_windows_with_their_truth_in_another_order(scorer, latent):
    trials = load_scorer({"use": scorer, "params": {"answer": "list", "positives": 6, "negatives": 6}}).trials(
        latent, "z", 0
    )
    again = reordered(trials, 1)
    assert _shown(again) == _shown(trials)
    assert [t.id for t in again] == [t.id for t in trials]
    assert [len(t.windows) for t in again] == [len(t.windows) for t in trials]
    order = [w.item for t in trials for w in t.windows]
    orders = {n: [w.item for t in reordered(trials, n) for w in t.windows] for n in range(4)}
    assert orders[0] == order
    assert len({tuple(o) for o in orders.values()}) == 4
    assert reordered(trials, 1) == again


def test_every_latent_has_an_order_of_its_own():
    scorer = load_scorer({"use": "detection", "params": {"answer": "list", "positives": 6, "negatives": 6}})
    entries = {"explainers": ["empty"], "scorers": ["detection"], "judges": ["mock:oracle"]}

    def moved(latent, explanation="z"):
        specs = (RunSpec.model_validate({"name": "t", "suite": "planted-1", "order": n, **entries}) for n in (0, 1))
        before, after = (
            [w.item for t in trials_of(spec, 0, scorer, latent, explanation) for w in t.windows] for spec in specs
        )
        return [before.index(w) for w in after]

    one, two = load_suite("planted-1").latents(split="test", limit=2)
    assert sorted(moved(one)) == sorted(moved(two)) == list(range(12))
    assert moved(one) != moved(two)
    assert moved(one) == moved(one) == moved(one, "another explanation")


def test_the_order_is_drawn_by_the_latents_seed(latent):
    scorer = load_scorer({"use": "detection", "params": {"answer": "list", "positives": 6, "negatives": 6}})
    trials = scorer.trials(latent, "z", 0)
    assert reordered(trials, 1, 5) == reordered(trials, 1, 5)
    assert reordered(trials, 1, 5) != reordered(trials, 1, 6)
    assert reordered(trials, 0, 5) == trials
    assert _shown(reordered(trials, 1, 5)) == _shown(trials)


@pytest.mark.parametrize(
    "scorer", [{"use": "detection", "preset": "single"}, "intruder", "surprisal", "simulation"], ids=str
)
def test_prompts_without_an_order_of_windows_stay_as_they_are(scorer, latent):
    trials = load_scorer(scorer).trials(latent, "z", 0)
    assert trials
    assert reordered(trials, 1) == trials


def test_no_trials_have_no_order():
    assert reordered([], 1) == []
