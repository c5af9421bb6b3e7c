"""One line per stage, with rate and time left.

On a terminal the line is drawn over; elsewhere (CI logs) the same line is printed when a stage starts, every half minute, and
when it ends. A bar drawn into a log file is a thousand lines nobody reads.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from latentbench.runs.causes import Causes

INTERVAL = 30.0
NUMBERS = 52
"""Columns of a terminal that bar, counts, rate and time left take."""


class _Bar(Progress):
    """A bar, and under it how much has no answer and why: beside it, a terminal of 80 columns would have no room for the bar."""

    said = ""
    """Written where the work is done: the bar is drawn by a thread of its own."""

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bar's line and, once something failed, another one."""
        yield from super().get_renderables()
        if self.said:
            yield Text(self.said, no_wrap=True, overflow="ellipsis")


class Stage:
    """Progress of one stage; use as a context manager and call `advance`.

    Args:
        name: whole in a log; on a terminal its two ends, where there is no room for it beside the numbers.
        total: units of work, or 0 when nobody knows.
        unit: what is counted ("latents", "calls", "tokens").
        done: units already on disk.
        console: where to print.

    Attributes:
        causes: why things had no answer so far; the line shows their number and the most frequent.
    """

    def __init__(self, name: str, total: int, unit: str, console: Console, done: int = 0) -> None:
        self.name, self.total, self.unit, self.done, self.console = name, total, unit, done, console
        self._first = done
        self._start = self._printed = time.monotonic()
        self._bar: _Bar | None = None
        self.causes = Causes()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = _Bar(
                TextColumn("{task.description:<28}", markup=False),
                BarColumn(bar_width=16),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
                console=self.console,
            )
            self._bar.start()
            self._task = self._bar.add_task(
                _ends(self.name, self.console.width - NUMBERS), total=self.total or None, completed=self.done, rate=""
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif kind is None:
            self._print()

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.done += n
        if self._bar is not None:
            self._bar.said = str(self.causes)
            self._bar.update(self._task, completed=self.done, rate=self._rate())
        elif time.monotonic() - self._printed > INTERVAL:
            self._print()

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = (self.done - self._first) / seconds
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.1f} {self.unit}/s"

    def _print(self) -> None:
        self._printed = time.monotonic()
        seconds = self._printed - self._start
        of = f"/{self.total}" if self.total else ""
        left = ""
        # The first units of a stage come with its first batch; a forecast from one of them is off by orders of magnitude.
        if self.total > self.done > self._first + self.total // 20:
            left = f", {(self.total - self.done) * seconds / (self.done - self._first):.0f} s left"
        self.console.print(
            f"{self.name:<28} {self.done}{of} {self.unit}  {self._rate()}  {seconds:.0f} s{left}  {self.causes}".rstrip(),
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def _ends(name: str, room: int) -> str:
    """The name, or its two ends: the scorer stands at one and the judge at the other, and neither alone tells stages apart."""
    most = max(28, room)
    if len(name) <= most:
        return name
    behind = (most - 1) // 2
    return f"{name[: most - 1 - behind]}…{name[-behind:]}"
