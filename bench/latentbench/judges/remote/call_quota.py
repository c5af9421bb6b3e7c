"""Limits that the user knows: requests and tokens a minute, by one process or by all on this machine that name the same quota.

What is kept is when the next call is free to go (the generic cell rate algorithm, ITU-T I.371): one number per limit, which a
file holds as easily as a variable, and no burst. A count per minute is the tempting form, and lets two minutes' worth through
around the full minute.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import read_json

LATE = 0.02
"""Seconds by which a timer may wake late without the time being lost."""
STALE = 3600.0
"""A time further away than this is that of a clock that has been set back."""


class Quota:
    """Books a time for each call.

    Args:
        rpm, tpm: requests and tokens a minute; None for no limit.
        path: file that holds the state for all processes; None for this object alone.
    """

    def __init__(self, rpm: float | None, tpm: float | None, path: Path | None) -> None:
        self.rpm, self.tpm, self.path = rpm, tpm, path
        self._free: dict[str, float] = {}

    def book(self, tokens: int) -> float:
        """Seconds until a call with about so many tokens may be sent. Whoever asks must send it then: the time is taken."""
        with self._state() as free:
            now = time.time()
            start = max([now, *free.values()])
            if self.rpm is not None:
                step = 60 / self.rpm
                free["requests"] = max(free.get("requests", 0.0), start - max(0.0, LATE - step)) + step
            if self.tpm is not None:
                free["tokens"] = start + 60 * tokens / self.tpm
            return start - now

    def correct(self, tokens: int) -> None:
        """The last calls had so many tokens more than was booked, or fewer."""
        if self.tpm is not None and tokens:
            with self._state() as free:
                free["tokens"] = free.get("tokens", time.time()) + 60 * tokens / self.tpm

    def pause(self, seconds: float) -> None:
        """No process sends anything for so long."""
        if self.path is not None:
            with self._state() as free:
                free["pause"] = max(free.get("pause", 0.0), time.time() + seconds)

    @contextmanager
    def _state(self) -> Iterator[dict[str, float]]:
        """Limit -> Unix time from which it is free, to be changed in place."""
        if self.path is None:
            yield self._free
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = f"{self.path}.lock"
        try:
            with filelock.FileLock(lock, timeout=30):
                free = self._read(self.path)
                yield free
                self.path.write_text(json.dumps(free), encoding="utf-8")
        except filelock.Timeout as e:
            raise DataError(f"{lock} has been held for 30 s. Which process has it? It may be suspended.") from e

    def _read(self, path: Path) -> dict[str, float]:
        try:
            found = read_json(path)
            return {name: float(t) for name, t in found.items() if float(t) < time.time() + STALE}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}  # nothing yet, or torn by a kill; a second is lost at most
