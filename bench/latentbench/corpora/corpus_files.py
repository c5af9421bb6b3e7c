"""Files of text on disk: which they are and in which order, what they hold, and the hash of their content."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from latentbench.corpora.left_out import LeftOut
from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import (
    LINE_BYTES,
    HalfCharacter,
    Unusable,
    content_hash,
    decoded,
    lines,
    most,
    parse_json,
    read_text,
)
from latentbench.kernel.parquet import parquet_columns, parquet_values


def files(patterns: tuple[str, ...], endings: tuple[str, ...] = ()) -> list[Path]:
    """The files that paths, wildcards and folders name: in the given order, those of one pattern or folder sorted by path.

    A file that several of them name is read once, at the first place. Hidden files of a folder, and those in hidden folders,
    are passed over.

    Args:
        endings: of the files that a folder stands for, at any depth; no folder may be named if there are none.

    Raises:
        DataError: a path that does not exist, a pattern that matches no file, or a folder without files of these endings.
    """
    found: dict[Path, None] = {}
    for pattern in patterns:
        path = Path(pattern)
        if path.is_dir() and endings:
            matches = sorted(p for p in path.rglob("*") if p.name.endswith(endings) and p.is_file() and _seen(p, path))
        else:
            matches = [path] if path.is_file() else [p for p in _expanded(path) if p.is_file()]
        if not matches:
            of = f" with files that end in {', '.join(endings)}" if endings and path.is_dir() else ""
            raise DataError(
                f"no corpus file at {pattern}{of}. Relative paths start at the folder of the file that names them."
            )
        found |= dict.fromkeys(matches)
    return list(found)


def _seen(path: Path, folder: Path) -> bool:
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _expanded(pattern: Path) -> list[Path]:
    wild = next((i for i, part in enumerate(pattern.parts) if set(part) & set("*?[")), None)
    if wild is None:
        return []
    return sorted(Path(*pattern.parts[:wild]).glob("/".join(pattern.parts[wild:])))


def content_sha256(path: Path) -> str:
    """sha256 of a file's bytes, after decompression for `.gz` and `.zst`.

    Raises:
        DataError: a broken archive.
    """
    try:
        return content_hash(path)
    except (Unusable, OSError) as e:
        raise DataError(f"{path} cannot be read: {e}. Restore it.") from e


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
    for number, line in _lines(path):
        if line.strip():
            yield number, _object_of(line, path, number), line.decode("utf-8-sig").replace("\r\n", "\n")


def jsonl_rows(path: Path, left_out: LeftOut) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and content of every line of a JSONL file; lines with half of a character are left out and counted.

    Raises:
        DataError: the file is broken, or a line is not a JSON object.
    """
    for number, line in _lines(path):
        if not line.strip():
            continue
        place = f"{path.name}, line {number}"
        try:
            row = _object_of(line, path, number)
        except DataError as e:
            if not isinstance(e.__cause__, HalfCharacter):
                raise
            left_out.add("half a character", place)
        else:
            yield place, row


def csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Place and columns of every record of a CSV file, whose first line names the columns; a record may hold line ends.

    Raises:
        DataError: the file is broken, not UTF-8, or no CSV.
    """
    # A document may be as long as a line of JSON; the module's own limit, one for the whole process, is 128 KiB.
    csv.field_size_limit(most(LINE_BYTES))
    number = 0
    try:
        records = csv.DictReader((decoded(line) for _, line in _lines(path)), strict=True)
        for row in records:
            number = records.line_num
            yield f"{path.name}, line {number}", {k: v for k, v in row.items() if k is not None}
    except (csv.Error, Unusable) as e:
        raise DataError(f"{path} is no CSV after line {number}: {e}. Repair it, or convert it to JSONL.") from e


def parquet_rows(path: Path, column: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Place and value of every row of a Parquet file, of this column; token ids come as arrays, other lists as lists.

    Raises:
        DataError: the file is broken or takes too much memory.
    """
    number = 0
    try:
        names = parquet_columns(path)
        if column not in names:
            # For the message that lists them.
            yield f"{path.name}, row 1", dict.fromkeys(n for n in names if n != column)
            return
        for array in parquet_values(path, column):
            for value in array:
                number += 1
                yield f"{path.name}, row {number}", {column: _value(value)}
    except (Unusable, OSError) as e:
        raise DataError(f"{path} cannot be read after row {number}: {e}. Restore it.") from e


def _value(scalar: Any) -> Any:
    """A value of Arrow as Python's; lists of whole numbers as arrays, bytes as the text that they are.

    Text that is not UTF-8 comes with a half of a character for each byte that is none, so it is counted as what it is.
    """
    if isinstance(scalar, pa.ListScalar | pa.LargeListScalar | pa.FixedSizeListScalar) and scalar.is_valid:
        values = scalar.values
        if pa.types.is_integer(values.type) and not values.null_count:
            return values.to_numpy(zero_copy_only=False)
    value = scalar.as_py()
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    number = 0
    try:
        for number, line in enumerate(lines(path), 1):
            yield number, line
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


def text_row(path: Path, left_out: LeftOut) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and text of a file that is one document; a file with half of a character is left out and counted.

    Raises:
        DataError: it is not UTF-8, or too long.
    """
    try:
        yield path.name, {"text": read_text(path)}
    except HalfCharacter:
        left_out.add("half a character", path.name)
    except Unusable as e:
        raise DataError(f"{path} {str(e).removeprefix('it ')}. Convert it, or leave it out of the pattern.") from e
    except OSError as e:
        raise DataError(f"cannot open {path}: {e.strerror or e}.") from e
