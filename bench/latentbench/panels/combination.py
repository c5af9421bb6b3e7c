"""How the opinions of a panel become one: a vote, a mean of probabilities, or a sum of log-odds. Pure functions.

A sum of log-odds is what independent evidence about one question comes to, so judges of different kinds (a simulator's
probability, a cosine, a difference of likelihoods) combine in it once each number is on that scale. Adding z-scores of a run is
shorter, and then the answer about one window depends on which others were asked about.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

Rule = Literal["vote", "mean", "logodds"]

LEAST = 1e-6
"""Probabilities are kept this far from 0 and 1, so that no member is beyond contradiction."""


def logit(p: float) -> float:
    """Log-odds of a probability, which is kept within `LEAST` of 0 and 1."""
    kept = min(max(p, LEAST), 1 - LEAST)
    return math.log(kept) - math.log1p(-kept)


def probability(log_odds: float) -> float:
    """Probability of log-odds, stable for any size."""
    if log_odds >= 0:
        return 1 / (1 + math.exp(-log_odds))
    return math.exp(log_odds) / (1 + math.exp(log_odds))


def combined(rule: Rule, found: Sequence[float], weights: Sequence[float], whole: float, bias: float = 0.0) -> float:
    """The panel's p(active).

        vote     weight of those who say yes / weight of all
        mean     weighted mean of probabilities
        logodds  probability of bias + sum of weight x log-odds; where some are missing, the sum is scaled to the weight of all

    Args:
        found: log-odds of each member that answered; infinite for words, which only `vote` and `mean` take.
        weights: of these members, above 0.
        whole: weight of all members, those without an answer included.
    """
    total = math.fsum(weights)
    if rule == "logodds":
        return probability(bias + math.fsum(w * x for w, x in zip(weights, found, strict=True)) * whole / total)
    if rule == "vote":
        return math.fsum(w for w, x in zip(weights, found, strict=True) if x > 0) / total
    return math.fsum(w * probability(x) for w, x in zip(weights, found, strict=True)) / total
