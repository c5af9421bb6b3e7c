"""The four numbers of FADE (arXiv 2502.16994) and the output-centric input success (arXiv 2501.08319). Pure functions on arrays.

    gini(a, b)       = 2 AUROC - 1 of activations, a against b
    clarity          = |gini(texts written from z, natural windows)|
    responsiveness   = |gini(windows rated 2, windows rated 0)|
    purity           = average precision of the activation for "rated 2"
    faithfulness     = max(0, p_m - p_0) / (1 - p_0)      p: share of completions that contain the concept
    input success    = mean activation of texts written from z > mean activation of neutral texts

The bars around clarity reward an explanation of the opposite: texts that avoid what a dense latent fires on are told from natural
ones with certainty. So the signed value stands beside it. m, the strength, is chosen on one half of the prompts and reported on
the other: the maximum over strengths of a coin's share is above the coin's share.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from latentbench.stats.ranking import auroc, average_precision

CLEAN = "clean"
HALVES = ("a", "b")


def gini(high: Sequence[float], low: Sequence[float]) -> float:
    """2 AUROC - 1 in [-1, 1]: 1 if every value of `high` is above every one of `low`; NaN where one is empty.

    By hand: 3 and 0 against 1 and 0. Of four pairs 3 > 1 and 3 > 0 are won, 0 = 0 is a tie and 0 < 1 is lost: AUROC is 2.5/4,
    so it is 0.25.
    """
    return 2 * auroc([1] * len(high) + [0] * len(low), [*high, *low]) - 1


def purity(clear: Sequence[float], none: Sequence[float]) -> float:
    """Average precision of activations for "rated 2", among windows rated 2 or 0; NaN where none is rated 2.

    By hand: 5 and 0 rated 2, 3 and 0 rated 0. Down to 5: recall 1/2 at precision 1; down to 0, where two tie: recall 1 at
    precision 2/4. 1/2 * 1 + 1/2 * 1/2 = 0.75.
    """
    return average_precision([1] * len(clear) + [0] * len(none), [*clear, *none])


def input_success(written: Sequence[float], neutral: Sequence[float]) -> float:
    """1 if the mean of `written` is above that of `neutral`, 0 if not (a tie is none); NaN where one is empty."""
    if not written or not neutral:
        return math.nan
    # Cross-multiplied: two means of the same numbers in another order must tie exactly.
    return float(math.fsum(written) * len(neutral) > math.fsum(neutral) * len(written))


def faithfulness(contained: Mapping[str, Mapping[str, Sequence[int]]], strengths: Sequence[str]) -> float:
    """Mean over the two ways round: m chosen on one half of the prompts, (p_m - p_0)+ / (1 - p_0) of the other.

    By hand: half a has p_0 = 0, p = 1/2 at the weak and 1 at the strong one; half b has p_0 = 1/2, p = 1/2 and 1/2. Chosen on
    a: the strong one, on b (1/2 - 1/2) / (1/2) = 0. Chosen on b: a tie, so the weak one, on a 1/2. The mean is 1/4.

    Args:
        contained: half -> strength, or `clean` -> 1 for each completion that contains the concept, else 0.
        strengths: from weak to strong; of equal shares the weaker is chosen.

    Returns:
        NaN where no half has both a choice and a report: no completions, or every clean one contains the concept.
    """
    found = []
    for choose, report in (HALVES, HALVES[::-1]):
        ours, theirs = contained.get(choose, {}), contained.get(report, {})
        usable = [m for m in strengths if ours.get(m) and theirs.get(m)]
        clean = _share(theirs.get(CLEAN, ()))
        if usable and clean < 1:
            best = max(usable, key=lambda m: _share(ours[m]))
            found.append(max(0.0, _share(theirs[best]) - clean) / (1 - clean))
    return math.fsum(found) / len(found) if found else math.nan


def _share(hits: Sequence[int]) -> float:
    return sum(hits) / len(hits) if hits else math.nan
