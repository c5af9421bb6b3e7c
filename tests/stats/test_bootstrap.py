"""Intervals, paired differences, Holm, normalisation, against scipy, hand-worked numbers and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from latentbench.stats.bootstrap import bootstrap_mean, cluster_means, holm, paired_difference, resampled_means
from latentbench.stats.ranking import normalise


def _scipy(x: np.ndarray, method: str, seed: int = 1) -> tuple[float, float]:
    r = scipy.stats.bootstrap(
        (x,), np.mean, n_resamples=20_000, confidence_level=0.95, method=method, rng=np.random.default_rng(seed)
    )
    return float(r.confidence_interval.low), float(r.confidence_interval.high)


@pytest.mark.parametrize(("ours", "theirs"), [("percentile", "percentile"), ("bca", "BCa")])
def test_interval_agrees_with_scipy_on_skewed_data(ours: str, theirs: str) -> None:
    x = np.random.default_rng(0).exponential(size=40)
    mine = bootstrap_mean(x, seed=5, n=20_000, method=ours)  # type: ignore[arg-type]
    low, high = _scipy(x, theirs)
    error = x.std() / math.sqrt(len(x))
    assert mine.estimate == pytest.approx(x.mean())
    assert abs(mine.low - low) < 0.05 * error
    assert abs(mine.high - high) < 0.05 * error


def test_bca_shifts_up_where_the_data_are_skewed_to_the_right() -> None:
    x = np.random.default_rng(0).exponential(size=40)
    plain, corrected = bootstrap_mean(x, seed=5), bootstrap_mean(x, seed=5, method="bca")
    assert corrected.low > plain.low
    assert corrected.high > plain.high


def test_same_seed_same_interval_and_another_seed_another() -> None:
    x = np.random.default_rng(0).normal(size=30)
    assert bootstrap_mean(x, seed=7) == bootstrap_mean(x, seed=7)
    assert bootstrap_mean(x, seed=7).low != bootstrap_mean(x, seed=8).low


def test_chunking_does_not_change_the_draws() -> None:
    x = np.random.default_rng(0).normal(size=13)
    whole = resampled_means(x, 101, seed=3)
    pieces = resampled_means(x, 101, seed=3, chunk=30)
    np.testing.assert_allclose(whole, pieces, rtol=1e-12)
    drawn = np.random.default_rng(3).integers(0, 13, size=(101, 13))
    np.testing.assert_allclose(whole, x[drawn].mean(axis=1), rtol=1e-12)


def test_process_wide_random_state_is_left_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    bootstrap_mean([1.0, 2.0, 3.0], seed=0)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_no_cluster_gives_nan_and_one_cluster_gives_an_estimate_without_interval() -> None:
    none = bootstrap_mean([math.nan, math.nan], seed=0)
    assert none.n == 0
    assert math.isnan(none.estimate)
    one = bootstrap_mean([0.25, math.nan], seed=0)
    assert (one.n, one.estimate) == (1, 0.25)
    assert math.isnan(one.low)
    assert math.isnan(one.high)
    assert bootstrap_mean([], seed=0).n == 0


def test_equal_values_give_an_interval_of_width_zero_also_for_bca() -> None:
    for method in ("percentile", "bca"):
        i = bootstrap_mean([0.5] * 4, seed=0, method=method)  # type: ignore[arg-type]
        assert (i.estimate, i.low, i.high, i.n) == (0.5, 0.5, 0.5, 4)


def test_an_infinite_score_is_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        bootstrap_mean([1.0, math.inf], seed=0)


def test_repeats_are_averaged_within_their_latent_first() -> None:
    # Latent means 0.5, 1 and 0: each counts once, however many repeats it has.
    values = [[0.0, 1.0], [1.0, 1.0, 1.0, math.nan], [0.0]]
    np.testing.assert_allclose(cluster_means(values), [0.5, 1.0, 0.0])
    assert bootstrap_mean(values, seed=0).estimate == pytest.approx(0.5)


def test_repeating_every_judgement_does_not_narrow_the_interval() -> None:
    x = np.random.default_rng(0).normal(size=25)
    many, once = bootstrap_mean([[v] * 64 for v in x], seed=2), bootstrap_mean(x, seed=2)
    assert many.n == once.n == 25
    assert (many.low, many.high) == pytest.approx((once.low, once.high))


def test_paired_difference_is_sharper_than_the_two_intervals() -> None:
    rng = np.random.default_rng(0)
    latent = rng.normal(size=60)
    a, b = latent + 0.2 + rng.normal(scale=0.1, size=60), latent + rng.normal(scale=0.1, size=60)
    apart = paired_difference(a, b, range(60), seed=0)
    assert 0 < apart.interval.low < 0.2 < apart.interval.high < 0.3
    assert apart.p == pytest.approx(2 / 2001)
    assert bootstrap_mean(a, seed=0).low < bootstrap_mean(b, seed=0).high


def test_paired_p_value_agrees_with_the_t_test() -> None:
    rng = np.random.default_rng(4)
    a = rng.normal(size=80)
    b = a + rng.normal(loc=0.12, scale=0.5, size=80)
    mine = paired_difference(a, b, range(80), seed=0, n=20_000)
    assert mine.p == pytest.approx(scipy.stats.ttest_rel(a, b).pvalue, abs=0.02)


def test_pairs_with_a_missing_side_are_left_out_and_ids_cluster() -> None:
    d = paired_difference([1, 3, math.nan, 5], [0, 0, 0, 4], ["x", "x", "y", "z"], seed=0)
    assert d.interval.n == 2  # x: (1 + 3) / 2 = 2, z: 1
    assert d.interval.estimate == pytest.approx(1.5)
    assert math.isnan(paired_difference([1.0], [0.0], ["x"], seed=0).p)
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1.0], [0.0, 1.0], ["x"], seed=0)


def test_no_difference_at_all_has_p_one() -> None:
    assert paired_difference([1, 2, 3], [1, 2, 3], "abc", seed=0).p == 1.0


@pytest.mark.parametrize(("n", "least"), [(2, 2 / 4), (5, 2 / 32), (8, 2 / 256)])
def test_a_handful_of_differences_of_one_sign_is_no_stronger_evidence_than_their_signs(n: int, least: float) -> None:
    apart = np.arange(1.0, n + 1)
    for delta in (apart, -apart, np.ones(n)):
        assert paired_difference(delta, np.zeros(n), range(n), seed=0).p == least
    repeats = paired_difference(np.repeat(apart, 4), np.zeros(4 * n), np.repeat(range(n), 4).tolist(), seed=0)
    assert repeats.p == least


def test_with_many_latents_the_resamples_alone_decide_p() -> None:
    apart = np.arange(1.0, 21)
    assert paired_difference(apart, np.zeros(20), range(20), seed=0).p == 2 / 2001
    mixed = np.random.default_rng(0).normal(loc=0.5, size=20)
    means = resampled_means(mixed, 2000, seed=0)
    below = int(min((means <= 0).sum(), (means >= 0).sum()))
    assert below > 0
    assert paired_difference(mixed, np.zeros(20), range(20), seed=0).p == 2 * (1 + below) / 2001


def test_holm_on_a_worked_example() -> None:
    # m = 4: sorted .005 .01 .03 .04 -> x4 .02, x3 .03, x2 .06, x1 .04 lifted to .06
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, math.nan, 0.7]), [1.0, math.nan, 1.0])
    assert holm([]).shape == (0,)


def test_normalise_maps_floor_to_zero_and_keeps_what_is_below_it() -> None:
    assert normalise(0.714, 0.714) == 0
    assert normalise(1.0, 0.714) == 1
    np.testing.assert_allclose(normalise(np.array([0.25, 0.75]), 0.5), [-0.5, 0.5])
    with pytest.raises(ValueError, match="below 1"):
        normalise(0.5, 1.0)


def _coverage(method: str, sets: int, n: int = 96) -> float:
    """Share of data sets whose interval holds the true mean: latents with their own true score and two noisy repeats."""
    hits = 0
    for k in range(sets):
        rng = np.random.default_rng([11, k])
        latents = rng.beta(5, 3, size=n)
        values = latents[:, None] + rng.normal(scale=0.05, size=(n, 2))
        i = bootstrap_mean(values, seed=k, n=1000, method=method)  # type: ignore[arg-type]
        hits += i.low <= 5 / 8 <= i.high
    return hits / sets


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_interval_covers_the_true_mean_as_often_as_it_says(method: str) -> None:
    # 200 sets: standard error 1.5 %, so 95 +- 3.5 %.
    assert 0.915 <= _coverage(method, 200) <= 0.985


@pytest.mark.slow
@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_interval_covers_the_true_mean_full_size(method: str) -> None:
    assert 0.93 <= _coverage(method, 1000) <= 0.97
