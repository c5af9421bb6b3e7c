"""Correlations of scores over latents, with intervals and tests that assume no distribution.

Scores are bounded, skewed and full of ties, and several explanations of one latent are not independent. The textbook intervals
(Fisher's z with 1 / sqrt(n - 3), and its relatives for ranks) assume two normal variables and n independent pairs; on scores
whose spread grows with their level they cover far less than they say. So the error comes from leaving one latent out at a
time, on Fisher's scale, with Student's t: the interval and the p-value are two readings of one number, a latent with five
explanations is one latent, and nothing is drawn, so there is no seed. The textbook error is kept as the least that there can be.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentbench.stats.bootstrap import FEWEST, LEVEL, Array, holm
from latentbench.stats.resample import Coefficient, Statistic, codes, coefficient, jackknife

Kind = Literal["pearson", "spearman"]
FLOORS: dict[Kind, float] = {"pearson": 1.0, "spearman": 1.03}
"""Least error on Fisher's scale times sqrt(m - 3), m latents (Fieller, Hartley and Pearson 1957)."""
KINDS: tuple[Kind, ...] = ("pearson", "spearman")


@dataclass(frozen=True, slots=True)
class CorrelationMatrix:
    """All correlations of a set of variables.

    Attributes:
        names: of the k variables.
        estimate, low, high: [k, k], symmetric; the diagonal is 1.
        p: [k, k] as they come; NaN on the diagonal.
        p_holm: [k, k] corrected for the k (k - 1) / 2 tests of the matrix.
        n: [k, k] rows that both have; on the diagonal, that the variable has.
    """

    names: tuple[str, ...]
    kind: Kind
    estimate: Array
    low: Array
    high: Array
    p: Array
    p_holm: Array
    n: Array


def correlation(
    x: ArrayLike,
    y: ArrayLike,
    kind: Kind = "spearman",
    *,
    clusters: Sequence[Any] | None = None,
    seed: int | None = None,
) -> Coefficient:
    """Pearson's r or Spearman's rho (of midranks) with an interval on Fisher's scale.

    See `latentbench.stats.resample.coefficient`.

    Args:
        x: [n] values; NaN is "no value", and such rows are left out.
        y: [n] of the same latents.
        kind: which coefficient.
        clusters: [n] latent of every row; each row its own by default.
        seed: of a bootstrap over clusters for the error; None for the jackknife.

    Raises:
        ValueError: lengths differ, or an infinite value.
    """
    a, b, groups = _complete(x, y, clusters)
    return coefficient(_statistic(a, b, kind), len(a), groups, FLOORS[kind], seed)


def retest(scores: ArrayLike, pairs: Sequence[tuple[int, int]], kind: Kind = "spearman") -> Coefficient:
    """Mean correlation over latents of pairs of repeats, with the interval of `correlation`.

    Args:
        scores: [latents, repeats]; latents without a score in every repeat are left out.
        pairs: columns to correlate, such as all that share nothing that was drawn.
        kind: which coefficient.

    Raises:
        ValueError: no pair, or an infinite score.
    """
    if not pairs:
        raise ValueError("retest takes at least one pair.")
    table = np.asarray(scores, dtype=np.float64)
    if np.isinf(table).any():
        raise ValueError(_INFINITE)
    table = table[~np.isnan(table).any(axis=1)]
    one, other = (list(side) for side in zip(*pairs, strict=True))

    def statistic(weights: Array) -> Array:
        columns = [midranks(c, weights) if kind == "spearman" else c for c in table.T]
        found: Array = _moments(weights, columns)[:, one, other].mean(axis=1)
        return found

    return coefficient(statistic, len(table), np.arange(len(table)), FLOORS[kind] / math.sqrt(len(pairs)))


@dataclass(frozen=True, slots=True)
class Disattenuated:
    """What two measures would correlate by without the noise of what was drawn.

    Attributes:
        estimate: r between measures over the root of the product of their reliabilities; can be above 1. NaN where a
            reliability is not above 0.
        low, high: of a jackknife over latents, on the scale of the estimate; NaN with fewer than `FEWEST` latents.
        across: mean correlation of one measure in a repeat with the other in another.
        reliable: of both measures, the correlation of its repeats.
        n: latents with all four scores.
    """

    estimate: float
    low: float
    high: float
    across: float
    reliable: tuple[float, float]
    n: int


