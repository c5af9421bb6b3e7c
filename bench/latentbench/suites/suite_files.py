"""The two tables of a suite as they are loaded: checked against the digest that they were frozen with, and large ones not held.

Small tables are read and hashed in memory. Of a large one the digest takes as long as decoding all of it, so once it was found
right here the hash of the files' bytes is kept in the user cache, and the next load compares bytes, at the speed of the disk. A
hash that stood in the manifest would be as quick and would vouch for itself: whoever edits a table can edit it, too. A time of
change is quicker still, and says nothing of what was changed.
"""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa

from latentbench.kernel.errors import BenchError
from latentbench.kernel.files import write_json
from latentbench.kernel.identity import file_sha256, table_digest
from latentbench.kernel.inputs import MIB, read_json
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tables import LATENTS, WINDOWS, read_table

LARGE = 64 * MIB
"""Size of a file of windows from which on it is read by row groups."""


def load_tables(path: Path, frozen: str) -> tuple[pa.Table, pa.Table | RowGroups, str]:
    """The latents, the windows or their file, and the digest of both.

    Args:
        path: the suite's folder.
        frozen: digest that its manifest says.

    Raises:
        CorruptTable: a file is missing or unreadable.
    """
    latents = read_table(path / "latents.parquet", LATENTS)
    file = path / "windows.parquet"
    if not file.exists() or file.stat().st_size < LARGE:
        held = read_table(file, WINDOWS)
        return latents, held, table_digest({"latents": latents, "windows": held})
    windows = RowGroups(file, WINDOWS)
    if _seen(path, frozen):
        return latents, windows, frozen
    found = streamed_digest({"latents": latents, "windows": windows})
    remember(path, found)
    return latents, windows, found


def remember(path: Path, digest: str) -> None:
    """Keep that the files of a folder, as they are, have this digest; left undone where the cache cannot be written."""
    with suppress(BenchError, OSError):
        write_json(_note(digest), _hashes(path))


def _seen(path: Path, digest: str) -> bool:
    """Whether the files are, byte for byte, some that were found to have this digest on this machine."""
    try:
        return _note(digest).stem == digest and bool(read_json(_note(digest)) == _hashes(path))
    except (OSError, ValueError):
        return False


def _note(digest: str) -> Path:
    from latentbench.models.source import cache_dir

    return cache_dir() / "suites" / f"{Path(digest).name}.json"


def _hashes(path: Path) -> dict[str, str]:
    return {name: file_sha256(path / name) for name in ("latents.parquet", "windows.parquet")}
