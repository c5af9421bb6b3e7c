"""Power and detectable differences, against simulation and closed forms."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from latentbench.stats.bootstrap import paired_difference
from latentbench.stats.power import _power, minimal_detectable_difference, standard_error


def power_of(difference: float, sd: float, n: int, alpha: float = 0.05) -> float:
    """What `minimal_detectable_difference` turns round: the probability of finding a difference of paired latents."""
    error, freedom = standard_error((sd,), (n,))
    return _power(abs(difference) / error, freedom, alpha)


def test_power_of_no_difference_is_the_level_and_grows_with_everything():
    assert power_of(0.0, 1.0, 50) == pytest.approx(0.05)
    assert power_of(0.0, 1.0, 50, alpha=0.2) == pytest.approx(0.2)
    assert power_of(0.3, 1.0, 50) < power_of(0.3, 1.0, 80) < power_of(0.3, 0.5, 80)
    for n in (2, 3, 10, 1000, 100_000):
        powers = [power_of(d / math.sqrt(n), 1.0, n) for d in np.linspace(0, 60, 80)]
        assert all(a <= b + 1e-9 for a, b in pairwise(powers))


def test_a_textbook_number_of_pairs():
    # Cohen (1988), table 2.4.1: d = 0.5, two-sided 5 %, power 80 % takes 34 pairs.
    assert power_of(0.5, 1.0, 33) < 0.8 <= power_of(0.5, 1.0, 34)
    assert power_of(-5.0, 10.0, 33) < 0.8 <= power_of(-5.0, 10.0, 34)


def test_large_samples_follow_the_normal_formula():
    shortcut = (1.959964 + 0.841621) / math.sqrt(10_000)
    assert minimal_detectable_difference(1.0, 10_000) == pytest.approx(shortcut, rel=1e-3)
    # ... which promises too much for few latents.
    assert minimal_detectable_difference(1.0, 8) > 1.1 * (1.959964 + 0.841621) / math.sqrt(8)


@pytest.mark.parametrize("n", [2, 5, 24, 96, 1000])
def test_the_detectable_difference_has_the_power(n):
    d = minimal_detectable_difference(0.3, n)
    assert power_of(d, 0.3, n) == pytest.approx(0.8, abs=1e-6)


def test_it_is_statsmodels_number():
    solver = pytest.importorskip("statsmodels.stats.power").TTestPower()
    for n in (5, 30, 200):
        theirs = solver.solve_power(effect_size=None, nobs=n, alpha=0.05, power=0.9)
        assert minimal_detectable_difference(1.0, n, power=0.9) == pytest.approx(theirs, rel=1e-4)


def test_the_paired_bootstrap_finds_it_as_often_as_promised():
    n = next(n for n in range(2, 100) if power_of(0.1, 0.25, n) >= 0.8)
    hits = 0
    for k in range(300):
        rng = np.random.default_rng([3, k])
        a, b = rng.normal(0.1, 0.25, size=n), np.zeros(n)
        hits += paired_difference(a, b, range(n), seed=k % 4, n=1000).p < 0.05
    assert hits / 300 == pytest.approx(0.8, abs=0.08)  # 3.5 standard errors


@pytest.mark.parametrize(
    "call",
    [
        lambda: power_of(0.1, 0.0, 10),
        lambda: power_of(0.1, 1.0, 1),
        lambda: minimal_detectable_difference(1.0, 10, power=0.01),
    ],
)
def test_what_makes_no_sense_is_refused(call):
    with pytest.raises(ValueError):
        call()
