"""The windows of a suite, written a row group at a time while they are made.

A suite is frozen by the digest of its tables, which goes through a table column by column and so needs the whole of it. What is
made is therefore written beside the suite first, hashed from there, and put in its place when the digest may stand there. Holding
the table until it is hashed is simpler, and takes several times the memory of everything else in a build.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from latentbench.kernel.files import replacing
from latentbench.kernel.row_groups import RowGroups
from latentbench.kernel.tables import WINDOWS

FILE = "windows.new.parquet"


@contextmanager
def streamed_windows(folder: Path, tables: Iterable[pa.Table]) -> Iterator[RowGroups]:
    """Write tables of windows into a folder, a row group each, and lend what was written; what is not moved away is removed.

    Args:
        folder: of the suite.
        tables: schema WINDOWS. Each is decoded whole when one of its windows is looked at, so they should be small and hold
            whole latents.

    Raises:
        DataError: it cannot be written.
    """
    file = folder / FILE
    try:
        with (
            replacing(file) as part,
            pq.ParquetWriter(
                part, WINDOWS, compression="zstd", compression_level=9, use_dictionary=True, write_page_checksum=True
            ) as out,
        ):
            for table in tables:
                out.write_table(table, row_group_size=max(1, len(table)))
        yield RowGroups(file, WINDOWS)
    finally:
        file.unlink(missing_ok=True)
