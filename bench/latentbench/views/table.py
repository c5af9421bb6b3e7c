"""One table with four faces: terminal, Markdown, CSV and HTML.

A table holds values and says of each column what they are. Text that is formatted by whoever makes the table is the tempting way;
then each face needs a maker of its own, and they differ in digits, in what they leave out, and in what they forget to escape.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from latentbench.views import escape, number
from latentbench.views.escape import Html

if TYPE_CHECKING:
    from rich.console import RenderableType

Kind = Literal[
    "value", "text", "code", "prose", "number", "signed", "percent", "p", "count", "short", "dollars", "seconds", "ratio",
    "drawing",
]  # fmt: skip
"""What a column holds. `value` decides cell by cell; `prose` is a sentence with code between backticks; a `drawing` is HTML and
has no other face."""
Cell = str | float | bool | tuple[float | None, ...] | None
"""A text stands as it is in a column of any kind. Two numbers are an interval, three an estimate with its interval."""
Tone = Literal["", "floor", "bad", "apart", "open"]
"""How a row looks: a floor, something failed, something that cannot be compared, something undecided."""
Face = Literal["all", "terminal", "page", "html"]

TEXTS: tuple[Kind, ...] = ("text", "code", "prose")
NAME_WIDTH = 18
"""A column of text may fold at this width when the table would not fit."""
STYLES: Mapping[Tone, str] = {"": "", "floor": "dim", "bad": "bold red", "apart": "magenta", "open": "yellow"}


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: its head.
        kind: what its cells are.
        digits: after the point; three, and none of a percentage.
        face: `terminal` or `page` (Markdown and HTML) where only these show it; the CSV has all.
        brief: its head on the terminal.
        spare: it may become a line below the terminal's table where it does not fit; cells are never squeezed.
        head: what HTML shows as its head.
    """

    name: str
    kind: Kind = "value"
    digits: int | None = None
    face: Face = "all"
    brief: str = ""
    spare: bool = False
    head: Html | None = None

    def text(self, cell: Cell) -> str:
        """A cell as people read it, not escaped."""
        if isinstance(cell, str):
            return cell
        if isinstance(cell, bool):
            return "yes" if cell else "no"
        if cell is None:
            return "" if self.kind in TEXTS else number.NONE
        kind = self._kind(cell)
        write, digits = WRITERS[kind], self.digits if self.digits is not None else 0 if kind == "percent" else 3
        if isinstance(cell, tuple):
            if len(cell) == 2:
                return number.interval(cell[0], cell[1], digits, write)
            return number.estimate(cell[0], cell[1], cell[2], digits, write)
        return write(cell, digits)

    def _kind(self, cell: Cell) -> Kind:
        if self.kind not in ("value", *TEXTS):
            return self.kind
        return "count" if isinstance(cell, int) else "number"


