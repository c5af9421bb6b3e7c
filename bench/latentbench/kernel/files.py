"""JSON files that are there whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


def plain(value: Any) -> Any:
    """NumPy scalars as Python numbers, for `json`.

    Raises:
        TypeError: anything else that JSON has no form for.
    """
    if hasattr(value, "item"):
        return value.item()
    raise TypeError(f"{type(value).__name__} cannot be written as JSON: {value!r}")


def write_json(path: Path, value: Any) -> None:
    """Write through a temporary file that is flushed to disk and then renamed, so that a kill leaves the old file or the new."""
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as f:
        json.dump(value, f, indent=2, ensure_ascii=False, default=plain)
        f.write("\n")
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)
