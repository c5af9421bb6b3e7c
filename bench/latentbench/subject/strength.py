"""How strongly to steer: the delta at which the next-token distribution has moved by a given KL.

KL grows about with delta squared while the subject is nearly linear and levels off later, so log KL over log delta is close to a
line and interpolating there needs few steps. All targets of a latent share its measured points, and the questions of all
latents are one batch. A latent that cannot be pushed as far as asked (the final norm bounds what a direction can do) is
reported with its closest point and `reached` false; leaving it out would favour coders whose directions do nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

STEPS = 10
TOLERANCE = 0.1
FARTHEST = 100.0
"""Largest delta tried, as a multiple of the scale."""
START = (0.05, 0.15, 0.5, 1.5)
"""Multiples of the scale that are measured first."""

Evaluate = Callable[[Sequence[tuple[int, float]]], Sequence[float]]
"""(latent, delta) pairs -> mean KL of each, in nats."""


@dataclass(frozen=True, slots=True)
class Strength:
    """Where the search ended for one target.

    Attributes:
        target: KL asked for.
        delta: multiplier of the direction.
        kl: measured at delta.
        steps: rounds of measurements until here.
        reached: whether kl is within the tolerance of the target.
    """

    target: float
    delta: float
    kl: float
    steps: int
    reached: bool


def search(
    evaluate: Evaluate,
    targets: Sequence[float],
    scales: Sequence[float],
    steps: int = STEPS,
    tolerance: float = TOLERANCE,
) -> list[list[Strength]]:
    """Find the delta of every target for every latent.

    Args:
        evaluate: measures; called at most `steps` times, with the questions of all latents together.
        targets: KL in nats, > 0.
        scales: per latent, a delta that is large but not absurd: the norm of the activation over that of the direction.
        steps: rounds of measurements.
        tolerance: relative.

    Returns:
        [latent][target], in the order given.
    """
    points: list[dict[float, float]] = [{} for _ in scales]
    ended: dict[tuple[int, float], int] = {}
    for step in range(steps):
        asked: list[tuple[int, float]] = []
        for i, scale in enumerate(scales):
            for target in targets:
                if (i, target) in ended:
                    continue
                start = [s * scale for s in START] if step == 0 else [propose(points[i], target, scale, step)]
                asked += [(i, d) for d in start if d is not None and (i, d) not in asked]
        if not asked:
            break
        for (i, delta), value in zip(asked, evaluate(asked), strict=True):
            points[i][delta] = max(value, 1e-12) if math.isfinite(value) else math.inf
        for i in range(len(scales)):
            for target in targets:
                if (i, target) not in ended and _miss(points[i][_closest(points[i], target)], target) <= tolerance:
                    ended[(i, target)] = step + 1
    out = []
    for i, known in enumerate(points):
        row = []
        for target in targets:
            delta = _closest(known, target)
            row.append(Strength(target, delta, known[delta], ended.get((i, target), steps), (i, target) in ended))
        out.append(row)
    return out


def propose(points: dict[float, float], target: float, scale: float, step: int) -> float | None:
    """The next delta to measure, or None when the farthest has been.

    Args:
        points: delta -> KL, measured.
        target: KL.
        scale: see `search`.
        step: every third halves the bracket (in the logarithm) instead of interpolating, so that it always shrinks.
    """
    known = sorted(points.items())
    above = next((n for n, (_, k) in enumerate(known) if k >= target), None)
    if above is None:
        delta, k = known[-1]
        if delta >= FARTHEST * scale * (1 - 1e-9):
            return None
        (d0, k0) = known[-2] if len(known) > 1 else (delta / 2, k / 4)
        slope = math.log(k / k0) / math.log(delta / d0) if k0 < k else 0.5
        factor = 1.1 * math.pow(target / k, 1 / min(max(slope, 0.5), 4.0))
        return min(delta * min(max(factor, 1.25), 8.0), FARTHEST * scale)
    if above == 0:
        delta, k = known[0]
        # Small steers act linearly: KL ~ delta^2.
        return delta * min(max(0.95 * math.sqrt(target / k), 0.02), 0.9)
    (low, k_low), (high, k_high) = known[above - 1], known[above]
    share = 0.5
    if step % 3 and math.isfinite(k_high):
        share = math.log(target / k_low) / math.log(k_high / k_low)
    return float(low * (high / low) ** min(max(share, 0.05), 0.95))


def _miss(value: float, target: float) -> float:
    return abs(value / target - 1)


def _closest(points: dict[float, float], target: float) -> float:
    """The delta whose KL is nearest in the logarithm; the smaller one of equals."""
    return min(sorted(points), key=lambda d: abs(math.log(points[d] / target)))
