"""Agreement of raters beyond chance: Krippendorff's alpha with an interval over the rated units.

A correlation forgives a rater who is always two points too high; agreement does not. The usual packages give the coefficient
with a large-sample error that needs all ratings, or none at all. Here the error comes from leaving one unit (or one latent with
all its units) out, as for correlations, so missing ratings and several units per latent need no other formula.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentbench.stats.bootstrap import Array
from latentbench.stats.resample import Coefficient, codes, coefficient

Scale = Literal["nominal", "ordinal", "interval"]


def krippendorff_alpha(
    ratings: ArrayLike, scale: Scale = "nominal", *, clusters: Sequence[Any] | None = None, seed: int | None = None
) -> Coefficient:
    """Alpha = 1 - D_o / D_e (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability").

    D_o is the mean difference delta of two ratings of one unit, D_e that of any two ratings. delta is 0 or 1 (`nominal`), the
    squared difference (`interval`), or the squared difference of midranks (`ordinal`; the same as Krippendorff's sum over
    the categories between).

    Args:
        ratings: [units, raters]; NaN is "not rated". Units with one rating do not count.
        scale: what a difference of ratings means.
        clusters: [units] latent of every unit; each unit its own by default.
        seed: of a bootstrap over clusters for the error; None leaves one out at a time.

    Returns:
        1 is perfect and 0 is chance; NaN where no unit has two ratings, or every rating is the same: with no chance to
        disagree there is nothing to agree on.

    Raises:
        ValueError: not two-dimensional, an infinite rating, or an unknown scale.
    """
    if scale not in ("nominal", "ordinal", "interval"):
        raise ValueError(f"scale must be nominal, ordinal or interval, not {scale!r}.")
    table, groups = _table(ratings, clusters)
    rated = (~np.isnan(table)).sum(axis=1)
    table, groups, rated = table[rated > 1], groups[rated > 1], rated[rated > 1].astype(np.float64)
    if not len(table):
        return Coefficient(math.nan, math.nan, math.nan, math.nan, 0, 0)
    disagreement = _squared(table, rated) if scale == "interval" else _counted(table, rated, scale)

    def statistic(weights: Array) -> Array:
        within, between = disagreement(weights)
        return 1 - _ratio(within * (weights @ rated - 1), between)

    # Every pair of raters is one more look at the units.
    floor = 1 / math.sqrt(float((rated * (rated - 1)).mean()) / 2)
    return coefficient(statistic, len(table), groups, floor, seed)


def _squared(table: Array, rated: Array) -> Callable[[Array], tuple[Array, Array]]:
    """Sums of squared differences within units and between all ratings, from first and second moments."""
    x = table - np.nanmean(table)
    first, second = np.nansum(x, axis=1), np.nansum(x**2, axis=1)
    # The sum over ordered pairs of (x_i - x_j)^2 is 2 m sum x^2 - 2 (sum x)^2.
    own = (2 * rated * second - 2 * first**2) / (rated - 1)
    return lambda w: (w @ own, 2 * (w @ rated) * (w @ second) - 2 * (w @ first) ** 2)


def _counted(table: Array, rated: Array, scale: Scale) -> Callable[[Array], tuple[Array, Array]]:
    """Return the disagreement sums for categories, from how often each is in each unit."""
    values = np.unique(table[~np.isnan(table)])
    counts = np.stack([(table == v).sum(axis=1) for v in values], axis=1).astype(np.float64)
    unequal = (rated**2 - (counts**2).sum(axis=1)) / (rated - 1)

    def sums(weights: Array) -> tuple[Array, Array]:
        total, marginal = weights @ rated, weights @ counts
        if scale == "nominal":
            return weights @ unequal, total**2 - (marginal**2).sum(axis=1)
        ranks = np.cumsum(marginal, axis=1) - marginal / 2 - total[:, None] / 2
        own = 2 * rated * (ranks**2 @ counts.T) - 2 * (ranks @ counts.T) ** 2
        first, second = (marginal * ranks).sum(axis=1), (marginal * ranks**2).sum(axis=1)
        return (weights * own / (rated - 1)).sum(axis=1), 2 * total * second - 2 * first**2

    return sums


def _table(ratings: ArrayLike, clusters: Sequence[Any] | None) -> tuple[Array, NDArray[np.int64]]:
    table = np.asarray(ratings, dtype=np.float64)
    if table.ndim != 2:
        raise ValueError(f"ratings must be [units, raters], not {table.shape}.")
    if np.isinf(table).any():
        raise ValueError("an infinite rating; leave missing ones out as NaN.")
    return table, codes(clusters, len(table))


def _ratio(observed: Array, expected: Array) -> Array:
    """Observed / expected disagreement; NaN where chance could not disagree either."""
    share: Array = np.divide(observed, expected, out=np.full(len(observed), np.nan), where=expected > 1e-12)
    return share
