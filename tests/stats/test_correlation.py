"""Correlations, partial correlations and matrices, against scipy, direct loops and residuals."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from latentbench.stats.bootstrap import holm
from latentbench.stats.correlation import (
    FLOORS,
    KINDS,
    correlation,
    correlation_matrix,
    disattenuated,
    midranks,
    retest,
)
from latentbench.stats.resample import bootstrap_error, jackknife

SCIPY = {"pearson": scipy.stats.pearsonr, "spearman": scipy.stats.spearmanr}


def _data(n: int = 50, r: float = 0.4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    x, e = np.random.default_rng(seed).normal(size=(2, n))
    return x, r * x + math.sqrt(1 - r * r) * e


@pytest.mark.parametrize("kind", KINDS)
def test_estimate_is_scipys_also_with_ties(kind):
    x, y = _data()
    for a, b in ((x, y), (np.round(2 * x), np.round(2 * y)), (x + 1e6, y - 1e6)):
        assert correlation(a, b, kind).estimate == pytest.approx(SCIPY[kind](a, b)[0], abs=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_p_is_near_scipys_where_its_assumptions_hold(kind):
    # The two estimate one thing in two ways: on 40 data sets they agree but for a few hundredths.
    apart = []
    for k in range(40):
        x, y = _data(200, 0.08, seed=k)
        apart.append(abs(correlation(x, y, kind).p - SCIPY[kind](x, y)[1]))
    assert np.mean(apart) < 0.03


@pytest.mark.parametrize("kind", KINDS)
def test_interval_is_the_jackknife_worked_by_a_loop(kind):
    x, y = _data(40)
    z = [math.atanh(SCIPY[kind](np.delete(x, i), np.delete(y, i))[0]) for i in range(40)]
    error = math.sqrt(39 / 40 * np.sum((np.array(z) - np.mean(z)) ** 2))
    error = max(error, FLOORS[kind] / math.sqrt(37))
    whole = math.atanh(SCIPY[kind](x, y)[0])
    reach = scipy.stats.t.ppf(0.975, 39) * error
    c = correlation(x, y, kind)
    assert (c.low, c.high) == pytest.approx((math.tanh(whole - reach), math.tanh(whole + reach)), abs=1e-9)
    assert c.p == pytest.approx(2 * scipy.stats.t.sf(abs(whole) / error, 39), rel=1e-9)
    assert (c.p < 0.05) == (not c.low <= 0 <= c.high)


@pytest.mark.parametrize("kind", ["pearson", "spearman"])
def test_repeating_every_row_within_its_latent_changes_nothing(kind):
    x, y = _data(30)
    once = correlation(x, y, kind)
    ids = [f"latent {i}" for i in range(30) for _ in range(3)]
    thrice = correlation(np.repeat(x, 3), np.repeat(y, 3), kind, clusters=ids)
    assert (thrice.n, thrice.clusters) == (90, 30)
    assert (thrice.estimate, thrice.low, thrice.high) == pytest.approx((once.estimate, once.low, once.high))
    as_if_independent = correlation(np.repeat(x, 3), np.repeat(y, 3), kind)
    assert as_if_independent.high - as_if_independent.low < 0.7 * (once.high - once.low)


def test_what_cannot_be_correlated_is_nan_and_never_zero():
    x, _ = _data(30)
    flat = correlation(x, np.ones(30))
    assert math.isnan(flat.estimate)
    assert math.isnan(flat.p)
    few = correlation([1.0, 2.0, 4.0], [1.0, 3.0, 2.0])
    assert few.estimate == pytest.approx(0.5)
    assert math.isnan(few.low)
    assert math.isnan(correlation([1.0], [1.0]).estimate)
    line = correlation(x, 2 * x + 1, "pearson")
    assert line.estimate == 1.0
    assert all(math.isnan(v) for v in (line.low, line.high, line.p))
    # Without one latent nothing varies any more: there is an estimate and no error.
    one = correlation([0.0, 0, 0, 0, 1], [0.0, 0, 0, 0, 1], "pearson")
    assert one.estimate == pytest.approx(1)
    with pytest.raises(ValueError, match="infinite"):
        correlation([1.0, math.inf], [1.0, 2.0])
    with pytest.raises(ValueError, match="one length"):
        correlation([1.0, 2.0], [1.0])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("x", "y", "estimate"),
    [
        ([0, 0, 0, 0, 1], [0, 0, 0, 0, 1], 1.0),  # one latent alone is the line
        ([0, 0, 0, 0, 1], [0, 0, 0, 1, 1], None),  # without the fourth the rest is a line, without the last it is flat
        ([1, 2, 3, 4, 500], [1, 2, 3, 4, -500], None),  # without the last the rest is a line
    ],
)
def test_where_one_latent_decides_there_is_no_interval_and_no_warning(kind, x, y, estimate):
    found = correlation(x, y, kind)
    assert math.isfinite(found.estimate)
    assert estimate is None or found.estimate == estimate
    assert all(math.isnan(v) for v in (found.low, found.high, found.p))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("kind", KINDS)
def test_a_straight_line_has_an_estimate_and_claims_nothing(kind):
    found = correlation(np.arange(30.0), -2 * np.arange(30.0) + 7, kind)
    assert found.estimate == -1
    assert all(math.isnan(v) for v in (found.low, found.high, found.p))


def test_rows_without_a_value_are_left_out():
    x, y = _data(40)
    gaps = y.copy()
    gaps[::5] = np.nan
    kept = ~np.isnan(gaps)
    assert correlation(x, gaps) == correlation(x[kept], y[kept])


def test_matrix_holds_every_pair_with_holm_over_them():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(50, 4)) + rng.normal(size=(50, 1))
    scores[:10, 2] = np.nan
    m = correlation_matrix(scores, "abcd")
    np.testing.assert_array_equal(m.estimate, m.estimate.T)
    assert m.estimate[0, 2] == correlation(scores[:, 0], scores[:, 2]).estimate
    assert m.n.tolist() == [[50, 50, 40, 50], [50, 50, 40, 50], [40, 40, 40, 40], [50, 50, 40, 50]]
    above = np.triu_indices(4, 1)
    np.testing.assert_allclose(m.p_holm[above], holm(m.p[above]))
    np.testing.assert_allclose(m.p_holm.T[above], m.p_holm[above])
    assert np.isnan(np.diag(m.p)).all()
    with pytest.raises(ValueError, match="for 3 names"):
        correlation_matrix(scores, "abc")


def test_weighted_midranks_are_the_ranks_of_the_repeated_sample():
    rng = np.random.default_rng(0)
    x = rng.integers(0, 5, size=12).astype(float)
    weights = rng.integers(0, 4, size=(6, 12))
    for row, ranks in zip(weights, midranks(x, weights.astype(float)), strict=True):
        repeated = np.repeat(np.arange(12), row)
        expected = scipy.stats.rankdata(x[repeated])
        np.testing.assert_allclose(ranks[repeated], expected)


def test_jackknife_error_of_a_mean_is_its_standard_error():
    x = np.random.default_rng(0).normal(size=25)
    found = jackknife(lambda w: w @ x / w.sum(axis=1), 25)
    assert found.error == pytest.approx(x.std(ddof=1) / 5)
    assert found.estimate == pytest.approx(x.mean())
    assert math.isnan(jackknife(lambda w: w @ x[:2] / w.sum(axis=1), 2).error)


def test_retest_is_the_mean_over_the_pairs():
    scores = np.random.default_rng(0).normal(size=(40, 3)) + np.random.default_rng(1).normal(size=(40, 1))
    pairs = [(0, 1), (1, 2)]
    direct = np.mean([scipy.stats.spearmanr(scores[:, a], scores[:, b])[0] for a, b in pairs])
    found = retest(scores, pairs)
    assert found.estimate == pytest.approx(direct)
    assert found.low < direct < found.high
    one, other = retest(scores[:, :2], [(0, 1)], "pearson"), correlation(scores[:, 0], scores[:, 1], "pearson")
    assert (one.estimate, one.low, one.high, one.p) == pytest.approx((other.estimate, other.low, other.high, other.p))
    with pytest.raises(ValueError, match="at least one pair"):
        retest(scores, [])


@pytest.mark.parametrize("kind", KINDS)
def test_few_independent_points_never_claim_anything(kind):
    for k in range(200):
        x, y = np.random.default_rng([7, k]).integers(0, 3, size=(2, 4 + k % 20)).astype(float)
        found = correlation(x, y, kind)
        assert all(math.isnan(v) for v in (found.low, found.high, found.p))


def test_values_that_are_nearly_all_equal_are_no_evidence():
    """Marks that never coincide: leaving one out changes next to nothing, so the jackknife alone would be sure of r = -0.07."""
    x, y = np.zeros((2, 60))
    x[[3, 9, 27, 40]], y[[5, 11, 30, 55]] = 1.0, 1.0
    found = correlation(x, y, "pearson")
    assert jackknife(lambda w: correlation_of(w, x, y), 60, None, np.arctanh).error < 0.03
    assert found.p > 0.5
    assert found.low < 0 < found.high


def correlation_of(weights, x, y):
    """Weighted Pearson correlations."""
    total = weights.sum(axis=1)
    mx, my = weights @ x / total, weights @ y / total
    cov = weights @ (x * y) / total - mx * my
    return cov / np.sqrt((weights @ x**2 / total - mx**2) * (weights @ y**2 / total - my**2))


def test_disattenuated_is_the_correlation_across_repeats_over_both_reliabilities():
    rng = np.random.default_rng(5)
    truth = rng.normal(size=(60, 1))
    a, b = truth + 0.7 * rng.normal(size=(60, 2)), truth + rng.normal(size=(60, 2)) + rng.normal(size=(60, 1))
    found = disattenuated(a, b)

    def ratio(rows: np.ndarray) -> float:
        r = [scipy.stats.spearmanr(x[rows], y[rows])[0] for x, y in ((a[:, 0], b[:, 1]), (a[:, 1], b[:, 0]))]
        own = [scipy.stats.spearmanr(x[rows, 0], x[rows, 1])[0] for x in (a, b)]
        return float(np.mean(r) / math.sqrt(own[0] * own[1]))

    every = np.arange(60)
    assert found.estimate == pytest.approx(ratio(every))
    left_out = np.array([ratio(np.delete(every, i)) for i in range(60)])
    error = math.sqrt(59 / 60 * ((left_out - left_out.mean()) ** 2).sum())
    reach = scipy.stats.t.ppf(0.975, 59) * error
    assert (found.low, found.high) == pytest.approx((found.estimate - reach, found.estimate + reach))
    assert found.reliable == pytest.approx(tuple(scipy.stats.spearmanr(x[:, 0], x[:, 1])[0] for x in (a, b)))


def test_shared_luck_of_a_repeat_is_no_agreement_and_noise_takes_none_away():
    """Measures of unrelated traits that judge the same windows; and measures of one trait with noise of their own."""
    rng = np.random.default_rng(6)
    n = 4000
    luck = rng.normal(size=(n, 2))
    apart = [rng.normal(size=(n, 1)) + luck for _ in range(2)]
    assert scipy.stats.spearmanr(apart[0].mean(axis=1), apart[1].mean(axis=1))[0] > 0.2
    assert abs(disattenuated(*apart).estimate) < 0.1
    trait = rng.normal(size=(n, 1))
    same = [trait + rng.normal(size=(n, 2)) for _ in range(2)]
    assert disattenuated(*same).across < 0.6
    assert disattenuated(*same).estimate == pytest.approx(1, abs=0.08)


def test_a_measure_that_does_not_repeat_itself_cannot_be_corrected():
    rng = np.random.default_rng(7)
    rising = np.arange(40.0)
    against = np.stack([rising, -rising], axis=1)
    found = disattenuated(against, rng.normal(size=(40, 2)))
    assert math.isnan(found.estimate)
    assert math.isnan(found.low)
    few = disattenuated(rng.normal(size=(10, 2)), rng.normal(size=(10, 2)))
    assert few.n == 10
    assert math.isnan(few.high)
    with pytest.raises(ValueError, match="must both be"):
        disattenuated(np.zeros((3, 2)), np.zeros((4, 2)))


def test_the_bootstrap_over_clusters_has_the_error_that_its_weights_have():
    # The Bayesian bootstrap of a mean has the variance S^2 / (n + 1), S^2 the mean squared distance (Rubin 1981).
    x = np.random.default_rng(3).exponential(size=40)
    found = bootstrap_error(lambda w: (w * x).sum(axis=1) / w.sum(axis=1), np.arange(40), 0, lambda v: v, 20_000)
    assert found == pytest.approx(x.std() / math.sqrt(41), rel=0.02)
    doubled = np.repeat(np.arange(40), 2)
    twice = bootstrap_error(lambda w: (w * x[doubled]).sum(axis=1) / w.sum(axis=1), doubled, 0, lambda v: v, 20_000)
    assert twice == pytest.approx(found), "rows of one cluster are one row"


def test_an_interval_by_bootstrap_is_near_that_of_the_jackknife_and_as_it_was_with_its_seed():
    rng = np.random.default_rng(1)
    x = rng.normal(size=200)
    y = 0.6 * x + 0.8 * rng.normal(size=200)
    plain, drawn = correlation(x, y), correlation(x, y, seed=5)
    assert drawn.estimate == plain.estimate
    assert (drawn.low, drawn.high) == pytest.approx((plain.low, plain.high), abs=0.02)
    assert drawn == correlation(x, y, seed=5)
    assert drawn != correlation(x, y, seed=6)
    assert (drawn.p < 0.05) == (drawn.low > 0 or drawn.high < 0)
    # Few latents have no interval, by whatever it would be computed.
    assert math.isnan(correlation(x[:20], y[:20], seed=5).low)
