"""What the data say about a difference: estimate, one-sided bounds and a p-value.

Means are bounded as everywhere else (`latentbench.stats.bootstrap`): weighted latents, and one that was not drawn. So a metric
that fell on a handful of latents passes only if it fell on none of this suite, and fails only where as many losses without a gain
would be rare among equals. Expanded percentiles of plain resamples are the usual bounds; with skewed differences they fail an
unchanged run in 6 % of gates of ten latents that promise 1 %.

A correlation has no such latent to add. Its bounds are percentiles, ranked anew in every resample and read a little further out
than the nominal level (Hesterberg 2015, "What Teachers Should Know about the Bootstrap", 3.4, the expanded percentile interval):
plain percentiles are those of a normal variable with the variance of n and not n - 1.

Baseline and head share every draw, so what latents have in common cancels, in means and in correlations alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.bootstrap import mean_draws
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
    low, high, p, error = (float(x[0]) for x in correlation_bounds(kept[:, None], np.array([estimate]), n))
    return Evidence(n, base, head, estimate, error, low, high, p)


def mean_evidence(base: Array, head: Array, sign: Sequence[float], seed: int, draws: int = RESAMPLES) -> list[Evidence]:
    """Evidence from the means of k metrics over the latents that have a value on both sides.

    Args:
        base, head: [m, k] values, NaN where there is none.
        sign: [k], -1 where a higher value is worse.
    """
    both = ~(np.isnan(base) | np.isnan(head))
    groups: dict[bytes, list[int]] = {}
    for k in range(both.shape[1]):
        groups.setdefault(both[:, k].tobytes(), []).append(k)
    found: dict[int, Evidence] = {}
    for columns in groups.values():
        rows = both[:, columns[0]]
        n, nan = int(rows.sum()), math.nan
        change = np.array([sign[k] * (head[rows, k] - base[rows, k]) for k in columns])
        change = np.where(np.abs(change) < 1e-12, 0.0, change)
        if n >= 2:
            low, high, p, error = bounds(change, seed, draws)
        for i, k in enumerate(columns):
            # A head without any value has lost the metric.
            was, now = (_mean(side[rows, k] if n else side[~np.isnan(side[:, k]), k]) for side in (base, head))
            estimate = float(change[i].mean()) if n else nan
            rest = [float(x[i]) for x in (error, low, high, p)] if n >= 2 else [nan] * 4
            found[k] = Evidence(n, was, now, estimate, *rest)
    return [found[k] for k in range(both.shape[1])]


def _mean(values: Array) -> float:
    return float(values.mean()) if len(values) else math.nan


def bounds(change: Array, seed: int, draws: int = RESAMPLES) -> tuple[Array, Array, Array, Array]:
    """(low, high, p, error) of the means of k rows of differences [k, n], each [k].

    p is the share of draws of the upper bound that are not below 0, counting the sample once. One standard error of that count is
    added: every gate has the same seed, and luck in its draws must not lift the rate of false failures above what is promised.
    Nothing says more than Student's t would. Where no draw reaches 0, drawing cannot tell 1e-4 from 1e-9, and p is Student's.
    """
    from scipy.special import stdtr, stdtrit

    n = change.shape[1]
    below, above = mean_draws(change, seed, draws)
    (low,), (high,) = quantiles(below.T, (1 - PASS_LEVEL,)), quantiles(above.T, (FAIL_LEVEL,))
    estimates, error = change.mean(axis=1), change.std(axis=1, ddof=1) / math.sqrt(n)
    error = np.where(np.ptp(change, axis=1) > 0, error, 0.0)
    low = np.minimum(low, estimates - stdtrit(n - 1, PASS_LEVEL) * error)
    high = np.maximum(high, estimates + stdtrit(n - 1, FAIL_LEVEL) * error)
    not_below = (above >= 0).sum(axis=1)
    p = np.minimum((1 + not_below + np.sqrt(not_below)) / (draws + 1), 1.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        student = np.where(error > 0, stdtr(n - 1, estimates / error), np.where(estimates < 0, 2.0**-n, 1.0))
    return low, high, np.where(not_below == 0, student, np.maximum(p, student)), error


def correlation_bounds(draws: Array, estimates: Array, n: int) -> tuple[Array, Array, Array, Array]:
    """(low, high, p, error) of k statistics from their resamples [b, k], each [k]; see the module docstring.

    p as in `bounds`, moved from the normal to Student's t as the bounds are.
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
