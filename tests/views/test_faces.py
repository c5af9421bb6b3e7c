"""Every face of a table and a page makes text from outside harmless, and no room writes tables or numbers of its own."""

from __future__ import annotations

import ast
import csv
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import latentbench
import pytest
from latentbench.views.page import Bullets, Facts, Folded, Heading, Listing, Page, Prose
from latentbench.views.table import Column, Kind, Table
from rich.console import Console

ESC, BIDI = "\x1b[31m", "\u202e"
HOSTILE = f"a|b\nc <script>x</script> {ESC}red =1+1 [bold]z[/bold] `tick` {BIDI}back @somebody ](javascript:x) \\| &lt; \ud800"
PACKAGE = Path(latentbench.__file__).parent


def _table(kind: Kind) -> Table:
    columns = [Column("name", kind), Column(HOSTILE, "number")]
    return Table(HOSTILE, columns, [[HOSTILE, 0.5], ["plain", HOSTILE]], note=HOSTILE, conditions=HOSTILE)


def _printed(table: Table | Page, width: int = 80) -> str:
    console = Console(width=width, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(table.terminal(width))
    return console.file.getvalue()  # type: ignore[attr-defined]


def _page() -> Page:
    blocks = [Heading(HOSTILE), Prose(HOSTILE), Bullets([HOSTILE]), Facts({HOSTILE: HOSTILE}), Listing(HOSTILE)]
    return Page(HOSTILE, [*blocks, Folded(HOSTILE, [_table("text")]), _table("prose")])


class _Elements(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.add(tag)

    def handle_data(self, data: str) -> None:
        self.said.append(data)


KINDS: tuple[Kind, ...] = ("text", "code", "prose", "value", "number")


@pytest.mark.parametrize("kind", KINDS)
def test_the_terminal_reads_no_markup_and_no_command(kind: Kind) -> None:
    text = _printed(_table(kind))
    assert "\x1b" not in text
    assert BIDI not in text
    assert "[bold]z[/bold]" in re.sub(r"\s+", "", text)
    assert "\\u001b" in re.sub(r"\s+", "", text)


@pytest.mark.parametrize("kind", KINDS)
def test_markdown_keeps_its_columns_and_opens_nothing(kind: Kind) -> None:
    text = _table(kind).markdown(level=2)
    grid = [line for line in text.splitlines() if line.startswith("|")]
    assert len(grid) == 4
    # A pipe is part of a cell if an odd number of backslashes stands before it.
    for line in grid:
        pipes = [m.start() for m in re.finditer(r"\|", line)]
        assert sum((len(line[:p]) - len(line[:p].rstrip("\\"))) % 2 == 0 for p in pipes) == 3
    outside = re.sub(r"(?<!\\)`[^`]*`", "", text)
    for wrong in ("<script", "\x1b", BIDI, " @somebody", "](javascript", "\ud800"):
        assert wrong not in outside


@pytest.mark.parametrize("kind", KINDS)
def test_html_has_no_element_of_the_text(kind: Kind) -> None:
    parser = _Elements()
    parser.feed(_table(kind).html(level=3))
    assert parser.found <= {"div", "table", "thead", "tbody", "tr", "th", "td", "h3", "p", "code", "wbr"}
    assert "<script>x</script>" in "".join(parser.said)


def test_csv_has_no_formula_and_keeps_its_rows() -> None:
    cells = ["=1+1", "+1", "-1", "@x", "\t=1", "-", "+", HOSTILE, -1.5, None, True]
    text = Table("", [Column("=head", "text")], [[c] for c in cells]).csv()
    (head,), *rows = csv.reader(io.StringIO(text))
    assert head == "'=head"
    assert [row[0] if row else "" for row in rows[:7]] == ["'=1+1", "+1", "-1", "'@x", "'\t=1", "-", "+"]
    assert [row[0] if row else "" for row in rows[8:]] == ["-1.5", "", "True"]
    assert "\x1b" not in text
    text.encode("utf-8")


def test_a_page_escapes_in_every_block() -> None:
    page = _page()
    assert "\x1b" not in _printed(page)
    parser = _Elements()
    parser.feed(page.html())
    assert "script" not in parser.found
    for text in (page.html(), page.markdown(), _printed(page)):
        text.encode("utf-8")
        assert BIDI not in text


def test_a_listing_cannot_be_left() -> None:
    text = Page("t", [Listing("a\n```\n# not a heading\n````\nb", "yaml"), Prose("after")]).markdown()
    fence = text.splitlines()[2].removesuffix("yaml")
    assert set(fence) == {"`"}
    assert [line for line in text.splitlines() if line.startswith(fence)] == [f"{fence}yaml", fence]


def test_intervals_are_one_cell_for_people_and_columns_for_programs() -> None:
    columns = [Column("x", "text"), Column("score", "number"), Column("gap", "signed", 2), Column("range", "percent")]
    table = Table("", columns, [["a", (0.51234567, 0.4, 0.6), 0.0, (0.1, 0.9)], ["b", None, -0.001, None]])
    assert table.markdown().splitlines()[2:] == [
        "| a | 0.512 [0.400, 0.600] | +0.00 | [10%, 90%] |",
        "| b | – | +0.00 | – |",
    ]
    assert table.csv().splitlines() == [
        "x,score,score_low,score_high,gap,range_low,range_high",
        "a,0.512346,0.4,0.6,0.0,0.1,0.9",
        "b,,,,-0.001,,",
    ]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_a_spare_column_moves_below_where_it_does_not_fit(width: int) -> None:
    columns = [Column("name", "text"), *(Column(f"metric_{i}", "number", spare=True) for i in range(9))]
    text = _printed(Table("", columns, [["a", *(i / 10 for i in range(9))]]), width)
    assert max(map(len, text.splitlines())) <= width
    assert all(f"0.{i}00" in text for i in range(9))
    assert ("metric_8: a 0.800" in text) == (width < 200)


# --- one place


def _modules() -> list[Path]:
    return [path for path in PACKAGE.rglob("*.py") if path.parent.name != "views"]


def test_no_room_joins_cells_or_writes_csv_by_itself() -> None:
    for path in _modules():
        text = path.read_text(encoding="utf-8")
        assert '"| " +' not in text, path
        assert "csv.writer" not in text, path
        assert "DictWriter" not in text, path
        assert "from html import" not in text, path
        assert "<!doctype" not in text, path
        # A suite is shown with its windows laid out beside their numbers, which is no table of values.
        assert "rich.table" not in text or path.name == "show.py", path
        assert "STYLE: " not in text, path


PRINTED = {"terminal", "show_suite", "latent_shown"}
"""What may be printed by a console: a face of a table, a page, a suite or a latent, whose texts are escaped."""


def _called(node: ast.AST) -> str:
    """The name of the function that a call calls."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def test_no_room_prints_by_itself() -> None:
    """What a terminal shows goes through `latentbench.views`, which makes it harmless and lets no encoding end a command."""
    for path in _modules():
        text = path.read_text(encoding="utf-8")
        for node in ast.walk(ast.parse(text)):
            said = f"{path}:{getattr(node, 'lineno', 0)} prints; say it with latentbench.views.terminal"
            assert not (isinstance(node, ast.Name) and node.id == "print"), said
            if isinstance(node, ast.Attribute):
                way = r"(typer|click)\.s?echo|sys\.(stdout|stderr)\.(write|buffer).*|.*console\.(status|log|rule)"
                assert not re.fullmatch(way, ast.unparse(node)), said
            if _called(node) == "print":
                assert _called(node.args[0]) in PRINTED, said  # type: ignore[attr-defined]
        assert "from rich.text" not in text or path.name == "show.py", path
        assert "ElementTree" not in text or path.name == "gate_formats.py", path


def test_what_stands_inside_html_is_escaped() -> None:
    """Each hole of an f-string with a tag is a number in a format, or goes through `html`; a bar of a leaderboard is numbers."""
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if path.name != "board_page.py" else ():
            if not isinstance(node, ast.JoinedStr):
                continue
            said = "".join(str(part.value) for part in node.values if isinstance(part, ast.Constant))
            if re.search(r"<(p|div|span|td|tr|th|a|img|h[1-6]|mark|code|svg|pre|li|ul|br|b|i)[ >]", said):
                for hole in (part for part in node.values if isinstance(part, ast.FormattedValue)):
                    safe = (
                        hole.format_spec is not None or _called(hole.value) in ("html", "number") or _made(hole.value)
                    )
                    assert safe, f"{path}:{node.lineno}: {ast.unparse(hole)}"


def _made(node: ast.AST) -> bool:
    """Parts that the module has made HTML of already."""
    return isinstance(node, ast.Name) and node.id in ("tokens", "address")


def test_no_room_has_a_format_for_numbers_of_its_own() -> None:
    own = {
        "number",
        "percent",
        "signed",
        "p",
        "p_value",
        "interval",
        "short",
        "dollars",
        "as_text",
        "rounded",
        "markdown_table",
    }
    known = {("concepts.py", "short")}  # the first words of a definition, no number
    for path in _modules():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = {n.name.lstrip("_") for n in tree.body if isinstance(n, ast.FunctionDef) and _gives_text(n)}
        assert {(path.name, name) for name in names & own} <= known, path


def _gives_text(node: ast.FunctionDef) -> bool:
    return node.returns is not None and ast.unparse(node.returns) == "str"
