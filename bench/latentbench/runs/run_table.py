"""A table of a finished run: whole for whoever wants to look around in it, and a cell at a time for what has to be computed.

A frame of all judgements takes some 1.3 kB for each, and twelve millions of them are more than a machine has. A report, a
leaderboard and MLflow look at one explainer under one scorer and judge and go on to the next, so that is what they are given. A
file of several row groups stays on disk and is read where it is asked for. Narrow columns in one large frame are the tempting
way: the table still grows with the run, and groups of categories are not groups of texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.parquet import parquet_groups
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tables import read_table

if TYPE_CHECKING:
    import pandas as pd

TABLES = ("explanations", "judgements", "scores")
"""The tables of a run that belong to its cells."""
CELL = "cell"


class RunTable:
    """One table.

    Args:
        source: its rows, in memory or in a file.
        seconds: of each row, where they are in a table of their own.
        without: columns that are not read.
    """

    def __init__(
        self,
        source: pd.DataFrame | pa.Table | RowGroups,
        seconds: NDArray[np.float64] | None = None,
        without: Sequence[str] = (),
    ) -> None:
        self._given: pd.DataFrame | None = None
        self._file: Any = None
        if isinstance(source, pa.Table | RowGroups):
            self._file = source
        else:
            self._given = source
        self._seconds, self._without = seconds, frozenset(without)
        self._last: tuple[int, tuple[str, ...], pa.Table] | None = None

    @cached_property
    def frame(self) -> pd.DataFrame:
        """All rows and columns; it is held from then on."""
        return self._of([(0, len(self))], self.columns) if self._given is None else self._given

    def counts(self, name: str) -> Counter[Any]:
        """How often each value of a column of texts stands there, the most frequent first."""
        found: Counter[Any] = Counter()
        for array in self._column(name):
            held = pc.value_counts(array)
            values = held.field("values")
            plain = values.dictionary_decode() if pa.types.is_dictionary(values.type) else values
            found.update(dict(zip(plain.to_pylist(), held.field("counts").to_pylist(), strict=True)))
        return Counter(dict(found.most_common()))

    @property
    def columns(self) -> list[str]:
        """Names, those of the file first."""
        if self._given is not None:
            return [str(name) for name in self._given.columns]
        names = [name for name in self._file.schema.names if name not in self._without]
        return names if self._seconds is None else [*names, "seconds"]

    def __len__(self) -> int:
        return int(self._file.num_rows) if self._given is None else len(self._given)

    @cached_property
    def cells(self) -> list[Any]:
        """Ids of the cells that have rows, in the order in which they come."""
        return list(self._places)

    def each(self, columns: Sequence[str]) -> Iterator[pd.DataFrame]:
        """The rows of one cell after the other, each in the order of the table."""
        for cell in self.cells:
            yield self.of_cells([cell], columns)

    def of_cells(self, cells: Sequence[Any], columns: Sequence[str]) -> pd.DataFrame:
        """The rows of these cells, in the order of the table; none of a cell that has none."""
        places = sorted(place for cell in cells for place in self._places.get(cell, ()))
        if self._given is None:
            return self._of(places, columns)
        rows = np.concatenate([np.zeros(0, np.int64), *(np.arange(*place) for place in places)])
        return self._given[list(columns)].iloc[rows]

    def arrow_of(self, cell: Any, columns: Sequence[str]) -> pa.Table:
        """The rows of a cell, as they are stored; for columns that no frame holds well.

        Raises:
            CorruptTable: they cannot be read any more.
        """
        return self._read(self._places.get(cell, ()), columns)

    def of_latent(self, latent: str, columns: Sequence[str] | None = None) -> pd.DataFrame:
        """The rows of one latent, in the order of the table."""
        wanted = list(columns or self.columns)
        if self._given is None:
            return self._of(_stretches(np.flatnonzero(self._found("latent", latent))), wanted)
        return self._given[self._given["latent"] == latent][wanted]

    def column(self, name: str) -> pd.Series[Any]:
        """One column of all rows."""
        return (self._of([(0, len(self))], [name]) if self._given is None else self._given)[name]

    @cached_property
    def _places(self) -> dict[Any, list[tuple[int, int]]]:
        """Cell -> first row and the row behind the last one, of each stretch of its rows."""
        found: dict[Any, list[tuple[int, int]]] = {}
        if CELL not in self.columns:
            return found
        first = 0
        for values in self._column(CELL):
            codes = values.dictionary_encode() if not pa.types.is_dictionary(values.type) else values
            names = [*codes.dictionary.to_pylist(), None]
            at = codes.indices.fill_null(len(names) - 1).to_numpy(zero_copy_only=False)
            cuts = [0, *(np.flatnonzero(np.diff(at)) + 1).tolist(), len(at)]
            for start, stop in pairwise(cuts):
                if start == stop:
                    continue
                held = found.setdefault(names[at[start]], [])
                if held and held[-1][1] == first + start:
                    held[-1] = (held[-1][0], first + stop)
                else:
                    held.append((first + start, first + stop))
            first += len(at)
        return found

    def _column(self, name: str) -> Iterator[pa.Array]:
        if self._given is not None:
            yield pa.array(self._given[name].tolist(), pa.string(), from_pandas=True)
        elif isinstance(self._file, RowGroups):
            yield from self._file.column(name)
        else:
            yield from self._file.column(name).chunks

    def _found(self, name: str, value: str) -> NDArray[np.bool_]:
        parts = (pc.equal(array, pa.scalar(value)).fill_null(False) for array in self._column(name))
        found: NDArray[np.bool_] = np.concatenate(
            [np.zeros(0, bool), *(p.to_numpy(zero_copy_only=False) for p in parts)]
        )
        return found

    def _of(self, places: Sequence[tuple[int, int]], columns: Sequence[str]) -> pd.DataFrame:
        import pandas as pd

        took = self._seconds
        stored = [name for name in columns if name != "seconds" or took is None]
        frame = self._read(places, stored).to_pandas() if stored else pd.DataFrame()
        if took is not None and "seconds" in columns:
            frame["seconds"] = np.concatenate([took[:0], *(took[start:stop] for start, stop in places)])
        ordered: pd.DataFrame = frame[list(columns)]
        return ordered

    def _read(self, places: Sequence[tuple[int, int]], columns: Sequence[str]) -> pa.Table:
        """Rows with their texts written out."""
        source = self._file
        if not isinstance(source, RowGroups):
            of = source.select(list(columns))
            return pa.concat_tables([of.slice(0, 0), *(of.slice(start, stop - start) for start, stop in places)])
        schema = pa.schema([source.schema.field(name) for name in columns])
        parts = [schema.empty_table()]
        for start, stop in places:
            first = max(0, int(np.searchsorted(source.bounds, start, side="right")) - 1)
            for group in range(first, int(np.searchsorted(source.bounds, stop, side="left"))):
                low, high = (int(source.bounds[g]) for g in (group, group + 1))
                begin, end = max(start, low), min(stop, high)
                parts.append(self._group(source, group, columns).slice(begin - low, end - begin).cast(schema))
        return pa.concat_tables(parts)

    def _group(self, source: RowGroups, group: int, columns: Sequence[str]) -> pa.Table:
        """A row group; the last one is kept, because small cells share one."""
        last, names = self._last, tuple(columns)
        if last is not None and last[:2] == (group, names):
            return last[2]
        table = source.read(group, names)
        self._last = (group, names, table)
        return table


def _stretches(rows: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Stretches of rows that follow each other."""
    cuts = np.flatnonzero(np.diff(rows) != 1) + 1
    return [(int(part[0]), int(part[-1]) + 1) for part in np.split(rows, cuts) if len(part)]


