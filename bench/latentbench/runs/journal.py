"""Append-only JSONL while a run is going; Parquet when it has ended.

One line is one *unit* of work (one latent of one cell, one explanation of one explainer) with all its rows, written with a
single `write` and flushed. So a kill can tear at most the last line, and a torn line is simply owed again; a unit is never
half there. Later lines of the same unit replace earlier ones, which is how a failed unit is done again on resume.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.files import plain


class Journal:
    """An append-only file of units.

    Args:
        path: the JSONL file; its folder exists. A torn last line is cut off before appending.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def units(self) -> Iterator[dict[str, Any]]:
        """Every whole line, in file order.

        Raises:
            CorruptTable: a line that is not the last one cannot be read, so something else wrote to the file.
        """
        if not self.path.exists():
            return
        data = self.path.read_bytes()
        end = data.rfind(b"\n") + 1
        for number, line in enumerate(data[:end].splitlines(), 1):
            try:
                yield json.loads(line)
            except ValueError as e:
                raise CorruptTable(
                    f"{self.path} line {number} is not JSON; delete that line to have its unit redone."
                ) from e

    def append(self, unit: dict[str, Any]) -> None:
        """Write one unit as one line and flush it."""
        if self._file is None:
            self._cut_torn_line()
            self._file = self.path.open("a", encoding="utf-8")
        self._file.write(json.dumps(unit, ensure_ascii=False, separators=(",", ":"), default=plain) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Flush to disk and close."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            self._file = None

    def _cut_torn_line(self) -> None:
        if not self.path.exists():
            return
        with self.path.open("rb+") as f:
            data = f.read()
            end = data.rfind(b"\n") + 1
            if end != len(data):
                f.truncate(end)


def finite(value: float | None) -> float | None:
    """NaN and infinities become null: JSON has no name for them and a reader must not guess."""
    return None if value is None or not math.isfinite(value) else float(value)
