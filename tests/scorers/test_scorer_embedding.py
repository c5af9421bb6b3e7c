"""Embedding: cosines, and what a failed vector costs."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.kernel.requests import Capability, Embed, Outcome, Reply
from latentbench.scorers.embedding import cosine
from latentbench.scorers.scorer import load_scorer
from sklearn.metrics import average_precision_score, roc_auc_score

from tests.builders.toy_latents import latent

EMBED = frozenset({Capability.EMBED})


def test_scores_equal_an_independent_computation() -> None:
    scorer = load_scorer("embedding")
    (trial,) = scorer.trials(latent(), "Names of rivers.", 0)
    requests = scorer.requests(trial, EMBED)
    assert len(requests) == 41
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(41, 5)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    judged = scorer.parse(trial, [Reply(vector=v) for v in vectors])
    expected = vectors[1:].astype(np.float64) @ vectors[0].astype(np.float64)
    assert [j.score for j in judged] == pytest.approx(expected, abs=1e-6)
    found = scorer.metrics(judged)
    assert found["auroc"] == pytest.approx(roc_auc_score(trial.truth, expected))
    assert found["ap"] == pytest.approx(average_precision_score(trial.truth, expected))


def test_windows_are_the_same_requests_for_every_explanation() -> None:
    scorer = load_scorer("embedding")
    one, two = (scorer.requests(scorer.trials(latent(), z, 0)[0], EMBED) for z in ("a", "b"))
    assert one[1:] == two[1:]
    assert one[0] == Embed("a", query=True)
    assert not any(r.query for r in one[1:] if isinstance(r, Embed))


def test_a_failed_window_is_missing_alone_and_a_failed_query_takes_all() -> None:
    scorer = load_scorer({"use": "embedding", "params": {"positives": 3, "negatives": 3}})
    (trial,) = scorer.trials(latent(), "z", 0)
    v = Reply(vector=np.ones(2, np.float32))
    judged = scorer.parse(trial, [v, Reply(Outcome.API, error="503"), v, v, v, v, v])
    assert [j.outcome for j in judged] == [Outcome.API] + [Outcome.OK] * 5
    assert scorer.metrics(judged)["n"] == 5
    judged = scorer.parse(trial, [Reply(Outcome.TIMEOUT), v, v, v, v, v, v])
    assert {j.outcome for j in judged} == {Outcome.TIMEOUT}
    assert scorer.metrics(judged) == {}


def test_zero_vectors_have_cosine_zero() -> None:
    assert cosine(np.zeros(3), np.ones(3)) == 0
    assert cosine(np.array([3.0, 4.0]), np.array([4.0, 3.0])) == pytest.approx(24 / 25)
