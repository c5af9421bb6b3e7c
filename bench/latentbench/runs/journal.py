"""Append-only JSONL while a run is going; Parquet when it has ended.

One line is one *unit* of work (one latent of one cell, one explanation of one explainer) with all that came of it, written with a
single `write`. So a kill can tear at most the last line, and a torn line is simply owed again; a unit is never half there. Later
lines of the same unit replace earlier ones, which is how a failed unit is done again on resume.

A line ends with a checksum of what stands before it. A bit that flips on a disk mostly leaves a line that can be read, with
another number in it; such a line is no line, and its unit is owed again. Lines of earlier versions have none and are read as
they are.

A unit is written and read here, side by side, and is a typed value everywhere else. Writing the line where it is appended and
reading it where it is needed is the tempting way, and a field that is added to one of the two is then lost without an error.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.boundary import one_line
from latentbench.kernel.conform import conform
from latentbench.kernel.errors import CorruptTable, RunError
from latentbench.kernel.files import plain, unwritable, writing
from latentbench.kernel.inputs import JOURNAL_BYTES, read_bytes
from latentbench.kernel.requests import Outcome, Usage
from latentbench.kernel.seal import Seal, check, sealed
from latentbench.runs.record import Paid
from latentbench.scorers.scorer import SMALL, Judgement
from latentbench.views.number import finite


@dataclass(frozen=True, slots=True)
class Written:
    """Who wrote an explanation, and at what price.

    Attributes:
        explainer: label in the run spec.
        id, key: of the explainer.
        repeat: number of the repeat.
        cost: of the explanation's usage in dollars, whether paid in this run or before; None where the price is not known.
        paid: by the session that wrote the unit.
    """

    explainer: str
    id: str
    key: str
    repeat: int
    cost: float | None
    paid: Paid


@dataclass(frozen=True, slots=True)
class Call:
    """What the calls behind a judgement used: those of its whole trial, on the first judgement of the trial, and nothing on the
    others, so sums are right.

    Attributes:
        cost: dollars; None where the price is not known.
    """

    usage: Usage
    cost: float | None


@dataclass(frozen=True, slots=True)
class Asked:
    """What judgements are about: one latent of one cell, and the text that was judged.

    Attributes:
        cell: id of the cell.
        latent: id of the latent.
        explanation: hash of the text that was judged.
        calls: as many as judgements.
        paid: by the session that wrote the unit.
    """

    cell: str
    latent: str
    explanation: str
    calls: tuple[Call, ...]
    paid: Paid


ExplainedUnit = tuple[Written, Explanation]
JudgedUnit = tuple[Asked, tuple[Judgement, ...]]
U = TypeVar("U")


class Journal(Generic[U]):
    """An append-only file of units. One process at a time appends (`latentbench.runs.ownership`).

    Args:
        path: the JSONL file; its folder exists. A torn last line is cut off before appending.
        line: a unit -> what its line holds.
        unit: what a line holds -> the unit.

    Attributes:
        damaged: numbers of lines that were found damaged when the file was read; their units are owed again.
        appended: units that were appended.
    """

    def __init__(self, path: Path, line: Callable[[U], dict[str, Any]], unit: Callable[[Mapping[str, Any]], U]) -> None:
        self.path = path
        self._line, self._unit = line, unit
        self._file: int | None = None
        self._end = 0
        self.damaged: set[int] = set()
        self.appended = 0

    def units(self) -> Iterator[U]:
        """The unit of every whole line, in file order; damaged lines are left out.

        Raises:
            CorruptTable: a line of a file without checksums cannot be read, so something else wrote to it.
            RunError: a line in the form of an earlier version.
        """
        if not self.path.exists():
            return
        try:
            data = read_bytes(self.path, JOURNAL_BYTES)
        except (OSError, ValueError) as e:
            raise CorruptTable(f"{self.path} cannot be read: {e}. Restore it, or start the run anew.") from e
        end = data.rfind(b"\n") + 1
        # Not `splitlines`, which also ends a line where a flipped bit has made another control character.
        lines = data[:end].split(b"\n")[:-1]
        seals = [check(line) for line in lines]
        first = seals.index(Seal.WHOLE) if Seal.WHOLE in seals else len(lines)
        for number, (line, seal) in enumerate(zip(lines, seals, strict=True)):
            # Behind a line with a checksum every line has one, unless a bit has flipped in the very sign of it.
            if seal is Seal.BROKEN or (seal is Seal.NONE and number > first):
                self.damaged.add(number + 1)
                continue
            try:
                yield self._read(line, f"{self.path} line {number + 1}")
            except CorruptTable:
                if first == len(lines):
                    raise
                self.damaged.add(number + 1)

    def _read(self, line: bytes, place: str) -> U:
        try:
            held = json.loads(line)
        except (ValueError, RecursionError) as e:
            raise CorruptTable(f"{place} is not JSON; delete that line to have its unit redone.") from e
        try:
            if any("probability" in row for row in held.get("rows") or ()):
                raise RunError(f"{place} was written by an earlier version of this package; start the run anew.")
            return self._unit(held)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as e:
            raise CorruptTable(
                f"{place} is no unit of a run ({type(e).__name__}: {one_line(str(e))}); delete that line to have its unit "
                "redone."
            ) from e

    def append(self, unit: U) -> None:
        """Write one unit as one line.

        Raises:
            DataError: the file cannot be written; it then ends with the unit before.
        """
        if self._file is None:
            with writing(self.path):
                self._cut_torn_line()
                self._file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
                self._end = os.fstat(self._file).st_size
        text = json.dumps(self._line(unit), ensure_ascii=False, separators=(",", ":"), default=plain)
        line = sealed(text.encode("utf-8")) + b"\n"
        left = memoryview(line)
        try:
            while left:
                left = left[os.write(self._file, left) :]
        except OSError as e:
            # A half line in the middle of a file would be a damaged one for good.
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise unwritable(self.path, e) from e
        self._end += len(line)
        self.appended += 1

    def close(self) -> None:
        """Flush to disk and close.

        Raises:
            DataError: the disk does not take it.
        """
        if self._file is not None:
            file, self._file = self._file, None
            with writing(self.path):
                try:
                    os.fsync(file)
                finally:
                    os.close(file)

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb+") as f:
            data = f.read()
            end = data.rfind(b"\n") + 1
            if end != len(data):
                f.truncate(end)


def explanation_journal(folder: Path) -> Journal[ExplainedUnit]:
    """The journal of explanations of a run folder."""
    return Journal(folder / "explanations.jsonl", _explained_line, _explained_unit)


def judgement_journal(folder: Path) -> Journal[JudgedUnit]:
    """The journal of judgements of a run folder."""
    return Journal(folder / "judgements.jsonl", _judged_line, _judged_unit)


def note_text(explanation: Explanation) -> str | None:
    """An explainer's note as JSON."""
    return json.dumps(explanation.note, sort_keys=True) if explanation.note is not None else None


