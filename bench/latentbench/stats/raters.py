"""How well raters order the same units, and how high anything can correlate with their mean.

A scorer that correlates 0.6 with people is poor where two people correlate 0.9 and as good as can be where they correlate 0.4. So
the ceiling stands beside the correlation. Dividing by it (the correction for attenuation) is the tempting way: the quotient has
the error of both, and goes beyond 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from latentbench.stats.bootstrap import Array
from latentbench.stats.correlation import FLOORS, midranks
from latentbench.stats.resample import Coefficient, codes, coefficient

FEWEST_SHARED = 3
"""Units that two raters must share, so that a correlation says anything."""


def rater_correlation(
    ratings: ArrayLike, *, clusters: Sequence[Any] | None = None, seed: int | None = None
) -> Coefficient:
    """Mean Spearman correlation over the pairs of raters, each over the units that both rated.

    The interval is that of `latentbench.stats.correlation.correlation`.

    Args:
        ratings: [units, raters]; NaN is "not rated".
        clusters: [units] latent of every unit; each unit its own by default.
        seed: of a bootstrap over clusters for the error; None leaves one out at a time.

    Returns:
        NaN where no two raters share three units, or neither varies.

    Raises:
        ValueError: not two-dimensional, or an infinite rating.
    """
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2 or np.isinf(table).any():
        raise ValueError(f"ratings must be [units, raters] of finite numbers or NaN, not of shape {table.shape}.")
    rated = ~np.isnan(table)
    pairs = [
        (i, j) for i, j in combinations(range(table.shape[1]), 2) if (rated[:, i] & rated[:, j]).sum() >= FEWEST_SHARED
    ]
    kept = np.zeros(len(table), dtype=bool)
    for i, j in pairs:
        kept |= rated[:, i] & rated[:, j]
    if not kept.any():
        return Coefficient(math.nan, math.nan, math.nan, math.nan, 0, 0)
    groups = codes(clusters, len(table))[kept]
    groups = codes(groups.tolist(), len(groups))
    table, rated = table[kept], rated[kept]

    def statistic(weights: Array) -> Array:
        found = []
        for i, j in pairs:
            both = rated[:, i] & rated[:, j]
            w = weights[:, both]
            found.append(_weighted(midranks(table[both, i], w), midranks(table[both, j], w), w))
        return np.asarray(np.mean(found, axis=0), dtype=np.float64)

    return coefficient(statistic, len(table), groups, FLOORS["spearman"], seed)


def mean_reliability(correlation: float, raters: float) -> float:
    """Reliability of the mean of several raters: k r / (1 + (k - 1) r) (Spearman 1910, Brown 1910).

    Args:
        correlation: r of two raters; at most 0 means that the mean has nothing in common with another such mean.
        raters: k; the harmonic mean of the ratings per unit where they differ.
    """
    if math.isnan(correlation):
        return math.nan
    return 0.0 if correlation <= 0 else raters * correlation / (1 + (raters - 1) * correlation)


def ceiling(correlation: float, raters: float) -> float:
    """The greatest correlation that anything can be expected to have with the mean of the raters: sqrt of its reliability."""
    return math.sqrt(mean_reliability(correlation, raters))


def _weighted(a: Array, b: Array, weights: Array) -> Array:
    """Pearson's r of the rows of a and b, [samples, n] each; NaN where one does not vary."""
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-300)
    x, y = (v - (weights * v).sum(axis=1, keepdims=True) / total for v in (a, b))
    scale = np.sqrt((weights * x * x).sum(axis=1) * (weights * y * y).sum(axis=1))
    found: Array = np.divide(
        (weights * x * y).sum(axis=1), scale, out=np.full(len(weights), np.nan), where=scale > 1e-12
    )
    return np.clip(found, -1, 1)
