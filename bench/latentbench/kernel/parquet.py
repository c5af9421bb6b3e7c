"""Parquet -> Arrow, after its footer was asked what it would take.

Parquet says in its footer how many values each column has, and a value that repeats costs nothing on disk: 815 bytes hold a
hundred million rows. So nothing is read before rows, values and bytes were counted. The footer does not say how long a text of a
dictionary is, and one long text that stands in every row is the same trick again; such columns are read as the dictionary that
they are, measured, and only then written out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from latentbench.kernel.inputs import FACTOR, FREE_BYTES, MIB, Unusable, factor, most, too_large

TABLE_BYTES = 8192 * MIB
"""A table in memory."""
FREE_TABLE = 512 * MIB
"""A table in memory whatever the size of its file is: a column of one value in every row is one that people have, and takes next
to nothing on disk. What counts is what would be held, and this is what any machine has that runs a model."""
RATIO = 1000
"""Bytes in memory per byte on disk beyond that."""
_WIDTH = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_TEXT, _OTHER = "BYTE_ARRAY", 16


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A table, or the named columns of those that it has.

    Raises:
        Unusable: it is not Parquet or damaged, takes too much memory, or holds what is no value of its type, such as a text that
            is not UTF-8.
        OSError: it cannot be read.
    """
    try:
        return _read(path, columns)
    except pa.ArrowException as e:
        raise Unusable(" ".join(str(e).split())[:300]) from e


