"""Metrics of yes/no judgements. Pure functions on arrays, ties handled as in the definitions.

AUROC and average precision need a score that ranks. Where a method has only hard answers the answer itself is the score: one
big tie per class, for which both have a defined value. Dropping tied pairs instead would reward a judge for answering coarsely.
"""

from __future__ import annotations

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


def normalised(value: float, floor: float) -> float:
    """(value - floor) / (1 - floor): 0 at the floor, 1 when perfect; NaN when the floor is 1."""
    return (value - floor) / (1 - floor) if floor < 1 else float("nan")


def binary_metrics(labels: ArrayLike, predictions: ArrayLike | None, scores: ArrayLike | None) -> dict[str, float]:
    """All metrics that labels with predictions and/or scores define; undefined ones are left out.

    Worked by hand: labels 1 1 0 0, predictions 1 0 0 0 give accuracy 3/4, balanced accuracy (1/2 + 1)/2 = 3/4, precision 1,
    recall 1/2, F1 2/3; with the predictions as scores AUROC is 3/4 and AP is 1/2 + 1/2 * 1/2 = 3/4.

    Args:
        labels: 0/1 [n].
        predictions: 0/1 [n], if the method answers.
        scores: real numbers [n], if the method ranks; the predictions take their place otherwise.
    """
    y = np.asarray(labels, bool)
    found: dict[str, float] = {"n": float(len(y))}
    if predictions is not None:
        p = np.asarray(predictions, bool)
        tp, fp = float((p & y).sum()), float((p & ~y).sum())
        fn, tn = float((~p & y).sum()), float((~p & ~y).sum())
        found["accuracy"] = _ratio(tp + tn, len(y))
        found["recall"] = _ratio(tp, tp + fn)
        found["precision"] = _ratio(tp, tp + fp)
        found["f1"] = _ratio(2 * tp, 2 * tp + fp + fn)
        found["balanced_accuracy"] = (_ratio(tp, tp + fn) + _ratio(tn, tn + fp)) / 2
    ranking = scores if scores is not None else predictions
    if ranking is not None:
        found["auroc"] = auroc(y, ranking)
        # AP without negatives is 1 for everybody, and normalising it divides by zero.
        if y.any() and not y.all():
            found["ap"] = average_precision(y, ranking)
            found["ap_normalised"] = normalised(found["ap"], float(y.mean()))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _pair(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.bool_], Floats]:
    y, s = np.asarray(labels, bool), np.asarray(scores, np.float64)
    if y.shape != s.shape or y.ndim != 1:
        raise ValueError(f"labels {y.shape} and scores {s.shape} must be vectors of the same length.")
    if np.isnan(s).any():
        raise ValueError("scores hold NaN; a failed judgement has no score and must not be ranked.")
    return y, s


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")
