"""Intervals of means over latents: a seeded cluster bootstrap.

The latent is the unit that is drawn from a population; its repeats and windows are not. So repeats are averaged first and
latents are resampled whole. Resampling judgements instead is tempting (there are a hundred times as many) and wrong: answers
about one latent share its explanation, and the interval comes out several times too narrow. A standard deviation is not an
interval at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Method = Literal["percentile", "bca"]

RESAMPLES = 2000
LEVEL = 0.95
CHUNK = 4_000_000
"""Drawn indices held at a time: 32 MB, whatever the number of latents."""
_INFINITE = "an infinite score has no mean; leave undefined scores out as NaN."


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean with its confidence interval.

    Attributes:
        estimate: mean over clusters.
        low: lower confidence bound.
        high: upper confidence bound.
        n: clusters that had a value. With n = 0 all three numbers are NaN. With n = 1 there is an estimate but no interval:
            the bounds are NaN, because one latent says nothing about the spread over latents, and bounds equal to the
            estimate would be read as certainty.
        level: nominal coverage, for whoever reads the JSON.
    """

    estimate: float
    low: float
    high: float
    n: int
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Difference:
    """Mean paired difference a - b.

    Attributes:
        interval: of the mean difference.
        p: two-sided bootstrap p-value of "no difference", at least 2 / (resamples + 1) and
            2 / 2^pairs; NaN with fewer than two pairs.
    """

    interval: Interval
    p: float


def cluster_means(values: ArrayLike | Sequence[ArrayLike]) -> Array:
    """One finite number per cluster.

    Args:
        values: [n], or one array per cluster (repeats of a latent). NaN means "no value": such entries, and clusters that
            have nothing else, are left out.

    Returns:
        [m] with m <= n.

    Raises:
        ValueError: an infinite value, whose mean would have no interval.
    """
    if isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype != object:
        flat: Array = values[~np.isnan(values)].astype(np.float64)
        if np.isinf(flat).any():
            raise ValueError(_INFINITE)
        return flat
    parts = [np.atleast_1d(np.asarray(v, dtype=np.float64)) for v in values]  # type: ignore[union-attr]
    means = []
    for part in parts:
        kept = part[~np.isnan(part)]
        if np.isinf(kept).any():
            raise ValueError(_INFINITE)
        if kept.size:
            means.append(kept.mean())
    return np.asarray(means, dtype=np.float64)