def parquet_columns(path: Path) -> list[str]:
    """Names of the columns of a file.

    Raises:
        Unusable: it is not Parquet, or its footer is damaged. OSError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            return list(file.schema_arrow.names)
    except (pa.ArrowException, UnicodeDecodeError) as e:
        raise Unusable(" ".join(str(e).split())[:300]) from e


def parquet_groups(path: Path, schema: pa.Schema) -> int:
    """How many row groups a file has; 0 where its columns or their types are others.

    Raises:
        Unusable: it is not Parquet, or its footer is damaged. OSError: it cannot be read.
    """
    try:
        with pq.ParquetFile(path) as file:
            return int(file.metadata.num_row_groups) if file.schema_arrow.equals(schema) else 0
    except (pa.ArrowException, UnicodeDecodeError) as e:
        raise Unusable(" ".join(str(e).split())[:300]) from e


def parquet_values(path: Path, column: str, rows: int = 1024) -> Iterator[pa.Array]:
    """The values of one column, some rows at a time, for files that are larger than memory.

    Texts come as the dictionary that they are stored as, and are written out one by one where they are looked at; as bytes where
    one of them is not UTF-8, so that one bad row does not cost the others.

    Args:
        column: one that the file has.
        rows: in an array at most.

    Raises:
        Unusable: as `read_parquet`, but the memory is that of a row group. OSError: it cannot be read.
    """
    try:
        yield from _values(path, column, rows)
    except pa.ArrowException as e:
        raise Unusable(" ".join(str(e).split())[:300]) from e


def _values(path: Path, column: str, rows: int) -> Iterator[pa.Array]:
    on_disk, done = path.stat().st_size, 0
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        kind = file.schema_arrow.field(column).type
        affordable_groups(file, path, [column])
    texts = [column] if pa.types.is_string(kind) or pa.types.is_large_string(kind) else []
    with pq.ParquetFile(path, read_dictionary=texts, page_checksum_verification=True) as file:
        for batch in file.iter_batches(batch_size=rows, columns=[column]):
            array = batch.column(0)
            try:
                array.validate(full=True)
            except pa.ArrowInvalid as e:
                if not pa.types.is_dictionary(array.type) or "UTF8" not in str(e):
                    raise
                array = pa.DictionaryArray.from_arrays(array.indices, array.dictionary.cast(pa.large_binary()))
                array.validate(full=True)
            done += _written_out(array) if pa.types.is_dictionary(array.type) else array.nbytes
            if done > most(max(FREE_BYTES, RATIO * on_disk)):
                _afford(done, on_disk)
            yield array


def affordable_groups(file: pq.ParquetFile, path: Path, columns: Sequence[str]) -> None:
    """Refuse a file that is read by row groups and has one that takes more memory than a table may.

    Args:
        file: open.
        path: where it lies.
        columns: those that are read.

    Raises:
        Unusable: it has one. OSError, ArrowException: it cannot be read.
    """
    on_disk, meta = path.stat().st_size, file.metadata
    for group in range(meta.num_row_groups):
        _afford(max(0, meta.row_group(group).total_byte_size), on_disk)
    # As in `_read`: a damaged footer ends the process where somebody looks at a column that was not read first.
    for group in range(meta.num_row_groups):
        next(file.iter_batches(batch_size=1, row_groups=[group], columns=list(columns)), None)
    for group in range(meta.num_row_groups):
        _afford(_measured(meta, set(columns), (group,)), on_disk)


def _read(path: Path, columns: Sequence[str] | None) -> pa.Table:
    on_disk = path.stat().st_size
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        meta, plain = file.metadata, file.schema_arrow
        wanted = [n for n in plain.names if columns is None or n in columns]
        # What row groups say of themselves, which does not look at their columns.
        groups = (meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
        _afford(sum(max(0, size) for size in groups), on_disk)
        # pyarrow ends the whole process where somebody looks at a column of a damaged footer; where it reads one it raises.
        for group in range(meta.num_row_groups):
            next(file.iter_batches(batch_size=1, row_groups=[group], columns=wanted), None)
        _afford(_measured(meta, set(wanted)), on_disk)
        heavy = _heavy(meta, set(wanted))
        if not heavy:
            table = file.read(columns=wanted)
    if heavy:
        with pq.ParquetFile(path, read_dictionary=heavy, page_checksum_verification=True) as file:
            # Each row group has a dictionary of its own, and Arrow joins none of those in lists.
            parts = [file.read_row_group(group, columns=wanted) for group in range(meta.num_row_groups)]
        _afford(sum(part.nbytes + sum(map(_written_out, part.columns)) for part in parts), on_disk)
        schema = pa.schema([plain.field(n) for n in wanted])
        table = pa.concat_tables([part.cast(schema) for part in parts])
    # What was damaged in a way that the format does not notice: offsets that fall, and texts that are not UTF-8.
    table.validate(full=True)
    return table


def _measured(meta: Any, wanted: set[str], groups: Sequence[int] | None = None) -> int:
    """Bytes that the columns would take, as the footer counts them; of all row groups, or of these."""
    found = 0
    for group in range(meta.num_row_groups) if groups is None else groups:
        part = meta.row_group(group)
        for i in range(part.num_columns):
            # By the schema's path: a column that was not read must not be looked at, see `_read`.
            if meta.schema.column(i).path.partition(".")[0] not in wanted:
                continue
            column = part.column(i)
            width = 4 if column.physical_type == _TEXT else _WIDTH.get(column.physical_type, _OTHER)
            if min(column.num_values, column.total_uncompressed_size, part.num_rows) < 0:
                raise Unusable("its footer counts less than nothing")
            found += max(column.num_values * width, column.total_uncompressed_size)
    return found


def _afford(found: int, on_disk: int) -> None:
    """Refuse what takes more memory than a table may, or more than a file of this size can mean."""
    if found > most(TABLE_BYTES):
        raise too_large("the table", found, most(TABLE_BYTES))
    if found > most(max(FREE_TABLE, RATIO * on_disk)):
        raise Unusable(
            f"it would take {found / MIB:,.0f} MiB, more than {FREE_TABLE / MIB:,.0f} MiB and {RATIO:,} times its size. "
            f"If that is right, raise the limits: {FACTOR}={max(10, round(10 * factor()))}"
        )


def _heavy(meta: Any, wanted: set[str]) -> list[str]:
    """Columns of text that could be long when every value is written out."""
    values: dict[str, int] = {}
    longest: dict[str, int] = {}
    for group in range(meta.num_row_groups):
        for i in range(meta.num_columns):
            name = meta.schema.column(i).path
            if name.partition(".")[0] not in wanted:
                continue
            column = meta.row_group(group).column(i)
            if column.physical_type == _TEXT:
                values[name] = values.get(name, 0) + column.num_values
                longest[name] = max(longest.get(name, 0), column.total_uncompressed_size)
    return [name for name, n in values.items() if n * longest[name] > FREE_BYTES]


def _written_out(column: Any) -> int:
    """Bytes of the texts of a column that is read as a dictionary, at any depth of lists."""
    total = 0
    for array in column.chunks if isinstance(column, pa.ChunkedArray) else [column]:
        while pa.types.is_list(array.type) or pa.types.is_large_list(array.type):
            array = array.flatten()
        if pa.types.is_dictionary(array.type) and len(array.dictionary):
            lengths = pc.binary_length(array.dictionary).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
            used = array.indices.drop_null().to_numpy(zero_copy_only=False)
            total += int(np.bincount(used, minlength=len(lengths)) @ lengths)
    return total
