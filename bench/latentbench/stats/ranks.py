"""Rank intervals: a place is only as sharp as the scores behind it.

A strict order inside the noise is a claim that nobody tested, and the first thing that a reader quotes. So a rank is the range
of places that the data allow. Two modes: from the entries' own intervals (needs only the published rows; conservative, because
intervals of paired scores may overlap although the difference is clear), and from paired differences with Holm's correction
(needs the scores per latent; sharper).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.bootstrap import LEVEL, RESAMPLES, Interval, holm, paired_difference


@dataclass(frozen=True, slots=True)
class Rank:
    """The places that an entry may have.

    Attributes:
        low: best place, 1 + the number of entries that are surely better.
        high: worst place, the number of entries that are not surely worse (itself included).
        tie: number of its tie group, from 1 for the best. Walking down the estimates, an entry opens a new group when it is
            surely worse than the first of the current group. ("Not distinguishable" is not transitive, so groups need a leader.)
    """

    low: int
    high: int
    tie: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def ranks_from_intervals(intervals: Sequence[Interval], higher_is_better: bool = True) -> list[Rank]:
    """Ranks of entries by their confidence intervals.

    i is surely better than j if i's lower bound is above j's upper bound. An entry without an interval (NaN bounds) is never
    surely better or worse than anything.

    Returns:
        One rank per entry, in the order given.
    """
    low = np.array([i.low for i in intervals], dtype=np.float64)
    high = np.array([i.high for i in intervals], dtype=np.float64)
    estimates = np.array([i.estimate for i in intervals], dtype=np.float64)
    better = low[:, None] > high[None, :] if higher_is_better else high[:, None] < low[None, :]
    return _ranks(better, estimates if higher_is_better else -estimates)


def ranks_from_pairs(
    scores: NDArray[np.float64],
    ids: Sequence[str],
    *,
    seed: int,
    alpha: float = 1 - LEVEL,
    higher_is_better: bool = True,
) -> list[Rank]:
    """Ranks by all paired differences of a family of entries, Holm-corrected.

    Args:
        scores: [entries, latents], NaN where an entry has no score.
        ids: [latents].
        seed: of the bootstraps; all pairs see the same resamples of latents.
        alpha: family-wise error rate.
        higher_is_better: direction.

    Returns:
        One rank per entry, in the order given. i is surely better than j if the difference is significant.
    """
    n = len(scores)
    pairs = list(itertools.combinations(range(n), 2))
    # The smallest p is 2 / (resamples + 1): with too few, a large family could never show any difference.
    resamples = max(RESAMPLES, math.ceil(4 * len(pairs) / alpha))
    found = [paired_difference(scores[i], scores[j], ids, seed=seed, n=resamples) for i, j in pairs]
    better = np.zeros((n, n), dtype=bool)
    for (i, j), difference, p in zip(pairs, found, holm([d.p for d in found]), strict=True):
        if p < alpha and difference.interval.estimate != 0:
            ahead = (difference.interval.estimate > 0) == higher_is_better
            better[(i, j) if ahead else (j, i)] = True
    kept = [row[~np.isnan(row)] for row in scores]
    estimates = np.array([row.mean() if row.size else np.nan for row in kept])
    return _ranks(better, estimates if higher_is_better else -estimates)


def _ranks(better: NDArray[np.bool_], estimates: NDArray[np.float64]) -> list[Rank]:
    """Rank by the relation "surely better" [i, j] and by estimates where larger is better; NaN estimates come last."""
    n = len(better)
    ties = [0] * n
    leader: int | None = None
    group = 0
    for i in np.argsort(-estimates, kind="stable").tolist():
        if leader is None or better[leader, i]:
            leader, group = i, group + 1
        ties[i] = group
    return [Rank(1 + int(better[:, i].sum()), n - int(better[i].sum()), ties[i]) for i in range(n)]
