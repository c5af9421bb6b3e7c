"""Who works in a run folder: one process at a time, and everybody else is told who.

Two processes in one folder append to the same journals and pay for the same units, and nothing in the tables says so. The lock is
a lease of `filelock`, a file that is created exclusively, which network file systems do, too; a lock of the kernel (`flock`) is
the tempting one, and many of them do not pass it on to other machines. The lease holds the host, the process and its start, so on
the same machine an owner that is dead, or whose number another process has by now, is seen at once. On another machine it is seen
because the owner gives a sign of life every ten seconds: who finds a lease of elsewhere watches it for `LEASE` seconds.

`owner.json` beside it says the same to people, with the command and the time. Readers of a run need neither.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from latentbench.kernel import processes, stopping
from latentbench.kernel.conform import Mismatch, conform
from latentbench.kernel.errors import RunError
from latentbench.kernel.files import PART, check_writable, write_json, writing

LOCK, OWNER = "run.lock", "owner.json"
LEASE = 30.0
"""Seconds without a sign of life after which an owner on another machine counts as dead."""
TORN = 3.0
"""Seconds that somebody who is just taking a folder may need until it says who it is."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has a run folder.

    Attributes:
        host, pid: of the process.
        user: who started it.
        command: what it does.
        since: when it took the folder, in UTC, ISO 8601.
    """

    host: str
    pid: int
    user: str
    command: str
    since: str

    def __str__(self) -> str:
        """A few words for a message."""
        return f"process {self.pid} of {self.user} on {self.host} since {self.since} ({self.command})"


_held: dict[Path, tuple[int, int]] = {}
"""Folder -> the thread of this process that has it, and how often it was taken by it."""
_mutex = threading.Lock()


@contextmanager
def owned(folder: Path, say: Callable[[str], None] = lambda _: None) -> Iterator[None]:
    """Have a run folder for oneself; the thread that has it may take it again.

    The folder is made if it is missing, and removed again if nothing was put into it.

    Args:
        say: told when it has to be waited for whether an owner on another machine lives.

    Raises:
        RunError: another process, or another thread of this one, has it; says who.
        DataError: it cannot be written.
    """
    place, thread = folder.resolve(), threading.get_ident()
    with _mutex:
        holder, times = _held.get(place, (thread, 0))
        if holder != thread:
            raise RunError(f"{folder} is being worked on by another thread of this process.")
        _held[place] = (thread, times + 1)
    try:
        if times:
            yield
        else:
            with _leased(folder, say):
                yield
    finally:
        with _mutex:
            if times:
                _held[place] = (thread, times)
            else:
                del _held[place]


def fresh_folder(parent: Path, name: str) -> Path:
    """A new folder of this name, or with a number behind it where others had the same name in the same second.

    Raises:
        DataError: it cannot be made.
    """
    with writing(parent / name):
        parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while True:
            folder = parent / (name if number == 1 else f"{name}-{number}")
            try:
                folder.mkdir()
            except FileExistsError:
                number += 1
            else:
                return folder


def dated_folder(name: str) -> Path:
    """A new folder `runs/NAME-TIME` of the working directory, for a run that was given none.

    Raises:
        DataError: it cannot be made.
    """
    return fresh_folder(Path("runs"), f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}")


def is_passing(name: str) -> bool:
    """Whether a file of a run folder is one that comes and goes: of its lock, or unfinished."""
    return name == OWNER or name.startswith(LOCK) or name.endswith(PART)


def owner_of(folder: Path) -> Owner | None:
    """Who has a folder, or had it when it was killed; None where nobody says so."""
    try:
        held = json.loads((folder / OWNER).read_text(encoding="utf-8"))
        return conform(Owner(**held), Owner)
    except (OSError, ValueError, TypeError, RecursionError, Mismatch):
        return None


@contextmanager
def _leased(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    import filelock

    check_writable(folder)
    lock = filelock.SoftFileLease(
        folder / LOCK,
        lease_duration=LEASE,
        on_compromise=lambda _: stopping.stop(f"{folder} was taken over by another process; this one stops."),
        thread_local=False,
    )
    with writing(folder / LOCK):
        _take(lock.acquire, filelock.Timeout, folder, say)
    try:
        write_json(folder / OWNER, asdict(_me()))
        yield
    finally:
        with suppress(OSError):
            (folder / OWNER).unlink(missing_ok=True)
        with suppress(OSError):
            lock.release()
        with suppress(OSError):
            folder.rmdir()


def _take(acquire: Callable[..., object], late: type[Exception], folder: Path, say: Callable[[str], None]) -> None:
    with suppress(late):
        acquire(timeout=0)
        return
    if owner_of(folder) is None:
        with suppress(late):
            acquire(timeout=TORN)
            return
        _clear_torn(folder)
        with suppress(late):
            acquire(timeout=0)
            return
    owner = owner_of(folder)
    if owner is None or owner.host != processes.host():
        say(f"{folder} belongs to {owner or 'another process'}; watching for {LEASE:.0f} s whether it is alive")
        with suppress(late):
            acquire(timeout=LEASE + TORN)
            return
    raise RunError(
        f"{folder} is being worked on by {owner_of(folder) or 'another process'}. Nothing was paid here. Wait until it has "
        "ended, or stop it; a process that was killed leaves no lock that counts."
    )


def _clear_torn(folder: Path) -> None:
    """Remove a lock that says nothing: its maker was killed between making and writing it. `filelock` leaves those for ever."""
    lock, aside = folder / LOCK, folder / f"{LOCK}.{os.getpid()}{PART}"
    with suppress(OSError):
        if lock.stat().st_size:
            return
        # Another process may be doing the same, and have it by now: what was taken from it is given back.
        lock.rename(aside)
        if aside.stat().st_size:
            os.link(aside, lock)
        aside.unlink()


def _me() -> Owner:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        user = str(os.getuid()) if hasattr(os, "getuid") else "?"
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]) if sys.argv and sys.argv[0] else "python"
    command = command.encode("utf-8", "backslashreplace").decode()  # a path may be no UTF-8
    return Owner(processes.host(), os.getpid(), user, command, datetime.now(UTC).isoformat(timespec="seconds"))
