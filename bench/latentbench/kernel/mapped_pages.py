"""Pages of a memory-mapped file that a process has read and needs no more.

A pass over a mapped file of many gigabytes has all of its pages resident in the end. The system takes them back when it needs
them, but they count as the process's memory until then, and a machine that limits this ends the job. Reading the file piece by
piece into arrays of one's own is the other way, and copies what is then looked at once.
"""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

AROUND = max(1 << 16, mmap.PAGESIZE)
"""Bytes that Linux maps around a page that is read."""


def let_go(array: NDArray[Any]) -> None:
    """Have the system forget the pages of an array that is a view of a mapped file, and those that came with them.

    Arrays of memory, or with gaps, are left alone. The array stays as it is: what is read again comes again from the file, or
    from the system's copy of it.
    """
    mapped: Any = array
    while mapped is not None and not isinstance(mapped, mmap.mmap):
        mapped = getattr(mapped, "base", None)
    if mapped is None or not array.flags.c_contiguous or not hasattr(mapped, "madvise"):
        return
    begin, low = (int(a.__array_interface__["data"][0]) for a in (np.frombuffer(mapped, np.uint8), array))
    high = low + array.nbytes
    first, last = (low - begin) // AROUND * AROUND, min(-(-(high - begin) // AROUND) * AROUND, len(mapped))
    if last > first:
        mapped.madvise(mmap.MADV_DONTNEED, first, last - first)
