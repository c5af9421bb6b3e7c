"""What a study ends in: tables, figures and sentences, as data; writing them to files is `page`.

A column `x` with columns `x_low` and `x_high` beside it is one number with its interval. Text formats show the three as one
cell; the CSV keeps them apart.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from latentbench.views.table import Cell, Column, Table, Tone

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from latentbench.analysis.walkthrough.sentence_walk import SentenceWalk


@dataclass(frozen=True)
class StudyTable:
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
class StudyResult:
    """What a study found.

    Attributes:
        tables: the first is the study's table.
        figures: file name without suffix -> drawing; the first is the study's figure.
        findings: sentences, each from the numbers.
        limits: what the numbers do not show.
        walk: the walkthrough behind the table, of the study that is one.
    """

    tables: list[StudyTable] = field(default_factory=list)
    figures: dict[str, Figure] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)
    walk: SentenceWalk | None = None


def view(table: StudyTable) -> Table:
    """The table as text formats show it, with `x_low` and `x_high` folded into `x`."""
    bounds = {f"{c}{end}" for c in table.columns for end in ("_low", "_high")}
    heads = [c for c in table.shown or table.columns if c not in bounds]
    rows: list[list[Cell]] = []
    for row in table.rows:
        cells: list[Cell] = []
        for head in heads:
            value, low, high = (_cell(row, f"{head}{end}") for end in ("", "_low", "_high"))
            cells.append(value if low is None or high is None else (value, low, high))
        rows.append(cells)
    columns = [Column(h.replace("_", " "), "p" if _tests(h) else "value") for h in heads]
    tones: list[Tone] = ["floor" if row.get("reads", "yes") != "yes" else "" for row in table.rows]
    return Table(table.title, columns, rows, note=table.note, tones=tones)


def to_csv(table: StudyTable) -> str:
    """Render every column as CSV."""
    return Table.of_records(({c: _cell(row, c) for c in table.columns} for row in table.rows), table.columns).csv()


def _tests(head: str) -> bool:
    return head.partition("_")[0] == "p"


def _cell(row: Mapping[str, Any], head: str) -> Any:
    """A cell; NaN for a p of too few latents, which JSON holds as null, and None where nothing was tested."""
    value = clean(row.get(head))
    return math.nan if value is None and head in row and _tests(head) else value


def clean(value: Any) -> Any:
    """NumPy scalars as Python ones; NaN and infinities as None."""
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
