"""A Parquet table that is read a row group at a time, and the digest of tables that are larger than memory.

The digest is that of `latentbench.kernel.identity.table_digest`, which goes through a table column after column and through a
column once for what is missing, once for lengths and once for values. So does this one, over the row groups; a column that
takes little memory is decoded once and held while it is hashed. Hashing row group after row group would be one pass and another
number, and every suite that was frozen has this one.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from latentbench.kernel.column_hash import Arrays, hash_tables
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.identity import type_name
from latentbench.kernel.inputs import MIB, Unusable
from latentbench.kernel.parquet import affordable_groups

HELD = 1024 * MIB
"""A column that is held decoded while it is hashed, at most."""


class RowGroups:
    """A table of a declared schema in a Parquet file.

    Several threads may read it.

    Args:
        path: the file.
        schema: columns that it must have, of these types.

    Raises:
        CorruptTable: missing, unreadable, without a declared column, or a row group takes more memory than a table may.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path, self.schema = path, schema
        self._lock = threading.Lock()
        with self._said():
            self._file = self._opened()
        missing = [f.name for f in schema if f.name not in self._file.schema_arrow.names]
        if missing:
            raise CorruptTable(
                f"{path} has no column {', '.join(missing)}; it was written by another version or program."
            )
        meta = self._file.metadata
        self.bounds = np.cumsum([0, *(meta.row_group(g).num_rows for g in range(meta.num_row_groups))])
        """First row of each group, then the number of rows."""

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @property
    def num_rows(self) -> int:
        """Rows of all groups."""
        return int(self.bounds[-1])

    def read(self, group: int, columns: Sequence[str] | None = None) -> pa.Table:
        """One row group, or the named columns of it. Texts are the dictionaries that they are stored as.

        Raises:
            CorruptTable: it cannot be read, or is of another type than declared.
        """
        names = list(columns or self.schema.names)

        with self._said():
            with self._lock:
                table = self._file.read_row_group(group, columns=names).select(names)
            table.validate(full=True)
            for name in names:
                if type_name(table.schema.field(name).type) != type_name(self.schema.field(name).type):
                    raise Unusable(f"its column {name} is of the type {table.schema.field(name).type}")
        return table

    def column(self, name: str) -> Iterator[pa.Array]:
        """One column, an array for each row group."""
        for group in range(len(self)):
            yield from self.read(group, [name]).column(0).chunks

    def _opened(self) -> pq.ParquetFile:
        with pq.ParquetFile(self.path) as plain:
            texts = [
                plain.schema.column(i).path
                for i in range(len(plain.schema))
                if plain.schema.column(i).physical_type == "BYTE_ARRAY"
            ]
        file = pq.ParquetFile(self.path, read_dictionary=texts, page_checksum_verification=True)
        affordable_groups(file, self.path, self.schema.names)
        return file

    @contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError as e:
            raise CorruptTable(f"{self.path} is missing. Rebuild or restore it.") from e
        except (OSError, ValueError, pa.ArrowException) as e:
            said = " ".join(str(e).split())[:300]
            raise CorruptTable(f"{self.path} is not a readable Parquet file: {said}. Rebuild or restore it.") from e


def streamed_digest(tables: Mapping[str, RowGroups | pa.Table]) -> str:
    """What `table_digest` says of the same tables, without holding one whole.

    Raises:
        CorruptTable: a row group cannot be read.
    """
    return hash_tables(tables, _arrays)


def _arrays(table: RowGroups | pa.Table, name: str) -> Arrays:
    """The arrays of a column: those in memory, those of the file once and for all if they are small, or the file's each time."""
    if isinstance(table, pa.Table):
        return lambda: iter(table.column(name).chunks)
    held: list[pa.Array] = []
    size = 0
    for array in table.column(name):
        held.append(array)
        size += array.nbytes
        if size > HELD:
            return partial(table.column, name)
    return lambda: iter(held)
