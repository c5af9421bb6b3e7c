"""Rank intervals: a place is only as sharp as the scores behind it.

A strict order inside the noise is a claim that nobody tested, and the first thing that a reader quotes. So a rank is the range
of places that the data allow, and a table in which nothing differs separates anything in at most 5 % of tables, whatever its
length. Reading overlaps of the printed intervals is the tempting rule; it was said to be conservative, and is for one pair, but
in a table of twenty equal rows it separates some in every second one. Two modes: from the entries' own intervals (needs only the
published rows), and from paired differences with Holm's correction (needs the scores per latent; sharper, because what latents
have in common cancels).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.bootstrap import (
    FEWEST,
    LEVEL,
    RESAMPLES,
    Interval,
    holm,
    intervals_of,
    paired_difference,
    student_p,
)


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

    i is surely better than j if the lower half h_i of i's interval and the upper half h_j of j's leave a gap,
    e_i - e_j > c sqrt(h_i^2 + h_j^2), with c what brings two halves of 95 % intervals to a two-sided level of
    0.05 / (k (k - 1) / 2) for k entries (Bonferroni), by Student's t with the degrees of freedom of the smaller entry. The
    root is right where entries do not vary together over latents, and careful where they do, as scores of the same latents
    mostly do. It would be too bold where one entry is good where another is bad.

    An entry without an interval, or with fewer than `FEWEST` latents, is never surely better or worse than anything.

    Returns:
        One rank per entry, in the order given.
    """
    from scipy.special import stdtrit

    n = np.array([i.n for i in intervals])
    tested = n >= FEWEST
    low, high, estimates = (
        np.array([getattr(i, name) for i in intervals], dtype=np.float64) for name in ("low", "high", "estimate")
    )
    low, high = np.where(tested, low, np.nan), np.where(tested, high, np.nan)
    k = max(2, int(tested.sum()))
    degrees = np.maximum(np.minimum(n[:, None], n[None, :]) - 1, 1)
    wider = stdtrit(degrees, 1 - (1 - LEVEL) / (k * (k - 1))) / stdtrit(degrees, (1 + LEVEL) / 2)
    down, up = estimates - low, high - estimates
    gap = estimates[:, None] - estimates[None, :]
    if not higher_is_better:
        gap, down, up = -gap, up, down
    better = gap > wider * np.hypot(down[:, None], up[None, :])
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
        seed: of the draws; all pairs see the same weights of latents.
        alpha: family-wise error rate.
        higher_is_better: direction.

    Returns:
        One rank per entry, in the order given. i is surely better than j if the difference is significant.
    """
    n = len(scores)
    one, other = np.triu_indices(n, 1)
    # The smallest p is 2 / (draws + 1): with too few, a large family could never show any difference.
    draws = max(RESAMPLES, math.ceil(4 * len(one) / alpha))
    if np.isnan(scores).any() or len(set(ids)) < len(ids):
        pairs = [
            paired_difference(scores[i], scores[j], ids, seed=seed, n=draws) for i, j in zip(one, other, strict=True)
        ]
        gaps, p = np.array([d.interval.estimate for d in pairs]), np.array([d.p for d in pairs])
    else:
        gap = scores[one] - scores[other]
        gap = np.where(np.abs(gap) < 1e-12, 0.0, gap)
        gaps, p = gap.mean(axis=1), np.full(len(gap), math.nan)
        if gap.shape[1] >= FEWEST:
            # p is never below Student's, so what Student does not see alone needs no draws.
            p = student_p(gap)
            seen = p < alpha
            p[seen] = intervals_of(gap[seen], seed, draws, differences=True)[1]
    better = np.zeros((n, n), dtype=bool)
    for i, j, gap_of, adjusted in zip(one, other, gaps, holm(p), strict=True):
        if adjusted < alpha and gap_of != 0:
            ahead = (gap_of > 0) == higher_is_better
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