WRITERS: Mapping[str, Callable[[float | None, int], str]] = {
    "number": number.number,
    "signed": number.signed,
    "percent": number.percent,
    "p": lambda x, _: number.p(x),
    "count": lambda x, _: number.count(x),
    "short": lambda x, _: number.short(x),
    "dollars": lambda x, _: number.dollars(x),
    "seconds": lambda x, _: number.seconds(x),
    "ratio": lambda x, _: number.ratio(x),
}


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        title: above it.
        columns: at least one.
        rows: a cell per column.
        note: below it, prose.
        conditions: under the title, what all rows have in common.
        tones: one per row; none by default.
        face: `terminal` or `page` if a page shows it only there.
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    conditions: str = ""
    tones: Sequence[Tone] = ()
    face: Face = "all"

    @classmethod
    def of_records(cls, records: Iterable[Mapping[str, Cell]], columns: Sequence[str] = ()) -> Table:
        """A table of rows with named values, for programs; the first row names the columns if nobody else does."""
        records = list(records)
        names = list(columns or (records[0] if records else ()))
        return cls("", [Column(name) for name in names], [[record.get(name) for name in names] for record in records])

    def right(self, i: int) -> bool:
        """Whether a column holds numbers."""
        if self.columns[i].kind != "value":
            return self.columns[i].kind not in TEXTS
        return all(cell is None or cell == "" or _numeric(cell) for cell in (row[i] for row in self.rows))

    def tone(self, i: int) -> Tone:
        """The look of a row."""
        return self.tones[i] if self.tones else ""

    def terminal(self, width: int = 80) -> RenderableType:
        """Rich renderable without lines that reads at `width` columns: numbers never fold, text does."""
        from rich.console import Group
        from rich.table import Table as RichTable
        from rich.text import Text

        heads = [_folded(c.brief or c.name) for c in self.columns]
        cells = [[escape.line(c.text(row[i])) for row in self.rows] for i, c in enumerate(self.columns)]
        wide = [max(map(len, [*heads[i].split("\n"), *cells[i]])) for i in range(len(heads))]
        kept = [i for i, c in enumerate(self.columns) if c.face in ("all", "terminal") and c.kind != "drawing"]

        def needs(chosen: Sequence[int], pad: int) -> int:
            return sum(wide[i] if self.right(i) else min(wide[i], NAME_WIDTH) for i in chosen) + pad * (len(chosen) - 1)

        pad = 2 if needs(kept, 2) <= width else 1
        below: list[int] = []
        for i in reversed([i for i in kept if self.columns[i].spare]):
            if needs(kept, pad) > width:
                kept.remove(i)
                below.insert(0, i)
        out = RichTable(box=None, pad_edge=False, padding=(0, pad, 0, 0))
        for i in kept:
            right = self.right(i)
            out.add_column(
                Text(heads[i]), justify="right" if right else "left", no_wrap=right, overflow="fold",
                min_width=wide[i] if right else None,
            )  # fmt: skip
        for k in range(len(self.rows)):
            out.add_row(*(Text(cells[i][k]) for i in kept), style=STYLES[self.tone(k)])
        parts: list[RenderableType] = [Text(escape.line(self.title), style="bold")] if self.title else []
        if self.conditions:
            parts.append(Text(escape.line(self.conditions), style="dim"))
        parts.append(out)
        named = next((i for i in kept if not self.right(i)), kept[0])
        for i in below:
            said = ", ".join(f"{n} {v}" for n, v in zip(cells[named], cells[i], strict=True) if v)
            if said:
                parts.append(Text(f"{escape.line(self.columns[i].name)}: {said}", style="dim"))
        if self.note:
            parts.append(Text(escape.line(self.note), style="dim"))
        return Group(*parts)

    def markdown(self, level: int = 0) -> str:
        """The grid; with a level for its heading also title, conditions and note."""
        shown = self._on_page(drawings=False)
        lines = [[escape.markdown(self.columns[i].name) for i in shown]]
        lines.append(["---:" if self.right(i) else "---" for i in shown])
        lines += [[_markdown(self.columns[i], row[i]) for i in shown] for row in self.rows]
        grid = "".join("| " + " | ".join(cells) + " |\n" for cells in lines)
        if not level:
            return grid
        parts = [f"{'#' * level} {escape.markdown(self.title)}\n"] if self.title else []
        parts += [escape.markdown_prose(self.conditions) + ".\n"] if self.conditions else []
        return "\n".join([*parts, grid, *([escape.markdown_prose(self.note) + "\n"] if self.note else [])])

    def html(self, level: int = 0) -> str:
        """HTML with what `markdown` has, and drawings; classes are those of `latentbench.views.page`."""
        shown = self._on_page(drawings=True)
        kinds = {
            i: ' class="w"' if self.columns[i].kind == "drawing" else ' class="n"' if self.right(i) else ""
            for i in shown
        }
        heads = {i: self.columns[i].head or Html(_breakable(escape.html(self.columns[i].name))) for i in shown}
        body = []
        for k, row in enumerate(self.rows):
            cells = "".join(f"<td{kinds[i]}>{_html(self.columns[i], row[i])}</td>" for i in shown)
            body.append(f'<tr class="{self.tone(k) or "row"}">{cells}</tr>')
        head = "".join(f"<th{kinds[i]}>{heads[i]}</th>" for i in shown)
        grid = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table></div>'
        if not level:
            return grid
        parts = [f"<h{level}>{escape.html(self.title)}</h{level}>"] if self.title else []
        parts += [f'<p class="soft">{escape.html_prose(self.conditions)}</p>'] if self.conditions else []
        return "".join([*parts, grid, *([f'<p class="soft">{escape.html_prose(self.note)}</p>'] if self.note else [])])

    def csv(self) -> str:
        """Every column for programs, floats to six significant digits; an interval is columns `_low` and `_high`."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        ends = [_ends([row[i] for row in self.rows]) for i in range(len(self.columns))]
        if self.columns:
            writer.writerow(
                [escape.csv(c.name) + end for c, own in zip(self.columns, ends, strict=True) for end in own]
            )
        tests = [c.kind == "p" or c.name.partition("_")[0] == "p" for c in self.columns]
        for row in self.rows:
            values: list[Cell] = []
            for cell, own, test in zip(row, ends, tests, strict=True):
                parts = cell if isinstance(cell, tuple) else (cell,)
                if test and isinstance(cell, float) and math.isnan(cell):
                    parts = (number.TOO_FEW,)
                values += [*parts, *[None] * (len(own) - len(parts))]
            writer.writerow(map(_csv, values))
        return out.getvalue()

    def _on_page(self, drawings: bool) -> list[int]:
        shown = (c.face != "terminal" and (drawings or c.kind != "drawing") for c in self.columns)
        return [i for i, yes in enumerate(shown) if yes]


def _numeric(cell: Cell) -> bool:
    return isinstance(cell, tuple) or (isinstance(cell, int | float) and not isinstance(cell, bool))


def _ends(cells: Sequence[Cell]) -> tuple[str, ...]:
    """Ends of the names of the CSV columns that a column becomes."""
    most = max((len(cell) for cell in cells if isinstance(cell, tuple)), default=1)
    return {1: ("",), 2: ("_low", "_high"), 3: ("", "_low", "_high")}[most]


def _markdown(column: Column, cell: Cell) -> str:
    text = column.text(cell)
    if column.kind == "code":
        return escape.markdown_code(text)
    return escape.markdown_prose(text) if column.kind == "prose" else escape.markdown(text)


def _html(column: Column, cell: Cell) -> str:
    text = column.text(cell)
    if column.kind == "code":
        return f"<code>{escape.html(text)}</code>"
    return escape.html_prose(text) if column.kind == "prose" else escape.html(text)


def _csv(cell: Cell) -> object:
    if isinstance(cell, str):
        return escape.csv(cell)
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return number.rounded(cell)


def _breakable(name: str) -> str:
    """A name that may break at its underscores."""
    return name.replace("_", "_<wbr>")


def _folded(name: str, width: int = 8) -> str:
    """A head broken at underscores, so that its column is as narrow as its numbers."""
    lines = [""]
    for part in escape.line(name).split("_"):
        if lines[-1] and len(lines[-1]) + 1 + len(part) > width:
            lines.append(part)
        else:
            lines[-1] = f"{lines[-1]}_{part}" if lines[-1] else part
    return "\n".join(lines)
