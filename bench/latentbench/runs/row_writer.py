"""A table of a run, written a row group at a time as its rows come.

All rows of a large run as Python objects, and then as one table, are several times what the file takes. What is held here is the
rows of one group. A table of at most one group is the file that it would be if it were written at once, byte for byte, and the
digest is that of the whole table in any case (`latentbench.kernel.row_groups`): readers do not see how it was written.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from latentbench.kernel.files import replacing, writing
from latentbench.kernel.row_groups import RowGroups, streamed_digest

OBJECTS, GROUP = 4096, 262_144
"""Rows that are Python objects at a time, and rows of a group."""


class RowWriter:
    """Writes one table; the file is there, whole, when the block has ended, and not where it failed.

    Args:
        columns: name -> what a row has there, from what it is made of.
        schema: a declared one, with a column at most besides.
        empty: write the file also where there are no rows.

    Attributes:
        digest: of the table, when the block has ended; None where no file was written.
        rows: how many were added.
    """

    def __init__(
        self, path: Path, columns: Mapping[str, Callable[..., object]], schema: pa.Schema, empty: bool = True
    ) -> None:
        self.digest: str | None = None
        self.rows = 0
        self._path, self._columns, self._schema, self._empty = path, columns, schema, empty
        self._items: list[tuple[Any, ...]] = []
        self._chunks: list[pa.Table] = []
        self._file: pq.ParquetWriter | None = None
        self._open = ExitStack()

    def __enter__(self) -> RowWriter:
        return self

    def add(self, *item: Any) -> None:
        """One more row."""
        self._items.append(item)
        self.rows += 1
        if len(self._items) == OBJECTS:
            self._pack()
            if sum(chunk.num_rows for chunk in self._chunks) >= GROUP:
                self._write(self._group())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if error is None and (self.rows or self._empty):
                self._finish()
        except BaseException as e:
            self._open.__exit__(type(e), e, e.__traceback__)
            raise
        self._open.__exit__(kind, error, at)

    def _finish(self) -> None:
        self._pack()
        last, several = self._group(), self._file is not None
        if last.num_rows or not several:
            self._write(last)
        assert self._file is not None
        with writing(self._path):
            self._file.close()
        whole = RowGroups(self._part, self._schema) if several else last
        self.digest = streamed_digest({self._path.stem: whole})

    def _pack(self) -> None:
        self._chunks.append(table_from(self._items, self._columns, self._schema))
        self._items = []

    def _group(self) -> pa.Table:
        """What was added since the last group; in one piece, as a table that is made at once."""
        chunks, self._chunks = self._chunks, []
        return pa.concat_tables(chunks).combine_chunks()

    def _write(self, group: pa.Table) -> None:
        if self._file is None:
            self._part = self._open.enter_context(replacing(self._path))
            self._file = pq.ParquetWriter(
                self._part,
                self._schema,
                compression="zstd",
                compression_level=9,
                use_dictionary=True,
                write_page_checksum=True,
            )
            self._open.callback(self._file.close)
        with writing(self._path):
            self._file.write_table(group)


def table_from(
    items: Sequence[tuple[Any, ...]], columns: Mapping[str, Callable[..., object]], schema: pa.Schema
) -> pa.Table:
    """Typed values as a table of a declared schema.

    Args:
        items: what a row is made of.
        columns: name -> what the row has there, from the parts of an item, for every column of the schema.
    """
    return pa.table(
        {f.name: pa.array([columns[f.name](*item) for item in items], type=f.type) for f in schema}, schema=schema
    )
