"""How a process is stopped: once by asking, twice at once, and never with a traceback.

The first Ctrl-C or SIGTERM ends the work under way: the task of the event loop is cancelled, or `KeyboardInterrupt` is raised
where there is none, so files are closed and the command says how to go on. A second one ends the process where it stands. That
loses nothing but answers in flight, because every file is whole at any time; unwinding again, the tempting way, prints a
traceback of whatever the first one was closing. Python's own handler knows neither SIGTERM nor the second time.

Signals belong to the process, so what has come is kept here for all of it.
"""

from __future__ import annotations

import _thread
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from functools import wraps
from types import FrameType
from typing import TYPE_CHECKING, Any, TypeVar

from latentbench.kernel.boundary import one_line

if TYPE_CHECKING:
    import asyncio

T = TypeVar("T")

ONE_STOP = 0.5
"""Seconds within which two signals are one stop: `timeout` and process managers signal a process and then its group."""


@dataclass
class _Stopping:
    """What has come, and what is under way."""

    signum: int | None = None
    at: float = 0.0
    hint: str = ""
    tasks: dict[int, asyncio.Task[Any]] = field(default_factory=dict)
    """By thread: a program may have a run in each."""


_stop = _Stopping()


def stoppable(main: Callable[[], None]) -> Callable[[], None]:
    """An entry point that Ctrl-C and SIGTERM stop as this module says; its exit code is then 130 or 143."""

    @wraps(main)
    def stopped() -> None:
        if threading.current_thread() is threading.main_thread():
            for signum in (signal.SIGINT, signal.SIGTERM):
                # Who starts us in the background may have it ignored, and means that.
                if signal.getsignal(signum) is not signal.SIG_IGN:
                    signal.signal(signum, _on_signal)
        try:
            main()
        except (SystemExit, KeyboardInterrupt):
            if _stop.signum is None:
                raise
            raise SystemExit(exit_code()) from None

    return stopped


def run(work: Coroutine[Any, Any, T], runner: asyncio.Runner | None = None) -> T:
    """The result of a coroutine, like `asyncio.run`, which the first stop cancels.

    Args:
        runner: the caller's event loop.

    Raises:
        KeyboardInterrupt: it was stopped.
    """

    import asyncio

    async def watched() -> T:
        here, task = threading.get_ident(), asyncio.current_task()
        before = _stop.tasks.get(here)
        if task is not None:
            _stop.tasks[here] = task
        try:
            return await work
        finally:
            _stop.tasks.pop(here, None)
            if before is not None:
                _stop.tasks[here] = before

    try:
        return runner.run(watched()) if runner is not None else asyncio.run(watched())
    except asyncio.CancelledError:
        if _stop.signum is None:
            raise
        raise KeyboardInterrupt from None


def stop(why: str) -> None:
    """Stop this process from another of its threads, as SIGTERM does."""
    os.write(2, (one_line(why) + "\n").encode(errors="replace"))
    _thread.interrupt_main(signal.SIGTERM)


def interrupt(thread: int) -> None:
    """Cancel what `run` carries out in a thread; nothing happens where it carries out nothing.

    Args:
        thread: identifier of the thread (`threading.get_ident`).
    """
    task = _stop.tasks.get(thread)
    if task is not None:
        _cancel(task)


def hint(text: str) -> None:
    """What is printed when the process is ended at once."""
    _stop.hint = text


def exit_code() -> int:
    """Exit code of a process that was stopped: 130 after Ctrl-C, 143 after SIGTERM."""
    return 128 + (_stop.signum or signal.SIGINT)


def word() -> str:
    """What happened: interrupted or terminated."""
    return "terminated" if _stop.signum == signal.SIGTERM else "interrupted"


def _cancel(task: asyncio.Task[Any]) -> None:
    loop = task.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(task.cancel)


def _on_signal(signum: int, frame: FrameType | None) -> None:
    now = time.monotonic()
    if _stop.signum is None:
        _stop.signum, _stop.at = signum, now
        # Handlers run in the main thread: without a task of its own, it is what has to end.
        own = threading.get_ident() in _stop.tasks
        for task in list(_stop.tasks.values()):
            _cancel(task)
        if not own:
            raise KeyboardInterrupt
    elif now - _stop.at > ONE_STOP:
        os.write(2, f"stopped at once. {_stop.hint}".rstrip().encode() + b"\n")
        os._exit(128 + signum)
