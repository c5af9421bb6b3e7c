"""A finished run's scores, computed again from its judgements by the scorers themselves.

Digests say that nobody changed a table without changing `run.json` too; only this says that the scores are those of the
judgements. It needs the very scorer that the run had. Where that is not here (code of another package, another version, a
prompt of one's own) the scores are taken as they are and whoever shows them says so: computing them with the nearest scorer at
hand is tempting, and would call a run forged for a new version of a scorer.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from latentbench.kernel.errors import BenchError, CorruptTable
from latentbench.kernel.requests import Outcome
from latentbench.leaderboards.claims import check_names
from latentbench.runs.finished import Run
from latentbench.runs.record import RECORD, MetricRecord, ScorerRecord
from latentbench.runs.run_spec import ScorerEntry, local
from latentbench.runs.run_tables import Value, latent_scores, metric_record
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.views.number import finite

if TYPE_CHECKING:
    import pyarrow as pa

TOLERANCE = 1e-6
"""By how much a value may differ, relatively above 1: another machine sums in another order, and scores of tokens are kept with
the precision of their column."""
TRIES = 4
COLUMNS = ("trial", "part", "item", "kind", "truth", "outcome", "score", "answer", "error")
TOKENS = ("token_scores", "token_truth")
ENDS = ("value", "lowest", "highest")

Place = tuple[str, str]
"""Cell and latent."""


@dataclass(frozen=True, slots=True)
class Rescored:
    """What became of computing a run's scores again.

    Attributes:
        values: how many were compared, and are equal.
        without: scorer label -> why its scores were not computed again.
    """

    values: int
    without: Mapping[str, str]


def rescored(run: Run) -> Rescored:
    """Compute the scores of a run again and compare them with those that it wrote.

    Raises:
        CorruptTable: a score is not that of its judgements, or a scorer is not what the record says; the message names cell,
            latent, metric and both values. Or the record says of names what cannot be.
    """
    check_names(run)
    scorers: dict[str, Scorer] = {}
    without: dict[str, str] = {}
    for entry in run.record.spec.scorers:
        found = same_scorer(entry, run)
        if isinstance(found, str):
            without[entry.label] = found
        elif found is not None:
            scorers[entry.label] = found
    by_cell = {cell.cell: scorers[cell.scorer.label] for cell in run.record.cells if cell.scorer.label in scorers}
    compared = 0
    unjudged: dict[Place, dict[str, Value]] = {}
    for cell, scorer in by_cell.items():
        # A cell at a time, so that a large run needs no more memory than its largest cell.
        own = run.table("scores").of_cells([cell], ["latent", "metric", *ENDS])
        written: dict[str, dict[str, Value]] = {}
        for latent, metric, *value in zip(*(own[name].tolist() for name in own), strict=True):
            written.setdefault(latent, {})[metric] = tuple(finite(v) for v in value)
        for place, judgements in judged_latents(run, [cell]):
            _compare(run, place, scorer, judgements, written.pop(place[1], {}))
        unjudged |= {(cell, latent): values for latent, values in written.items()}
        compared += len(own)
    for place, values in unjudged.items():
        # Nothing was judged, so there is nothing that these could be the scores of.
        _compare(run, place, by_cell[place[0]], (), values)
    return Rescored(compared, without)


def doubts(runs: Iterable[Run], found: Mapping[str, Rescored]) -> list[str]:
    """What a leaderboard says of scores that were taken as they are written, one sentence each.

    Args:
        found: id of a run -> what became of computing its scores again; runs that are not there were not tried.
    """
    said = []
    for run in runs:
        if not run.record.verified:
            said.append(
                f"NOT VERIFIED, so not ranked: {RECORD} of {run.id} has no digests of its tables. Either it is of before "
                "there were any, or somebody took them out: nothing shows that its numbers and texts are those of the run."
            )
        if run.id not in found:
            said.append(
                f"Scores of {run.id} were not computed again from its judgements; bench leaderboard does (--recompute)."
            )
            continue
        for label, reason in found[run.id].without.items():
            said.append(f"Scores of {label} in {run.id} were not computed again from its judgements: {reason}.")
    return said


def same_scorer(entry: ScorerEntry, run: Run) -> Scorer | str | None:
    """The scorer of the run, if it is here; else why it is not. None where the run has no cell of it.

    Raises:
        CorruptTable: it is here, and means something else by its metrics than the record says.
    """
    record = run.record.scorers.get(entry.label)
    if record is None:
        return None
    try:
        use = local(entry.use, Path(run.record.base))
        scorer = load_scorer({"use": use, "preset": entry.preset, "params": entry.params})
        if scorer.key != record.key:
            return f"{scorer.id} here is not the {record.id} of the run (key {scorer.key}, not {record.key})"
        _as_declared(scorer, record, run)
    except CorruptTable:
        raise
    except BenchError as e:
        return f"{record.id} is not here: {str(e).rstrip('.')}"
    return scorer


def _as_declared(scorer: Scorer, record: ScorerRecord, run: Run) -> None:
    """What a run says of a scorer decides what its numbers mean: which ranks, in which direction, above which floor.

    Runs of before may say less, such as no ranges, so only a record with digests is compared.
    """
    if not run.record.verified:
        return
    said: tuple[object, ...] = (record.id, record.headline, *record.metrics)
    own: tuple[object, ...] = (scorer.id, scorer.headline, *(metric_record(scorer, m) for m in scorer.metric_table()))
    for a, b in zip(said, own, strict=False):
        if a != b:
            what = f"metric {b.name}" if isinstance(b, MetricRecord) else "id or headline"
            raise CorruptTable(
                f"{run.folder / RECORD}: {what} of scorer {record.label!r} is {a!r}, and the scorer says {b!r}."
            )
    if len(said) != len(own):
        raise CorruptTable(
            f"{run.folder / RECORD}: scorer {record.label!r} has {len(record.metrics)} metrics, and the scorer says "
            f"{len(own) - 2}."
        )


def judged_latents(run: Run, cells: Iterable[str]) -> Iterator[tuple[Place, list[Judgement]]]:
    """Judgements of each latent in each of these cells, in the order in which they were written."""
    outcomes = {outcome.value: outcome for outcome in Outcome}
    for cell in cells:
        part = run.table("judgements").arrow_of(cell, ["latent", *COLUMNS, *TOKENS])
        columns = [part.column(name).to_pylist() for name in COLUMNS]
        tokens = [_lists(part, name) for name in TOKENS]
        latents: dict[str, list[Judgement]] = {}
        for latent, trial, of, item, kind, truth, outcome, score, answer, error, scores, truths in zip(
            part.column("latent").to_pylist(), *columns[:9], *tokens, strict=True
        ):
            latents.setdefault(latent, []).append(
                Judgement(trial, of, item, kind, truth, outcomes[outcome], score, answer, scores, truths, error)
            )
        yield from (((cell, latent), found) for latent, found in latents.items())


def _lists(table: pa.Table, name: str) -> list[tuple[float, ...] | None]:
    column = table.column(name)
    if column.null_count == len(column):
        return [None] * len(column)
    return [None if held is None else tuple(held) for held in column.to_pylist()]


def _compare(
    run: Run, place: Place, scorer: Scorer, judgements: Sequence[Judgement], written: Mapping[str, Value]
) -> None:
    found = latent_scores(scorer, judgements)[1]
    clean = {name: tuple(map(finite, value)) for name, value in found.items()}
    wrong = _differences(clean, written)
    if wrong and any(j.token_scores is not None for j in judgements):
        # The table keeps scores of tokens with seven digits. Where that decides a value, the table does not say which it was.
        wrong -= _undecided(scorer, judgements, clean, written)
    if wrong:
        name, end = min(wrong)
        ours, theirs = (held[name][end] if name in held else "no value" for held in (clean, written))
        raise CorruptTable(
            f"{run.folder / 'scores.parquet'}: {ENDS[end]} of {name} in cell {place[0]!r}, latent {place[1]!r} is "
            f"{_said(theirs)}, and its judgements give {_said(ours)}. Restore the table that was changed, or carry the "
            "run out again."
        )


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def _differences(
    a: Mapping[str, Sequence[float | None]], b: Mapping[str, Sequence[float | None]]
) -> set[tuple[str, int]]:
    """Metric and place in ENDS of what differs."""
    wrong = {(name, 0) for name in a.keys() ^ b.keys()}
    for name in a.keys() & b.keys():
        wrong |= {(name, i) for i, (x, y) in enumerate(zip(a[name], b[name], strict=True)) if not _equal(x, y)}
    return wrong


def _equal(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is b
    return abs(a - b) <= TOLERANCE * max(1.0, abs(a))


def _undecided(
    scorer: Scorer,
    judgements: Sequence[Judgement],
    found: Mapping[str, Sequence[float | None]],
    written: Mapping[str, Sequence[float | None]],
) -> set[tuple[str, int]]:
    """What differs no more than the values do when scores of tokens move in the last digit that their column keeps."""
    rng = np.random.default_rng(0)
    open_: set[tuple[str, int]] = set()
    reach: dict[tuple[str, int], float] = {}
    for _ in range(TRIES):
        moved = [
            j
            if j.token_scores is None
            else replace(j, token_scores=tuple(s * (1 + float(rng.uniform(-1, 1)) * 2.0**-24) for s in j.token_scores))
            for j in judgements
        ]
        again = latent_scores(scorer, moved)[1]
        open_ |= {(name, 0) for name in again.keys() ^ found.keys()}
        for name in again.keys() & found.keys():
            for i, (x, y) in enumerate(zip(again[name], found[name], strict=True)):
                if x is None or y is None:
                    open_ |= {(name, i)} if x is not y else set()
                else:
                    reach[name, i] = max(reach.get((name, i), 0.0), abs(x - y))
    for (name, i), most in reach.items():
        x, y = found[name][i], written.get(name, (None, None, None))[i]
        if x is not None and y is not None and abs(x - y) <= 10 * most:
            open_.add((name, i))
    return open_
