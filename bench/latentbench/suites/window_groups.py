"""The windows of a large suite: read from the file a row group at a time, when a latent is asked for.

A table of 100,000 latents with 240 windows each takes more memory decoded than machines have, and a run looks at one latent after
another. Mapping a decoded copy into memory is the tempting way and would be ten times the file; decoding a row group again
costs less than reading such a copy. What is held is where each latent's rows are, and the last row groups.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

import numpy as np
import pyarrow as pa

from latentbench.kernel.latent import Window
from latentbench.kernel.row_groups import RowGroups
from latentbench.kernel.tables import WINDOWS
from latentbench.suites.stored_columns import StoredWindows, TextColumn

KEPT = 2
"""Row groups that are held: a latent may lie across two."""


class WindowGroups:
    """The windows table of a file, a window when it is asked for; as `StoredWindows`, which holds all of it.

    Several threads may read it.

    Args:
        groups: schema WINDOWS.

    Raises:
        CorruptTable: the file cannot be read, or a window has different numbers of ids, tokens and activations.
    """

    def __init__(self, groups: RowGroups) -> None:
        self._groups = groups
        self._held: OrderedDict[int, StoredWindows] = OrderedDict()
        self._lock = threading.Lock()
        self._runs: dict[str, list[range]] = {}
        first = 0
        for array in groups.column("latent"):
            latents = TextColumn(array)
            starts = np.flatnonzero(np.diff(latents.codes, prepend=-2))
            for a, b in zip(starts.tolist(), [*starts[1:].tolist(), len(latents.codes)], strict=True):
                self._runs.setdefault(latents[a] or "", []).append(range(first + a, first + b))
            first += len(latents.codes)

    def of(self, latent: str) -> list[int]:
        """Row numbers of a latent's windows, in the table's order."""
        return [i for run in self._runs.get(latent, ()) for i in run]

    def window(self, i: int) -> Window:
        """The window in row i."""
        group = int(np.searchsorted(self._groups.bounds, i, side="right")) - 1
        return self._stored(group).window(i)

    def _stored(self, group: int) -> StoredWindows:
        with self._lock:
            if group not in self._held:
                while len(self._held) >= KEPT:
                    self._held.popitem(last=False)
                table = self._groups.read(group).cast(WINDOWS)
                self._held[group] = StoredWindows(table, int(self._groups.bounds[group]))
            self._held.move_to_end(group)
            return self._held[group]


def whole(stored: RowGroups | pa.Table, columns: tuple[str, ...] = tuple(WINDOWS.names)) -> pa.Table:
    """The windows table in memory, or the named columns of it.

    Raises:
        CorruptTable: it cannot be read.
    """
    if isinstance(stored, pa.Table):
        return stored.select(list(columns))
    schema = pa.schema([WINDOWS.field(name) for name in columns])
    parts = [stored.read(group, columns).cast(schema) for group in range(len(stored))]
    return pa.concat_tables(parts) if parts else schema.empty_table()
