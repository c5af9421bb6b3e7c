"""The units of a run that has ended, out of its tables: what its journals said while it went on.

A run that is resumed to ask what had failed, and the report on what a cache holds, need the units, and the tables hold all of
them but two things. What a single unit paid is told by the ledger for the run as a whole, so the first unit has the sum and the
others nothing. A number of more than 32 bits per token is rounded in a table; it is rounded before it is a unit (`as_tabled`), so
that the scores of a run are computed from what its table says.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.requests import Outcome, Usage
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SECONDS, read_table
from latentbench.panels.panel_table import OPINIONS, PANEL
from latentbench.runs.journal import Asked, Call, ExplainedUnit, JudgedUnit, Written
from latentbench.runs.record import RECORD, Paid, RunRecord, read_record
from latentbench.scorers.scorer import Judgement

Said = tuple[tuple[str, Outcome, float | None, int | None, str | None], ...]
_OWN = ("cell", "latent", "trial", "part", "item", "kind")
"""Columns by which an opinion belongs to a judgement."""
_STEP = 4096
"""Rows that are Python objects at a time."""


def as_tabled(judgement: Judgement) -> Judgement:
    """A judgement whose numbers per token are those that a table has room for."""
    if judgement.token_scores is None and judgement.token_truth is None:
        return judgement
    return replace(judgement, token_scores=_single(judgement.token_scores), token_truth=_single(judgement.token_truth))


def _single(values: Sequence[float] | None) -> tuple[float, ...] | None:
    if values is None:
        return None
    with np.errstate(over="ignore"):
        return tuple(np.asarray(values, np.float32).tolist())


def settled_explanations(folder: Path) -> Iterator[ExplainedUnit]:
    """Explanations of a run that has ended; none of another.

    Raises:
        CorruptTable, DigestMismatch: a table cannot be read, or is not what the run wrote.
    """
    record = _ended(folder)
    if record is None:
        return
    paid = record.totals.paid if record.totals else Paid()
    for row in _timed(folder, record, "explanations", EXPLANATIONS):
        note = json.loads(row["note"]) if row["note"] else None
        outcome = Outcome(row["outcome"])
        explanation = Explanation(row["latent"], row["text"], outcome, _usage(row), row["error"], note)
        who = row["explainer"], row["explainer_id"], row["explainer_key"], row["repeat"], row["cost"]
        yield Written(*who, paid), explanation
        paid = Paid()


def settled_judgements(folder: Path) -> Iterator[JudgedUnit]:
    """Judgements of a run that has ended, unit by unit; none of another.

    Raises:
        CorruptTable, DigestMismatch: as `settled_explanations`.
    """
    record = _ended(folder)
    if record is None:
        return
    said = _Opinions(folder, record)
    rows = groupby(_timed(folder, record, "judgements", JUDGEMENTS), lambda row: (row["cell"], row["latent"]))
    key, own = next(rows, (None, iter(())))
    for cell in record.cells:
        for latent in record.latents:
            if key != (cell.cell, latent):
                yield Asked(cell.cell, latent, "", (), Paid()), ()
                continue
            held = list(own)
            calls = tuple(Call(_usage(row), row["cost"]) for row in held)
            place = Asked(cell.cell, latent, held[0]["explanation"], calls, Paid())
            yield place, tuple(_judgement(row, said.of(row)) for row in held)
            key, own = next(rows, (None, iter(())))
    if key is not None:
        raise CorruptTable(f"{folder / 'judgements.parquet'} is not in the order of {RECORD}. Restore it.")


def _ended(folder: Path) -> RunRecord | None:
    """The record of a run that has its tables, and says what they are."""
    if not (folder / RECORD).exists():
        return None
    record = read_record(folder)
    return record if record.ended and record.verified else None


def _timed(folder: Path, record: RunRecord, name: str, schema: pa.Schema) -> Iterator[dict[str, Any]]:
    table = read_table(folder / f"{name}.parquet", schema, record.tables.get(name))
    times = read_table(folder / "seconds.parquet", SECONDS, record.tables.get("seconds")).to_pylist()
    seconds = {t["row"]: t["seconds"] for t in times if t["table"] == name}
    for start in range(0, table.num_rows, _STEP):
        for i, row in enumerate(table.slice(start, _STEP).to_pylist(), start):
            yield row | {"seconds": seconds.get(i, 0.0)}


class _Opinions:
    """What members of panels said, in the order of the judgements."""

    def __init__(self, folder: Path, record: RunRecord) -> None:
        frozen = record.tables.get("panel")
        self._rows = iter(read_table(folder / PANEL, OPINIONS, frozen).to_pylist()) if frozen is not None else iter(())
        self._next = next(self._rows, None)

    def of(self, judgement: Mapping[str, Any]) -> Said:
        """What they said of the next judgement."""
        found: dict[str, Any] = {}
        while (row := self._next) is not None:
            if row["member"] in found or any(row[name] != judgement[name] for name in _OWN):
                break
            found[row["member"]] = (row["member"], Outcome(row["outcome"]), row["score"], row["answer"], row["error"])
            self._next = next(self._rows, None)
        return tuple(found.values())


def _judgement(row: Mapping[str, Any], said: Said) -> Judgement:
    return Judgement(
        trial=row["trial"],
        part=row["part"],
        item=row["item"],
        kind=row["kind"],
        truth=row["truth"],
        outcome=Outcome(row["outcome"]),
        score=row["score"],
        answer=row["answer"],
        token_scores=None if row["token_scores"] is None else tuple(row["token_scores"]),
        token_truth=None if row["token_truth"] is None else tuple(row["token_truth"]),
        error=row["error"],
        said=said,
    )


def _usage(row: Mapping[str, Any]) -> Usage:
    return Usage(row["tokens_in"], row["tokens_out"], row["tokens_cached"], row["seconds"])