def disattenuated(a: ArrayLike, b: ArrayLike, kind: Kind = "spearman") -> Disattenuated:
    """Correlation of two measures corrected for unreliability (Spearman 1904), from two repeats of each.

    Only correlations across repeats are used: two measures of one repeat that judge the same windows also share the luck of
    which were drawn, and their correlation over the reliabilities would be too large.

    Args:
        a, b: [n, 2], one column a repeat; NaN where there is no score, and such latents are left out.
        kind: which coefficient.

    Raises:
        ValueError: shapes differ, or an infinite score.
    """
    one, two = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if one.shape != two.shape or one.ndim != 2 or one.shape[1] != 2:
        raise ValueError(f"a and b must both be [n, 2], not {one.shape} and {two.shape}.")
    table = np.concatenate([one, two], axis=1)
    if np.isinf(table).any():
        raise ValueError(_INFINITE)
    table = table[~np.isnan(table).any(axis=1)]

    def parts(weights: Array) -> tuple[Array, Array, Array]:
        found = _moments(weights, [midranks(c, weights) if kind == "spearman" else c for c in table.T])
        return (found[:, 0, 3] + found[:, 1, 2]) / 2, found[:, 0, 1], found[:, 2, 3]

    def statistic(weights: Array) -> Array:
        across, first, second = parts(weights)
        known = (first > 0) & (second > 0)
        ratio: Array = np.where(known, across / np.sqrt(np.where(known, first * second, 1.0)), np.nan)
        return ratio

    n, nan = len(table), math.nan
    if n < 2:
        return Disattenuated(nan, nan, nan, nan, (nan, nan), n)
    across, first, second = (float(v[0]) for v in parts(np.ones((1, n))))
    found = jackknife(statistic, n)
    reach = nan
    if n >= FEWEST and math.isfinite(found.error):
        from scipy.stats import t

        reach = float(t.ppf((1 + LEVEL) / 2, n - 1)) * found.error
    return Disattenuated(found.estimate, found.estimate - reach, found.estimate + reach, across, (first, second), n)


def correlation_matrix(
    scores: ArrayLike, names: Sequence[str], kind: Kind = "spearman", *, clusters: Sequence[Any] | None = None
) -> CorrelationMatrix:
    """Correlations of every pair of variables, over the rows that the pair has.

    Args:
        scores: [n, k], NaN where there is no score.
        names: [k].
        kind, clusters: as in `correlation`.

    Raises:
        ValueError: not one name per column.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != len(names):
        raise ValueError(f"scores must be [n, {len(names)}] for {len(names)} names, not {table.shape}.")
    k = len(names)
    estimate, low, high = (np.eye(k) for _ in range(3))
    p = np.full((k, k), np.nan)
    n = np.zeros((k, k))
    n[np.diag_indices(k)] = (~np.isnan(table)).sum(axis=0)
    above = np.triu_indices(k, 1)
    for i, j in zip(*above, strict=True):
        c = correlation(table[:, i], table[:, j], kind, clusters=clusters)
        for matrix, value in ((estimate, c.estimate), (low, c.low), (high, c.high), (p, c.p), (n, c.n)):
            matrix[i, j] = matrix[j, i] = value
    p_holm = np.full((k, k), np.nan)
    p_holm[above] = holm(p[above])
    p_holm.T[above] = p_holm[above]
    return CorrelationMatrix(tuple(names), kind, estimate, low, high, p, p_holm, n)


def midranks(x: Array, weights: Array) -> Array:
    """Ranks of x [n] in each weighted sample [b, n]; ties get the mean of their places. [b, n]."""
    values, places = np.unique(x, return_inverse=True)
    order = np.argsort(places, kind="stable")
    starts = np.searchsorted(places[order], np.arange(len(values)))
    mass = np.add.reduceat(weights[:, order], starts, axis=1)
    middle = np.cumsum(mass, axis=1) - (mass - 1) / 2
    ranks: Array = middle[:, places]
    return ranks


_INFINITE = "an infinite score has no correlation; leave undefined scores out as NaN."


def _complete(x: ArrayLike, y: ArrayLike, clusters: Sequence[Any] | None) -> tuple[Array, Array, NDArray[np.int64]]:
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"x and y must be vectors of one length, not {a.shape} and {b.shape}.")
    if np.isinf(a).any() or np.isinf(b).any():
        raise ValueError(_INFINITE)
    kept = ~(np.isnan(a) | np.isnan(b))
    return a[kept], b[kept], codes(clusters, len(a))[kept]


def _statistic(a: Array, b: Array, kind: Kind) -> Statistic:
    if kind == "pearson":
        # Shifted to mean 0, so that a large common offset does not cost digits in the moments.
        parts = [v - v.mean() if len(v) else v for v in (a, b)]
        return lambda weights: _moments(weights, parts)[:, 0, 1]
    if kind == "spearman":
        return lambda weights: _moments(weights, [midranks(a, weights), midranks(b, weights)])[:, 0, 1]
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")


def _moments(weights: Array, columns: Sequence[Array]) -> Array:
    """Weighted correlation matrices [b, k, k] of columns, each [n] or [b, n]; NaN where one does not vary."""
    total = weights.sum(axis=1, keepdims=True)
    centred = [c - (weights * c).sum(axis=1, keepdims=True) / total for c in columns]
    k = len(columns)
    cov = np.empty((len(weights), k, k))
    for i in range(k):
        for j in range(i, k):
            cov[:, i, j] = cov[:, j, i] = (weights * centred[i] * centred[j]).sum(axis=1)
    scale = np.sqrt(np.einsum("bii->bi", cov))
    # What rounding leaves of a constant column is no variance.
    size = np.stack([np.sqrt((weights * np.square(c)).sum(axis=1)) for c in columns], axis=1)
    scale = np.where(scale > 1e-12 * np.maximum(size, 1e-300), scale, np.nan)
    found: Array = np.clip(cov / (scale[:, :, None] * scale[:, None, :]), -1, 1)
    return found
