"""Whether members of a group are nearer to each other: against scikit-learn, by hand, and for groups without meaning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from latentbench.stats.nearness import nearer_windows
from sklearn.metrics import roc_auc_score


def cosines(vectors: np.ndarray) -> np.ndarray:
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit @ unit.T


def test_the_means_are_the_mean_auroc_over_queries() -> None:
    rng = np.random.default_rng(1)
    for members, others in ((2, 1), (3, 5), (9, 4)):
        vectors = rng.normal(size=(members + others, 3))
        s = cosines(vectors)
        expected = []
        for q in range(members):
            rest = [i for i in range(len(vectors)) if i != q]
            expected.append(roc_auc_score([i < members for i in rest], s[q, rest]))
        won, lost = nearer_windows(vectors[:members], vectors[members:])
        assert np.mean(won) == pytest.approx(np.mean(expected))
        assert 1 - np.mean(lost) == pytest.approx(np.mean(expected))


def test_worked_by_hand() -> None:
    """Members at 0, 10 and 90 degrees, others at 20 and 180.

    Query 0: 10 is nearer than 20 and 180; 90 is farther than 20 and nearer than 180. Query 10: 0 and 20 are equally near, a tie;
    90 is farther than 20, nearer than 180. Query 90: 0 is as far as 180, a tie, and farther than 20; 10 is nearer than 180.
    """
    angles = np.radians([0.0, 10, 90, 20, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    won, lost = nearer_windows(vectors[:3], vectors[3:])
    assert won == pytest.approx([(1.5 + 0.5) / 4, (2 + 1) / 4, (1 + 1) / 4])
    assert lost == pytest.approx([(1 + 1.5 + 2) / 6, (0 + 0 + 0.5) / 6])


def test_equal_vectors_are_ties_wherever_they_stand() -> None:
    rng = np.random.default_rng(2)
    texts = rng.normal(size=(3, 384)).astype(np.float32)
    members, others = texts[[0, 1, 2, 0, 1, 2]], texts[[2, 1, 0]]
    won, _ = nearer_windows(members, others)
    # Every query has one equal among the members and one among the others, and the same two texts otherwise.
    s = np.round(cosines(texts.astype(np.float64)), 8)
    expected = [
        roc_auc_score([1] * 5 + [0] * 3, [*(s[q % 3, p % 3] for p in range(6) if p != q), *(s[q % 3, [2, 1, 0]])])
        for q in range(6)
    ]
    assert np.mean(won) == pytest.approx(np.mean(expected))
    assert nearer_windows([[1.0, 0], [1.0, 0]], [[2.0, 0]]) == ([0.5, 0.5], [0.5])


def test_groups_without_meaning_are_at_one_half_and_a_mean_direction_is_not() -> None:
    """All ways to call vectors members; a query that holds the ranked window, or holds it for some of them, is off."""
    rng = np.random.default_rng(3)
    vectors = rng.normal(size=(8, 2))
    s = cosines(vectors)
    found, whole, left_out = [], [], []
    for members in itertools.combinations(range(8), 4):
        others = [i for i in range(8) if i not in members]
        truth = [i in members for i in range(8)]
        found.append(np.mean(nearer_windows(vectors[list(members)], vectors[others])[0]))
        whole.append(roc_auc_score(truth, s[:, list(members)].mean(axis=1)))
        left_out.append(roc_auc_score(truth, [s[i, [q for q in members if q != i]].mean() for i in range(8)]))
    assert np.mean(found) == pytest.approx(0.5, abs=1e-12)
    assert np.mean(whole) > 0.6
    assert np.mean(left_out) < 0.45


def test_a_zero_vector_is_near_to_nothing_and_too_few_are_refused() -> None:
    assert nearer_windows([[1.0, 0], [1.0, 0]], [[0.0, 0]]) == ([1.0, 1.0], [0.0])
    for members, others in (([[1.0]], [[1.0]]), ([[1.0], [1.0]], [])):
        with pytest.raises(ValueError, match="nothing to compare"):
            nearer_windows(members, others)
