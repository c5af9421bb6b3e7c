"""Which tokens of a window are marked: the active ones, or as many drawn ones.

Explainers and scorers mark by the same rule, so that a mark in a prompt means the same whoever wrote it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from latentbench.kernel.latent import Window


def active_marks(activations: Sequence[float], threshold: float) -> tuple[bool, ...]:
    """Which tokens fire with at least `threshold` times the window's maximum."""
    least = threshold * max(activations, default=0.0)
    return tuple(a > 0 and a >= least for a in activations)


def random_marks(window: Window, counts: Sequence[int], seed: int) -> tuple[bool, ...]:
    """Marks at random silent tokens of one window.

    Args:
        counts: numbers of marks to draw from; more than there are silent tokens marks all of them.
        seed: of this window alone.
    """
    rng = random.Random(seed)
    silent = [t for t, a in enumerate(window.activations) if a <= 0]
    places = set(rng.sample(silent, min(rng.choice(list(counts)), len(silent))))
    return tuple(t in places for t in range(len(window.tokens)))
