"""How many groups points fall into, and how much of that any cloud of points would give.

Groups are Ward's: each step joins the two whose union adds least to the squared distances within groups. It draws nothing, so the
same points always give the same groups, which k-means gives only for a seed. k groups hold points closer than one group does
whatever the points are, because they are chosen to. Shuffling each coordinate over the points is the tempting null: it takes away
every correlation, and any elongated cloud then looks like groups. So the null keeps the spread in every direction and nothing
else: its points are random mixtures of the points.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Split:
    """What a split into groups gains, beside its null.

    Attributes:
        gain: share of the squared distances to the mean that the groups take away, 0 to 1.
        null: mean share in clouds without groups.
        p: one-sided p of a gain at least this large in such a cloud, (1 + hits) / (1 + draws); NaN where there is no spread.
    """

    gain: float
    null: float
    p: float


def ward_groups(points: Points, k: int) -> NDArray[np.int64]:
    """Group of each point, numbered by first appearance; fewer than k groups where points are equal or few.

    Args:
        points: [n, d], finite.
        k: largest number of groups.
    """
    n = len(points)
    # As many groups as points is no cut of the tree: each point would be one, whatever else is equal to it.
    k = min(k, len(np.unique(points, axis=0)))
    if k < 2:
        return np.zeros(n, np.int64)
    from scipy.cluster.hierarchy import fcluster, ward

    labels = fcluster(ward(points), k, "maxclust")
    _, first, found = np.unique(labels, return_index=True, return_inverse=True)
    rank: NDArray[np.int64] = np.argsort(np.argsort(first))[found.reshape(n)].astype(np.int64)
    return rank


def taken_away(points: Points, labels: NDArray[np.int64]) -> float:
    """Share of the squared distances to the mean that groups take away; NaN where all points are one."""
    total = float(((points - points.mean(axis=0)) ** 2).sum())
    if total <= 1e-12:
        return math.nan
    within = sum(float(((part - part.mean(axis=0)) ** 2).sum()) for part in (points[labels == c] for c in set(labels)))
    return 1 - within / total


def split(points: Points, k: int, seed: int, draws: int = 99) -> Split:
    """What k groups gain over one, and what they gain in clouds with the same spread in every direction and no groups.

    Args:
        points: [n, d], finite.
        k: groups.
        seed: of the clouds.
        draws: clouds.
    """
    n = len(points)
    gain = taken_away(points, ward_groups(points, k)) if n else math.nan
    if math.isnan(gain):
        return Split(math.nan, math.nan, math.nan)
    centred = points - points.mean(axis=0)
    rng = np.random.default_rng(seed)
    clouds = (rng.standard_normal((n, n)) @ centred / math.sqrt(n) for _ in range(draws))
    gains = np.array([taken_away(cloud, ward_groups(cloud, k)) for cloud in clouds])
    hits = int((gains >= gain - 1e-12).sum())
    return Split(gain, float(gains.mean()), (1 + hits) / (1 + draws))
