"""Whether published rows can be what they say: numbers that follow from their evidence, and rows of one run that fit together.

A digest over a file finds a number that was edited, and whoever edits can write a new digest. So a row is not believed for its
digest: its mean, interval, counts and bounds are computed again from the values of its latents. Somebody who makes up values and
computes everything from them is not found here; the digests of the run's tables say which run would have to be shown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

from latentbench.kernel.errors import BenchError
from latentbench.kernel.identity import joined
from latentbench.leaderboards.claims import misnamed
from latentbench.leaderboards.row import Estimate, Row, RowEvidence, restated
from latentbench.scorers.scorer import Metric, is_outside, load_scorer
from latentbench.suites.store import splits_of
from latentbench.views.number import rounded

TOLERANCE = 2e-6
"""By how much a number may differ, relatively above 1: rows have six digits."""


def faults(rows: Sequence[Row]) -> list[str]:
    """What cannot be in the rows of one run, one sentence each; empty if all can be."""
    found = [
        f"row {_name(row)}: {fault}"
        for row in rows
        for fault in (*_impossible(row), *_undeclared(row), *misnamed(row), *_unfounded(row))
    ]
    return [*found, *_apart(rows)]


def contradictions(rows: Sequence[Row]) -> list[str]:
    """What rows of any runs say differently of one scorer's metric: its floor, direction and range; of whose key one is; and runs
    that are one run under two names, which would tie with itself."""
    names: dict[str, set[str]] = {}
    for row in rows:
        if row.evidence is not None:
            names.setdefault(row.evidence.record, set()).add(row.run)
    twice = [f"runs {' and '.join(sorted(runs))} have one record" for runs in names.values() if len(runs) > 1]
    said: dict[tuple[str, str], tuple[tuple[object, ...], Row]] = {}
    found = []
    for row in rows:
        for metric, means in {row.headline: row.score, **row.metrics}.items():
            told = (means.floor, means.higher_is_better, row.evidence.ranges.get(metric) if row.evidence else None)
            first, other = said.setdefault((row.scorer.key, metric), (told, row))
            # A row without evidence says nothing of the range.
            known = 3 if row.evidence and other.evidence else 2
            if told[:known] != first[:known]:
                found.append(
                    f"runs {other.run} and {row.run} say of {metric} of {row.scorer.id} (floor, higher is better, range) "
                    f"{first[:known]} and {told[:known]}"
                )
    return [*twice, *_two_names(rows), *found]


def _two_names(rows: Sequence[Row]) -> Iterator[str]:
    owners: dict[tuple[str, str], tuple[object, ...]] = {}
    for row in rows:
        for kind, key, said in (
            ("explainer", row.explainer.key, (row.explainer.id, row.is_floor)),
            ("scorer", row.scorer.key, (row.scorer.id,)),
            ("judge", row.judge.key, (row.judge.id,)),
        ):
            first = owners.setdefault((kind, key), said)
            if first != said:
                yield f"the {kind} with the key {key} is {first[0]} in one row and {said[0]} in another" + (
                    ", and a floor in one of them" if first[0] == said[0] else ""
                )


def _name(row: Row) -> str:
    return joined(row.name[1:], " / ")


def _impossible(row: Row) -> Iterator[str]:
    """What no row can say, whatever it was computed from."""
    if row.n_judged > row.n_attempted:
        yield f"{row.n_judged} of {row.n_attempted} judgements cannot have an answer"
    for metric, means in {row.headline: row.score, **row.metrics}.items():
        yield from _unordered(metric, means)
        if means.n > row.n_latents:
            yield f"{metric} has values of {means.n} latents, and the row is on {row.n_latents}"
        if (means.estimate is None) != (means.n == 0):
            yield f"{metric} has a mean over {means.n} latents, {means.estimate}"
    if row.worst is not None and row.best is not None and row.worst > row.best + TOLERANCE:
        yield f"its least possible mean {row.worst} is above the greatest, {row.best}"
    # Files of the first layout had no values.
    if row.values or row.evidence is not None:
        if any(not math.isfinite(value) for value in row.values.values()):
            yield "a latent has an infinite value"
        elif row.score.n != len(row.values):
            yield f"it says that {row.score.n} latents have a value, and holds {len(row.values)}"
        elif row.values:
            mean = math.fsum(row.values.values()) / len(row.values)
            if not _equal(mean, row.score.estimate):
                yield f"the mean of its latents is {rounded(mean)}, and it says {row.score.estimate}"


def _undeclared(row: Row) -> Iterator[str]:
    """What the scorer of this name and version, where it is installed, says that its metrics cannot be.

    A row brings its own ranges, and whoever makes one up brings wider ones. Parameters can lower a floor, and the least value
    with it, but no greatest value; so least values count where the floor is that of the default.
    """
    own = _declared(row.scorer.id)
    if own is None:
        return
    for metric, means in {row.headline: row.score, **row.metrics}.items():
        if metric not in own:  # one that only another setting of the scorer has
            continue
        if means.higher_is_better != own[metric].higher_is_better:
            yield f"{metric} of {row.scorer.id} is best when {'large' if own[metric].higher_is_better else 'small'}"
        values = [means.estimate, means.low, means.high, *(row.evidence.values.get(metric, ()) if row.evidence else ())]
        values += list(row.values.values()) if metric == row.headline else []
        known = [value for value in values if value is not None]
        low = own[metric].low if means.floor == own[metric].floor else None
        high = own[metric].high
        wrong = [v for v in known if is_outside(v, low, high)]
        if wrong:
            yield f"{metric} is {wrong[0]}, and {row.scorer.id} gives {_end(low)} to {_end(high)}"


@cache
def _declared(scorer: str) -> dict[str, Metric] | None:
    """Metrics of a scorer by its name and version; None where another one, or none, is installed."""
    try:
        found = load_scorer({"use": scorer.partition("@")[0]})
    except BenchError:
        return None
    return {metric.name: metric for metric in found.metric_table()} if found.id == scorer else None


def _unordered(metric: str, means: Estimate) -> Iterator[str]:
    ends = (means.low, means.estimate, means.high)
    if (means.low is None) != (means.high is None):
        yield f"the interval of {metric} has one end"
    elif None not in ends and not ends[0] - TOLERANCE <= ends[1] <= ends[2] + TOLERANCE:  # type: ignore[operator]
        yield f"{metric} is {means.estimate}, outside its interval [{means.low}, {means.high}]"


def _unfounded(row: Row) -> Iterator[str]:
    """What does not follow from the evidence of a row; nothing where it has none."""
    evidence = row.evidence
    if evidence is None:
        return
    if wrong := _misshapen(row, evidence):
        yield wrong
        return
    for metric, values in evidence.values.items():
        low, high = evidence.ranges[metric]
        for latent, value in zip(evidence.latents, values, strict=True):
            if value is not None and is_outside(value, low, high):
                yield f"{metric} of {latent} is {value}, outside {_end(low)} to {_end(high)}"
    for latent, n, of in zip(evidence.latents, evidence.judged, evidence.attempted, strict=True):
        if n > of:
            yield f"{n} of {of} judgements of {latent} cannot have an answer"
    again = rounded(restated(row, evidence).model_dump(exclude={"evidence"}))
    said = row.model_dump(exclude={"evidence"})
    for place, (ours, theirs) in differing(again, said):
        yield f"its evidence gives {place} = {ours}, and it says {theirs}"
    known = splits_of(row.suite.name, row.suite.digest)
    if known is not None:
        strangers = [latent for latent in evidence.latents if known.get(latent) != row.split and row.split != "all"]
        if strangers:
            yield f"{strangers[0]} is no {row.split} latent of suite {row.suite.id} ({row.suite.digest})"


def _misshapen(row: Row, evidence: RowEvidence) -> str:
    """Why the evidence is not one of this row, "" if it is."""
    n, metrics = len(evidence.latents), {row.headline, *row.metrics}
    if len(set(evidence.latents)) < n:
        return "its evidence has a latent twice"
    columns = [evidence.judged, evidence.attempted, *evidence.values.values()]
    columns += [end for end in (evidence.worst, evidence.best) if end]
    if any(len(column) != n for column in columns):
        return f"its evidence has {n} latents, and more or fewer values"
    if set(evidence.values) != metrics or set(evidence.ranges) != metrics:
        return "its evidence is of other metrics"
    if not evidence.record or not evidence.tables:
        return "its evidence names no tables"
    return ""


def _apart(rows: Sequence[Row]) -> Iterator[str]:
    """What rows of one run have in common and these have not."""
    names = [row.name for row in rows]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"row {joined(name[1:], ' / ')} is there twice"
    for what, of in _COMMON.items():
        held = {of(row) for row in rows}
        if len(held) > 1:
            yield f"its rows are of {len(held)} {what}: {', '.join(sorted(map(str, held)))}"
    tables = [row.evidence.answers for row in rows if row.evidence is not None]
    if any(table != tables[0] for table in tables):
        yield "the evidence of its rows is of different tables"


_COMMON: Mapping[str, Any] = {
    "suites": lambda row: (row.suite.id, row.suite.digest),
    "splits": lambda row: row.split,
    "starts": lambda row: row.date,
    "commands": lambda row: row.command,
}


def differing(a: Any, b: Any, place: str = "") -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Where two dumped rows differ by more than six digits allow: the place, and both values."""
    if isinstance(a, dict) and isinstance(b, dict):
        for name in dict.fromkeys([*a, *b]):
            yield from differing(a.get(name), b.get(name), f"{place}.{name}".lstrip("."))
    elif not _equal(a, b):
        yield place, (a, b)


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, float | int) and isinstance(b, float | int):
        return bool(abs(a - b) <= TOLERANCE * max(1.0, abs(a)))
    return bool(a == b)


def _end(end: float | None) -> str:
    return "..." if end is None else f"{end:g}"


def unfounded_notes(rows: Iterable[Row]) -> list[str]:
    """What a page says of rows that nobody can compute again."""
    rows = list(rows)
    without = sorted({row.run for row in rows if row.evidence is None})
    taken = sorted(
        {(row.scorer.id, row.run) for row in rows if row.evidence is not None and not row.evidence.recomputed}
    )
    notes = []
    if without:
        notes.append(
            f"Not recomputable, so not ranked: {', '.join(without)}. Nothing shows what these rows were computed from."
        )
    if taken:
        told = ", ".join(f"{scorer} of {run}" for scorer, run in taken)
        notes.append(f"Scores of latents were not computed again from the judgements: {told}.")
    return notes
