"""Rows of named values -> terminal, CSV and Markdown, for every table of this room.

The three are written from the same rows, so that they cannot disagree; only the terminal cuts digits and folds names to fit.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

Row = Mapping[str, Any]


def number(value: float, digits: int = 3) -> str:
    """Fixed digits; an en dash for NaN."""
    return "–" if not math.isfinite(value) else f"{_unsigned_zero(value, digits):.{digits}f}"


def signed(value: float) -> str:
    """With its sign."""
    return "–" if not math.isfinite(value) else f"{_unsigned_zero(value, 3):+.3f}"


def span(low: float, high: float, digits: int = 3) -> str:
    """`[low, high]`; an en dash where there is no interval."""
    return f"[{number(low, digits)}, {number(high, digits)}]" if math.isfinite(low) and math.isfinite(high) else "–"


def p_value(p: float) -> str:
    """Three digits, `<.001` below; an en dash for NaN."""
    return "–" if not math.isfinite(p) else "<.001" if p < 0.0005 else f"{p:.3f}"


def terminal_table(rows: Sequence[Row], names: Sequence[str] = ()) -> Table:
    """A table without lines; columns in `names` are left-aligned and may fold, all others are right-aligned and never do."""
    from rich.table import Table
    from rich.text import Text

    out = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for key in rows[0] if rows else ():
        cells = [str(key), *(str(row[key]) for row in rows)]
        free = key in names
        width = None if free else max(len(line) for cell in cells for line in cell.split("\n"))
        out.add_column(
            Text(str(key)), justify="left" if free else "right", no_wrap=not free, overflow="fold", min_width=width
        )
    for row in rows:
        out.add_row(*(Text(str(value)) for value in row.values()))
    return out


def to_csv(rows: Sequence[Row]) -> str:
    """CSV with the keys of the first row as head; NaN and None are empty."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    if rows:
        writer.writerow(rows[0])
    for row in rows:
        writer.writerow(["" if _missing(v) else f"{v:.10g}" if isinstance(v, float) else v for v in row.values()])
    return out.getvalue()


def to_markdown(rows: Sequence[Row], names: Sequence[str] = ()) -> str:
    """A Markdown table of cells that are already written; `names` are left-aligned."""
    if not rows:
        return ""
    head = list(rows[0])
    lines = [_line(head), _line(["---" if key in names else "---:" for key in head])]
    return "\n".join([*lines, *(_line([str(v) for v in row.values()]) for row in rows)]) + "\n"


def _unsigned_zero(value: float, digits: int) -> float:
    """Rounded, with -0 as 0."""
    return round(value, digits) + 0.0


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", " ") for c in cells) + " |"


def _missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))
