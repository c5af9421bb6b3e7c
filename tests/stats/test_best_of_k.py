"""The null of best-of-k against closed forms."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.stats.maximum import best_of_k
from scipy.integrate import quad
from scipy.stats import norm


@pytest.mark.parametrize("k", [2, 3, 8])
def test_the_null_gain_is_the_expected_maximum_of_k_normals(k: int) -> None:
    """For many items the means are normal: E max = sigma * integral of x k phi(x) Phi(x)^(k-1), centred by sqrt(1 - 1/k)."""
    n = 400
    scores = np.random.default_rng(k).normal(size=(k, n))
    expected, _ = quad(lambda x: x * k * norm.pdf(x) * norm.cdf(x) ** (k - 1), -10, 10)
    # Permuting k fixed scores within an item makes the candidates' means exchangeable with correlation -1/(k-1); their maximum
    # is that of independent normals of variance s^2/n, where s^2 is the variance within items with k - 1 degrees of freedom.
    s = np.sqrt(scores.var(axis=0, ddof=1).mean())
    found = best_of_k(scores, seed=0, resamples=4000)
    assert found.null == pytest.approx(expected * s / np.sqrt(n), rel=0.04)


def test_two_candidates_and_two_items_worked_by_hand() -> None:
    # Differences 4 and 2 with either sign: best means above the mean (2 + 1)/2 or (2 - 1)/2, each half of the time.
    found = best_of_k(np.array([[-1.0, 0.0], [3.0, 2.0]]), seed=1, resamples=4000)
    assert found.gain == 1.5
    assert found.null == pytest.approx(1.0, abs=0.03)
    assert found.p == pytest.approx(0.5, abs=0.03)


def test_p_values_of_equal_candidates_are_uniform_and_a_better_one_is_found() -> None:
    rng = np.random.default_rng(5)
    p = [best_of_k(rng.normal(size=(4, 12)), seed=s, resamples=200).p for s in range(300)]
    assert 0.4 < np.mean(p) < 0.6
    assert np.mean(np.array(p) <= 0.1) == pytest.approx(0.1, abs=0.06)
    better = rng.normal(size=(4, 12))
    better[2] += 3
    assert best_of_k(better, seed=0).p < 0.01


def test_what_all_candidates_share_changes_nothing_and_seeds_do() -> None:
    scores = np.random.default_rng(0).normal(size=(3, 6))
    shifted = best_of_k(scores + np.arange(6) * 100, seed=3)
    plain = best_of_k(scores, seed=3)
    assert shifted.null == pytest.approx(plain.null)
    assert shifted.gain == pytest.approx(plain.gain)
    assert best_of_k(scores, seed=3) == plain
    assert best_of_k(scores, seed=4) != plain


def test_nothing_to_choose_from() -> None:
    for shape in ((1, 5), (3, 0)):
        found = best_of_k(np.zeros(shape), seed=0)
        assert (found.gain, found.null) == (0.0, 0.0)
        assert np.isnan(found.p)
    with pytest.raises(ValueError, match="finite"):
        best_of_k(np.array([[np.nan, 1.0], [0.0, 1.0]]), seed=0)


def test_blocks_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = np.random.default_rng(0).normal(size=(3, 6))
    whole = best_of_k(scores, seed=3)
    monkeypatch.setattr("latentbench.stats.maximum.BLOCK", 50)
    assert best_of_k(scores, seed=3) == whole
