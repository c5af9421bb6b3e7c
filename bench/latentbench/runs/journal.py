"""Append-only JSONL while a run is going; Parquet when it has ended.

One line is one *unit* of work (one latent of one cell, one explanation of one explainer) with all that came of it, written with a
single `write`. So a kill can tear at most the last line, and a torn line is simply owed again; a unit is never half there. Later
lines of the same unit replace earlier ones, which is how a failed unit is done again on resume.

A line ends with a checksum of what stands before it. A bit that flips on a disk mostly leaves a line that can be read, with
another number in it; such a line is no line, and its unit is owed again. Lines of earlier versions have none and are read as
they are.

When the run has ended its tables say the same, and the journals go (`latentbench.runs.settling`). Whoever reads units then reads
them out of the tables.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.boundary import one_line
from latentbench.kernel.errors import CorruptTable, RunError
from latentbench.kernel.files import unwritable, writing
from latentbench.kernel.inputs import CHUNK, lines
from latentbench.kernel.requests import Usage
from latentbench.kernel.seal import Seal, check, sealed
from latentbench.runs.record import Paid
from latentbench.scorers.scorer import Judgement


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


class Earlier(ValueError):
    """A line in the form of an earlier version."""


class Journal(Generic[U]):
    """An append-only file of units. One process at a time appends (`latentbench.runs.ownership`).

    Args:
        path: the JSONL file; its folder exists. A torn last line is cut off before appending.
        line: a unit -> its line, as JSON.
        unit: a line -> the unit.
        spare: the units, where there is no file: a run that has ended has them in its tables.

    Attributes:
        packed: where the file lies compressed when the run has ended and its tables do not say the same.
        damaged: numbers of lines that were found damaged when the file was read; their units are owed again.
        appended: units that were appended.
    """

    def __init__(
        self,
        path: Path,
        line: Callable[[U], str],
        unit: Callable[[bytes], U],
        spare: Callable[[], Iterator[U]] = lambda: iter(()),
    ) -> None:
        self.path, self.packed = path, path.with_name(f"{path.name}.gz")
        self.line, self._unit, self.spare = line, unit, spare
        self._file: int | None = None
        self._end = 0
        self.damaged: set[int] = set()
        self.appended = 0

    def units(self) -> Iterator[U]:
        """The unit of every whole line, in file order, or those of the tables; damaged lines are left out.

        Raises:
            CorruptTable: a line of a file without checksums cannot be read, so something else wrote to it.
            RunError: a line in the form of an earlier version.
        """
        if not self.path.exists() and not self.packed.exists():
            yield from self.spare()
        else:
            yield from (unit for _, unit in self.placed())

    def placed(self) -> Iterator[tuple[int, U]]:
        """The unit of every whole line with the place of the line in the file.

        Raises:
            CorruptTable, RunError: as `units`.
        """
        any_sealed = False
        for number, (place, line) in enumerate(self.lines(), 1):
            seal = check(line)
            any_sealed |= seal is Seal.WHOLE
            # Behind a line with a checksum every line has one, unless a bit has flipped in the very sign of it.
            if seal is Seal.BROKEN or (seal is Seal.NONE and any_sealed):
                self.damaged.add(number)
                continue
            try:
                unit = self._read(line, f"{self.path} line {number}")
            except CorruptTable:
                if not any_sealed and not any(check(other) is Seal.WHOLE for _, other in self.lines()):
                    raise
                self.damaged.add(number)
            else:
                yield place, unit

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """Place and bytes of each line of the file, or of the compressed one; a torn last line is none.

        Raises:
            CorruptTable: it cannot be read.
        """
        place = 0
        try:
            for line in lines(self.path if self.path.exists() else self.packed):
                if not line.endswith(b"\n"):
                    return
                yield place, line[:-1]
                place += len(line)
        except (OSError, ValueError) as e:
            raise CorruptTable(f"{self.path} cannot be read: {e}. Restore it, or start the run anew.") from e

    def at(self, places: Iterable[int]) -> Iterator[U]:
        """The units whose lines stand at these places of the file.

        Raises:
            CorruptTable: it cannot be read any more.
        """
        try:
            with self.path.open("rb") as f:
                for place in places:
                    f.seek(place)
                    yield self._read(f.readline()[:-1], f"{self.path} byte {place}")
        except OSError as e:
            raise CorruptTable(f"{self.path} cannot be read: {e}. Restore it, or start the run anew.") from e

    def _read(self, line: bytes, place: str) -> U:
        try:
            return self._unit(line)
        except Earlier as e:
            raise RunError(f"{place} was written by an earlier version of this package; start the run anew.") from e
        except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as e:
            raise CorruptTable(f"{place} is not JSON; delete that line to have its unit redone.") from e
        except (KeyError, TypeError, ValueError, AttributeError) as e:
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
        line = self.sealed(unit)
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

    def sealed(self, unit: U) -> bytes:
        """The line of a unit."""
        return sealed(self.line(unit).encode("utf-8")) + b"\n"

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
            end = size = f.seek(0, os.SEEK_END)
            # From the end: what lies before may be longer than memory.
            while end:
                start = max(0, end - CHUNK)
                f.seek(start)
                found = f.read(end - start).rfind(b"\n")
                end = start + found + 1
                if found >= 0:
                    break
            if end != size:
                f.truncate(end)


class UnitPlaces(Generic[U]):
    """Where the last line of each unit stands in a journal, by row and latent: 8 bytes for each.

    Tables are in the order of the plan and a journal is in that of the answers. Holding the units between the two is the tempting
    way, and is the whole run as Python objects.

    Args:
        journal: its file is there.
        rows: cells, or explainers and repeats.
        names: a unit -> its row and its latent.
        paid: a unit -> what its session paid.

    Attributes:
        paid: what all lines say was paid, those of units that were done again included.
    """

    def __init__(
        self,
        journal: Journal[U],
        rows: Iterable[Hashable],
        latents: Sequence[str],
        names: Callable[[U], tuple[Hashable, str]],
        paid: Callable[[U], Paid],
    ) -> None:
        self._journal = journal
        self._rows = {row: number for number, row in enumerate(rows)}
        columns = {latent: number for number, latent in enumerate(latents)}
        self._places = np.full((len(self._rows), len(columns)), -1, np.int64)
        self.paid = Paid()
        for place, unit in journal.placed():
            row, latent = names(unit)
            self.paid += paid(unit)
            if row in self._rows and latent in columns:
                self._places[self._rows[row], columns[latent]] = place

    def of(self, row: Hashable) -> Iterator[U]:
        """The units of a row, in the order of the latents.

        Raises:
            KeyError: one is not there.
        """
        places = self._places[self._rows[row]]
        if len(places) and places.min() < 0:
            raise KeyError(row)
        return self._journal.at(places.tolist())


def note_text(explanation: Explanation) -> str | None:
    """An explainer's note as JSON."""
    return json.dumps(explanation.note, sort_keys=True) if explanation.note is not None else None
