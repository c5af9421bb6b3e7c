"""Files of text on disk: which they are, what they hold, and the hash of their content."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import Unusable, content_hash, lines, parse_json, read_text


def files(patterns: tuple[str, ...]) -> list[Path]:
    """The files that paths and wildcards name: patterns in the given order, the matches of one pattern sorted.

    Raises:
        DataError: a path that does not exist, or a pattern that matches no file.
    """
    found: list[Path] = []
    for pattern in patterns:
        path = Path(pattern)
        matches = [path] if path.is_file() else [p for p in _expanded(path) if p.is_file()]
        if not matches:
            raise DataError(
                f"no corpus file at {pattern}. Relative paths start at the folder of the file that names them."
            )
        found += matches
    return found


def _expanded(pattern: Path) -> list[Path]:
    wild = next((i for i, part in enumerate(pattern.parts) if set(part) & set("*?[")), None)
    if wild is None:
        return []
    return sorted(Path(*pattern.parts[:wild]).glob("/".join(pattern.parts[wild:])))


def content_sha256(path: Path) -> str:
    """sha256 of a file's bytes, after decompression for `.gz`.

    Raises:
        DataError: a broken archive.
    """
    try:
        return content_hash(path)
    except (Unusable, OSError) as e:
        raise DataError(f"{path} cannot be read: {e}. Restore it.") from e


def read_jsonl(path: Path, field: str) -> Iterator[str]:
    """The `field` of every line of a JSONL file; see `read_rows`."""
    return (row[field] for row in read_rows(path, field))


def read_rows(path: Path, field: str) -> Iterator[dict[str, Any]]:
    """Every line of a JSONL file (gzipped if its name ends so), with a text under `field`; blank lines are passed over.

    Raises:
        DataError: the file is broken, or a line is not a JSON object with a text under `field`.
    """
    return (_with_text(row, field, path, number) for number, row in read_objects(path))


def read_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Number and content of every line of a JSONL file (gzipped if its name ends so); blank lines are passed over.

    Raises:
        DataError: the file is broken, or a line is not a JSON object.
    """
    return ((number, row) for number, row, _ in read_lines(path))


def read_lines(path: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """Like `read_objects`, with the line itself, which ends as it does in the file but for a carriage return."""
    number = 0
    try:
        for number, line in enumerate(lines(path), 1):
            if line.strip():
                yield number, _object_of(line, path, number), line.decode("utf-8-sig").replace("\r\n", "\n")
    except (Unusable, OSError) as e:
        raise DataError(f"{path} breaks off after line {number}: {e}. Restore it.") from e


def _object_of(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        row = parse_json(line, finite=False)
    except ValueError as e:
        raise DataError(f"{path}, line {number}: not JSON ({e}). Repair or remove the line.") from e
    if not isinstance(row, dict):
        raise DataError(f"{path}, line {number}: expected a JSON object, found {type(row).__name__}.")
    return row


def _with_text(row: dict[str, Any], field: str, path: Path, number: int) -> dict[str, Any]:
    text = row.get(field)
    if not isinstance(text, str):
        state = (
            f"is {type(text).__name__}, not text" if field in row else f"is missing; it has {', '.join(row) or 'none'}"
        )
        raise DataError(f"{path}, line {number}: field {field!r} {state}. Set `text_field` to the right name.")
    return row


def _read_text(path: Path) -> str:
    try:
        return read_text(path)
    except Unusable as e:
        raise DataError(f"{path} {str(e).removeprefix('it ')}. Convert it, or leave it out of the pattern.") from e
    except OSError as e:
        raise DataError(f"cannot open {path}: {e.strerror or e}.") from e
