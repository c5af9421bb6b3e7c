"""Surprisal: differences of log-likelihoods, ranked."""

from __future__ import annotations

import math

import numpy as np
import pytest
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.requests import Capability, Continuation, Outcome, Reply
from latentbench.scorers.scorer import load_scorer
from sklearn.metrics import roc_auc_score

from tests.builders.toy_latents import latent

TEXT = frozenset({Capability.TEXT})


def test_scores_equal_an_independent_computation() -> None:
    scorer = load_scorer("surprisal")
    rng = np.random.default_rng(0)
    judged, v, y = [], [], []
    for t in scorer.trials(latent(), "z", 0):
        a, b = rng.normal(-90, 5, 2)
        judged += scorer.parse(t, [Reply(loglik=a, n_tokens=8), Reply(loglik=b, n_tokens=8)])
        v.append(a - b)
        y.append(t.truth[0])
    found = scorer.metrics(judged)
    assert len(v) == 40
    assert found["auroc"] == pytest.approx(roc_auc_score(y, v))
    v1, v0 = (np.mean([x for x, label in zip(v, y, strict=True) if label == k]) for k in (1, 0))
    assert found["mean_gap"] == pytest.approx(v1 - v0)
    assert set(found) <= {m.name for m in scorer.metric_table()}


def test_both_texts_are_the_whole_window_after_contexts_that_end_alike() -> None:
    scorer = load_scorer("surprisal")
    trial = scorer.trials(latent(), "Names of rivers.", 0)[0]
    told, generic = scorer.requests(trial, TEXT)
    assert isinstance(told, Continuation)
    assert isinstance(generic, Continuation)
    assert told.text == generic.text == trial.windows[0].text
    assert "Names of rivers." in told.context
    assert "Names of rivers." not in generic.context
    assert told.context.endswith("Names of rivers.\nText:")
    assert generic.context.endswith("\nText:")
    again = scorer.requests(scorer.trials(latent(), "Another.", 0)[0], TEXT)[1]
    assert isinstance(again, Continuation)
    assert (again.context, again.text) == (generic.context, generic.text)


def test_the_generic_explanation_itself_is_at_the_floor() -> None:
    scorer = load_scorer("surprisal")
    judged = []
    for i, t in enumerate(scorer.trials(latent(), "z", 0)):
        judged += scorer.parse(t, [Reply(loglik=-float(i), n_tokens=8)] * 2)
    found = scorer.metrics(judged)
    assert found["auroc"] == 0.5
    assert found["mean_gap"] == found["ap_normalised"] == 0


@pytest.mark.parametrize(
    ("told", "generic", "outcome"),
    [
        (Reply(Outcome.API, error="x"), Reply(loglik=-1.0, n_tokens=3), Outcome.API),
        (Reply(loglik=-1.0, n_tokens=3), Reply(Outcome.TIMEOUT), Outcome.TIMEOUT),
        (Reply(loglik=-1.0, n_tokens=3), Reply(loglik=-1.0, n_tokens=4), Outcome.PARSE),
        (Reply(loglik=-math.inf, n_tokens=3), Reply(loglik=-math.inf, n_tokens=3), Outcome.PARSE),
    ],
)
def test_half_a_pair_is_no_score(told: Reply, generic: Reply, outcome: Outcome) -> None:
    scorer = load_scorer("surprisal")
    (judged,) = scorer.parse(scorer.trials(latent(), "z", 0)[0], [told, generic])
    assert judged.outcome is outcome
    assert judged.score is None


async def test_a_kv_cache_mutated_across_batches_would_show(tiny) -> None:  # type: ignore[no-untyped-def]
    """The prefix of an explanation is computed once; later windows must not see what earlier ones appended to it."""
    import torch

    scorer = load_scorer({"use": "surprisal", "params": {"positives": 6, "negatives": 5}})
    trials = [t for z in ("Names of rivers.", "Iron and stone.") for t in scorer.trials(latent(), z, 0)]
    requests = [r for t in trials for r in scorer.requests(t, TEXT)]

    def plain(request: Continuation) -> float:
        """The whole text in one forward pass without any cache."""
        context = judge.wording.raw([request.context], start=True)[0]
        text = judge.wording.raw([request.text], start=False)[0]
        with torch.no_grad():
            logits = tiny.model(torch.tensor([[*context, *text]]), use_cache=False).logits[0].double()
        logp = logits.log_softmax(-1)
        return float(sum(logp[len(context) + i - 1, token] for i, token in enumerate(text)))

    # Small batches: 22 windows of each context take several, and the last one is short.
    params = TransformersParams(dtype="float32", device="cpu", batch_tokens=100)
    judge = TransformersJudge("tiny", params, tiny)
    try:
        together = await judge.answer(requests)
        again = [(await judge.answer([r]))[0] for r in reversed(requests)][::-1]
    finally:
        await judge.close()
    expected = [plain(r) for r in requests]
    np.testing.assert_allclose([r.loglik for r in together], expected, atol=1e-4)
    np.testing.assert_allclose([r.loglik for r in again], expected, atol=1e-4)
    assert sum(r.usage.tokens_cached for r in together) > 0.5 * sum(r.usage.tokens_in for r in together)
    judged = [j for i, t in enumerate(trials) for j in scorer.parse(t, together[2 * i : 2 * i + 2])]
    assert [j.outcome for j in judged] == [Outcome.OK] * 22
    v = [a - b for a, b in zip(expected[::2], expected[1::2], strict=True)]
    np.testing.assert_allclose([j.score for j in judged], v, atol=2e-4)
