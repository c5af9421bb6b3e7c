"""The least and the greatest value that a metric of one latent could have had, had its missing judgements been answered.

A failed call is no answer, so it must not be scored; but a judge that fails on the hard windows would look better for failing. So
the missing judgements are filled in every way that they could have come out, assuming nothing about why they are missing (Manski
1989), and the ends of what comes out stand beside the score. Scoring failures as wrong is the tempting shortcut: it gives one end
and calls it the score. Mixing score and range by coverage, s c + low (1 - c), is the other: it is exact for a mean over
judgements and bounds nothing else, because a missing judgement also moves the ranks and the weights of those that are there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.ranking import auroc, average_precision

Extremes = tuple[float, float]
"""Least and greatest value."""


def share(right: int, judged: int, attempted: int) -> Extremes:
    """The share of right answers: all missing ones wrong, and all of them right."""
    return right / attempted, (right + attempted - judged) / attempted


def scaled(ends: Extremes, floor: float) -> Extremes:
    """(s - floor) / (1 - floor) of both ends, for a floor that no answer moves."""
    return (ends[0] - floor) / (1 - floor), (ends[1] - floor) / (1 - floor)


def yes_no(
    labels: Sequence[int], answers: Sequence[int] | None, scores: Sequence[float] | None, missing: Sequence[int]
) -> dict[str, Extremes]:
    """Extremes of the metrics of yes/no judgements that rank or answer windows of two classes.

    Answers: any of them may be yes or no, so a metric depends on how many of the missing ones of each class are yes, and all
    numbers are tried. Average precision needs that: one more right answer among many wrong ones can lower it. Scores: any real
    numbers. AUROC grows when a positive rises and when a negative falls, so the best case has all missing positives on top and
    all missing negatives at the bottom, and the worst the reverse. The best case of AP is that too; its worst: `_least_ap`.

    Args:
        labels: 0/1, of the windows that were judged.
        answers: 0/1, of them, where the method answers; None where it only ranks.
        scores: of them; None where it has answers only. Where nothing was judged both are empty.
        missing: 0/1, labels of the windows that were not judged.

    Returns:
        Metric -> extremes; nothing where a class is empty, for then most metrics are undefined. Precision is left out: it is
        undefined under some answers.
    """
    n_on, n_off = (sum(y == c for y in (*labels, *missing)) for c in (1, 0))
    if not n_on or not n_off:
        return {}
    prevalence = n_on / (n_on + n_off)
    found: dict[str, Extremes] = {}
    if answers is not None:
        tp, fp = (
            sum(a for a, y in zip(answers, labels, strict=True) if y == c)
            + np.arange(sum(y == c for y in missing) + 1.0)
            for c in (1, 0)
        )
        hits, alarms = tp[:, None], fp[None, :]
        found["accuracy"] = _ends((hits + n_off - alarms) / (n_on + n_off))
        found["recall"] = _ends(tp / n_on)
        found["f1"] = _ends(2 * hits / (n_on + hits + alarms))
        found["balanced_accuracy"] = found["auroc"] = _ends((hits / n_on + 1 - alarms / n_off) / 2)
        above = np.divide(hits**2, hits + alarms, out=np.zeros((len(tp), len(fp))), where=hits + alarms > 0)
        found["ap"] = _ends(above / n_on + (1 - hits / n_on) * prevalence)
    if scores is not None:
        worst, best = (_placed(labels, scores, missing, c) for c in (0, 1))
        found["auroc"] = auroc(*worst), auroc(*best)
        found["ap"] = _least_ap(labels, scores, missing), average_precision(*best)
    if "ap" in found:
        found["ap_normalised"] = scaled(found["ap"], prevalence)
    return found


def _ends(values: NDArray[np.float64]) -> Extremes:
    return float(values.min()), float(values.max())


def _placed(
    labels: Sequence[int], scores: Sequence[float], missing: Sequence[int], top: int
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """All labels and scores, the missing ones of class `top` above everything and the others below."""
    lost = np.asarray(missing, bool)
    # Ranks in place of scores leave room above and below the largest of them.
    ranks = np.unique(np.asarray(scores, np.float64), return_inverse=True)[1].astype(np.float64)
    ends = np.where(lost == bool(top), len(scores) + 1.0, -1.0)
    return np.concatenate([np.asarray(labels, bool), lost]), np.concatenate([ranks, ends])


def _least_ap(labels: Sequence[int], scores: Sequence[float], missing: Sequence[int]) -> float:
    """The least average precision: missing negatives on top, each missing positive where the sum of precisions is least.

    At the bottom is not always the worst place: a positive above a group of tied ones has a low precision itself and lets theirs
    rise but little. Ties of missing positives, with each other or with a group, count at the end of what ties, and
    are never below the same without ties. So between the groups, from the top, any number of missing positives stand one by one.
    """
    lost = sum(missing)
    places, group = np.unique(-np.asarray(scores, np.float64), return_inverse=True)
    on, size = (np.bincount(group, weights=w, minlength=len(places)) for w in (np.asarray(labels, np.float64), None))
    placed = np.arange(lost + 1.0)
    hits, rank = placed.copy(), len(missing) - lost + placed
    sums = np.append(0.0, np.full(lost, np.inf))
    for a, n in [*zip(on, size, strict=True), (0.0, 0.0)]:
        for k in range(1, lost + 1):
            sums[k] = min(sums[k], sums[k - 1] + hits[k] / rank[k])
        hits, rank = hits + a, rank + n
        if a:
            sums += a * hits / rank
    return float(sums[-1] / hits[-1])
