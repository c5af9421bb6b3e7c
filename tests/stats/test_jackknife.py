"""The stratified jackknife against closed forms and against draws of windows."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest
from latentbench.stats.jackknife import jackknife_error


def test_the_error_of_a_mean_is_its_standard_error() -> None:
    values = [1.0, 4.0, 2.0, 9.0]
    assert jackknife_error(values, [0] * 4, fmean) == pytest.approx(stdev(values) / 2)


def test_the_error_of_a_difference_of_means_adds_the_classes() -> None:
    on, off = [3.0, 5.0, 4.5], [0.0, 1.0, 1.0, 2.5]
    strata = [1] * 3 + [0] * 4

    def gap(some: list[tuple[int, float]]) -> float:
        return fmean(v for y, v in some if y) - fmean(v for y, v in some if not y)

    by_hand = math.sqrt(stdev(on) ** 2 / 3 + stdev(off) ** 2 / 4)
    found = jackknife_error(list(zip(strata, [*on, *off], strict=True)), strata, gap)
    assert found == pytest.approx(by_hand)


def test_one_window_of_a_class_has_no_error_and_neither_has_a_score_that_it_decides() -> None:
    assert jackknife_error([1.0, 2.0, 3.0], [1, 0, 0], fmean) is None
    assert jackknife_error([], [], fmean) is None
    assert jackknife_error([1.0, 2.0], [0, 0], lambda some: None if 2.0 not in some else 1.0) is None
    assert jackknife_error([1.0, 2.0], [0, 0], lambda some: math.nan) is None
    assert jackknife_error([2.0, 2.0], [0, 0], fmean) == 0


def test_it_is_the_spread_of_an_area_under_the_curve_over_draws_of_windows() -> None:
    """Windows drawn 400 times from a latent with a known area; the mean jackknife variance is the variance of the scores."""
    rng = np.random.default_rng(0)
    strata = [1] * 8 + [0] * 12

    def area(some: list[tuple[int, float]]) -> float:
        on, off = ([v for y, v in some if y == c] for c in (1, 0))
        return fmean(float(a > b) for a in on for b in off)

    scores, errors = [], []
    for _ in range(400):
        drawn = list(zip(strata, [*rng.normal(1, 1, 8), *rng.normal(0, 1, 12)], strict=True))
        scores.append(area(drawn))
        errors.append(jackknife_error(drawn, strata, area))
    assert None not in errors
    ratio = fmean(e * e for e in errors if e is not None) / stdev(scores) ** 2
    assert 0.85 < ratio < 1.3, ratio
