"""A function that runs an event loop of its own, called where one may be running already.

A notebook and an async test have a loop in this thread, and Python refuses a second one beside it. The work then goes to a thread
of its own while the caller waits. Patching the running loop so that it can be entered again is the tempting way; it changes how
every other library in the process behaves.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

from latentbench.kernel import stopping

T = TypeVar("T")

POLL = 0.1
"""Seconds between two looks at whether the work is to be stopped."""


def blocking(work: Callable[[], T]) -> T:
    """The result of `work`, which may start an event loop, whether or not one is running in this thread.

    Ctrl-C (and the notebook's stop button) ends the work as it ends a command: what was paid is written first. It then raises
    `KeyboardInterrupt` here.

    Raises:
        BaseException: whatever `work` raises.
    """
    if not _in_a_loop():
        return work()
    done: Future[T] = Future()
    thread = threading.Thread(
        target=_into, args=(done, contextvars.copy_context(), work), name="latentbench", daemon=True
    )
    thread.start()
    try:
        # The handler that `asyncio.run` sets for Ctrl-C only asks this thread's task to end, which it cannot while it waits here.
        task = asyncio.current_task()
        while not wait([done], timeout=POLL).done:
            if task is not None and task.cancelling():
                raise KeyboardInterrupt
        return done.result()
    except KeyboardInterrupt:
        # Again and again: between two stages there is no task that could be cancelled.
        while thread.is_alive():
            if thread.ident is not None:
                stopping.interrupt(thread.ident)
            thread.join(POLL)
        raise


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _into(done: Future[T], context: contextvars.Context, work: Callable[[], T]) -> None:
    try:
        done.set_result(context.run(work))
    except BaseException as e:
        done.set_exception(e)
