"""Digests of a run folder: given anew, as whoever edits everything consistently does, or taken away, as in runs of before."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from latentbench.kernel.identity import digest, table_digest

TABLES = ("explanations", "judgements", "scores", "seconds", "panel")


def signed(run: Path, **changes: Any) -> Path:
    """Write the digests of the tables as they are, and of the record, into `run.json`; returns the folder.

    Args:
        changes: fields of the record to set before.
    """
    found = {
        name: table_digest({name: pq.read_table(run / f"{name}.parquet")})
        for name in TABLES
        if (run / f"{name}.parquet").exists()
    }
    record = {**_held(run), **changes, "tables": found}
    _write(run, {**record, "digest": digest(record)})
    return run


def unsigned(run: Path, **changes: Any) -> Path:
    """Take all digests out of `run.json`; returns the folder.

    Args:
        changes: fields of the record to set.
    """
    _write(run, {**{name: value for name, value in _held(run).items() if name != "tables"}, **changes})
    return run


def copied(run: Path, place: Path) -> Path:
    """A copy of a run folder, to be changed; returns its folder."""
    return Path(shutil.copytree(run, place))


def _held(run: Path) -> dict[str, Any]:
    held: dict[str, Any] = json.loads((run / "run.json").read_text(encoding="utf-8"))
    held.pop("digest", None)
    return held


def _write(run: Path, record: Mapping[str, Any]) -> None:
    (run / "run.json").write_text(json.dumps(record, indent=2, ensure_ascii=False), encoding="utf-8")
