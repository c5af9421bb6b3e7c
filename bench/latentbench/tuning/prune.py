"""When a trial is clearly worse: a paired test against the incumbent, on the latents that both have.

Optuna's pruners compare a trial's running mean with other trials' running means. Latents differ far more than settings do, and
pairing takes that difference out, so a bad setting is seen after a handful of latents. All trials take the latents in one order,
balanced over coders, or there would be nothing to pair.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.identity import seed_for
from latentbench.kernel.latent import LatentView
from latentbench.tuning.tune_spec import Prune

MIN_PAIRS = 3


@dataclass(frozen=True)
class PruneVerdict:
    """A trial beside the incumbent.

    Attributes:
        worse: clearly.
        difference: mean of trial - incumbent; positive is better whatever the objective's direction.
        p: one-sided, of a difference this bad or worse between equals; NaN for fewer than MIN_PAIRS pairs.
        n: pairs.
    """

    worse: bool
    difference: float
    p: float
    n: int


def order(latents: Sequence[LatentView], seed: int) -> list[LatentView]:
    """A seeded order in which every beginning has its share of each coder.

    A latent's place among those of its coder comes from its own hash, so it does not depend on which others there are.
    """
    groups: dict[str, list[LatentView]] = {}
    for latent in sorted(latents, key=lambda v: (seed_for("order", seed, v.id), v.id)):
        groups.setdefault(latent.coder, []).append(latent)
    placed = [
        ((i + 0.5) / len(group), coder, latent) for coder, group in groups.items() for i, latent in enumerate(group)
    ]
    return [latent for _, _, latent in sorted(placed, key=lambda x: x[:2])]


def steps(n: int, prune: Prune | None) -> list[int]:
    """How many latents a trial has after each step; the last is `n`."""
    if prune is None:
        return [n]
    found, at = [], float(prune.first)
    # A last step of a few latents is one more look for nothing.
    while round(at) * math.sqrt(prune.factor) < n:
        found.append(round(at))
        at *= prune.factor
    return [*found, n]


def compare(
    trial: NDArray[np.float64], incumbent: NDArray[np.float64], larger_is_better: bool, alpha: float
) -> PruneVerdict:
    """Paired one-sided t-test.

    A bootstrap of eight differences is too narrow; t is not.

    Args:
        trial: [n] values of the latents so far; NaN where there is none.
        incumbent: [m >= n] of the same latents in the same order.
        alpha: level of this look.
    """
    from scipy import stats

    d = (trial - incumbent[: len(trial)]) * (1 if larger_is_better else -1)
    d = d[~np.isnan(d)]
    mean = float(d.mean()) if len(d) else math.nan
    if len(d) < MIN_PAIRS:
        return PruneVerdict(False, mean, math.nan, len(d))
    if np.ptp(d) == 0:
        # No spread and no t: a difference that is the same everywhere is as clear as it gets.
        return PruneVerdict(mean < 0, mean, 0.0 if mean < 0 else 1.0, len(d))
    p = float(stats.ttest_1samp(d, 0.0, alternative="less").pvalue)
    return PruneVerdict(bool(p < alpha), mean, p, len(d))