def _explained_line(unit: ExplainedUnit) -> dict[str, Any]:
    written, found = unit
    usage = found.usage
    return {
        "latent": found.latent,
        "text": found.text,
        "hash": found.hash,
        "outcome": found.outcome.value,
        "error": found.error,
        "note": note_text(found),
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "seconds": usage.seconds,
        "explainer": written.explainer,
        "explainer_id": written.id,
        "explainer_key": written.key,
        "repeat": written.repeat,
        "cost": written.cost,
        "paid": written.paid.model_dump(),
    }


def _explained_unit(held: Mapping[str, Any]) -> ExplainedUnit:
    note = json.loads(held["note"]) if held["note"] else None
    explanation = Explanation(held["latent"], held["text"], Outcome(held["outcome"]), _usage(held), held["error"], note)
    paid = Paid.model_validate(held["paid"])
    written = Written(
        held["explainer"], held["explainer_id"], held["explainer_key"], held["repeat"], held["cost"], paid
    )
    return conform(written, Written), conform(explanation, Explanation)


def _judged_line(unit: JudgedUnit) -> dict[str, Any]:
    place, judgements = unit
    rows = [_judgement_line(j, place.explanation, call) for j, call in zip(judgements, place.calls, strict=True)]
    return {"cell": place.cell, "latent": place.latent, "rows": rows, "paid": place.paid.model_dump()}


def _judged_unit(held: Mapping[str, Any]) -> JudgedUnit:
    rows = held["rows"]
    hashes = {row["explanation"] for row in rows} or {""}
    if len(hashes) > 1:
        raise ValueError("its rows judge different explanations")
    calls = tuple(Call(_usage(row), row["cost"]) for row in rows)
    place = Asked(held["cell"], held["latent"], hashes.pop(), calls, Paid.model_validate(held["paid"]))
    judgements = tuple(conform(_judgement(row), Judgement) for row in rows)
    for j in judgements:
        if any(n is not None and not -SMALL <= n < SMALL for n in (j.truth, j.answer)):
            raise ValueError("a truth or an answer has more than 32 bits")
    return conform(place, Asked), judgements


def _judgement_line(j: Judgement, explanation: str, call: Call) -> dict[str, Any]:
    return {
        "trial": j.trial,
        "part": j.part,
        "item": j.item,
        "kind": j.kind,
        "truth": j.truth,
        "outcome": j.outcome.value,
        "score": finite(j.score),
        "answer": j.answer,
        "token_scores": j.token_scores,
        "token_truth": j.token_truth,
        "error": j.error,
        **({"said": j.said} if j.said else {}),
        "explanation": explanation,
        "tokens_in": call.usage.tokens_in,
        "tokens_out": call.usage.tokens_out,
        "tokens_cached": call.usage.tokens_cached,
        "cost": call.cost,
        "seconds": call.usage.seconds,
    }


def _judgement(held: Mapping[str, Any]) -> Judgement:
    return Judgement(
        trial=held["trial"],
        part=held["part"],
        item=held["item"],
        kind=held["kind"],
        truth=held["truth"],
        outcome=Outcome(held["outcome"]),
        score=held["score"],
        answer=held["answer"],
        token_scores=None if held["token_scores"] is None else tuple(held["token_scores"]),
        token_truth=None if held["token_truth"] is None else tuple(held["token_truth"]),
        error=held["error"],
        said=tuple((label, Outcome(outcome), *rest) for label, outcome, *rest in held.get("said", ())),
    )


def _usage(held: Mapping[str, Any]) -> Usage:
    return Usage(held["tokens_in"], held["tokens_out"], held["tokens_cached"], held["seconds"])
