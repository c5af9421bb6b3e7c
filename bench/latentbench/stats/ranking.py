"""How well a score ranks positives above negatives (AUROC, average precision), and how far above its floor it stands.

Ties are handled as in the definitions. Dropping tied pairs instead would reward a judge for answering coarsely.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


def auroc(labels: ArrayLike, scores: ArrayLike) -> float:
    """P(score of a positive > score of a negative) + P(equal) / 2, the Mann-Whitney statistic.

    Args:
        labels: 0/1 [n].
        scores: any real numbers [n].

    Returns:
        NaN where one class is missing.
    """
    y, s = _pair(labels, scores)
    n_pos, n_neg = int(y.sum()), int((~y).sum())
    if not n_pos or not n_neg:
        return float("nan")
    _, inverse, counts = np.unique(s, return_inverse=True, return_counts=True)
    # Mean rank of each tie group: ranks before it + (size + 1) / 2.
    ranks = (np.cumsum(counts) - counts + (counts + 1) / 2)[inverse]
    return float((ranks[y].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


def average_precision(labels: ArrayLike, scores: ArrayLike) -> float:
    """AP = sum over thresholds of (R_k - R_{k-1}) P_k, one threshold per distinct score (no interpolation).

    Returns:
        NaN without positives.
    """
    y, s = _pair(labels, scores)
    if not y.any():
        return float("nan")
    order = np.argsort(-s, kind="stable")
    hits = np.cumsum(y[order])
    last = np.append(np.flatnonzero(np.diff(s[order])), len(s) - 1)
    precision = hits[last] / (last + 1)
    recall = hits[last] / hits[-1]
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def _pair(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    y, s = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise ValueError(f"labels {y.shape} and scores {s.shape} must be vectors of the same length.")
    if np.isnan(s).any():
        raise ValueError("scores hold NaN; a failed judgement has no score and must not be ranked.")
    return y, s


@overload
def normalise(score: float, floor: float) -> float: ...
@overload
def normalise(score: NDArray[np.float64], floor: float | NDArray[np.float64]) -> NDArray[np.float64]: ...
def normalise(score: float | NDArray[np.float64], floor: float | NDArray[np.float64]) -> float | NDArray[np.float64]:
    """Normalise a score by its floor, (s - f) / (1 - f): 0 is what an answer that knows nothing gets, 1 is perfect.

    Raw scores of tasks with different floors (0.5, 0.714, 1/k) must not stand side by side: 0.75 is half of the way on one of
    them and an eighth on another. Values below the floor stay negative; cutting them at 0 would hide a judge that is worse
    than chance and bias every mean upwards.

    Args:
        score: s, at most 1.
        floor: f < 1.

    Raises:
        ValueError: f >= 1 leaves no room above the floor.
    """
    if np.any(np.asarray(floor) >= 1):
        raise ValueError(f"a floor of {floor} leaves nothing to normalise by; it must be below 1.")
    return (score - floor) / (1 - floor)
