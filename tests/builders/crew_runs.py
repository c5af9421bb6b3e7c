"""Runs whose judges are on workers of Ray, and whoever ends these workers in the middle."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.builders import counted_judge


def tables(run: Path) -> dict[str, bytes]:
    """The tables of a run, byte for byte, without the seconds that it took."""
    return {p.name: p.read_bytes() for p in sorted(run.glob("*.parquet")) if p.name != "seconds.parquet"}


@contextmanager
def ending(log: Path, number: int) -> Iterator[list[int]]:
    """End so many workers that have answered something, one after the other; those that were ended.

    Args:
        log: of the counted judge.
    """
    lost: list[int] = []
    over = threading.Event()

    def end() -> None:
        while len(lost) < number and not over.wait(0.3):
            alive = [pid for pid in counted_judge.processes(log) if pid not in lost]
            if len(alive) >= 2 or (alive and lost):
                with suppress(ProcessLookupError):
                    os.kill(alive[-1], signal.SIGKILL)
                    lost.append(alive[-1])

    ender = threading.Thread(target=end, daemon=True)
    ender.start()
    try:
        yield lost
    finally:
        over.set()
        ender.join()


def workers_left(mark: str, patience: float = 120.0) -> list[str]:
    """Command lines of processes whose environment names `mark`, once some seconds have brought no end to them.

    Ray's own agents look for their cluster before they end, and take up to a minute.
    """
    until = time.monotonic() + patience
    while (left := _named(mark)) and time.monotonic() < until:
        time.sleep(0.5)
    return left


def _named(mark: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal() and int(folder.name) != os.getpid():
            with suppress(OSError):
                if mark.encode() in (folder / "environ").read_bytes():
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
    return [line for line in found if line]
