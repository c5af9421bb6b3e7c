"""Two runs side by side, paired by latent, with a verdict per explainer x scorer x judge.

    +  the second run is better        ~  no difference was shown (beside it: the difference that would have been)
    -  it is worse                     x  the two do not compare, and why

"Not comparable" is a verdict of its own. A table that leaves such pairs out looks complete, and one that subtracts them anyway
gives a number with three digits that means nothing. A difference must be significant (Holm over the table) *and* at least as
large as the smallest that matters: with enough latents everything is significant.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from latentbench.analysis.entry import ComparedEntry, entries
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.runs.finished import Run
from latentbench.runs.record import ScorerRecord
from latentbench.stats.bootstrap import FEWEST, LEVEL, RESAMPLES, Interval, holm, paired_difference
from latentbench.stats.power import detectable, paired_spread

Mark = Literal["+", "-", "~", "x"]
ACROSS = ("judge", "scorer", "suite")
"""What may differ between the runs if the user says that it is what is compared."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One entry of the first run against one of the second.

    Attributes:
        a, b: labels (explainer, scorer, judge) in each run; None where a run has no such entry.
        metric: headline.
        mark: see the module docstring.
        why: reasons of `x`; else what the reader should know (other minor version, latents left out, coverage).
        mean_a, mean_b: means over the shared latents.
        difference: mean of b - a over the shared latents, in the metric's units and direction.
        p, p_holm: two-sided; as it comes and corrected for the table.
        detectable: smallest true difference that this many latents show in four of five experiments; NaN for too few.
    """

    a: tuple[str, str, str] | None
    b: tuple[str, str, str] | None
    metric: str
    mark: Mark
    why: tuple[str, ...]
    mean_a: float
    mean_b: float
    difference: Interval
    p: float
    p_holm: float
    detectable: float


def compare(
    a: Run, b: Run, *, across: Collection[str] = (), smallest: float = 0.0, alpha: float = 1 - LEVEL, seed: int = 0
) -> list[Comparison]:
    """Compare two runs entry by entry.

    Entries correspond by label. Where each run has a single explainer (scorer, judge), those correspond whatever their labels.

    Args:
        across: parts out of `judge`, `scorer`, `suite` whose difference is what is compared, and so no reason for `x`.
        smallest: difference that matters, in units of the headline.
        alpha: level of the Holm-corrected tests.
        seed: of the bootstraps.

    Returns:
        One comparison per pair, in the order of the first run; then entries that only one run has.

    Raises:
        UnknownName: a name in `across` that is not one of `ACROSS`.
        SpecError: a negative `smallest`.
    """
    for name in across:
        if name not in ACROSS:
            raise UnknownName("part to compare across", name, ACROSS)
    if smallest < 0:
        raise SpecError(f"the smallest difference that matters must not be negative, not {smallest}.")
    left, right = entries(a), entries(b)
    general = list(_run_reasons(a, b, across))
    # The smallest p is 2 / (resamples + 1): with too few, a large table could never show a difference.
    resamples = max(RESAMPLES, math.ceil(4 * len(left) / alpha))
    found = [
        _pair(x, y, [*general, *_reasons(x, y, across)], _notes(a, b, x, y), seed, resamples)
        for x, y in _matched(left, right)
    ]
    corrected = holm([c.p for c in found])
    direction = {x.cell.scorer.label: 1.0 if x.higher_is_better else -1.0 for x in (*right, *left)}
    return [_judged(c, float(p), direction, smallest, alpha) for c, p in zip(found, corrected, strict=True)]


def _matched(
    left: Sequence[ComparedEntry], right: Sequence[ComparedEntry]
) -> Iterator[tuple[ComparedEntry | None, ComparedEntry | None]]:
    single = [len({e.cell.labels[i] for e in left}) == 1 == len({e.cell.labels[i] for e in right}) for i in range(3)]

    def place(entry: ComparedEntry) -> tuple[str, ...]:
        return tuple("" if alone else label for alone, label in zip(single, entry.cell.labels, strict=True))

    others = {place(e): e for e in right}
    for entry in left:
        yield entry, others.pop(place(entry), None)
    for rest in others.values():
        yield None, rest


def _run_reasons(a: Run, b: Run, across: Collection[str]) -> Iterator[str]:
    if a.record.split != b.record.split:
        yield f"splits {a.record.split} and {b.record.split} are different latents"
    if "suite" in across:
        return
    one, two = a.record.suite, b.record.suite
    if one.name != two.name:
        yield f"suites {one.id} and {two.id}"
    elif _major(one.id) != _major(two.id):
        yield f"major versions of the suite, {one.id} and {two.id}"
    elif one.id == two.id and one.digest != two.digest:
        yield f"suite {one.id} has two contents, {one.digest} and {two.digest}"


def _reasons(x: ComparedEntry | None, y: ComparedEntry | None, across: Collection[str]) -> Iterator[str]:
    if x is None or y is None:
        yield f"only in the {'second' if x is None else 'first'} run"
        return
    if "scorer" not in across:
        yield from _scorers(x.cell.scorer, y.cell.scorer)
    if x.cell.scorer.headline != y.cell.scorer.headline:
        yield f"headlines {x.cell.scorer.headline} and {y.cell.scorer.headline}"
    if "suite" not in across and x.cell.scorer.steered != y.cell.scorer.steered:
        yield f"intervention tables {x.cell.scorer.steered} and {y.cell.scorer.steered}"
    if "judge" not in across and x.cell.judge.key != y.cell.judge.key:
        if x.cell.judge.identity.label == y.cell.judge.identity.label:
            yield f"judge {x.cell.judge.identity.label} in two settings or revisions, {x.cell.judge.key} and {y.cell.judge.key}"
        else:
            yield f"judges {x.cell.judge.identity.label} and {y.cell.judge.identity.label}"
    shared = len(x.values.keys() & y.values.keys())
    if shared < 2:
        yield f"{shared} shared latents have a score in both, which is no pair to compare"


def _scorers(x: ScorerRecord, y: ScorerRecord) -> Iterator[str]:
    if x.id.partition("@")[0] != y.id.partition("@")[0]:
        yield f"scorers {x.id} and {y.id}"
    elif _major(x.id) != _major(y.id):
        yield f"major versions of the scorer, {x.id} and {y.id}"
    elif x.id == y.id and x.key != y.key:
        yield f"scorer {x.id} with two sets of parameters or prompts, {x.key} and {y.key}"


def _notes(a: Run, b: Run, x: ComparedEntry | None, y: ComparedEntry | None) -> tuple[str, ...]:
    if x is None or y is None:
        return ()
    notes = []
    one, two = (r.record.suite.id for r in (a, b))
    if one != two:
        notes.append(f"suites {one} and {two}")
    if x.cell.scorer.id != y.cell.scorer.id:
        notes.append(f"scorers {x.cell.scorer.id} and {y.cell.scorer.id}")
    shared, most = len(x.values.keys() & y.values.keys()), max(x.latents, y.latents)
    if shared < most:
        notes.append(f"{shared} of {most} latents have a score in both")
    if shared < FEWEST:
        notes.append(f"too few latents for a verdict: {shared}, at least {FEWEST}")
    if min(x.coverage, y.coverage) < 1:
        notes.append(f"coverage {x.coverage:.1%} and {y.coverage:.1%}")
    return tuple(notes)


def _major(identifier: str) -> str:
    return identifier.rpartition("@")[2].partition("-")[0]


def _pair(
    x: ComparedEntry | None,
    y: ComparedEntry | None,
    reasons: Sequence[str],
    notes: tuple[str, ...],
    seed: int,
    resamples: int,
) -> Comparison:
    nan = math.nan
    some = x or y
    names = (x.cell.labels if x else None, y.cell.labels if y else None, some.cell.scorer.headline if some else "")
    if reasons or x is None or y is None:
        return Comparison(*names, "x", tuple(reasons), nan, nan, Interval(nan, nan, nan, 0), nan, nan, nan)
    ids = [latent for latent in x.values if latent in y.values]
    one, two = (np.array([e.values[latent] for latent in ids]) for e in (x, y))
    metric = x.cell.scorer.ranking
    span = None if metric.low is None or metric.high is None else metric.high - metric.low
    difference = paired_difference(two, one, ids, seed=seed, n=resamples, span=span)
    spread = float(np.std(two - one, ddof=1))
    sees = detectable((paired_spread(spread),), (len(ids),)) if spread > 1e-12 else 0.0
    if len(ids) < FEWEST:
        sees = nan
    return Comparison(
        *names, "~", notes, float(one.mean()), float(two.mean()), difference.interval, difference.p, nan, sees
    )


def _judged(c: Comparison, p: float, direction: dict[str, float], smallest: float, alpha: float) -> Comparison:
    if c.mark == "x" or c.b is None:
        return c
    gain = direction[c.b[1]] * c.difference.estimate
    shown = p < alpha and gain != 0 and abs(gain) >= smallest
    return replace(c, p_holm=p, mark=("+" if gain > 0 else "-") if shown else "~")
