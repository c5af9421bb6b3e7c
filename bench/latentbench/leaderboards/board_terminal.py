"""Tables -> the terminal.

A column that does not fit is written as a line below the table instead of being squeezed: words cut out of cells are worse than
a second look. So it reads at 80 columns, and on a wide screen everything is in the table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from latentbench.judges.price import ESTIMATE_NOTE, as_text, estimated
from latentbench.leaderboards.board import Table
from latentbench.leaderboards.format import BOUNDS_NOTE, FLOOR_NOTE, KIND_NOTE, by_kind, interval, other_metrics, total
from latentbench.views.number import number, percent, short

NAME_WIDTH = 18
"""An explainer's name may fold at this width when the table would not fit."""


@dataclass(frozen=True)
class _Column:
    head: str
    cells: tuple[str, ...]
    right: bool = True

    @property
    def width(self) -> int:
        return max(*map(len, self.head.split("\n")), *map(len, self.cells))


def terminal(tables: Sequence[Table], width: int = 80) -> RenderableType:
    """Rich renderable of all tables that is readable at `width` columns."""
    parts: list[RenderableType] = []
    for table in tables:
        parts += [Text(table.title, style="bold"), Text(table.conditions, style="dim"), *_table(table, width)]
        parts += [*_kinds(table), Text()]
    if any(row.is_floor for table in tables for row in table.rows):
        parts.append(Text(FLOOR_NOTE, style="dim"))
    if any(row.worst is not None for table in tables for row in table.rows):
        parts.append(Text(BOUNDS_NOTE, style="dim"))
    if any(estimated(total(row).dollars) for table in tables for row in table.rows):
        parts.append(Text(ESTIMATE_NOTE, style="dim"))
    parts.append(Text("tok, $, s: per latent, explaining and judging together.", style="dim"))
    return Group(*parts)


def _table(table: Table, width: int) -> list[RenderableType]:
    rows = table.rows
    names = _names(table)
    prices = [total(row) for row in rows]
    left = [
        _Column("rank", tuple(map(str, table.ranks))),
        _Column("explainer", tuple(names), right=False),
        _Column(_fold(table.headline), tuple(number(row.score.estimate) for row in rows)),
        _Column("95 % CI", tuple(interval(row.score) for row in rows)),
    ]
    right = [
        _Column("cover", tuple(percent(row.coverage) for row in rows)),
        _Column("n", tuple(str(row.score.n) for row in rows)),
        _Column("tok", tuple(short(p.tokens_in + p.tokens_out) for p in prices)),
        _Column("$", tuple(as_text(p.dollars) for p in prices)),
        _Column("s", tuple(short(p.seconds) for p in prices)),
    ]
    extra = {
        name: _Column(
            _fold(name), tuple(number(row.metrics[name].estimate if name in row.metrics else None) for row in rows)
        )
        for name in other_metrics(table)
    }
    pad = 2 if _needs([*left, *extra.values(), *right], 2) <= width else 1
    shown: list[_Column] = []
    below: dict[str, _Column] = {}
    for name, column in extra.items():
        if _needs([*left, *shown, column, *right], pad) <= width:
            shown.append(column)
        else:
            below[name] = column
    out = RichTable(box=None, pad_edge=False, padding=(0, pad, 0, 0))
    columns = [*left, *shown, *right]
    for column in columns:
        name_column = not column.right
        out.add_column(
            Text(column.head),
            justify="right" if column.right else "left",
            no_wrap=not name_column,
            overflow="fold",
            min_width=None if name_column else column.width,
        )
    for i, row in enumerate(rows):
        out.add_row(*(Text(c.cells[i]) for c in columns), style="dim" if row.is_floor else None)
    lines = [
        f"{name}: " + ", ".join(f"{n} {v}" for n, v in zip(names, c.cells, strict=True)) for name, c in below.items()
    ]
    bounded = [
        f"{n} {number(r.worst)} to {number(r.best)}" for n, r in zip(names, rows, strict=True) if r.worst is not None
    ]
    if bounded:
        lines.append(f"bounds: {', '.join(bounded)}")
    return [out, *(Text(line, style="dim") for line in lines)]


def _kinds(table: Table) -> list[RenderableType]:
    """Scores by kind of silent windows, if there are several; intervals are in the Markdown and the CSV."""
    found = by_kind(table)
    if found is None:
        return []
    out = RichTable(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for head in ("by kind", "", *found.kinds):
        name = head in ("by kind", "")
        out.add_column(Text(head), justify="left" if name else "right", no_wrap=not name, overflow="fold")
    names = {id(row): name for row, name in zip(table.rows, _names(table), strict=True)}
    for row, metric, estimates in found.lines:
        cells = (number(e.estimate if e else None) for e in estimates)
        out.add_row(*map(Text, (names[id(row)], metric, *cells)), style="dim" if row.is_floor else None)
    return [Text(), out, Text(KIND_NOTE, style="dim")]


def _needs(columns: Sequence[_Column], pad: int) -> int:
    """Width of the columns when long explainer names fold."""
    return sum(c.width if c.right else min(c.width, NAME_WIDTH) for c in columns) + pad * (len(columns) - 1)


def _names(table: Table) -> list[str]:
    """Labels; with the run where several runs have the same one."""
    labels = Counter(row.explainer.label for row in table.rows)
    return [
        row.explainer.label
        + (f" [{row.run}]" if labels[row.explainer.label] > 1 else "")
        + (" (floor)" if row.is_floor else "")
        for row in table.rows
    ]


def _fold(name: str, width: int = 8) -> str:
    """Break a metric's name at underscores, so that its column is as narrow as its numbers."""
    lines = [""]
    for part in name.split("_"):
        if lines[-1] and len(lines[-1]) + 1 + len(part) > width:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]}_{part}" if lines[-1] else part
    return "\n".join(lines)
