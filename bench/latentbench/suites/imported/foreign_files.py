"""The files of a foreign source: which they are, in which order, and what they hash to.

Batches are put in the order of their numbers. By name `batch-10` would stand before `batch-2`, and a suite would depend on how
many files an export was cut into.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentbench.corpora.corpus_files import read_objects
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import file_sha256
from latentbench.suites.imported.foreign_latent import SourceFile

JSONL = (".jsonl", ".jsonl.gz")


def numbered(path: Path) -> tuple[list[int], str]:
    """Key that sorts files by the numbers in their names."""
    return [int(n[:18]) for n in re.findall(r"\d+", path.name)], path.name


def jsonl_files(folder: Path) -> list[Path]:
    """Files of JSON lines in a folder, by number."""
    return sorted((p for p in listed(folder) if p.name.endswith(JSONL) and p.is_file()), key=numbered)


def listed(folder: Path) -> list[Path]:
    """What is in a folder, by name; nothing where there is no such folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return sorted(folder.iterdir()) if folder.is_dir() else []
    except OSError as e:
        raise DataError(f"{folder} cannot be read: {e.strerror or e}.") from e


def source_files(root: Path, paths: list[Path]) -> tuple[SourceFile, ...]:
    """The files by their names below `root`, with their digests.

    Raises:
        DataError: one cannot be read.
    """
    try:
        return tuple(SourceFile(_below(root, p), file_sha256(p)) for p in paths)
    except OSError as e:
        raise DataError(f"{e.filename or root} cannot be read: {e.strerror or e}.") from e


def _below(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix() if path != root and path.is_relative_to(root) else path.name


def rows(paths: list[Path]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every object of files of JSON lines, with its file and line.

    Raises:
        DataError: a file is broken, or a line is no JSON object.
    """
    for path in paths:
        for number, row in read_objects(path):
            yield f"{path}, line {number}", row


def text_of(row: Mapping[str, Any], name: str, where: str) -> str | None:
    """A text field; None where it is missing or null.

    Raises:
        DataError: it is something else.
    """
    value = row.get(name)
    if value is not None and not isinstance(value, str):
        raise DataError(f"{where}: {name} is {type(value).__name__}, expected a text.")
    return value


def number_of(row: Mapping[str, Any], name: str, where: str) -> float | None:
    """A finite number; None where it is missing, null, or not finite.

    Raises:
        DataError: it is no number.
    """
    value = row.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DataError(f"{where}: {name} is {type(value).__name__}, expected a number.")
    return float(value) if abs(value) < float("inf") else None


def texts_of(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    """A list of texts; empty where it is missing or null.

    Raises:
        DataError: it is something else.
    """
    value = row.get(name)
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{where}: {name} is not a list of texts.")
    return tuple(value)
