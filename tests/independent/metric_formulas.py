"""Metrics of one latent by their definitions, for every completion of what is missing at once.

Nothing here comes from the package. AUROC compares every pair, average precision takes the precision at every activating window,
and what a missing judgement could have changed is found by trying everything it could have said. The package has sums of ranks,
thresholds and a dynamic program in these places; two ways to one number share no mistake.
"""

from __future__ import annotations

import itertools
import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ends = tuple[float, float]

MOST = 40_000
"""Completions of one latent that are tried, and four times as many where nothing was judged; where there are more, its bounds are
not recomputed."""


def auroc(truth: Floats, scores: Floats) -> Floats:
    """Share of pairs of an activating and a silent window that are in the right order, ties half; scores [c, n] -> [c]."""
    on, off = scores[:, truth == 1, None], scores[:, None, truth == 0]
    return ((on > off) + 0.5 * (on == off)).mean(axis=(1, 2))


def average_precision(truth: Floats, scores: Floats) -> Floats:
    """Mean over the activating windows of the precision among all that score as high or higher; scores [c, n] -> [c]."""
    reached = scores[:, None, :] >= scores[:, truth == 1, None]
    return (reached[:, :, truth == 1].sum(axis=2) / reached.sum(axis=2)).mean(axis=1)


def over_floor(value: Floats, truth: Floats) -> Floats:
    """Where the value stands between the share of activating windows and 1."""
    share = truth.mean()
    return (value - share) / (1 - share)


def of_answers(truth: Floats, answers: Floats) -> dict[str, Floats]:
    """Metrics of yes-or-no answers [c, n] -> [c]; NaN where one is undefined."""
    hits, alarms = answers[:, truth == 1].sum(axis=1), answers[:, truth == 0].sum(axis=1)
    on, off = (truth == 1).sum(), (truth == 0).sum()
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "accuracy": (answers == truth).mean(axis=1),
            "recall": hits / on,
            "precision": hits / (hits + alarms),
            "f1": hits / ((on + hits + alarms) / 2),
            "balanced_accuracy": 1 / 2 + (hits / on - alarms / off) / 2,
        }


def of_ranking(truth: Floats, scores: Floats) -> dict[str, Floats]:
    """Metrics of a ranking [c, n] -> [c]; none where one class is missing."""
    if set(truth.tolist()) != {0.0, 1.0}:
        return {}
    precision = average_precision(truth, scores)
    return {"auroc": auroc(truth, scores), "ap": precision, "ap_normalised": over_floor(precision, truth)}


def of_tokens(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Agreement of activations over tokens; none where the truth is constant, and a Pearson of 0 for a constant prediction."""
    if np.all(truth == truth[0]):
        return {}
    constant = bool(np.all(predicted == predicted[0]))
    return {
        "pearson": 0.0 if constant else float(np.corrcoef(truth, predicted)[0, 1]),
        "r2": float(1 - np.sum((truth - predicted) ** 2) / (len(truth) * np.var(truth))),
        "absolute_deviation_explained": float(1 - np.sum(np.abs(truth - predicted)) / np.sum(np.abs(truth))),
    }


def ends_of_answers(truth: Floats, answers: Floats) -> dict[str, Ends] | None:
    """Least and greatest values over all answers in the places that are NaN; None where there are too many."""
    return _ends_of_answers(tuple(truth.tolist()), tuple(None if np.isnan(a) else a for a in answers))


@cache
def _ends_of_answers(truth: tuple[float, ...], answers: tuple[float | None, ...]) -> dict[str, Ends] | None:
    places = [i for i, a in enumerate(answers) if a is None]
    if 2 ** len(places) > MOST:
        return None
    said = np.array([[0.0 if a is None else a for a in answers]] * 2 ** len(places))
    said[:, places] = list(itertools.product((0.0, 1.0), repeat=len(places)))
    y = np.array(truth)
    return _ends(of_answers(y, said) | of_ranking(y, said))


def ends_of_scores(truth: Floats, scores: Floats) -> dict[str, Ends] | None:
    """Least and greatest values over all real scores in the places that are NaN; None where there are too many."""
    ranks = np.unique(scores[~np.isnan(scores)], return_inverse=True)[1]
    known = iter(ranks.tolist())
    return _ends_of_scores(tuple(truth.tolist()), tuple(None if np.isnan(s) else next(known) for s in scores))


@cache
def _ends_of_scores(truth: tuple[float, ...], ranks: tuple[int | None, ...]) -> dict[str, Ends] | None:
    """Only the order counts. So a missing score is one of those that are there, or lies between two neighbours, where there are
    as many places as scores are missing; windows of one class may change places with each other."""
    on, off = ([i for i, r in enumerate(ranks) if r is None and truth[i] == c] for c in (1, 0))
    missing = len(on) + len(off)
    given = max((r for r in ranks if r is not None), default=-1) + 1
    levels = [float(r) for r in range(given)]
    levels += [r + (k + 1) / (missing + 1) for r in range(-1, given) for k in range(missing)]
    count = math.prod(math.comb(len(levels) + len(places) - 1, len(places)) for places in (on, off))
    if count > MOST * (4 if not given else 1):
        return None
    ways = [list(itertools.combinations_with_replacement(levels, len(places))) for places in (on, off)]
    y = np.array(truth)
    scores = np.array([[0.0 if r is None else r for r in ranks]] * count)
    scores[:, on] = np.repeat(np.array(ways[0]), len(ways[1]), axis=0)
    scores[:, off] = np.tile(np.array(ways[1]), (len(ways[0]), 1))
    return _ends(of_ranking(y, scores))


def _ends(values: dict[str, Floats]) -> dict[str, Ends]:
    """Metrics that are defined under every completion."""
    return {name: (float(v.min()), float(v.max())) for name, v in values.items() if not np.isnan(v).any()}
