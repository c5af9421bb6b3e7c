"""Sentences for a terminal, a pipe or a log, whatever stands in them and whatever the stream can show.

Every sentence that a command prints goes through `say` or `tell`. `print` is the tempting way, and a label, a path or the answer
of an endpoint then moves the cursor, recolours the screen, commands the CI service that reads the log, or ends the command with
a `UnicodeEncodeError` after an hour of paid calls. Tables and pages have faces of their own.
"""

from __future__ import annotations

import codecs
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from latentbench.views import escape

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.padding import Padding
    from rich.status import Status
    from rich.text import Text

NEAREST = "latentbench-nearest"
"""Name of the way in which characters that a stream's encoding lacks are written."""
PLAIN = {
    "–": "-", "—": "-", "−": "-", "…": "...", "·": "-", "•": "*", "×": "x", "±": "+-", "≤": "<=", "≥": ">=", "→": "->",
    "⏎": "\\n", "‘": "'", "’": "'", "“": '"', "”": '"', "✓": "ok", "━": "-", "╸": "-", "╺": "-",
}  # fmt: skip
"""Signs of this package's own, as ASCII."""


def lenient() -> None:
    """Make the standard streams write what their encoding lacks as the nearest thing that it has."""
    codecs.register_error(NEAREST, _nearest)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            with suppress(OSError, ValueError):  # a stream that is closed, or a pipe in the place of a file
                reconfigure(errors=NEAREST)


def _nearest(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(c, "?") for c in error.object[error.start : error.end]), error.end


def say(text: object, err: bool = False) -> None:
    """Print a sentence, or lines of them, to standard output or standard error."""
    stream = sys.stderr if err else sys.stdout
    print(escape.lines(str(text)), file=stream, flush=True)


def plain_console(err: bool = False) -> Console:
    """A console for standard output or standard error that reads no markup and no names of emoji in what it is given."""
    from rich.console import Console

    return Console(stderr=err, markup=False, emoji=False)


def command(lines: str) -> None:
    """Print commands to the CI service that reads the log, whose texts are escaped already (`escape.annotation`)."""
    print(lines, end="", flush=True)


def status(console: Console, text: str) -> Status:
    """A line that is drawn over while something is done; use as a context manager, and `update` it with `shown`."""
    return console.status(shown(text))


def shown(text: str) -> Text:
    """A sentence on one line, as rich takes it without reading markup."""
    from rich.text import Text

    return Text(escape.line(text))


def indented(text: str, by: int = 0, style: str = "") -> Padding:
    """A sentence that is wrapped at the width of the console, some columns in."""
    from rich.padding import Padding
    from rich.text import Text

    return Padding(Text(escape.line(text), style=style), (0, 0, 0, by))


@dataclass(frozen=True, slots=True)
class QuotedLine:
    """A line of somebody else's words; where it is wrapped, what follows stands behind the bar too."""

    text: str
    by: int

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        from rich.text import Text

        bar = " " * self.by + "| "
        for line in Text(self.text).wrap(console, max(1, options.max_width - len(bar))):
            yield Text(bar).append_text(line)


def quoted(text: str, by: int = 0) -> list[QuotedLine]:
    """Somebody else's words, each line of them behind a bar, so that none can pass for a line of ours."""
    return [QuotedLine(line, by) for line in escape.lines(text).split("\n")]


def tell(console: Console, text: str, style: str = "") -> None:
    """Print sentences to a console, whose bar or status may be drawn below it; long lines are left to the terminal."""
    from rich.text import Text

    console.print(Text(escape.lines(text), style), soft_wrap=True, highlight=False)
