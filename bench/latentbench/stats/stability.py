"""Whether a ranking comes out the same when everything is drawn anew.

A correlation near 1 between two repeats can go with two different winners, because it is made by the middle of the list. So the
top is looked at by itself, beside the overlap that two unrelated rankings would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from latentbench.stats.bootstrap import Array


@dataclass(frozen=True, slots=True)
class TopK:
    """Overlap of the k best items of two repeats.

    Attributes:
        mean: over pairs of repeats, share of the k that both have.
        low, high: smallest and largest share of a pair.
        chance: k / items, what unrelated rankings share.
        k, items, repeats: sizes.
    """

    mean: float
    low: float
    high: float
    chance: float
    k: int
    items: int
    repeats: int


def top_k_stability(
    scores: ArrayLike, k: int, higher_is_better: bool = True, pairs: Sequence[tuple[int, int]] | None = None
) -> TopK:
    """How far repeats agree on the k best items.

    Items that tie at the border share the places that are left, each counting with their share, so that the order of the table
    decides nothing.

    Args:
        scores: [repeats, items]; items without a score in every repeat are left out.
        k: at least 1. With k or fewer items there is nothing to choose, and the shares are NaN.
        higher_is_better: direction.
        pairs: repeats to compare; all pairs by default.

    Raises:
        ValueError: not two-dimensional, or k below 1.
    """
    table = np.asarray(scores, dtype=np.float64)
    if table.ndim != 2 or k < 1:
        raise ValueError(f"scores must be [repeats, items] and k at least 1, not {table.shape} and {k}.")
    table = table[:, np.isfinite(table).all(axis=0)]
    repeats, items = table.shape
    if items <= k or repeats < 2:
        return TopK(math.nan, math.nan, math.nan, min(1.0, k / items) if items else math.nan, k, items, repeats)
    members = np.stack([_membership(row if higher_is_better else -row, k) for row in table])
    shares = [float(np.minimum(members[a], members[b]).sum() / k) for a, b in pairs or combinations(range(repeats), 2)]
    return TopK(float(np.mean(shares)), min(shares), max(shares), k / items, k, items, repeats)


def _membership(row: Array, k: int) -> Array:
    """How far each item belongs to the k largest: 1, 0, or the share of the places left at the border."""
    border = np.sort(row)[-k]
    above, tied = row > border, row == border
    return np.where(above, 1.0, np.where(tied, (k - above.sum()) / tied.sum(), 0.0))
