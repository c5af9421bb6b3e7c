"""Rank intervals and tie groups, against hand-worked places and a brute-force count."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from latentbench.stats.bootstrap import FEWEST, Interval
from latentbench.stats.ranks import ranks_from_intervals, ranks_from_pairs


def _i(estimate: float, low: float, high: float, n: int = 100) -> Interval:
    return Interval(estimate, low, high, n)


def test_ranks_of_three_entries_worked_by_hand() -> None:
    # Three pairs at 5 % in all: t(99) at 1 - 0.05 / 6 is 2.436, over 1.984 is 1.228. Halves of .1 need a gap of .1 sqrt(2) 1.228
    # = .174: a is above c by .18, b is .09 from both.
    wide = scipy.stats.t.ppf(1 - 0.05 / 6, 99) / scipy.stats.t.ppf(0.975, 99)
    assert wide * 0.1 * math.sqrt(2) == pytest.approx(0.174, abs=1e-3)
    ranks = ranks_from_intervals([_i(0.68, 0.58, 0.78), _i(0.59, 0.49, 0.69), _i(0.5, 0.4, 0.6)])
    assert [(r.low, r.high) for r in ranks] == [(1, 2), (1, 3), (2, 3)]
    assert [r.tie for r in ranks] == [1, 1, 2]
    assert [str(r) for r in ranks] == ["1-2", "1-3", "2-3"]
    closer = ranks_from_intervals([_i(0.67, 0.57, 0.77), _i(0.59, 0.49, 0.69), _i(0.5, 0.4, 0.6)])
    assert [str(r) for r in closer] == ["1-3"] * 3


def test_too_few_latents_separate_nothing() -> None:
    apart = [_i(0.9, 0.89, 0.91, FEWEST - 1), _i(0.1, 0.09, 0.11, FEWEST - 1)]
    assert [str(r) for r in ranks_from_intervals(apart)] == ["1-2", "1-2"]
    scores = np.array([[0.9], [0.1]]) + np.random.default_rng(0).normal(scale=0.01, size=(2, FEWEST - 1))
    assert [str(r) for r in ranks_from_pairs(scores, [str(i) for i in range(FEWEST - 1)], seed=0)] == ["1-2", "1-2"]


def test_separated_entries_have_sharp_ranks_in_any_input_order() -> None:
    ranks = ranks_from_intervals([_i(0.1, 0.05, 0.15), _i(0.9, 0.85, 0.95), _i(0.5, 0.45, 0.55)])
    assert [str(r) for r in ranks] == ["3", "1", "2"]
    assert [r.tie for r in ranks] == [3, 1, 2]


def test_lower_is_better_reverses_the_order() -> None:
    ranks = ranks_from_intervals([_i(0.1, 0.05, 0.15), _i(0.9, 0.85, 0.95)], higher_is_better=False)
    assert [str(r) for r in ranks] == ["1", "2"]
    assert [r.tie for r in ranks] == [1, 2]


def test_an_entry_without_interval_can_have_any_place() -> None:
    nan = math.nan
    ranks = ranks_from_intervals([_i(0.8, 0.7, 0.9), _i(0.2, 0.1, 0.3), _i(nan, nan, nan)])
    assert [str(r) for r in ranks] == ["1-2", "2-3", "1-3"]
    assert ranks_from_intervals([]) == []


def test_ranks_agree_with_counting_on_random_intervals() -> None:
    rng = np.random.default_rng(0)
    wide = scipy.stats.t.ppf(1 - 0.05 / 42, 99) / scipy.stats.t.ppf(0.975, 99)
    for _ in range(30):
        entries = [_i(c, c - w, c + 2 * w) for c, w in zip(rng.random(7), rng.random(7) * 0.1, strict=True)]

        def above(a: Interval, b: Interval) -> bool:
            return a.estimate - b.estimate > wide * math.hypot(a.estimate - a.low, b.high - b.estimate)

        for mine, rank in zip(entries, ranks_from_intervals(entries), strict=True):
            assert rank.low == 1 + sum(above(other, mine) for other in entries)
            assert rank.high == sum(not above(mine, other) for other in entries)
            assert rank.low <= rank.high


def test_the_best_place_is_possible_for_somebody_and_ties_grow_downwards() -> None:
    rng = np.random.default_rng(1)
    for _ in range(30):
        entries = [_i(c, c - w, c + w) for c, w in zip(rng.random(6), rng.random(6) * 0.2, strict=True)]
        ranks = ranks_from_intervals(entries)
        assert min(r.low for r in ranks) == 1
        for (a, ra), (b, rb) in itertools.permutations(zip(entries, ranks, strict=True), 2):
            if a.estimate > b.estimate:
                assert ra.tie <= rb.tie


def test_pairs_separate_what_intervals_cannot() -> None:
    rng = np.random.default_rng(0)
    latent = rng.normal(size=50)
    scores = np.stack([latent + 0.3, latent, latent + 0.02]) + rng.normal(scale=0.1, size=(3, 50))
    from latentbench.stats.bootstrap import bootstrap_mean

    intervals = [bootstrap_mean(row, seed=0) for row in scores]
    ids = [str(i) for i in range(50)]
    assert [str(r) for r in ranks_from_intervals(intervals)] == ["1-3"] * 3
    assert [str(r) for r in ranks_from_pairs(scores, ids, seed=0)] == ["1", "2-3", "2-3"]
    reversed_ranks = ranks_from_pairs(scores, ids, seed=0, higher_is_better=False)
    assert [str(r) for r in reversed_ranks] == ["3", "1-2", "1-2"]


def test_pairs_rarely_separate_equal_entries() -> None:
    """Family-wise error: 4 entries of equal truth, 40 data sets; alpha 5 % allows 2 false separations, 7 is 3.6 sigma up."""
    false = 0
    for k in range(40):
        scores = np.random.default_rng([5, k]).normal(size=(4, 60))
        ranks = ranks_from_pairs(scores, [str(i) for i in range(60)], seed=k)
        false += any(str(r) != "1-4" for r in ranks)
    assert false <= 7
