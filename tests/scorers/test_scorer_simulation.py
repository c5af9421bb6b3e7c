"""Simulation against NumPy, SciPy and scikit-learn, and numbers worked by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply
from latentbench.scorers.scorer import Scorer, load_scorer
from latentbench.scorers.simulation import expected, read_json
from latentbench.stats.token_metrics import activation_metrics
from scipy import stats
from sklearn.metrics import r2_score

from tests.builders.toy_latents import latent

CHOICE, CHAT = frozenset({Capability.CHOICE, Capability.SLOTS}), frozenset({Capability.CHAT})


def simulation(preset: str = "paper", **params: Any) -> Scorer:
    return load_scorer({"use": "simulation", "preset": preset, "params": params})


def levels(values: list[float], width: float = 1.0) -> Reply:
    return Reply(logprobs=tuple(tuple(-((v - x) ** 2) / width - 2.0 for v in range(11)) for x in values))


def test_metrics_equal_scipy_and_sklearn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        a, p = rng.gamma(1, size=50), rng.gamma(1, size=50)
        found = activation_metrics(a, p)
        assert found["pearson"] == pytest.approx(stats.pearsonr(a, p).statistic)
        assert found["r2"] == pytest.approx(r2_score(a, p))
        loops = sum(abs(x - y) for x, y in zip(a, p, strict=True)) / sum(abs(x) for x in a)
        assert found["absolute_deviation_explained"] == pytest.approx(1 - loops)


def test_metrics_worked_by_hand() -> None:
    found = activation_metrics([0, 0, 2, 6], [1, 1, 2, 4])
    assert found == pytest.approx({"pearson": 12 / math.sqrt(24 * 6), "r2": 0.75, "absolute_deviation_explained": 0.5})


def test_a_constant_prediction_knows_nothing_and_a_constant_truth_has_no_score() -> None:
    assert activation_metrics([0, 1, 2], [0.1, 0.1, 0.1])["pearson"] == 0
    assert activation_metrics([1, 1, 1], [0, 1, 2]) == {}


def test_expected_value_is_over_the_mass_on_levels() -> None:
    p = np.random.default_rng(1).dirichlet(np.ones(11))
    assert expected(np.log(0.3 * p).tolist()) == pytest.approx(float((np.arange(11) * p).sum()))
    assert expected([-math.inf] * 11) is None
    assert expected([-math.inf] * 10 + [-5000.0]) == 10


def test_every_token_is_one_place_and_no_value_is_given_away() -> None:
    scorer = simulation()
    trial = scorer.trials(latent(), "z", 0)[0]
    (request,) = scorer.requests(trial, CHOICE)
    assert isinstance(request, Choice)
    assert request.answers == tuple(str(v) for v in range(11))
    assert request.end == "\n"
    assert request.messages[-1].role == "assistant"
    tokens = trial.windows[0].tokens
    assert "".join(request.slots) == "unknown".join(f"\n{t}\t" for t in tokens)


def test_a_judge_that_reads_one_place_of_a_text_cannot_give_every_token_a_value_but_can_write_the_list() -> None:
    one_place = frozenset({Capability.CHAT, Capability.CHOICE})
    scorer = simulation()
    assert scorer.fits(CHOICE)
    assert not scorer.fits(one_place)
    with pytest.raises(CapabilityError, match="simulation"):
        scorer.requests(scorer.trials(latent(), "z", 0)[0], one_place)
    assert simulation("json").fits(one_place)


def test_line_breaks_and_tabs_in_tokens_keep_the_table() -> None:
    from dataclasses import replace

    view = latent(positives=1, negatives=0)
    odd = replace(view.test[0], tokens=("\n", "\t", "a\nb", *view.test[0].tokens[3:]))
    scorer = simulation()
    (request,) = scorer.requests(scorer.trials(replace(view, test=(odd,)), "z", 0)[0], CHOICE)
    assert isinstance(request, Choice)
    assert all(slot.count("\n") == 1 and slot.count("\t") == 1 for slot in request.slots)


def test_scores_equal_a_direct_computation() -> None:
    scorer = simulation()
    rng = np.random.default_rng(2)
    trials = scorer.trials(latent(), "z", 0)
    judged, actual, predicted, by_decile = [], [], [], {}
    for t in trials:
        values = rng.uniform(0, 10, 8).tolist()
        judged += scorer.parse(t, [levels(values)])
        weights = [[math.exp(-((v - x) ** 2)) for v in range(11)] for x in values]
        means = [sum(v * w for v, w in enumerate(ws)) / sum(ws) for ws in weights]
        actual += t.token_truth[0]  # the latent's maximum is 10, so that is the activation
        predicted += means
        if t.truth[0]:
            own = by_decile.setdefault(t.judged[0].kind, ([], []))
            own[0].extend(t.token_truth[0])
            own[1].extend(means)
    found = scorer.metrics(judged)
    assert found["n"] == 40
    assert found["pearson"] == pytest.approx(stats.pearsonr(actual, predicted).statistic)
    assert found["r2"] == pytest.approx(r2_score(actual, predicted))
    assert len(by_decile) == 10
    for kind, (a, p) in by_decile.items():
        assert found[f"pearson@{kind}"] == pytest.approx(stats.pearsonr(a, p).statistic)
    assert set(found) <= {m.name for m in scorer.metric_table()}


def test_a_simulator_that_knows_scores_one() -> None:
    scorer = simulation("json")
    judged = []
    for t in scorer.trials(latent(), "z", 0):
        judged += scorer.parse(t, [Reply(tokens=(tuple(a / 10 for a in t.token_truth[0]),), windows=(1.0,))])
    found = scorer.metrics(judged)
    assert [found[k] for k in ("pearson", "r2", "absolute_deviation_explained")] == pytest.approx([1, 1, 1])


def test_a_written_list_is_read_strictly() -> None:
    scorer = simulation("json")
    trial = scorer.trials(latent(), "z", 0)[0]
    (request,) = scorer.requests(trial, CHAT)
    assert isinstance(request, Chat)
    tokens = trial.windows[0].tokens
    good = [[t, i % 11] for i, t in enumerate(tokens)]
    (judged,) = scorer.parse(trial, [Reply(text=json.dumps(good))])
    assert judged.token_scores == tuple(float(i % 11) for i in range(8))
    (judged,) = scorer.parse(trial, [Reply(text=json.dumps([v for _, v in good]))])
    assert judged.token_scores == tuple(float(i % 11) for i in range(8))
    bad = [
        "",
        "[" * 5000,
        json.dumps([*good[:-1], 3]),
        json.dumps([v for _, v in good][:-1]),
        json.dumps([-1] * 8),
        "[]",
        "no idea",
        json.dumps(good[:-1]),
        json.dumps([*good, ["x", 0]]),
        json.dumps([[t, 11] for t in tokens]),
        json.dumps([[t, "3"] for t in tokens]),
        json.dumps([[t, True] for t in tokens]),
        json.dumps([["other", 1] for _ in tokens]),
        json.dumps([[t] for t in tokens]),
        json.dumps({"a": good}),
        json.dumps([[t, float("nan")] for t in tokens]),
    ]
    for text in bad:
        (judged,) = scorer.parse(trial, [Reply(text=text)])
        assert judged.outcome is Outcome.PARSE, text
        assert judged.token_scores is None
    assert read_json('```json\n[[" a", 1], ["⏎", 2.5]]\n```', [" a", "⏎"]) == (1.0, 2.5)


def test_a_failed_answer_is_not_scored_as_zeros() -> None:
    scorer = simulation()
    trials = scorer.trials(latent(), "z", 0)
    (judged,) = scorer.parse(trials[0], [Reply(logprobs=((-math.inf,) * 11,) * 8)])
    assert judged.outcome is Outcome.PARSE
    (judged,) = scorer.parse(trials[0], [levels([1.0] * 7)])
    assert judged.outcome is Outcome.PARSE
    assert scorer.metrics([judged]) == {}
    # The score is that of the windows that were answered, not one with zeros for the others.
    scorer = simulation("json")
    trials = scorer.trials(latent(), "z", 0)
    known = [json.dumps([min(a, 10) for a in t.token_truth[0]]) for t in trials]
    answered = [j for t, text in zip(trials, known, strict=True) for j in scorer.parse(t, [Reply(text=text)])]
    mixed = [
        j
        for i, (t, text) in enumerate(zip(trials, known, strict=True))
        for j in scorer.parse(t, [Reply(text=text if i % 2 else text[:-1])])
    ]
    assert sum(j.outcome is Outcome.PARSE for j in mixed) == 20
    assert all(j.token_scores is None and j.token_truth is None for j in mixed if j.outcome is Outcome.PARSE)
    assert scorer.metrics(answered)["pearson"] == pytest.approx(1)
    found = scorer.metrics(mixed)
    assert (found["n"], found["pearson"], found["r2"]) == (20, pytest.approx(1), pytest.approx(1))
