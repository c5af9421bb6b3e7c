"""One line per stage, with rate and time left, and the whole run below it, which moves with every call.

On a terminal the line is drawn over; elsewhere (CI logs) the same line is printed every half minute and when the stage ends. A
bar drawn into a log file is a thousand lines nobody reads; a line for each batch that ends is none for the hour that the first
batch of a rationed endpoint takes.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from latentbench.views.causes import Causes
from latentbench.views.escape import line
from latentbench.views.run_line import Standing, clock, run_line, spent_line
from latentbench.views.terminal import tell

INTERVAL = 30.0
NUMBERS = 52
"""Columns of a terminal that bar, counts, rate and time left take."""
WHOLE = "whole run, estimated"
"""How the bar of the run is called; its number of calls is an estimate (`latentbench.runs.tally`)."""


class Left(TimeRemainingColumn):
    """Time left, as the run says it where it says one."""

    def render(self, task: Task) -> Text:
        """The time of a bar."""
        if "left" not in task.fields:
            return super().render(task)
        return Text(clock(task.fields["left"]), "progress.remaining")


class Bar(Progress):
    """A bar, under it that of the whole run, and under these how much has no answer and why, and what the calls used: beside the
    bars, a terminal of 80 columns would have no room for them."""

    said = ""
    """Written where the work is done: the bar is drawn by a thread of its own."""
    run: Callable[[], Standing | None] = staticmethod(lambda: None)
    """Read at each drawing, so that it moves with every call."""
    of_run = TaskID(-1)
    """The bar of the run, which is there from the beginning: one that is added here would be drawn for that, and so on."""

    @classmethod
    def opened(cls, console: Console, run: Callable[[], Standing | None]) -> Self:
        """A bar that is drawn from now on; `end` stops it."""
        bar = cls(
            TextColumn("{task.description:<28}", markup=False),
            BarColumn(bar_width=16),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            Left(compact=True),
            console=console,
        )
        bar.of_run = bar.add_task(WHOLE, total=None, visible=False, rate="", left=None)
        bar.run = run
        bar.start()
        return bar

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The bars, that of the run below the others."""
        return super().make_tasks_table(sorted(tasks, key=lambda task: task.id == self.of_run))

    def get_renderables(self) -> Iterable[RenderableType]:
        """The lines of the bars and, once something failed or was asked, others."""
        now = self.run()
        if now is not None and now.total:
            rate = f"{now.rate:,.0f} calls/s" if now.rate >= 10 else f"{now.rate:.1f} calls/s"
            self.update(self.of_run, completed=now.done, total=now.total, visible=True, rate=rate, left=now.left)
        yield from super().get_renderables()
        if self.said:
            yield Text(line(self.said))
        if now is not None and now.total:
            yield Text(line(spent_line(now)))

    def end(self) -> None:
        """Stop, and leave on the screen what is of the stage alone: the next one goes on with the run."""
        self.run = lambda: None
        self.remove_task(self.of_run)
        self.stop()


class Stage:
    """Progress of one stage; use as a context manager and call `advance`.

    Args:
        name: whole in a log; on a terminal its two ends, where there is no room for it beside the numbers.
        total: units of work, or 0 when nobody knows.
        unit: what is counted ("latents", "calls", "tokens").
        done: units already on disk.
        console: where to print.
        run: says where the whole run is, of calls whose batch has not ended too.

    Attributes:
        causes: why things had no answer so far; the line shows their number and the most frequent.
    """

    def __init__(
        self,
        name: str,
        total: int,
        unit: str,
        console: Console,
        done: int = 0,
        run: Callable[[], Standing | None] = lambda: None,
    ) -> None:
        self.name, self.total, self.unit, self.done, self.console = line(name), total, unit, done, console
        self._first, self._run, self._said = done, run, ""
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self._start = time.monotonic()
        self._bar: Bar | None = None
        self.causes = Causes()

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar = Bar.opened(self.console, self._run)
            name = short(self.name, self.console.width - NUMBERS)
            self._task = self._bar.add_task(name, total=self.total or None, completed=self.done, rate="")
        else:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.end()
            return
        self._over.set()
        self._ticker.join()
        if kind is None:
            self._print()

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        self.done += n
        self._said = str(self.causes)
        if self._bar is not None:
            self._bar.said = self._said
            self._bar.update(self._task, completed=self.done, rate=self._rate())

    def _tick(self) -> None:
        while not self._over.wait(INTERVAL):
            now = self._run()
            self._print(run_line(now) if now is not None else "")

    def _rate(self) -> str:
        seconds = max(time.monotonic() - self._start, 1e-3)
        rate = (self.done - self._first) / seconds
        return f"{rate:,.0f} {self.unit}/s" if rate >= 10 else f"{rate:.1f} {self.unit}/s"

    def _print(self, run: str = "") -> None:
        seconds = time.monotonic() - self._start
        of = f"/{self.total}" if self.total else ""
        left = ""
        # The first units of a stage come with its first batch; a forecast from one of them is off by orders of magnitude.
        if self.total > self.done > self._first + self.total // 20:
            left = f", {(self.total - self.done) * seconds / (self.done - self._first):.0f} s left"
        tell(
            self.console,
            f"{self.name:<28} {self.done}{of} {self.unit}  {self._rate()}  {seconds:.0f} s{left}"
            + "".join(f"  {said}" for said in (self._said, run) if said),
        )


def short(name: str, room: int) -> str:
    """A stage's name in a terminal's room: without the parameters of a reference, then with its parts cut between words.

    The scorer stands at one end and the judge's model at the other, and neither alone tells stages apart.
    """
    most = max(28, room)
    for needless in (r"\?\S*", r"^judge (?=.* · )"):
        name = name if len(name) <= most else re.sub(needless, "", name)
    head, dot, tail = name.partition(" · ")
    if len(name) <= most:
        return name
    behind = min(len(tail), (most - len(dot)) // 2)
    head = _cut(head, most - len(dot) - behind)
    return head + dot + _cut(tail[::-1], most - len(dot) - len(head))[::-1]


def _cut(text: str, room: int) -> str:
    """The beginning of a text, up to a word's end if half of the room can be used so."""
    if len(text) <= room:
        return text
    kept = text[: room - 1]
    words = kept if not text[room - 1].isalnum() else re.sub(r"[^\W_]+$", "", kept).rstrip(" -_=:./")
    return (words if 2 * len(words) >= room else kept) + "…"
