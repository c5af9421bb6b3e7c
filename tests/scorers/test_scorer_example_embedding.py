"""Example embedding: shares of comparisons, what a missing vector costs, and what is shown of a window."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from latentbench.kernel.requests import Capability, Embed, Outcome, Reply
from latentbench.kernel.trial import Trial
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from sklearn.metrics import roc_auc_score

from tests.builders.toy_latents import latent

EMBED = frozenset({Capability.EMBED})


def scorer(**params: Any) -> Scorer:
    return load_scorer({"use": "example_embedding", "params": params})


def replies(vectors: np.ndarray, lost: Sequence[int] = ()) -> list[Reply]:
    return [
        Reply(Outcome.API, error="503") if i in lost else Reply(vector=v.astype(np.float32))
        for i, v in enumerate(vectors)
    ]


def one(scorer: Scorer, **made: Any) -> Trial:
    (trial,) = scorer.trials(latent(**made), "z", 0)
    return trial


def test_scores_equal_an_independent_computation() -> None:
    trial = one(scorer())
    assert trial.truth == (1,) * 20 + (0,) * 20
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    vectors[:20, 0] += 1
    judged = scorer().parse(trial, replies(vectors))
    unit = vectors.astype(np.float32).astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    s = unit @ unit.T
    each = [roc_auc_score(np.delete(trial.truth, q), np.delete(s[q], q)) for q in range(20)]
    found = scorer().metrics(judged)
    assert found["auroc"] == pytest.approx(np.mean(each), abs=1e-9)
    assert 0.5 < found["auroc"] < 1
    assert np.mean([j.score for j in judged if j.truth]) == pytest.approx(found["auroc"])
    tenth = [j.score for j in judged if j.kind == "quantile:3"]
    assert found["auroc@quantile:3"] == pytest.approx(np.mean(tenth))
    assert found["n"] == 40
    assert {m.partition("@")[0] for m in found} <= {m.name.partition("@")[0] for m in scorer().metric_table()}


def test_it_is_the_same_question_for_every_explanation_and_has_no_query() -> None:
    first, second = (scorer().trials(latent(), z, 0) for z in ("a", "b"))
    assert first == second
    assert first[0].explanation == ""
    requests = scorer().requests(first[0], EMBED)
    assert len(requests) == 40
    assert not any(r.query for r in requests if isinstance(r, Embed))
    # As the method that embeds explanations asks, so that what both want is computed once.
    other = load_scorer("embedding")
    assert requests == other.requests(other.trials(latent(), "z", 0)[0], EMBED)[1:]


def test_kinds_of_silent_windows_stay_apart() -> None:
    trial = one(scorer(negative_kinds=["random", "similar"]), hard=5)
    vectors = np.random.default_rng(1).normal(size=(45, 5))
    found, judged = scorer().metrics, scorer().parse(trial, replies(vectors))
    plain = scorer().parse(one(scorer()), replies(vectors[:40]))
    assert judged[:40] == plain
    assert found(judged)["auroc"] == found(plain)["auroc"]
    hard = scorer().parse(
        one(scorer(negative_kinds=["similar"]), hard=5), replies(vectors[[*range(20), *range(40, 45)]])
    )
    assert found(judged)["auroc@similar"] == found(hard)["auroc@similar"] != found(plain)["auroc"]
    assert "auroc" not in found(hard)
    assert scorer().extremes(hard) == {}


def test_windows_that_say_nothing_are_at_the_floor_over_all_labels() -> None:
    rng = np.random.default_rng(2)
    vectors = rng.normal(size=(7, 3))
    values = []
    for active in itertools.combinations(range(7), 3):
        order = [*active, *(i for i in range(7) if i not in active)]
        trial = one(scorer(positives=3, negatives=4))
        values.append(scorer().metrics(scorer().parse(trial, replies(vectors[order])))["auroc"])
    assert np.mean(values) == pytest.approx(scorer().floor("auroc"), abs=1e-12)
    assert np.std(values) > 0.1


def test_equal_texts_are_exactly_at_the_floor() -> None:
    trial = one(scorer())
    assert {j.score for j in scorer().parse(trial, replies(np.ones((40, 3))))} == {0.5}


def test_a_coherent_latent_is_at_the_top_and_one_of_two_topics_below() -> None:
    trial = one(scorer())
    vectors = 0.2 * np.random.default_rng(6).normal(size=(40, 30))
    found = {}
    for topics in (1, 2):
        about = vectors.copy()
        about[np.arange(20), np.arange(20) % topics] += 5
        found[topics] = scorer().metrics(scorer().parse(trial, replies(about)))["auroc"]
    assert found[1] == 1
    # Of the 19 others 9 are about the same topic, and the rest are no nearer than silent windows.
    assert found[2] == pytest.approx((9 + 10 * 0.5) / 19, abs=0.1)


def test_a_missing_window_takes_its_comparisons_and_no_others() -> None:
    trial = one(scorer(positives=4, negatives=3))
    vectors = np.random.default_rng(3).normal(size=(7, 4))
    judged = scorer().parse(trial, replies(vectors, lost=[1, 5]))
    assert [j.outcome is Outcome.OK for j in judged] == [True, False, True, True, True, False, True]
    kept = vectors[[0, 2, 3, 4, 6]]
    less = scorer().parse(one(scorer(positives=3, negatives=2)), replies(kept))
    assert [j.score for j in judged if j.score is not None] == [j.score for j in less]


@pytest.mark.parametrize("lost", [[0, 1, 2], [3, 4], [0, 1, 2, 3, 4], [0, 1]])
def test_where_nothing_is_left_to_compare_with_nothing_is_scored(lost: list[int]) -> None:
    trial = one(scorer(positives=3, negatives=2))
    judged = scorer().parse(trial, replies(np.eye(5), lost=lost))
    assert {j.outcome for j in judged} == {Outcome.API}
    assert scorer().metrics(judged) == {}
    assert scorer().extremes(judged) == {"auroc": (0, 1)}
    spared = [j for i, j in enumerate(judged) if i not in lost]
    assert all(j.error == "no window is left to compare this one with: 503" for j in spared)


def test_a_vector_of_another_length_is_no_answer() -> None:
    trial = one(scorer(positives=3, negatives=2))
    given = [*replies(np.eye(5)[:4]), Reply(vector=np.ones(4, np.float32))]
    judged = scorer().parse(trial, given)
    assert [j.outcome for j in judged] == [Outcome.OK] * 4 + [Outcome.PARSE]
    assert judged[4].error == "a vector of 4 numbers where others have 5"


def completed(vectors: np.ndarray, trial: Trial, lost: Sequence[int], best: bool) -> float:
    """AUROC where every comparison of a missing window is won, or lost, found by going through all of them."""
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    s = unit @ unit.T
    active, silent = ([i for i, y in enumerate(trial.truth) if y == c] for c in (1, 0))
    won = []
    for q, p, n in itertools.product(active, active, silent):
        if p == q:
            continue
        known = not {q, p, n} & set(lost)
        won.append(((s[q, p] > s[q, n]) + (s[q, p] == s[q, n]) / 2) if known else float(best))
    return float(np.mean(won))


def test_extremes_are_those_of_all_comparisons_of_missing_windows_lost_and_won() -> None:
    trial = one(scorer(positives=4, negatives=3))
    rng = np.random.default_rng(4)
    for count in (0, 1, 2, 3, 5):
        vectors = rng.normal(size=(7, 4))
        lost = sorted(rng.choice(7, count, replace=False).tolist())
        given = scorer().parse(trial, replies(vectors, lost))
        low, high = scorer().extremes(given)["auroc"]
        # Vectors of replies are float32.
        kept = vectors.astype(np.float32).astype(np.float64)
        assert low == pytest.approx(completed(kept, trial, lost, best=False), abs=1e-9)
        assert high == pytest.approx(completed(kept, trial, lost, best=True), abs=1e-9)


def test_the_extremes_are_reached_by_vectors() -> None:
    """Windows without anything in common; one that was missing is near to all of one class and far from the other."""
    trial = one(scorer(positives=4, negatives=3))
    vectors = np.eye(8)[:7] + 0.01 * np.random.default_rng(5).normal(size=(7, 8))
    for lost in range(7):
        given = scorer().parse(trial, replies(vectors, lost=[lost]))
        low, high = scorer().extremes(given)["auroc"]
        for best, expected in ((True, high), (False, low)):
            whole, sign = vectors.copy(), 1 if best == (lost < 4) else -1
            pull = np.array([sign if i < 4 else -sign for i in range(7)], float)
            pull[lost] = 0
            whole[lost] = pull @ vectors
            found = scorer().metrics(scorer().parse(trial, replies(whole)))["auroc"]
            assert found == pytest.approx(expected, abs=1e-12), (lost, best)


def test_silent_windows_are_cut_and_marked_as_activating_ones_are() -> None:
    for around in (0, 2, 100):
        trial = one(scorer(around=around, marks=True))
        active, silent = trial.windows[:20], trial.windows[20:]
        assert sorted(len(w.tokens) for w in active) == sorted(len(w.tokens) for w in silent)
        for w, y, acts in zip(trial.windows, trial.truth, trial.token_truth, strict=True):
            assert len(w.tokens) == len(w.ids) == len(acts) <= 2 * around + 1
            assert w.marks is not None
            assert max(acts) == (4 if y else 0)
        counts = {sum(w.marks or ()) for w in active}
        assert {sum(w.marks or ()) for w in silent} <= counts
    texts = [r.text for r in scorer().requests(trial, EMBED) if isinstance(r, Embed)]
    assert all(t.count("<<") == t.count(">>") >= 1 for t in texts)
    plain = one(scorer())
    assert all(w.marks is None for w in plain.windows)


def test_a_latent_with_too_few_windows_has_no_trial() -> None:
    for positives, negatives in ((1, 20), (0, 20), (20, 0)):
        assert scorer().trials(latent(positives=positives, negatives=negatives), "z", 0) == []
    assert len(one(scorer(), positives=2, negatives=1).windows) == 3


def test_a_judgement_holds_what_its_window_is() -> None:
    judged: list[Judgement] = scorer().parse(one(scorer()), replies(np.eye(40)))
    assert {(j.kind == "random", j.truth) for j in judged} == {(True, 0), (False, 1)}
    assert all(j.item is not None and 0 <= (j.score or 0) <= 1 and j.answer is None for j in judged)
