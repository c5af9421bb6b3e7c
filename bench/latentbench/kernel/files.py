"""Files that are there whole or not at all, and text that is UTF-8 on every machine.

A file is written beside its place, flushed to disk, and renamed into it. Writing into the place itself is the tempting way, and a
kill then leaves half a file that the next command reads as a whole one. The encoding is always said, because the default of
another machine reads the same bytes as other characters.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import DataError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Lend a path beside `path`; what was written there takes its place when the block ends without an error.

    The folder is made if it is missing. After an error the old file is as it was, and the unfinished one is removed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    try:
        yield part
        with part.open("rb") as f:
            os.fsync(f.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


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
