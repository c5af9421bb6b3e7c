"""How far a score can be trusted, and what another repeat would add: reliability from variance components.

Generalizability theory (Brennan 2001): the same components answer for any number of repeats, so the gain of a third draw or a
second judge is read off before it is paid. One correlation between two repeats is the usual shortcut; it holds for those two
repeats and says nothing of what to repeat more of.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from latentbench.stats.bootstrap import Interval
from latentbench.stats.variance import CODER, LATENT, VarianceComponents


@dataclass(frozen=True, slots=True)
class Dependability:
    """How much of the variance of a mean over some levels is variance of latents.

    Attributes:
        relative: for ranking latents (Brennan 2001, eq. 2.40: what shifts all latents alike does no harm).
        absolute: for the values themselves (eq. 2.41).
    """

    relative: Interval
    absolute: Interval


def dependability(found: VarianceComponents, levels: Mapping[str, int]) -> Dependability:
    """Share of latent variance in a latent's mean over some levels of each facet.

    Args:
        levels: facet -> levels averaged over; 1 for those not named. Need not be those of the design: this is how the gain
            of further repeats is read off before they are paid.

    Returns:
        t / (t + d), with t the variance of latents and coders, and d that of their interactions with facets, each divided by
        the levels averaged over; `absolute` counts the facets' own effects in d as well. Negative components count as 0.

    Raises:
        ValueError: a facet that the design does not have, or a number of levels below 1.
    """
    unknown = [f for f in levels if f not in (*found.levels, *found.constant)]
    if unknown or any(v < 1 for v in levels.values()):
        raise ValueError(f"levels {dict(levels)} must be at least 1, of the facets {[*found.levels, *found.constant]}.")
    tails = [(1 - found.level) / 2, (1 + found.level) / 2]
    shares = []
    for absolute in (False, True):
        parts = []
        for values in (np.array([[c.estimate for c in found.components]]), found.draws):
            truth, noise = np.zeros(len(values)), np.zeros(len(values))
            for component, column in zip(found.components, np.maximum(values, 0.0).T, strict=True):
                over = [f for f in component.effect if f not in (LATENT, CODER)]
                if not over:
                    truth = truth + column
                elif absolute or len(over) < len(component.effect):
                    noise = noise + column / math.prod(levels.get(f, 1) for f in over)
            whole = truth + noise
            parts.append(np.divide(truth, whole, out=np.full(len(values), np.nan), where=whole > 0))
        known = parts[1][~np.isnan(parts[1])]
        low, high = np.quantile(known, tails) if known.size else (math.nan, math.nan)
        shares.append(Interval(float(parts[0][0]), float(low), float(high), found.latents, found.level))
    return Dependability(*shares)
