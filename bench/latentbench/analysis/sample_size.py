"""How many latents a question needs: from the spread of a pilot, or from one that somebody states, before a run is paid for.

Two questions are answered side by side, because they need very different numbers: how well one score is known, and whether two
explainers differ on the same latents. What is promised is what this project's own intervals and tests find, which are wider than
Student's (`stats.power.WIDER`); where a pilot's own interval is wider still, as for differences that are mostly 0, the pilot's
width counts. The difference that a pilot saw is never taken for the one to look for: those that were large by luck are the ones
that people plan for.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from latentbench.analysis.entry import ComparedEntry, entries
from latentbench.kernel.errors import DataError, SpecError, UnknownName
from latentbench.runs.finished import Run
from latentbench.stats import power
from latentbench.stats.bootstrap import FEWEST, LEVEL, Array, intervals_of
from latentbench.stats.spread import LEAST, spread_interval

SIZES = (24, 48, 96, 192, 384, 768, 1536)
"""Numbers of latents that are shown if nobody asks for others."""


@dataclass(frozen=True)
class KnownSpread:
    """A standard deviation over latents, and where it comes from.

    Attributes:
        of: whose scores or differences they are.
        sd: standard deviation; above 0.
        low, high: its 95 % interval; None where it is stated.
        n: latents behind it; 0 where it is stated.
        wider: how many times wider than Student's an interval of this project is on such values.
        mean: mean of the values; None where it is stated.
    """

    of: str
    sd: float
    low: float | None = None
    high: float | None = None
    n: int = 0
    wider: float = power.WIDER
    mean: float | None = None

    def half_width(self, n: int) -> float:
        """Half of the 95 % interval of a mean over n latents; NaN below `FEWEST`, where nothing is claimed."""
        from scipy.stats import t

        if n < FEWEST:
            return math.nan
        return self.wider * float(t.ppf((1 + LEVEL) / 2, n - 1)) * self.sd / math.sqrt(n)

    def chance(self, effect: float, n: int, alpha: float) -> float:
        """Probability that a true mean of `effect` is found to differ from 0 with n latents; NaN below `FEWEST`."""
        return power.chance(effect, (self.wider * self.sd,), (n,), alpha) if n >= FEWEST else math.nan

    def detectable(self, n: int, alpha: float, wanted: float) -> float:
        """Smallest true mean that is found with probability `wanted`; NaN below `FEWEST`."""
        return power.detectable((self.wider * self.sd,), (n,), alpha, wanted) if n >= FEWEST else math.nan

    def needed(self, effect: float, alpha: float, wanted: float, sd: float | None = None) -> int | None:
        """Latents with which a true mean of `effect` is found with probability `wanted`; None for more than any subject has."""
        found = power.needed(effect, (self.wider * (self.sd if sd is None else sd),), alpha, wanted)
        return None if found is None else max(FEWEST, found)


@dataclass(frozen=True)
class SampleSize:
    """A question about a number of latents.

    Attributes:
        about: what is scored, as a title says it.
        one: spread of one explainer's scores; None if only differences are known.
        pairs: spread of paired differences of two explainers.
        others: spreads of further explainers and pairs, which are smaller.
        effect: true difference to be found; None if nobody named one.
        comparisons: tests that share the 5 %; the level of each is 5 % over their number, which is what Holm's correction
            leaves to the smallest p.
        wanted: probability with which a difference is to be found.
        sizes: numbers of latents that are shown.
        correlation: of the scores of two explainers, where the spread of differences was computed from it.
        repeats: of the pilot; its scores are means over them.
    """

    about: str
    pairs: KnownSpread
    one: KnownSpread | None = None
    others: tuple[KnownSpread, ...] = ()
    effect: float | None = None
    comparisons: int = 1
    wanted: float = power.POWER
    sizes: tuple[int, ...] = SIZES
    correlation: float | None = None
    repeats: int = 1

    @property
    def alpha(self) -> float:
        """Level of each test."""
        return power.ALPHA / self.comparisons


def stated(sd: float, pairs: bool = False, correlation: float = 0.0) -> tuple[KnownSpread | None, KnownSpread]:
    """The spreads of one score and of paired differences from a standard deviation that somebody states.

    Args:
        sd: of one explainer's scores over latents, or of paired differences if `pairs`.
        correlation: of the scores of two explainers over latents, of equal spread; var(a - b) = 2 sd^2 (1 - correlation).

    Raises:
        SpecError: a number out of range.
    """
    if not (math.isfinite(sd) and sd > 0):
        raise SpecError(f"--sd must be above 0, not {sd}.")
    if pairs:
        return None, KnownSpread("a difference of two explainers", sd)
    if not -1 <= correlation < 1:
        raise SpecError(f"--correlation must be at least -1 and below 1, not {correlation}.")
    both = sd * math.sqrt(2 * (1 - correlation))
    return KnownSpread("one score", sd), KnownSpread("a difference of two explainers", both)


def from_pilot(
    run: Run,
    scorer: str | None = None,
    judge: str | None = None,
    explainers: Sequence[str] = (),
    effect: float | None = None,
    comparisons: int | None = None,
    wanted: float = power.POWER,
    sizes: Sequence[int] = SIZES,
) -> list[SampleSize]:
    """What a finished run says about the number of latents, for each of its scorers and judges.

    The largest spread among the explainers, and among their pairs, counts; the others are kept beside it.

    Args:
        scorer, judge: labels; all by default.
        explainers: labels; all that are no floor by default.
        comparisons: as in `SampleSize`; by default the number of pairs of these explainers.

    Raises:
        UnknownName: a label that the run does not have.
        SpecError: fewer than two explainers.
        DataError: too few latents for a spread, or all values are equal.
    """
    found = entries(run)
    named: tuple[tuple[str, str | None, Collection[str]], ...] = (
        ("scorer", scorer, run.record.scorers),
        ("judge", judge, run.record.judges),
        *(("explainer", name, run.record.explainers) for name in explainers),
    )
    for kind, name, known in named:
        if name is not None and name not in known:
            raise UnknownName(f"{kind} of the run", name, known)
    chosen = list(dict.fromkeys(explainers)) or [e for e, r in run.record.explainers.items() if not r.is_floor]
    if len(chosen) < 2:
        raise SpecError(
            f"a difference takes two explainers, and {len(chosen)} of {run.id} "
            f"{'named' if explainers else 'without floors'}; name two (--explainer, twice) of: "
            f"{', '.join(run.record.explainers)}."
        )
    tables: dict[tuple[str, str], list[ComparedEntry]] = {}
    for entry in found:
        labels = entry.cell.scorer.label, entry.cell.judge.label
        if entry.cell.explainer.label in chosen and scorer in (None, labels[0]) and judge in (None, labels[1]):
            tables.setdefault(labels, []).append(entry)
    if not tables:
        raise SpecError(f"scorer {scorer} was not asked of judge {judge} in {run.id}.")
    plans = []
    for (scorer_label, judge_label), held in tables.items():
        metric = held[0].cell.scorer.ranking
        about = f"{metric.name} of {scorer_label}, judged by {judge_label}"
        alone = [_measured(e.cell.explainer.label, list(e.values.values()), metric.low, metric.high) for e in held]
        both = [_measured_pair(a, b) for a, b in combinations(held, 2)]
        one, pairs = _widest([s for s in alone if s]), _widest([s for s in both if s])
        if pairs is None:
            most = max((len(set(a.values) & set(b.values)) for a, b in combinations(held, 2)), default=0)
            why = f"at least {LEAST} are needed" if most < LEAST else "and all differences are equal"
            raise DataError(f"{about}: no two explainers of {run.id} say how far scores spread: {most} latents, {why}.")
        plans.append(
            SampleSize(
                about,
                pairs,
                one,
                tuple(s for s in (*alone, *both) if s is not None and s not in (one, pairs)),
                effect,
                comparisons or len(both),
                wanted,
                tuple(sizes),
                repeats=run.record.spec.repeats,
            )
        )
    return plans


def _measured_pair(a: ComparedEntry, b: ComparedEntry) -> KnownSpread | None:
    shared = [latent for latent in a.values if latent in b.values]
    low, high = a.cell.scorer.ranking.low, a.cell.scorer.ranking.high
    span = None if low is None or high is None else high - low
    low, high = (None, None) if span is None else (-span, span)
    name = f"{a.cell.explainer.label} - {b.cell.explainer.label}"
    return _measured(name, [a.values[x] - b.values[x] for x in shared], low, high, differences=True)


def _measured(
    of: str, values: Sequence[float], low: float | None, high: float | None, differences: bool = False
) -> KnownSpread | None:
    """A spread with its interval; None where there are too few values or all are equal."""
    from scipy.stats import t

    found: Array = np.asarray(values, dtype=np.float64)
    found = found[~np.isnan(found)]
    n = len(found)
    if n < LEAST or np.ptp(found) < 1e-9:
        return None
    sd = float(found.std(ddof=1))
    (interval,), _ = intervals_of(found[None, :], 0, low=low, high=high, differences=differences)
    wider = power.WIDER
    if n >= FEWEST:
        student = float(t.ppf((1 + LEVEL) / 2, n - 1)) * sd / math.sqrt(n)
        wider = max(wider, (interval.high - interval.low) / 2 / student)
    least, most = spread_interval(found)
    return KnownSpread(of, sd, least, most, n, wider, float(found.mean()))


def _widest(spreads: Sequence[KnownSpread]) -> KnownSpread | None:
    return max(spreads, key=lambda s: s.wider * s.sd, default=None)
