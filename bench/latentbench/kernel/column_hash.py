"""A column of a table into a hash, array by array.

A text column beyond 2 GB has several arrays whatever one does, and one of a file has as many as the file has row groups. So what
is hashed of a column must not depend on where it is cut: each pass goes over all arrays before the next one begins. Hashing
array after array would be one pass, and another number for every way of cutting.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from latentbench.kernel.identity import DIGEST_CHARS, type_name

Arrays = Callable[[], Iterator[pa.Array]]
"""The arrays of a column from the first to the last, as often as it is called."""


class HashedTable(Protocol):
    """A table, in memory or in a file."""

    @property
    def num_rows(self) -> int:
        """Number of rows."""

    @property
    def schema(self) -> pa.Schema:
        """Names and types."""


C = TypeVar("C", bound=HashedTable)


def hash_tables(tables: Mapping[str, C], arrays: Callable[[C, str], Arrays]) -> str:
    """The digest of tables: name after name, and of each its columns by name.

    Args:
        arrays: a table and the name of a column -> its arrays.
    """
    h = hashlib.sha256()
    for name in sorted(tables):
        table = tables[name]
        h.update(f"{name}:{table.num_rows};".encode())
        for field in sorted(table.schema, key=lambda f: f.name):
            h.update(f"{field.name}:{type_name(field.type)};".encode())
            hash_column(h, arrays(table, field.name), field.type)
    return h.hexdigest()[:DIGEST_CHARS]


def hash_column(h: hashlib._Hash, arrays: Arrays, kind: pa.DataType) -> None:
    """Add a column: for all rows what is missing, then the lengths of lists or texts, then the values.

    Args:
        kind: of the column, which may be that of the values where the arrays are dictionaries.
    """
    for array in arrays():
        h.update(_missing(array) if array.null_count else bytes(len(array)))
    if pa.types.is_dictionary(kind):
        # What is missing is said again with the values: digests that were frozen have it twice.
        hash_column(h, arrays, kind.value_type)
    elif pa.types.is_fixed_size_list(kind):
        hash_column(h, lambda: (array.flatten() for array in arrays()), kind.value_type)
    elif pa.types.is_list(kind) or pa.types.is_large_list(kind):
        for array in arrays():
            h.update(pc.list_value_length(array).fill_null(0).to_numpy(zero_copy_only=False).tobytes())
        hash_column(h, lambda: (array.flatten() for array in arrays()), kind.value_type)
    elif pa.types.is_string(kind) or pa.types.is_large_string(kind):
        for array in arrays():
            h.update(_lengths(array).data)
        for array in arrays():
            h.update(_bytes(array))
    else:
        for array in arrays():
            zero = False if pa.types.is_boolean(array.type) else 0
            filled = array.fill_null(zero) if array.null_count else array
            h.update(filled.to_numpy(zero_copy_only=False).tobytes())


def _missing(array: pa.Array) -> bytes:
    found: bytes = pc.is_null(array).to_numpy(zero_copy_only=False).tobytes()
    return found


def _lengths(array: pa.Array) -> NDArray[np.int64]:
    """Bytes of each text, 0 where it is missing; those of a dictionary are looked up."""
    if pa.types.is_dictionary(array.type):
        of = np.append(_lengths(array.dictionary), 0)
        found: NDArray[np.int64] = of[array.indices.fill_null(len(of) - 1).to_numpy(zero_copy_only=False)]
        return found
    lengths: NDArray[np.int64] = pc.binary_length(array).fill_null(0).to_numpy(zero_copy_only=False).astype("<i8")
    return lengths


def _bytes(array: pa.Array) -> memoryview | bytes:
    """All texts one after another."""
    plain = array.dictionary_decode() if pa.types.is_dictionary(array.type) else array
    texts = plain.cast(pa.large_string()).fill_null("")
    _, offsets, data = texts.buffers()
    if not len(texts) or data is None:
        return b""
    ends = memoryview(offsets).cast("q")
    return memoryview(data)[ends[texts.offset] : ends[texts.offset + len(texts)]]