def resampled_means(values: Array, n: int, seed: int, chunk: int = CHUNK) -> Array:
    """Means of `n` resamples with replacement of `values` [m]; [n].

    The draws depend on (seed, m, n) only, so all metrics of a table share them: they are drawn once, kept as counts, and a
    metric costs one matrix product. Above `chunk` draws nothing is kept; the resamples are the same.
    """
    m = len(values)
    if n * m <= chunk:
        means: Array = _counts(seed, m, n) @ values / m
        return means
    rng = np.random.default_rng(seed)
    means = np.empty(n, dtype=np.float64)
    step = max(1, chunk // m)
    for start in range(0, n, step):
        stop = min(n, start + step)
        means[start:stop] = values[rng.integers(0, m, size=(stop - start, m))].mean(axis=1)
    return means


@lru_cache(maxsize=4)
def _counts(seed: int, m: int, n: int) -> Array:
    """How often each of `m` clusters is in each of `n` resamples; [n, m], read-only."""
    drawn = np.random.default_rng(seed).integers(0, m, size=(n, m))
    places = (drawn + m * np.arange(n)[:, None]).ravel()
    counts = np.bincount(places, minlength=n * m).reshape(n, m).astype(np.float64)
    counts.flags.writeable = False
    return counts


def bootstrap_mean(
    values: ArrayLike | Sequence[ArrayLike], *, seed: int, n: int = RESAMPLES, method: Method = "percentile"
) -> Interval:
    """Confidence interval of the mean over clusters.

    Args:
        values: [n] one value per latent, or one array per latent; see `cluster_means`.
        seed: of the resampling.
        n: number of resamples.
        method: `percentile`, or `bca` (bias-corrected and accelerated; Efron 1987, "Better Bootstrap Confidence Intervals",
            eq. 2.3 and 6.6) for skewed scores.

    Returns:
        The interval; see `Interval` for 0 and 1 clusters. Values that are all equal give an interval of width 0.
    """
    return _interval(cluster_means(values), seed, n, method)[0]


def paired_difference(
    a: ArrayLike, b: ArrayLike, ids: Sequence[Any], *, seed: int, n: int = RESAMPLES, method: Method = "percentile"
) -> Difference:
    """Mean of a - b over latents, paired.

    Args:
        a: [m] scores.
        b: [m] scores of the same latents in the same order.
        ids: [m] the latent of every entry; entries of one latent (repeats) are averaged first.
        seed: of the resampling.
        n: number of resamples.
        method: as in `bootstrap_mean`.

    Returns:
        Interval and two-sided p-value over the latents for which both sides have a value. p is twice the smaller share of
        resampled means on one side of 0, counting the observed sample once (Davison & Hinkley 1997, eq. 4.11), but never below
        2 / 2^m, what a test by signs can give at the least: where a handful of differences agree in sign, no resample crosses 0.

    Raises:
        ValueError: lengths differ.
    """
    left, right = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not len(left) == len(right) == len(ids):
        raise ValueError(f"a, b and ids must be of one length, not {len(left)}, {len(right)} and {len(ids)}.")
    groups: dict[Any, list[int]] = {}
    for i, latent in enumerate(ids):
        groups.setdefault(latent, []).append(i)
    delta = left - right
    interval, means = _interval(cluster_means([delta[places] for places in groups.values()]), seed, n, method)
    if interval.n < 2:
        return Difference(interval, float("nan"))
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    p = 2 * (1 + min(below, above)) / (n + 1)
    return Difference(interval, min(1.0, max(p, 2.0 ** (1 - interval.n))))


def _interval(values: Array, seed: int, n: int, method: Method) -> tuple[Interval, Array]:
    m, nan = len(values), float("nan")
    if m == 0:
        return Interval(nan, nan, nan, 0), np.empty(0)
    estimate = float(values.mean())
    if m == 1:
        return Interval(estimate, nan, nan, 1), np.empty(0)
    if np.ptp(values) == 0:
        return Interval(estimate, estimate, estimate, m), np.full(n, estimate)
    means = resampled_means(values, n, seed)
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    if method == "bca":
        # Leaving x_i out moves the mean by (mean - x_i) / (n - 1), so the jackknife needs no loop; the factor cancels.
        tails = bca_tails(values - estimate, means, estimate, tails)
    low, high = np.quantile(means, tails)
    return Interval(estimate, float(low), float(high), m), means


def bca_tails(influence: Array, resampled: Array, estimate: float, tails: Array) -> Array:
    """Quantiles of the resamples to read instead of `tails` (Efron 1987, eq. 2.3 and 6.6).

    Args:
        influence: [n] of each cluster on the estimate, up to a positive factor; sums to about 0. Gives the acceleration.
        resampled: [resamples] values of the statistic; their median against `estimate` gives the bias z0.
        estimate: of the sample.
        tails: nominal quantiles.
    """
    from scipy.special import ndtr, ndtri

    share = float(((resampled < estimate).mean() + (resampled <= estimate).mean()) / 2)
    z0 = ndtri(min(max(share, 0.5 / len(resampled)), 1 - 0.5 / len(resampled)))
    spread = (influence**2).sum() ** 1.5
    acceleration = (influence**3).sum() / (6 * spread) if spread > 0 else 0.0
    z = z0 + ndtri(tails)
    adjusted: Array = ndtr(z0 + z / (1 - acceleration * z))
    return adjusted


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust the p-values of a family of tests by Holm's step-down correction; reject those below alpha.

    It controls the probability of any false claim under every dependence of the tests, and is never weaker than Bonferroni,
    so Bonferroni has no place here. A false-discovery-rate procedure would allow a table in which one claim in twenty is wrong.

    Args:
        p: [m] p-values of one family. NaN (a test that could not be made) stays NaN and does not count in m.

    Returns:
        [m]; with p sorted ascending, max over j <= i of min(1, (m - j) p_j), j from 0 (Holm 1979).
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    places = np.flatnonzero(~np.isnan(raw))
    order = places[np.argsort(raw[places], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * factors))
    return adjusted
