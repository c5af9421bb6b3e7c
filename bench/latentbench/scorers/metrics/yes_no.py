"""Metrics of yes/no judgements. Pure functions on arrays, ties handled as in the definitions.

AUROC and average precision need a score that ranks. Where a method has only hard answers the answer itself is the score: one
big tie per class, for which both have a defined value. Dropping tied pairs instead would reward a judge for answering coarsely.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from latentbench.stats.ranking import auroc, average_precision, normalise


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
            found["ap_normalised"] = normalise(found["ap"], float(y.mean()))
    return {name: value for name, value in found.items() if np.isfinite(value)}


def _ratio(a: float, b: float) -> float:
    return a / b if b else float("nan")