class TableField:
    """A field of a run that is a frame for whoever looks at it, made when somebody does."""

    def __set_name__(self, owner: type, name: str) -> None:
        self._place = f"_{name}"

    @overload
    def __get__(self, run: None, owner: type) -> TableField: ...
    @overload
    def __get__(self, run: object, owner: type) -> pd.DataFrame: ...
    def __get__(self, run: object | None, owner: type) -> pd.DataFrame | TableField:
        if run is None:
            return self
        table: RunTable = run.__dict__[self._place]
        return table.frame

    def __set__(self, run: object, table: pd.DataFrame | RunTable) -> None:
        run.__dict__[self._place] = table if isinstance(table, RunTable) else RunTable(table)


def opened(path: Path, schema: pa.Schema, frozen: str | None) -> pa.Table | RowGroups:
    """A table of a run, compared with what the run wrote: in memory where it has one row group, else in its file.

    Raises:
        CorruptTable, DigestMismatch: as `latentbench.kernel.tables.read_table`.
    """
    try:
        # Other layouts are brought into today's in memory; runs that wrote them were small.
        streamed = frozen is not None and parquet_groups(path, schema) > 1
    except (OSError, ValueError):
        streamed = False
    if not streamed:
        return read_table(path, schema, frozen)
    groups = RowGroups(path, schema)
    found = streamed_digest({path.stem: groups})
    if found != frozen:
        raise DigestMismatch(
            f"{path} is not what was written: it hashes to {found}, and {frozen} is on record. Restore it or write it anew."
        )
    return groups


def seconds_of(name: str, times: pa.Table | RowGroups, rows: int, place: Path) -> NDArray[np.float64]:
    """What each row of a table took.

    Args:
        name: of the table.
        times: schema SECONDS.
        rows: that the table has.
        place: the file of the times, for the message.

    Raises:
        CorruptTable: they are of another table.
    """
    found, named = np.zeros(rows, np.float64), 0
    seen = np.zeros(rows, bool)
    groups = (times.read(g) for g in range(len(times))) if isinstance(times, RowGroups) else iter([times])
    for group in groups:
        own = group.filter(pc.equal(group.column("table"), name))
        at = own.column("row").to_numpy()
        if own.column("row").null_count or (len(at) and (at.min() < 0 or at.max() >= rows)):
            break
        found[at] = own.column("seconds").to_numpy()
        seen[at] = True
        named += len(at)
    else:
        if named == int(seen.sum()):
            return found
    raise CorruptTable(f"{place} is not of {name}.parquet beside it. Restore the one that was changed.")
