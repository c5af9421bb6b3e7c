"""Is the header of a GGUF file whole? Asked before a library walks it.

The header is a list of lists whose lengths it names itself. The library believes them: a file that was cut while it was copied
ends in an index error far inside it, and a length of 2^60 in a loop that does not end. So the lengths are walked here once,
against the bytes that there are.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

from latentbench.kernel.errors import ModelError

MAGIC = b"GGUF"
VERSIONS = (2, 3)
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
"""Type of a value -> its bytes."""
_TEXT, _ARRAY = 8, 9
NESTED = 4
"""Arrays inside arrays."""


def check_gguf(path: Path) -> None:
    """Walk the header of a GGUF file.

    Raises:
        ModelError: it is another kind of file, or is cut or damaged.
    """
    try:
        with path.open("rb") as f:
            if f.read(4) != MAGIC:
                raise ModelError(f"{path} is no GGUF file: it does not begin with {MAGIC.decode()}.")
            with mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ) as data:
                _walk(_Cursor(data))
    except OSError as e:
        raise ModelError(f"{path} cannot be read: {e.strerror or e}.") from e
    except (struct.error, ValueError) as e:
        raise ModelError(f"{path} is cut or damaged ({e}). Fetch it again.") from e


class _Cursor:
    """A place in the bytes of a file."""

    def __init__(self, data: mmap.mmap) -> None:
        self._data, self.at = data, 4

    def number(self, form: str) -> int:
        """The number that stands here, little-endian."""
        found: int = struct.unpack_from("<" + form, self._data, self.at)[0]
        self.skip(struct.calcsize("<" + form))
        return found

    def skip(self, n: int) -> None:
        """Go on behind `n` bytes."""
        if n > len(self._data) - self.at:
            raise ValueError(f"its header names {n:,} bytes at byte {self.at:,}, and the file has {len(self._data):,}")
        self.at += n

    def believe(self, n: int, each: int, what: str) -> None:
        """Refuse a count of things of at least some bytes each for which there is no room."""
        if n * each > len(self._data) - self.at:
            raise ValueError(
                f"its header counts {n:,} {what} at byte {self.at:,}, and the file has {len(self._data):,}"
            )


def _walk(at: _Cursor) -> None:
    version = at.number("I")
    if version not in VERSIONS:
        raise ValueError(f"version {version} of the format; {' and '.join(map(str, VERSIONS))} are read")
    tensors, keys = at.number("Q"), at.number("Q")
    at.believe(keys, 13, "keys")
    at.believe(tensors, 24, "tensors")
    for _ in range(keys):
        at.skip(at.number("Q"))
        _value(at, at.number("I"), 0)
    for _ in range(tensors):
        at.skip(at.number("Q"))
        dimensions = at.number("I")
        if dimensions > 8:
            raise ValueError(f"a tensor of {dimensions:,} dimensions")
        at.skip(8 * dimensions + 4 + 8)


def _value(at: _Cursor, kind: int, depth: int) -> None:
    if kind == _TEXT:
        at.skip(at.number("Q"))
    elif kind == _ARRAY:
        if depth == NESTED:
            raise ValueError(f"arrays inside arrays, more than {NESTED} deep")
        inner, n = at.number("I"), at.number("Q")
        if inner in _SIZES:
            at.skip(n * _SIZES[inner])
            return
        at.believe(n, 8, "values")
        for _ in range(n):
            _value(at, inner, depth + 1)
    elif kind in _SIZES:
        at.skip(_SIZES[kind])
    else:
        raise ValueError(f"a value of type {kind}")
