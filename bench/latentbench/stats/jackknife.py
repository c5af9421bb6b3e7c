"""How uncertain one latent's score is from the windows that happened to be drawn: the stratified jackknife.

Activating and silent windows are drawn apart, in numbers that the recipe fixes, so each is a stratum of its own. With n_h windows
in stratum h and t_hi the score without window i of it,

    variance = sum over h of (n_h - 1) / n_h * sum over i of (t_hi - mean of t_h)^2           (Jones 1974)

A bootstrap over windows is the tempting way: of three windows it draws the same one three times in every ninth draw, and a rank
metric of that is not the metric of three windows. A stratum of one window has no spread to be seen, so there is no number then,
and none is made up: one window says nothing of how another one would have come out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from typing import TypeVar

T = TypeVar("T")


def jackknife_error(
    items: Sequence[T], strata: Sequence[Hashable], score: Callable[[list[T]], float | None]
) -> float | None:
    """Standard error of `score(items)`; None where a stratum has one item, or a score without an item is undefined.

    Args:
        items: what the score is computed from.
        strata: of each item.
        score: of some of them, in their order.
    """
    total = 0.0
    for stratum in dict.fromkeys(strata):
        own = [i for i, h in enumerate(strata) if h == stratum]
        if len(own) < 2:
            return None
        without = [score([*items[:i], *items[i + 1 :]]) for i in own]
        known = [t for t in without if t is not None and math.isfinite(t)]
        if len(known) < len(own):
            return None
        mean = math.fsum(known) / len(known)
        total += (len(own) - 1) / len(own) * math.fsum((t - mean) ** 2 for t in known)
    return math.sqrt(total) if strata else None
