"""What the data say about a difference: estimate, one-sided bounds and a p-value, from a cluster bootstrap over latents.

Baseline and head share every resample, so what latents have in common cancels, in means and in correlations alike. A resample is
a vector of counts: all metrics are one matrix product, and all correlations are computed on whole blocks of resamples.

The bounds are percentiles, read a little further out than the nominal level (Hesterberg 2015, "What Teachers Should Know about
the Bootstrap", 3.4, the expanded percentile interval): plain percentiles are those of a normal variable with the variance of n
and not n - 1, and at 31 latents a "1 %" error would be 1.5 %. The gate's error rates are a promise, so they hold at small n too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.correlation import midranks

Array = NDArray[np.float64]
Statistics = Callable[[Array], Array]
"""Weights [b, m] of m latents -> [b, k] values of k statistics; NaN where undefined."""

RESAMPLES = 10_000
BLOCK = 2_000_000
"""Weights held at a time: 16 MB."""
PASS_LEVEL, FAIL_LEVEL = 0.95, 0.99
DEFINED = 0.9
"""Share of resamples in which a statistic must be defined to have bounds."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A difference head - base, signed so that below 0 is worse.

    Attributes:
        n: latents that both sides have (pairs of measurements, for speed).
        base, head: the two values.
        estimate: their difference.
        error: its standard error; NaN where there is none.
        low: one-sided 95 % lower bound.
        high: one-sided 99 % upper bound, for this test alone.
        p: one-sided p-value of "not worse".
    """

    n: int
    base: float
    head: float
    estimate: float
    error: float
    low: float
    high: float
    p: float


def resampled(statistics: Statistics, m: int, seed: int, resamples: int = RESAMPLES) -> Array:
    """Values of statistics on resamples of `m` latents; [resamples, k]. They depend on (seed, m, resamples) only."""
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK // m)
    blocks = []
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, m, size=(size, m)) + m * np.arange(size)[:, None]
        blocks.append(statistics(np.bincount(drawn.ravel(), minlength=size * m).reshape(size, m).astype(np.float64)))
    return np.concatenate(blocks)


def mean_differences(differences: Array) -> Statistics:
    """Means of k columns of paired differences [m, k] over the latents that have one (not NaN)."""
    known = ~np.isnan(differences)
    filled, counted = np.where(known, differences, 0.0), known.astype(np.float64)
    complete = bool(known.all())

    def statistics(weights: Array) -> Array:
        total = weights @ filled
        n = weights.sum(axis=1, keepdims=True) if complete else weights @ counted
        means: Array = np.divide(total, n, out=np.full(total.shape, np.nan), where=np.broadcast_to(n > 0, total.shape))
        return means

    return statistics


def correlations(scores: Array, pairs: Sequence[tuple[int, int]], known: NDArray[np.bool_]) -> Statistics:
    """Spearman correlations of pairs of columns, in which a latent's weight counts for each of its rows.

    Args:
        scores: [m, e, k]: latents, explanations of each, measures.
        pairs: of columns.
        known: [m, e, k] what may be used; a pair uses the rows in which both columns are known.
    """
    m, e, k = scores.shape
    columns = np.where(known, scores, 0.0).reshape(m * e, k)
    usable = known.reshape(m * e, k)

    def statistics(weights: Array) -> Array:
        rows = np.repeat(weights, e, axis=1)
        ranks: dict[tuple[int, bytes], Array] = {}

        def ranked(column: int, mask: NDArray[np.bool_], used: Array) -> Array:
            key = (column, mask.tobytes())
            if key not in ranks:
                ranks[key] = midranks(columns[:, column], used)
            return ranks[key]

        found = np.empty((len(weights), len(pairs)))
        for place, (i, j) in enumerate(pairs):
            mask = usable[:, i] & usable[:, j]
            used = rows if mask.all() else rows * mask
            found[:, place] = _pearson(ranked(i, mask, used), ranked(j, mask, used), used)
        return found

    return statistics


def agreement_differences(base: Array, head: Array, pairs: Sequence[tuple[int, int]]) -> tuple[Statistics, Statistics]:
    """Statistics of the correlations of both sides, over the rows that both have.

    Args:
        base, head: [m, e, k] as in `correlations`, NaN where there is no score.

    Returns:
        Those of base and of head; on the same weights their difference is paired.
    """
    known = ~(np.isnan(base) | np.isnan(head))
    return correlations(base, pairs, known), correlations(head, pairs, known)


def pairs_of(names: Sequence[tuple[str, str]]) -> list[tuple[int, int]]:
    """Places of the measures (scorer, judge) whose agreement means something: the same scorer or the same judge.

    Two measures that share neither differ in two things at once.
    """
    return [(i, j) for i, j in combinations(range(len(names)), 2) if set(names[i]) & set(names[j])]


def evidence(draws: Array, n: int, base: float, head: float, sign: float = 1.0) -> Evidence:
    """Evidence from the resampled differences of one statistic.

    Args:
        draws: [resamples] values of head - base; undefined ones are NaN.
        n: latents.
        base, head: values on the sample.
        sign: -1 where a higher value is worse.
    """
    estimate, nan = sign * (head - base), math.nan
    kept = sign * draws[~np.isnan(draws)]
    if n < 2 or math.isnan(estimate) or not len(kept):
        return Evidence(n, base, head, estimate, nan, nan, nan, nan)
    if np.ptp(kept) <= 1e-12:
        # An unchanged run, or the same step on every latent: certain even where most resamples leave a correlation undefined.
        return Evidence(n, base, head, estimate, 0.0, estimate, estimate, 1.0 if estimate >= 0 else 0.0)
    if len(kept) < DEFINED * len(draws):
        return Evidence(n, base, head, estimate, nan, nan, nan, nan)
    low, high, p, error = (float(x[0]) for x in bounds(kept[:, None], np.array([estimate]), n))
    return Evidence(n, base, head, estimate, error, low, high, p)


def bounds(draws: Array, estimates: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """(low, high, p, error) of k statistics from their resamples [b, k], each [k]; see the module docstring.

    p is the share of resamples that are not below 0, counting the sample once, moved from the normal to Student's t as the
    bounds are. One standard error of that count is added: every gate has the same seed, and luck in its resamples must not
    lift the rate of false failures above what is promised. Where no resample reaches 0, resampling cannot tell 1e-4 from 1e-9,
    and p is that of t = estimate / error.
    """
    from scipy.special import ndtr, ndtri, stdtr, stdtrit

    wide = math.sqrt(n / (n - 1))
    tail_low = ndtr(wide * stdtrit(n - 1, 1 - PASS_LEVEL))
    tail_high = ndtr(-wide * stdtrit(n - 1, 1 - FAIL_LEVEL))
    low, high = quantiles(draws, (tail_low, tail_high))
    not_below = (draws >= 0).sum(axis=0)
    share = np.minimum((1 + not_below + np.sqrt(not_below)) / (len(draws) + 1), 1 - 1 / (len(draws) + 1))
    error = draws.std(axis=0) * wide
    p = stdtr(n - 1, ndtri(share) / wide)
    with np.errstate(divide="ignore", invalid="ignore"):
        beyond = np.minimum(p, stdtr(n - 1, estimates / error))
    return low, high, np.where(not_below == 0, beyond, p), error


def quantiles(draws: Array, levels: Sequence[float]) -> list[Array]:
    """Quantiles of each column by linear interpolation, each [k]; as `np.quantile`, but columns are not sorted whole."""
    places = [level * (len(draws) - 1) for level in levels]
    below = [math.floor(place) for place in places]
    above = [min(i + 1, len(draws) - 1) for i in below]
    parted = np.partition(np.ascontiguousarray(draws.T), sorted({*below, *above}), axis=1)
    return [
        parted[:, i] + (place - i) * (parted[:, j] - parted[:, i])
        for place, i, j in zip(places, below, above, strict=True)
    ]


def _pearson(x: Array, y: Array, weights: Array) -> Array:
    """Weighted correlation of each row of x and y [b, r]; NaN where one side does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        a = x - (weights * x).sum(axis=1, keepdims=True) / total
        b = y - (weights * y).sum(axis=1, keepdims=True) / total
        va, vb = (weights * a * a).sum(axis=1), (weights * b * b).sum(axis=1)
        # Ranks are multiples of 1/2, so what rounding leaves of a constant column is far below one step.
        varies = (va > 1e-9) & (vb > 1e-9)
        found: Array = np.where(varies, (weights * a * b).sum(axis=1) / np.sqrt(va * vb), np.nan)
    return np.clip(found, -1, 1)
