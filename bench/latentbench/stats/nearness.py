"""Whether members of a group are nearer to each other than others are to them, from vectors.

All of it is one mean over comparisons: a member as the query, another member, and one that is none. Comparing the mean cosine
within the group with that to the others is the tempting shortcut, and depends on how cosines are spread, which no two embedding
models share; an order does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

DIGITS = 10
"""Decimals of a cosine that count. Equal texts have equal vectors, whose products may differ in the last bits by their place in
a matrix; they must be ties."""


def nearer_windows(members: Sequence[ArrayLike], others: Sequence[ArrayLike]) -> tuple[list[float], list[float]]:
    """How often each vector is nearer to a member than one of the other class is, ties one half.

    With cosine s, for member p and other n, over queries q among the members:

        member: mean over q != p and n of [s(q, p) > s(q, n)] + [s(q, p) = s(q, n)] / 2
        other:  mean over q and p != q of [s(q, n) > s(q, p)] + [s(q, n) = s(q, p)] / 2

    The mean of the first over members, and one minus the mean of the second over others, are the mean over queries of the AUROC
    of s(q, .), and one half in the mean over all choices of the members among the vectors.

    Args:
        members: at least two vectors [d]; a zero vector has cosine 0 with everything.
        others: at least one.

    Returns:
        Shares of the members and of the others, in their order.

    Raises:
        ValueError: too few vectors.
    """
    if len(members) < 2 or not len(others):
        raise ValueError(f"nothing to compare: {len(members)} members, {len(others)} others; 2 and 1 are the least.")
    own, away = _unit(members), _unit(others)
    within, beyond = np.round(own @ own.T, DIGITS), np.round(own @ away.T, DIGITS)
    won, lost = np.zeros(len(own)), np.zeros(len(away))
    for query in range(len(own)):
        rest = np.arange(len(own)) != query
        won[rest] += _above(within[query, rest], beyond[query])
        lost += _above(beyond[query], within[query, rest])
    return (won / (len(own) - 1)).tolist(), (lost / len(own)).tolist()


def _above(values: Floats, others: Floats) -> Floats:
    """Share of `others` that each value is above, ties one half."""
    ordered = np.sort(others)
    below = np.searchsorted(ordered, values, "left") + np.searchsorted(ordered, values, "right")
    found: Floats = below / (2 * len(ordered))
    return found


def _unit(vectors: Sequence[ArrayLike]) -> Floats:
    table = np.asarray(vectors, np.float64)
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    found: Floats = np.divide(table, norms, out=np.zeros_like(table), where=norms > 0)
    return found
