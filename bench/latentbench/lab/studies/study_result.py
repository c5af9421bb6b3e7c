"""What a study ends in: tables, figures and sentences, as data; writing them to files is `page`.

A column `x` with columns `x_low` and `x_high` beside it is one number with its interval. Text formats show the three as one
cell; the CSV keeps them apart.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentbench.views.number import rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        name: of its files; the first table of a study is `table`.
        title: one line.
        columns: in order.
        rows: column -> value; what is missing is empty.
        note: what the columns mean.
        shown: columns that text formats show; all by default. The CSV has all of them.
    """

    name: str
    title: str
    columns: tuple[str, ...]
    rows: Sequence[Mapping[str, Any]]
    note: str = ""
    shown: tuple[str, ...] = ()


@dataclass
class Result:
    """What a study found.

    Attributes:
        tables: the first is the study's table.
        figures: file name without suffix -> drawing; the first is the study's figure.
        findings: sentences, each from the numbers.
        limits: what the numbers do not show.
    """

    tables: list[Table] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)


def to_csv(table: Table) -> str:
    """Every column, floats to six significant digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(table.columns)
    for row in table.rows:
        writer.writerow([rounded(clean(row.get(c))) for c in table.columns])
    return out.getvalue()


def to_markdown(table: Table) -> str:
    """A Markdown table with intervals folded in."""
    heads, lines = folded(table)
    numeric = [all(_is_number(row.get(h)) for row in table.rows) for h in heads]
    out = ["| " + " | ".join(h.replace("_", " ") for h in heads) + " |"]
    out.append("|" + "|".join(" ---: " if n else " --- " for n in numeric) + "|")
    out += ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in line) + " |" for line in lines]
    return "\n".join(out) + "\n"


def folded(table: Table) -> tuple[list[str], list[list[str]]]:
    """Heads and cells as text, with `x_low` and `x_high` folded into `x`."""
    bounds = {f"{c}{end}" for c in table.columns for end in ("_low", "_high")}
    heads = [c for c in table.shown or table.columns if c not in bounds]
    lines = []
    for row in table.rows:
        cells = []
        for head in heads:
            cell = shown(row.get(head), p_value=head.startswith("p") and head.partition("_")[0] == "p")
            low, high = clean(row.get(f"{head}_low")), clean(row.get(f"{head}_high"))
            cells.append(f"{cell} [{shown(low)}, {shown(high)}]" if low is not None and high is not None else cell)
        lines.append(cells)
    return heads, lines


def shown(value: Any, p_value: bool = False) -> str:
    """A value as people read it: three decimals, more for small p-values, whole numbers as they are."""
    value = clean(value)
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        if p_value and value < 0.001:
            return "<0.001"
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.1f}" if abs(value) >= 100 else f"{value:.3f}"
    return str(value)


def clean(value: Any) -> Any:
    """NumPy scalars as Python ones; NaN and infinities as None."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_number(value: Any) -> bool:
    value = clean(value)
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))
