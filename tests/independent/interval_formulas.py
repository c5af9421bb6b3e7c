"""Intervals, tests and ranks as docs/statistics.md describes them, without the package and without scipy.

An interval is drawn, so numbers agree only where the draws do. These conventions are taken from
`latentbench.stats.bootstrap`, and nothing else is:

- n draws (2,000; a comparison of k entries has 4 k / .05 if that is more) of m latents have the weights
  `default_rng(seed).exponential(size=(n, m))`, the seed being 0. The latents stand in the order of their ids on a leaderboard,
  and in the order of the run in a comparison; those without a value are left out.
- The latent that was not drawn has `default_rng([seed, m, n])`: two rows of `gamma(0.5)`, then a uniform number for each draw.
  The first gamma counts always, the second where the uniform number is below 2 w - 1, for a mean weight w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

DRAWS = 2000
CLAIM, PRINT = 24, 12
"""Latents from which anything is claimed, and from which an interval is printed."""


@dataclass(frozen=True)
class Bounded:
    """A mean with its interval; NaN where there is none."""

    mean: float
    low: float
    high: float
    n: int
    p: float = math.nan


@cache
def _weights(seed: int, m: int, n: int) -> Floats:
    return np.random.default_rng(seed).exponential(size=(n, m))


def _means(values: Floats, stand: float, seed: int, n: int) -> Floats:
    """Weighted means of the values and of a latent that was not drawn and has the value `stand`, one for each draw."""
    distance = np.abs(values - np.median(values))
    carriers = np.sum(distance**2) ** 2 / np.sum(distance**4) if distance.any() else 1.0
    mean_weight = min(1.0, max(0.5, 5 / carriers))
    rng = np.random.default_rng([seed, len(values), n])
    halves, uniform = rng.gamma(0.5, size=(2, n)), rng.random(n)
    extra = halves[0] + np.where(uniform < 2 * mean_weight - 1, halves[1], 0.0)
    weights = _weights(seed, len(values), n)
    return (np.sum(weights * values, axis=1) + extra * stand) / (np.sum(weights, axis=1) + extra)


def bounded(
    values: Sequence[float],
    low: float | None,
    high: float | None,
    *,
    seed: int = 0,
    n: int = DRAWS,
    differences: bool = False,
) -> Bounded:
    """Mean over latents with its interval, and p of "the mean is 0"; for differences both are no bolder than Student's t."""
    x = np.array(values, dtype=np.float64)
    if len(x) < PRINT:
        return Bounded(float(x.mean()) if len(x) else math.nan, math.nan, math.nan, len(x))
    median, reach = float(np.median(x)), float(np.abs(x - np.median(x)).max())
    lower, upper = median - reach, median + reach
    if low is not None and high is not None and not reach and median in (low, high):
        lower, upper = low, high
    draws_low = np.sort(_means(x, lower if low is None else max(lower, low), seed, n))
    draws_high = np.sort(_means(x, upper if high is None else min(upper, high), seed, n))
    # The interval leaves out as many draws on a side as may lie beyond 0 where p is below 5 %.
    out = max(b for b in range(n) if 2 * (1 + b) / (n + 1) < 0.05)
    ends = [float(draws_low[out]), float(draws_high[-1 - out])]
    p = min(1.0, 2 * (1 + int(min(np.sum(draws_low <= 0), np.sum(draws_high >= 0)))) / (n + 1))
    if differences:
        error = math.sqrt(float(np.sum((x - x.mean()) ** 2)) / (len(x) - 1) / len(x)) if reach else 0.0
        around = student_quantile(0.975, len(x) - 1) * error
        ends = [min(ends[0], float(x.mean()) - around), max(ends[1], float(x.mean()) + around)]
        ends = [ends[0] if low is None else max(ends[0], low), ends[1] if high is None else min(ends[1], high)]
        p = max(p, student_p(float(x.mean()), error, len(x) - 1))
    return Bounded(float(x.mean()), *ends, len(x), p if len(x) >= CLAIM else math.nan)


def student_p(mean: float, error: float, degrees: int) -> float:
    """Two-sided p of Student's t."""
    if not error:
        return float(mean == 0)
    return 2 * (1 - _student(abs(mean) / error, degrees))


@cache
def student_quantile(share: float, degrees: int) -> float:
    """Quantile above one half, by halving."""
    least, most = 0.0, 100.0
    for _ in range(60):
        middle = (least + most) / 2
        least, most = (middle, most) if _student(middle, degrees) < share else (least, middle)
    return (least + most) / 2


def _student(x: float, degrees: int) -> float:
    """P(T < x) for x >= 0: Simpson's rule on the density."""
    t = np.linspace(0, x, 8001)
    scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - math.log(degrees * math.pi) / 2
    density = np.exp(scale - (degrees + 1) / 2 * np.log1p(t**2 / degrees))
    return 0.5 + float(density[0] + 4 * density[1::2].sum() + 2 * density[2:-1:2].sum() + density[-1]) * x / 24_000


def holm(p: Sequence[float]) -> list[float]:
    """The least level at which Holm's procedure rejects each, NaN apart."""
    found = [math.nan] * len(p)
    tested = sorted((value, i) for i, value in enumerate(p) if not math.isnan(value))
    worst = 0.0
    for rejected, (value, i) in enumerate(tested):
        worst = max(worst, value * (len(tested) - rejected))
        found[i] = min(1.0, worst)
    return found


def places(rows: Sequence[Bounded], higher: bool) -> list[tuple[int, int, int]]:
    """Best place, worst place and tie group of rows that stand in their order, from their intervals."""
    tested = [row.n >= CLAIM for row in rows]
    k = max(2, sum(tested))

    def better(i: int, j: int) -> bool:
        if not (tested[i] and tested[j]):
            return False
        a, b = rows[i], rows[j]
        gap, own, other = a.mean - b.mean, a.mean - a.low, b.high - b.mean
        if not higher:
            gap, own, other = -gap, a.high - a.mean, b.mean - b.low
        degrees = min(a.n, b.n) - 1
        # All pairs of the table are tested, on two sides.
        wider = student_quantile(1 - 0.05 / (k * (k - 1)), degrees) / student_quantile(0.975, degrees)
        return gap > wider * math.sqrt(own**2 + other**2)

    return _places(len(rows), better)


def paired_places(scores: Floats, higher: bool) -> list[tuple[int, int, int]]:
    """Best place, worst place and tie group from paired differences of the rows of `scores` [rows, latents], NaN for none."""
    pairs = [(i, j) for i in range(len(scores)) for j in range(i + 1, len(scores))]
    found = []
    for i, j in pairs:
        gap = scores[i] - scores[j]
        gap = gap[~np.isnan(gap)]
        gap[np.abs(gap) < 1e-12] = 0.0
        found.append(bounded(gap, None, None, n=max(DRAWS, math.ceil(4 * len(pairs) / 0.05)), differences=True))
    surely = set()
    for (i, j), difference, p in zip(pairs, found, holm([d.p for d in found]), strict=True):
        if p < 0.05 and difference.mean:
            surely.add((i, j) if (difference.mean > 0) == higher else (j, i))
    return _places(len(scores), lambda i, j: (i, j) in surely)


def _places(count: int, better) -> list[tuple[int, int, int]]:  # type: ignore[no-untyped-def]
    found, leader, tie = [], 0, 1
    for i in range(count):
        if better(leader, i):
            leader, tie = i, tie + 1
        above = sum(better(j, i) for j in range(count))
        below = sum(better(i, j) for j in range(count))
        found.append((1 + above, count - below, tie))
    return found
