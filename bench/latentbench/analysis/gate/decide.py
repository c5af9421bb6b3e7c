"""Evidence -> verdicts. Pure arithmetic, no data, no files.

    PASS          one-sided 95 % lower bound of the difference > -delta: it is not worse by delta or more
    FAIL          estimate <= -delta, and one-sided 99 % upper bound < 0 after Holm over the family: it is worse, and by enough
    INCONCLUSIVE  otherwise, with the number of latents that would decide it

With fewer than `FEWEST` latents no bound is believed: identical values pass, everything else is inconclusive.

A threshold on the estimate ("fail if it dropped by 2 points") is the tempting rule. With 300 latents and differences of sd .20 it
fails one unchanged run in 24 and passes one drop of 4 points in 24, and nobody who reads "passed" can tell which it was.

Holm corrects FAIL only. That any of 40 tests fails by chance must stay at 1 %; a run passes when *every* test does, and a claim
that all of several things hold needs no correction (intersection-union test, Berger 1982).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from latentbench.analysis.gate.evidence import FAIL_LEVEL, PASS_LEVEL, Evidence
from latentbench.analysis.gate.policy import Verdict as Verdict
from latentbench.stats.bootstrap import FEWEST, holm

MOST = 1_000_000
"""Numbers of latents above this are not printed: the difference sits on the limit."""


@dataclass(frozen=True, slots=True)
class Decision:
    """A verdict and what it rests on.

    Attributes:
        verdict: never `NOT_COMPARABLE`; that is decided before there is evidence.
        p_holm: p corrected for the family; NaN where there is no p.
        needed: latents that would decide an inconclusive test if difference and spread stayed as they are; None if it is
            decided, or beyond `MOST`.
    """

    verdict: Verdict
    p_holm: float
    needed: int | None = None


def decide(family: Sequence[Evidence], deltas: Sequence[float], fewest: int = FEWEST) -> list[Decision]:
    """Verdicts on all tests of one family.

    Args:
        family: evidence of every test. One whose value is gone on the head side (NaN) counts as failed.
        deltas: how much worse is too much, one per test, > 0.
        fewest: units below which no bound is believed.

    Raises:
        ValueError: a delta that is not positive, or not one per test.
    """
    if len(family) != len(deltas) or any(not d > 0 for d in deltas):
        raise ValueError(f"need one positive delta per test, not {list(deltas)} for {len(family)} tests.")
    corrected = holm(np.array([e.p if e.n >= fewest else math.nan for e in family]))
    tests = int((~np.isnan(corrected)).sum())
    return [_one(e, d, float(p), tests, fewest) for e, d, p in zip(family, deltas, corrected, strict=True)]


def _one(e: Evidence, delta: float, p_holm: float, tests: int, fewest: int) -> Decision:
    if math.isnan(e.head) and not math.isnan(e.base):
        return Decision(Verdict.FAIL, p_holm)
    if e.n < fewest:
        same = e.n > 0 and e.estimate == 0 == e.error
        return Decision(Verdict.PASS, p_holm) if same else Decision(Verdict.INCONCLUSIVE, p_holm, fewest)
    if e.low > -delta:
        return Decision(Verdict.PASS, p_holm)
    if e.estimate <= -delta and p_holm < 1 - FAIL_LEVEL:
        return Decision(Verdict.FAIL, p_holm)
    return Decision(Verdict.INCONCLUSIVE, p_holm, needed(e, delta, tests, fewest))


def needed(e: Evidence, delta: float, tests: int = 1, fewest: int = FEWEST) -> int | None:
    """Smallest number of latents at which the difference, with the spread that it has, is decided.

    Above -delta only PASS can be reached: estimate - t se > -delta. At or below it only FAIL: estimate + t se < 0, with t at
    level 1 - 0.01 / tests, which is Holm's at its strictest. se = error * sqrt(n / N), t with N - 1 degrees of freedom.
    """
    from scipy.special import stdtrit

    if math.isnan(e.error):
        return None
    if e.estimate > -delta:
        room, level = e.estimate + delta, PASS_LEVEL
    else:
        room, level = -e.estimate, 1 - (1 - FAIL_LEVEL) / max(1, tests)
    spread = e.error * math.sqrt(e.n)

    def decided(n: int) -> bool:
        return bool(stdtrit(n - 1, level) * spread / math.sqrt(n) < room)

    # Bisection: the bound shrinks with every latent.
    below, above = max(1, e.n), max(fewest, e.n + 1)
    while not decided(above):
        below, above = above, 2 * above
        if above > 2 * MOST:
            return None
    while above - below > 1:
        middle = (below + above) // 2
        below, above = (below, middle) if decided(middle) else (middle, above)
    return above if above <= MOST else None
