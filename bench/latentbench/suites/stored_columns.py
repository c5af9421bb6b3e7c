"""Columns of a suite's tables as Python objects, a row when it is asked for.

A suite of 100,000 latents has some hundred million tokens. Making a tuple of all of them at once is the tempting way, because a
column is converted fastest in bulk; it took 12 s and 2 GB for 10,000 latents, of which a run with a limit looks at fifty. So
columns stay arrays, each distinct text exists once, and a row is cut out and converted where it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.latent import Window


class TextColumn:
    """A column of texts, each distinct one held once.

    Args:
        column: of strings, which may be missing.
    """

    def __init__(self, column: pa.ChunkedArray | pa.Array) -> None:
        array = _one(column)
        coded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        self.texts: list[str] = coded.dictionary.to_pylist()
        self.codes: NDArray[np.int32] = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)

    def __getitem__(self, i: int) -> str | None:
        code = self.codes[i]
        return self.texts[code] if code >= 0 else None

    def cut(self, a: int, b: int) -> tuple[str | None, ...]:
        """Rows a to b - 1."""
        return tuple(self.texts[code] if code >= 0 else None for code in self.codes[a:b].tolist())


class NumberColumn:
    """A column of numbers without a missing one; as Python numbers, half precision becomes double without a change of value."""

    def __init__(self, array: pa.Array) -> None:
        self.values: NDArray[Any] = array.to_numpy(zero_copy_only=False)

    def cut(self, a: int, b: int) -> tuple[Any, ...]:
        """Rows a to b - 1."""
        part = self.values[a:b]
        return tuple((part.astype(np.float64) if part.dtype == np.float16 else part).tolist())


class ObjectColumn:
    """A column of anything, converted where it is read: slow, for values that may be missing."""

    def __init__(self, array: pa.Array) -> None:
        self._array = array

    def cut(self, a: int, b: int) -> tuple[Any, ...]:
        """Rows a to b - 1."""
        return tuple(self._array.slice(a, b - a).to_pylist())


class ListColumn:
    """A column of lists: row i is a tuple, or None where the list is missing.

    Args:
        column: of lists of numbers or texts.
    """

    def __init__(self, column: pa.ChunkedArray) -> None:
        array = _one(column)
        flat, self.cuts = flat_list(column)
        kind = flat.type.value_type if pa.types.is_dictionary(flat.type) else flat.type
        self._flat: TextColumn | NumberColumn | ObjectColumn
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            self._flat = TextColumn(flat)
        else:
            self._flat = ObjectColumn(flat) if flat.null_count else NumberColumn(flat)
        self._missing = array.is_null().to_numpy(zero_copy_only=False) if array.null_count else None

    def __len__(self) -> int:
        return len(self.cuts) - 1

    def __getitem__(self, i: int) -> tuple[Any, ...] | None:
        if self._missing is not None and self._missing[i]:
            return None
        return self._flat.cut(int(self.cuts[i]), int(self.cuts[i + 1]))


class DirectionColumn:
    """The decoder directions: row i is an array [d_model] that cannot be written to, empty for planted latents."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        flat, self._cuts = flat_list(column)
        self._values: NDArray[Any] = flat.to_numpy(zero_copy_only=False)

    def __getitem__(self, i: int) -> NDArray[Any]:
        row: NDArray[Any] = self._values[self._cuts[i] : self._cuts[i + 1]]
        row.flags.writeable = False
        return row


class StoredWindows:
    """The windows table, a window when it is asked for.

    Args:
        table: schema WINDOWS.
        first: number of its first row in the whole table.

    Raises:
        CorruptTable: a window has different numbers of ids, tokens and activations.
    """

    def __init__(self, table: pa.Table, first: int = 0) -> None:
        self._first = first
        self._ids, self._tokens, self._activations = (
            ListColumn(table.column(c)) for c in ("ids", "tokens", "activations")
        )
        cuts = self._ids.cuts
        if not np.array_equal(cuts, self._tokens.cuts) or not np.array_equal(cuts, self._activations.cuts):
            raise CorruptTable("a window has different numbers of ids, tokens and activations.")
        self._role, self._kind = TextColumn(table.column("role")), TextColumn(table.column("kind"))
        self._position = _one(table.column("position")).to_numpy(zero_copy_only=False)
        latents = TextColumn(table.column("latent"))
        self._codes = {name: code for code, name in enumerate(latents.texts)}
        self._order = np.argsort(latents.codes, kind="stable")
        self._starts = np.searchsorted(latents.codes[self._order], np.arange(len(latents.texts) + 1))

    def of(self, latent: str) -> Sequence[int]:
        """Row numbers of a latent's windows, in the table's order."""
        code = self._codes.get(latent)
        if code is None:
            return []
        rows: list[int] = (self._order[self._starts[code] : self._starts[code + 1]] + self._first).tolist()
        return rows

    def window(self, i: int) -> Window:
        """The window in row i of the whole table."""
        at = i - self._first
        ids, tokens, activations = self._ids[at], self._tokens[at], self._activations[at]
        return Window(
            i,
            self._role[at] or "",
            self._kind[at] or "",
            ids or (),
            tokens or (),
            activations or (),
            int(self._position[at]),
        )


def flat_list(column: pa.ChunkedArray) -> tuple[pa.Array, NDArray[np.int64]]:
    """Values of a list column one after another, and where each row begins and the last one ends."""
    array = _one(column)
    lengths = array.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    return array.flatten(), np.concatenate([[0], np.cumsum(lengths)])


def _one(column: pa.ChunkedArray | pa.Array) -> pa.Array:
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return array.chunk(0) if isinstance(array, pa.ChunkedArray) else array
