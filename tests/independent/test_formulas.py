"""Intervals, tests and ranks on shapes that a run of mocks does not have: ties, ends of the range, few latents, many rows."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from latentbench.stats import bootstrap, ranks
from numpy.typing import NDArray

from tests.independent.interval_formulas import Bounded, bounded, holm, paired_places, places

Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]
SHAPES: dict[str, tuple[Draw, float | None, float | None]] = {
    "normal": (lambda rng, n: rng.normal(0.3, 1, n), None, None),
    "skewed": (lambda rng, n: rng.beta(0.5, 3, n), 0.0, 1.0),
    "five levels": (lambda rng, n: rng.integers(0, 5, n) / 4, 0.0, 1.0),
    "mostly 1": (lambda rng, n: np.where(rng.random(n) < 0.9, 1.0, rng.random(n)), 0.0, 1.0),
    "one above 0": (lambda rng, n: (np.arange(n) == 1) * 0.8, -1.0, 1.0),
    "all best": (lambda rng, n: np.ones(n), -1.0, 1.0),
    "nearly all best": (lambda rng, n: np.where(np.arange(n) % 5 == 2, 0.996, 1.0), 0.0, 1.0),
    "all worst": (lambda rng, n: np.zeros(n), 0.0, 1.0),
    "all equal": (lambda rng, n: np.full(n, 0.5), 0.0, 1.0),
    "at most 1": (lambda rng, n: 1 - rng.exponential(2, n), None, 1.0),
    "at least 0": (lambda rng, n: rng.exponential(2, n), 0.0, None),
}


def near(ours: float, theirs: float) -> bool:
    return bool(np.isclose(ours, theirs, rtol=1e-9, atol=1e-9, equal_nan=True))


@pytest.mark.parametrize("n", [0, 1, 11, 12, 23, 24, 60])
@pytest.mark.parametrize("shape", SHAPES)
def test_interval_of_a_mean(shape: str, n: int) -> None:
    draw, low, high = SHAPES[shape]
    values = draw(np.random.default_rng(n), n)
    ours, theirs = bounded(values, low, high), bootstrap.bootstrap_mean(values, seed=0, low=low, high=high)
    assert (near(ours.mean, theirs.estimate), near(ours.low, theirs.low), near(ours.high, theirs.high)) == (True,) * 3
    assert ours.n == theirs.n


@pytest.mark.parametrize("n", [12, 24, 60])
@pytest.mark.parametrize("shape", SHAPES)
def test_paired_difference(shape: str, n: int) -> None:
    draw, low, high = SHAPES[shape]
    a, b = (draw(np.random.default_rng([n, side]), n) for side in (0, 1))
    span = None if low is None or high is None else high - low
    theirs = bootstrap.paired_difference(a, b, range(n), seed=0, span=span)
    ours = bounded(a - b, None if span is None else -span, span, differences=True)
    assert near(ours.low, theirs.interval.low)
    assert near(ours.high, theirs.interval.high)
    assert near(ours.p, theirs.p)


@pytest.mark.parametrize("higher", [True, False])
def test_ranks_from_intervals(higher: bool) -> None:
    rng, parted = np.random.default_rng(0), 0
    for table in range(300):
        k = 2 + table % 9
        means, below, above = rng.random(k), 0.05 + 0.2 * rng.random(k), 0.05 + 0.2 * rng.random(k)
        n = rng.choice([15, 23, 24, 40, 100], k)
        rows = [Bounded(m, m - b, m + a, int(i)) for m, b, a, i in zip(means, below, above, n, strict=True)]
        rows = sorted(rows, key=lambda row: row.mean, reverse=higher)
        if table % 4 == 0:
            rows.append(Bounded(math.nan, math.nan, math.nan, 0))
        given = [bootstrap.Interval(row.mean, row.low, row.high, row.n) for row in rows]
        theirs = [(r.low, r.high, r.tie) for r in ranks.ranks_from_intervals(given, higher)]
        assert places(rows, higher) == theirs
        parted += theirs[-1][2] > 1
    assert parted > 100


@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("seed", range(4))
def test_ranks_from_pairs(seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.normal(np.linspace(0, 1.5, 6)[::-1, None], 0.6, (6, 40)) + rng.normal(0, 1, 40)
    scores[rng.random(scores.shape) < missing] = np.nan
    scores = scores[np.argsort(-np.nanmean(scores, axis=1))]
    theirs = ranks.ranks_from_pairs(scores, [str(i) for i in range(40)], seed=0)
    assert paired_places(scores, True) == [(r.low, r.high, r.tie) for r in theirs]
    assert len({r.low for r in theirs}) > 1


def test_holm() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        p = np.where(rng.random(9) < 0.2, math.nan, rng.random(9) ** 4)
        assert np.allclose(holm(p.tolist()), bootstrap.holm(p), equal_nan=True)
