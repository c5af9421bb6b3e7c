"""Intervals, paired differences, Holm, normalisation, against scipy, hand-worked numbers and a simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from latentbench.stats.bootstrap import FEWEST, bootstrap_mean, cluster_means, holm, mean_draws, paired_difference
from latentbench.stats.ranking import normalise


@pytest.mark.parametrize("ones", [1, 2, 3, 5])
def test_yes_or_no_scores_have_the_interval_of_clopper_and_pearson(ones: int) -> None:
    x = np.r_[np.ones(ones), np.zeros(40 - ones)]
    exact = scipy.stats.binomtest(ones, 40).proportion_ci(method="exact")
    mine = bootstrap_mean(x, seed=5, n=50_000, low=0.0, high=1.0)
    assert mine.estimate == ones / 40
    assert (mine.low, mine.high) == pytest.approx((exact.low, exact.high), abs=0.003)
    turned = bootstrap_mean(1 - x, seed=5, n=50_000, low=0.0, high=1.0)
    assert (1 - turned.high, 1 - turned.low) == pytest.approx((exact.low, exact.high), abs=0.003)


def test_all_at_an_end_of_the_range_leaves_room_for_what_was_not_drawn() -> None:
    # The largest share of others that 40 latents miss with probability .025: (1 - share)^40 = .025.
    mine = bootstrap_mean(np.ones(40), seed=0, n=50_000, low=0.0, high=1.0)
    assert (mine.low, mine.high) == pytest.approx((0.025 ** (1 / 40), 1.0), abs=0.003)
    for inside in (bootstrap_mean(np.full(40, 0.5), seed=0, low=0.0, high=1.0), bootstrap_mean(np.ones(40), seed=0)):
        assert inside.low == inside.estimate == inside.high


def test_the_interval_of_normal_scores_is_students_but_for_the_latent_that_was_not_drawn() -> None:
    rng = np.random.default_rng(0)
    for n in (24, 100):
        reach = []
        for k in range(60):
            x = rng.normal(size=n)
            i = bootstrap_mean(x, seed=k % 4)
            reach.append((i.high - i.low) / 2 / (x.std(ddof=1) / math.sqrt(n)))
        assert 1 < np.mean(reach) / scipy.stats.t.ppf(0.975, n - 1) < 1.13


def test_right_skew_moves_the_interval_up() -> None:
    x = np.random.default_rng(0).exponential(size=40)
    i = bootstrap_mean(x, seed=5, low=0.0)
    assert i.high - i.estimate > 1.1 * (i.estimate - i.low) > 0


def test_the_interval_stays_inside_the_range_and_excludes_zero_exactly_where_p_is_small() -> None:
    for k in range(300):
        rng = np.random.default_rng([3, k])
        x = rng.choice([0.0, 0.0, 0.5, 1.0], size=30) * rng.beta(0.5, 2, size=30)
        i = bootstrap_mean(x, seed=k % 3, low=0.0, high=1.0)
        assert 0 <= i.low <= i.estimate <= i.high <= 1
        shift = rng.choice([0.0, 0.05, 0.1])
        d = paired_difference(x + shift, rng.permutation(x), range(30), seed=k % 3, n=500)
        assert (d.p < 0.05) == (d.interval.low > 0 or d.interval.high < 0)


def test_same_seed_same_interval_and_another_seed_another() -> None:
    x = np.random.default_rng(0).normal(size=30)
    assert bootstrap_mean(x, seed=7) == bootstrap_mean(x, seed=7)
    assert bootstrap_mean(x, seed=7).low != bootstrap_mean(x, seed=8).low


def test_chunking_does_not_change_the_draws() -> None:
    x = np.random.default_rng(0).normal(size=(2, 13))
    for whole, pieces in zip(mean_draws(x, 3, 101), mean_draws(x, 3, 101, chunk=30), strict=True):
        np.testing.assert_allclose(whole, pieces, rtol=1e-10, atol=1e-12)


def test_a_draw_is_a_weighted_mean_of_the_latents_and_one_more() -> None:
    x = np.arange(12) / 10.0
    below, above = mean_draws(x[None, :], 1, 50)
    weights = np.random.default_rng(1).exponential(size=(50, 12))
    median = 0.55
    # The spread rests on (sum d^2)^2 / sum d^4 latents, and the one more has a mean weight of 5 / that, between 1/2 and 1.
    d = x - median
    whole = 5 / ((d**2).sum() ** 2 / (d**4).sum())
    assert 0.5 < whole < 1.0
    half, rest = (rng := np.random.default_rng([1, 12, 50])).gamma(0.5, size=(2, 50))
    extra = half + rest * (rng.random(50) < 2 * whole - 1)
    for found, end in ((below, median - 0.55), (above, median + 0.55)):
        np.testing.assert_allclose(found[0], (weights @ x + extra * end) / (weights.sum(axis=1) + extra), rtol=1e-12)


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


def test_few_latents_have_no_p_and_fewer_no_interval() -> None:
    rng = np.random.default_rng(0)
    for n in (2, FEWEST // 2 - 1, FEWEST // 2, FEWEST - 1, FEWEST):
        x = rng.normal(3, 1, size=n)
        d = paired_difference(x, np.zeros(n), range(n), seed=0)
        assert d.interval.estimate == pytest.approx(x.mean())
        assert math.isnan(d.interval.low) == math.isnan(bootstrap_mean(x, seed=0).high) == (n < FEWEST // 2)
        assert math.isnan(d.p) == (n < FEWEST)


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
    # A little larger, for the latent that was not drawn.
    assert 0 <= mine.p - scipy.stats.ttest_rel(a, b).pvalue < 0.02


def test_pairs_with_a_missing_side_are_left_out_and_ids_cluster() -> None:
    d = paired_difference([1, 3, math.nan, 5], [0, 0, 0, 4], ["x", "x", "y", "z"], seed=0)
    assert d.interval.n == 2  # x: (1 + 3) / 2 = 2, z: 1
    assert d.interval.estimate == pytest.approx(1.5)
    assert math.isnan(paired_difference([1.0], [0.0], ["x"], seed=0).p)
    with pytest.raises(ValueError, match="one length"):
        paired_difference([1.0], [0.0, 1.0], ["x"], seed=0)


def test_no_difference_at_all_has_p_one() -> None:
    same = np.arange(30) / 10
    d = paired_difference(same, same, range(30), seed=0)
    assert (d.p, d.interval.low, d.interval.high) == (1.0, 0.0, 0.0)
    # 0.3 - 0.2 and 0.4 - 0.3 differ in their last digit only.
    assert paired_difference(same + 0.1 - 0.1, same, range(30), seed=0).p == 1.0


@pytest.mark.parametrize("k", [1, 2, 4, 5])
def test_equal_losses_without_a_gain_are_judged_by_their_signs(k: int) -> None:
    loss = np.r_[np.full(k, -0.7), np.zeros(40 - k)]
    d = paired_difference(loss, np.zeros(40), range(40), seed=0, n=50_000)
    assert d.p == pytest.approx(scipy.stats.binomtest(0, k).pvalue, abs=0.01)
    repeats = paired_difference(np.repeat(loss, 4), np.zeros(160), np.repeat(range(40), 4).tolist(), seed=0, n=50_000)
    assert repeats.p == d.p


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


def test_a_difference_never_says_more_than_the_t_test() -> None:
    for k in range(50):
        x = np.random.default_rng([9, k]).normal(0.4, 1, size=24)
        d = paired_difference(x, np.zeros(24), range(24), seed=0)
        t = scipy.stats.ttest_1samp(x, 0)
        bounds = t.confidence_interval(0.95)
        assert d.p >= t.pvalue - 1e-12
        assert d.interval.low <= bounds.low + 1e-12
        assert d.interval.high >= bounds.high - 1e-12
