"""How much the best of k candidates gains by choice alone.

The largest of k equal, noisy scores is above their mean although no candidate is better. What a best-of-k explainer gains must
be compared with that null, or every increase of k looks like an improvement.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BLOCK = 1 << 22
"""Numbers drawn at a time."""


@dataclass(frozen=True)
class BestOfK:
    """A choice among k candidates beside its null.

    Attributes:
        gain: mean score of the best candidate minus the mean over all candidates.
        null: expected gain if no candidate is better than another.
        p: one-sided p of a gain at least this large under that null, (1 + hits) / (1 + resamples); NaN for fewer than two
            candidates or no item.
    """

    gain: float
    null: float
    p: float


def best_of_k(scores: NDArray[np.float64], seed: int, resamples: int = 1000) -> BestOfK:
    """The gain of the best of k, and the gain that choice alone gives.

    Under the null, which candidate got which of an item's k scores is chance. So scores are permuted within each item, which
    keeps how much items differ and how much candidates disagree, and the largest mean is taken again.

    Args:
        scores: [k, items], the same items for all candidates; finite.
        seed: of the permutations.
        resamples: permutations.

    Raises:
        ValueError: `scores` is not two-dimensional or not finite.
    """
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(f"scores must be finite [k, items], not {scores.shape}.")
    k, n = scores.shape
    if k < 2 or n == 0:
        return BestOfK(0.0, 0.0, math.nan)
    # What an item adds to all candidates alike changes no difference; without it the sums are better conditioned.
    centred = scores - scores.mean(axis=0)
    gain = float(centred.mean(axis=1).max())
    rng = np.random.default_rng(seed)
    gains = np.empty(resamples)
    size = max(1, BLOCK // (k * n))
    for at in range(0, resamples, size):
        m = min(size, resamples - at)
        drawn = rng.permuted(np.broadcast_to(centred, (m, k, n)), axis=1)
        gains[at : at + m] = drawn.mean(axis=2).max(axis=1)
    # Equal candidates give equal gains up to rounding; those count as hits.
    hits = int((gains >= gain - 1e-12 * max(1.0, float(np.abs(centred).max()))).sum())
    return BestOfK(gain, float(gains.mean()), (1 + hits) / (1 + resamples))
