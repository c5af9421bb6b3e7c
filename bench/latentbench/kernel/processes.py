"""Who a process is, so that another one can say later whether it still lives.

A number alone is the tempting answer: it is given out again, after a restart at once, and a container has numbers of its own. So
a process is its host (with the name space of its numbers), its number, and when it was started. Of a process on another host
nobody can say anything from here; whoever has to know lets it give signs of life.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Process:
    """A process of some machine.

    Attributes:
        host: name of the machine, with the name space of its process numbers where that is not the machine's own.
        pid: its number there.
        start: when it was started, in the ticks of the machine; None where the machine does not say.
    """

    host: str
    pid: int
    start: int | None

    @property
    def here(self) -> bool:
        """Whether it was one of this machine."""
        return self.host == host()

    @property
    def gone(self) -> bool:
        """Whether it is known to have ended: nothing has its number, or something else that was started at another time."""
        return self.here and (not _answers(self.pid) or (self.start is not None and started(self.pid) != self.start))


def me() -> Process:
    """This process."""
    return Process(host(), os.getpid(), started(os.getpid()))


@cache
def host() -> str:
    """Name of this machine; in a container with the name space of its process numbers."""
    own = ""
    with suppress(OSError):
        space = Path("/proc/self/ns/pid").stat().st_ino
        own = "" if space == FIRST else f"/{space:x}"
    return socket.gethostname() + own


FIRST = 0xEFFFFFFC
"""Number of the name space that a Linux machine starts with."""


def started(pid: int) -> int | None:
    """When a process was started, in ticks; None where there is none, it is a zombie, or the machine does not say."""
    fields = _stat(pid)
    return None if fields is None or fields[0] == "Z" else int(fields[19])


def _answers(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A zombie answers to signals and works on nothing.
    fields = _stat(pid)
    return fields is None or fields[0] != "Z"


def _stat(pid: int) -> list[str] | None:
    """Fields of `/proc/PID/stat` behind the name, which may hold anything."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
