"""A process that dies at its k-th step on the disk, for every k.

A step is whatever changes a file: opening one to write, writing, flushing, renaming, linking, cutting, removing, making a folder,
and every statement of SQLite. Work is done in a forked child, which ends there and then, as under `kill -9`; of a write only the
first half is done. What is written by libraries in C (Parquet) has no steps of its own: until the file is flushed and renamed,
any half of it is the same to everybody.
"""

from __future__ import annotations

import os
import sqlite3
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

DEAD, FAILED = 99, 98
STEPS = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate")


class Steps:
    """Counts steps below a folder, and ends the process at one of them."""

    def __init__(self, folder: Path, last: int) -> None:
        self.folder, self.last = str(folder), last
        self.taken: list[str] = []

    def step(self, what: str, halfway: Callable[[], object] = lambda: None) -> None:
        """One step; the last one is done halfway."""
        self.taken.append(what)
        if len(self.taken) == self.last:
            halfway()
            os._exit(DEAD)

    def watch(self) -> None:
        """Begin; for the rest of this process."""
        sys.addaudithook(self._event)
        write, fsync, text, connect = os.write, os.fsync, Path.write_text, sqlite3.connect

        def half_write(file: int, data: Any) -> int:
            self.step("write", lambda: write(file, bytes(data)[: len(data) // 2]))
            return write(file, data)

        def half_text(path: Path, data: str, *more: Any, **settings: Any) -> int:
            self.step(f"write_text {path.name}", lambda: text(path, data[: len(data) // 2], *more, **settings))
            return text(path, data, *more, **settings)

        def flushed(file: int) -> None:
            self.step("fsync")
            fsync(file)

        def connected(*given: Any, **settings: Any) -> sqlite3.Connection:
            found = connect(*given, **settings)
            found.set_trace_callback(lambda statement: self.step(f"sqlite {statement[:60]}"))
            return found

        os.write, os.fsync, sqlite3.connect = half_write, flushed, connected  # type: ignore[assignment]
        Path.write_text = half_text  # type: ignore[assignment,method-assign]

    def _event(self, name: str, given: tuple[Any, ...]) -> None:
        if name == "open":
            path, _, flags = given
            if not isinstance(path, str) or not flags & (os.O_WRONLY | os.O_RDWR):
                return
        elif name not in STEPS:
            return
        if any(str(part).startswith(self.folder) for part in given[:2]):
            self.step(f"{name} {Path(str(given[0])).name}")


def in_child(work: Callable[[], object], folder: Path, last: int = 0) -> tuple[int, list[str]]:
    """Do work in a forked child that dies at step `last`; its exit code and the steps that it took, or why it failed."""
    reading, writing = os.pipe()
    write = os.write
    child = os.fork()
    if not child:
        os.close(reading)
        steps, code = Steps(folder, last), FAILED
        try:
            steps.watch()
            work()
            said, code = "\n".join(steps.taken), 0
        except BaseException:
            said = traceback.format_exc()
        write(writing, said.encode())
        os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as f:
        told = f.read().decode()
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), told.split("\n")


def every_death(work: Callable[[], object], folder: Path, stride: int = 1, first: int = 1):  # type: ignore[no-untyped-def]
    """Do work again and again, each time until one step later; yields the number of the step that it died at.

    The caller cleans up between two deaths. Ends after the work that lived to its end.
    """
    last = first
    while True:
        code, said = in_child(work, folder, last)
        if code == 0:
            return
        assert code == DEAD, "\n".join(said)
        yield last
        last += stride
