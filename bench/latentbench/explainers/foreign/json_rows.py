"""The objects of a file of JSON lines, with the place of each, plain or packed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.inputs import lines, parse_json

Row = Mapping[str, Any]
WHOLE = re.compile(r"[0-9]+\.0+")
"""A whole number as a table writes it whose column has an empty cell elsewhere."""


def json_rows(path: Path, *, finite: bool = True) -> Iterator[tuple[str, Row]]:
    """Place (file and line) and content of each object; empty lines are left out.

    Args:
        finite: NaN and infinities are refused.

    Raises:
        CorruptTable: the file cannot be read, or a line is no object; says which.
    """
    number = 0
    try:
        for number, line in enumerate(lines(path), 1):
            if not line.strip():
                continue
            row = parse_json(line, finite=finite)
            if not isinstance(row, Mapping):
                raise CorruptTable(f"{path} line {number} is not an object.")
            yield f"{path} line {number}", row
    except (ValueError, OSError) as e:
        raise CorruptTable(f"{path} cannot be read near line {max(1, number)}: {e}.") from e


def text_of(row: Row, name: str, where: str) -> str | None:
    """A text of a row, None where it has none.

    Raises:
        CorruptTable: the value is neither.
    """
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    raise CorruptTable(f"{where}: {name} is {repr(value)[:80]}, expected a text.")


def index_of(row: Row, name: str, where: str) -> str:
    """An index of a row, which may be written as a number or as a text.

    Raises:
        CorruptTable: it is missing, or is neither.
    """
    value = row.get(name)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        value = value.strip().partition(".")[0]
    if isinstance(value, bool) or not isinstance(value, int | str) or str(value).strip() == "":
        raise CorruptTable(f"{where}: {name} is {repr(value)[:80]}, expected an index.")
    return str(value).strip()


def fits(row: Row, where: Mapping[str, str | int], place: str) -> bool:
    """Whether a row has the values that are asked for, compared as text.

    Raises:
        CorruptTable: it does not have a column.
    """
    missing = [name for name in where if name not in row]
    if missing:
        raise CorruptTable(f"{place} has no column {missing[0]!r}; it has {', '.join(map(str, row))}.")
    return all(str(row[name]) == str(value) for name, value in where.items())
