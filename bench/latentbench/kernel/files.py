"""Files that are there whole or not at all, and text that is UTF-8 on every machine.

A file is written beside its place, flushed to disk, and renamed into it. Writing into the place itself is the tempting way, and a
kill then leaves half a file that the next command reads as a whole one. The file beside has a name that no other process writes
to: with one name for all, two that render the same page at once take it from under each other. The encoding is always said,
because the default of another machine reads the same bytes as other characters.

A place that cannot be written (a full disk, a folder of somebody else) is the user's to mend: a `DataError` that says how.
"""

from __future__ import annotations

import errno
import glob
import itertools
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import DataError

PART = ".part"
"""How the name of an unfinished file ends."""
LEFT = 3600.0
"""Seconds after which an unfinished file is one that a killed process left."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FORBIDDEN = frozenset({errno.EROFS, errno.EACCES, errno.EPERM})
_WRONG = frozenset({errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP})
_NUMBERS = itertools.count()


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A block that writes `path` or beside it.

    Raises:
        DataError: it cannot be written; says why and what to do.
    """
    try:
        yield
    except OSError as e:
        raise unwritable(path, e) from e


def unwritable(path: Path, error: OSError) -> DataError:
    """The message about a file or folder that cannot be written."""
    if error.errno in _FULL:
        advice = "Free space there, then give the command again."
    elif error.errno in _FORBIDDEN:
        advice = "Name a place that you may write to, or change its permissions."
    elif error.errno in _WRONG:
        advice = "Name another place."
    else:
        advice = "Look whether the disk is there and sound, then give the command again."
    return DataError(f"{path} cannot be written: {error.strerror or error}. {advice}")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path beside `path`; what was written there takes its place when the block ends without an error.

    The folder is made if it is missing. After an error the old file is as it was, and the unfinished one is removed; one that a
    kill left is removed by a later call for the same file.

    Raises:
        DataError: it cannot be written.
    """
    part = path.with_name(f"{path.name}.{os.getpid()}-{next(_NUMBERS)}{PART}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _sweep(path)
            yield part
            with part.open("rb") as f:
                os.fsync(f.fileno())
            part.replace(path)
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)


def _sweep(path: Path) -> None:
    for left in path.parent.glob(f"{glob.escape(path.name)}.*{PART}"):
        with suppress(OSError):
            if time.time() - left.stat().st_mtime > LEFT:
                left.unlink()


def check_writable(folder: Path) -> None:
    """Refuse a folder that cannot be written, before the work whose result goes there; it is made if it is missing.

    Raises:
        DataError: it cannot be made, or takes no file.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".{os.getpid()}-{next(_NUMBERS)}{PART}"
        try:
            probe.touch()
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text as UTF-8, whole or not at all; into a pipe or a device, which cannot be replaced, directly."""
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8")


def render(path: Path, text: str, check: bool, fault: str) -> Path:
    """Write a page that is made of other files, or with `check` only compare it; returns its path.

    Raises:
        DataError: with `check`, the page is not the text; says `fault`.
    """
    if not check:
        write_text(path, text)
    elif not path.exists() or path.read_text(encoding="utf-8") != text:
        raise DataError(fault)
    return path


def write_json(path: Path, value: Any, *, indent: int = 2, sort_keys: bool = False) -> None:
    """Write a value as JSON with a line break at its end, whole or not at all."""
    text = json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False, default=plain)
    write_text(path, text + "\n")


def plain(value: Any) -> Any:
    """NumPy scalars as Python numbers, for `json`.

    Raises:
        TypeError: anything else that JSON has no form for.
    """
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")
