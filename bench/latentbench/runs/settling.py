"""Journals go when a run has ended, and come back when it is gone on with.

While a run goes on its journals are the truth: a kill tears one line at most. When its tables are written, and `run.json` has
their digests, they say the same in a hundredth of the room. So each unit is read out of the tables and compared with its line,
and where all are equal the journal is removed. Where one is not (metrics of a scorer failed, and the table has no answers where
the journal has; a run of an earlier version was ended by this one) the journal stays, compressed. Deciding that by a list of the
cases would be shorter, and would lose what was paid in the first case that is not on it.

Whoever goes on with the run first writes the journals again, whole, while the tables are still on record. A run that appends to
half a journal and reads the rest out of tables that it is replacing one by one is the tempting way, and dies between two of them.
"""

from __future__ import annotations

import gzip
import json
import shutil
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import DataError
from latentbench.kernel.files import replacing, writing
from latentbench.kernel.identity import digest
from latentbench.runs.journal import Journal


def restore(journals: Sequence[Journal[Any]]) -> None:
    """Write the journals of a run that has ended, where they are not there.

    Raises:
        CorruptTable, DigestMismatch: a table or a compressed journal cannot be read, or is not what the run wrote.
        DataError: they cannot be written.
    """
    for journal in journals:
        if journal.path.exists():
            continue
        # One after another, and the file only where there is anything to write.
        packed = journal.packed.exists()
        written = (line + b"\n" for _, line in journal.lines()) if packed else map(journal.sealed, journal.spare())
        first = next(written, None)
        if first is None and not packed:
            continue
        with replacing(journal.path) as part, part.open("wb") as f:
            f.writelines(chain((first or b"",), written))


def settle(journals: Sequence[Journal[Any]]) -> None:
    """Remove the journals of a run whose tables are written and on record, or compress what these do not say again.

    A journal that cannot be removed or compressed stays as it is: nothing depends on it.

    Raises:
        CorruptTable, DigestMismatch: a table is not what was written.
    """
    for journal in journals:
        if not journal.path.exists():
            continue
        same = np.array_equal(_told(journal.units(), journal), _told(journal.spare(), journal))
        with suppress(DataError), writing(journal.path):
            if not same:
                _pack(journal.path, journal.packed)
            else:
                journal.packed.unlink(missing_ok=True)
            journal.path.unlink()


def _told(units: Iterable[Any], journal: Journal[Any]) -> NDArray[np.uint64]:
    """A row for each unit, in an order that is theirs: digests of its names and of what its line says, without what it paid; of
    several lines of a unit that of the last."""
    names, said = array("Q"), array("Q")
    for unit in units:
        line = json.loads(journal.line(unit))
        key = [line.get(name) for name in ("cell", "explainer", "repeat", "latent")]
        names.append(int(digest(key), 16))
        said.append(int(digest({name: value for name, value in line.items() if name != "paid"}), 16))
    # The first of several equal ones is found, and the last is wanted.
    own, last = np.unique(np.frombuffer(names, np.uint64)[::-1], return_index=True)
    return np.stack([own, np.frombuffer(said, np.uint64)[::-1][last]])


def _pack(path: Path, packed: Path) -> None:
    with replacing(packed) as part, path.open("rb") as plain, gzip.GzipFile(part, "wb", mtime=0) as f:
        shutil.copyfileobj(plain, f)
