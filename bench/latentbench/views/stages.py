"""Several stages that go on at the same time: a line for each, and the whole run below them.

Only one display can draw on a terminal, so the stages share one: a bar for each that has begun and is not over, which then stands
above as a line of text. In a log the lines of those that are under way come together every half minute, the last one with the
whole run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console

from latentbench.views import progress
from latentbench.views.progress import Bar, Stage, short
from latentbench.views.run_line import Standing, run_line


class Stages:
    """Stages by key; use as a context manager, `add` each, and `advance` them.

    Args:
        console: where to print.
        run: says where the whole run is.
    """

    def __init__(self, console: Console, run: Callable[[], Standing | None]) -> None:
        self.console, self._run = console, run
        self._held: dict[tuple[str, ...], _Lane] = {}
        self._over = threading.Event()
        self._ticker = threading.Thread(target=self._tick, name="progress", daemon=True)
        self.bar: Bar | None = None

    def __getitem__(self, key: tuple[str, ...]) -> Stage:
        return self._held[key]

    def add(self, key: tuple[str, ...], name: str, total: int, unit: str, done: int = 0) -> None:
        """One more stage; arguments as those of `Stage`."""
        self._held[key] = _Lane(self, name, total, unit, self.console, done)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self.bar = Bar.opened(self.console, self._run)
        else:
            self._ticker.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.end()
            return
        self._over.set()
        self._ticker.join()

    def _tick(self) -> None:
        while not self._over.wait(progress.INTERVAL):
            now = self._run()
            going = [stage for stage in list(self._held.values()) if not stage.over]
            begun = [stage for stage in going if stage.begun] or going[:1]
            for stage in begun:
                stage.say(run_line(now) if now is not None and stage is begun[-1] else "")


class _Lane(Stage):
    """A stage among others."""

    def __init__(self, stages: Stages, name: str, total: int, unit: str, console: Console, done: int) -> None:
        super().__init__(name, total, unit, console, done)
        self._stages = stages

    @property
    def begun(self) -> bool:
        """Whether anything of it was done in this session."""
        return self.done > self._first

    @property
    def over(self) -> bool:
        """Whether all of it is done."""
        return self.done >= self.total

    def advance(self, n: int = 1) -> None:
        """`n` more units are done."""
        bar = self._stages.bar
        if bar is not None and not self.begun:
            name = short(self.name, self.console.width - progress.NUMBERS)
            self._task = bar.add_task(name, total=self.total, completed=self.done, rate="")
        self.done += n
        self._said = str(self.causes)
        if bar is not None:
            bar.said = self._said
            bar.update(self._task, completed=self.done, rate=self._rate())
            if self.over:
                bar.remove_task(self._task)
        if self.over:
            self.say("")

    def say(self, run: str) -> None:
        """Print its line."""
        self._print(run)
