"""Matching of latents against brute force, and its nulls on planted overlap."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from latentbench.stats.alignment import (
    ActivationCorrelation,
    DirectionCosine,
    assignment_null,
    broken_null,
    compute_saved,
    match,
    redundant,
)
from scipy.sparse import csr_array

RNG = np.random.default_rng(0)


def best_by_enumeration(s: np.ndarray) -> float:
    n, m = s.shape
    return max(sum(s[i, c] for i, c in enumerate(p)) for p in permutations(range(m), n))


@pytest.mark.parametrize("shape", [(5, 5), (4, 6)])
def test_the_matching_is_the_best_of_all_assignments(shape):
    a, b = RNG.normal(size=(shape[0], 3)), RNG.normal(size=(shape[1], 3))
    cosines = np.array([[x @ y / np.linalg.norm(x) / np.linalg.norm(y) for y in b] for x in a])
    found = match(DirectionCosine(a, b), block=2)
    assert found.scores.sum() == pytest.approx(best_by_enumeration(cosines))
    assert len(set(found.columns)) == len(found.columns) == min(shape)
    np.testing.assert_allclose(found.scores, cosines[found.rows, found.columns])


def test_a_planted_permutation_is_recovered_exactly_dense_and_sparse():
    a = RNG.normal(size=(300, 24))
    order = RNG.permutation(300)
    b = a[order] + 0.05 * RNG.normal(size=a.shape)
    for found in (match(DirectionCosine(a, b)), match(DirectionCosine(a, b), dense=0, top=4, block=64)):
        assert found.rows.tolist() == list(range(300))
        assert (order[found.columns] == found.rows).all()
        assert found.mean > 0.98


def test_the_sparse_matching_is_the_best_on_its_graph_and_leaves_rows_alone():
    # Both rows want column 0; the second has nothing else that is positive.
    a, b = np.array([[1.0, 0.2], [1.0, 0.0]]), np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    found = match(DirectionCosine(a, b), dense=0, top=3)
    assert dict(zip(found.rows.tolist(), found.columns.tolist(), strict=True)) == {0: 1, 1: 0}
    one = match(DirectionCosine(a, b[[0, 2]]), dense=0, top=2)
    assert len(one.rows) == 1
    assert one.columns.tolist() == [0]
    assert sorted(one.per_row.tolist()) == [0.0, pytest.approx(one.scores[0])]


def test_sparse_and_dense_agree_where_all_similarities_are_positive():
    a, b = RNG.random((40, 6)), RNG.random((40, 6))
    assert match(DirectionCosine(a, b), dense=0, top=40).scores.sum() == pytest.approx(
        match(DirectionCosine(a, b)).scores.sum()
    )


def test_correlation_is_numpys_for_blocks_and_pairs():
    a = RNG.random((7, 200)) * (RNG.random((7, 200)) < 0.1)
    b = RNG.random((5, 200)) * (RNG.random((5, 200)) < 0.2)
    a[3] = 0
    with np.errstate(invalid="ignore"):
        expected = np.nan_to_num(np.corrcoef(a, b)[:7, 7:])
    found = ActivationCorrelation(csr_array(a), csr_array(b))
    np.testing.assert_allclose(found.block(0, 7), expected, atol=1e-12)
    np.testing.assert_allclose(found.block(2, 4), expected[2:4], atol=1e-12)
    rows, columns = np.array([0, 6, 3]), np.array([4, 0, 2])
    np.testing.assert_allclose(found.pairs(rows, columns), expected[rows, columns], atol=1e-12)


def test_tokens_of_different_corpora_are_refused():
    with pytest.raises(ValueError, match="200 and 100 tokens"):
        ActivationCorrelation(csr_array((3, 200)), csr_array((3, 100)))


def test_noise_beats_random_assignments_but_not_the_broken_null():
    a, b = RNG.normal(size=(150, 16)), RNG.normal(size=(150, 16))
    noise = DirectionCosine(a, b)
    best = match(noise)
    assert best.mean > assignment_null(noise, seed=0, draws=50).max() + 0.3
    null = broken_null(noise, seed=0, draws=4)
    assert null.shape == (4, 150)
    assert best.mean == pytest.approx(null.mean(), abs=0.03)
    assert redundant(best.per_row, null) == pytest.approx(0.05, abs=0.06)


def test_half_of_the_latents_shared_is_found_as_half():
    a = RNG.normal(size=(400, 64))
    b = np.concatenate([a[:200], RNG.normal(size=(200, 64))])
    pair = DirectionCosine(a, b)
    assert redundant(match(pair).per_row, broken_null(pair, seed=1, draws=3)) == pytest.approx(0.5, abs=0.06)


def test_a_shift_breaks_correlation_and_keeps_rates():
    fires = (RNG.random((20, 1000)) < 0.05).astype(float)
    same = ActivationCorrelation(csr_array(fires), csr_array(fires))
    assert match(same).mean == pytest.approx(1)
    moved = same.broken(seed=3)
    assert match(moved).mean < 0.2
    np.testing.assert_allclose(moved._b.sum(axis=1), fires.sum(axis=1))


def test_centring_removes_what_all_vectors_share():
    a, b = 5 + RNG.normal(size=(50, 8)), 5 + RNG.normal(size=(50, 8))
    assert assignment_null(DirectionCosine(a, b), 0, 20).mean() > 0.9
    assert abs(assignment_null(DirectionCosine(a, b, centre=True), 0, 20).mean()) < 0.1


def test_compute_saved_by_hand():
    # Two coders of 100 latents, half repeated: 150 distinct of 200 paid.
    assert compute_saved(0.5, 2) == pytest.approx(1 - 150 / 200)
    assert compute_saved(0.0, 8) == 0
    assert compute_saved(1.0, 4) == pytest.approx(0.75)
    with pytest.raises(ValueError, match="overlap"):
        compute_saved(1.2, 2)
