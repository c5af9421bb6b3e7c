"""The thread of an in-process judge: one call at a time, and a caller that goes away is heard between two batches.

A thread, because the event loop must go on while a model computes; one, because two passes that share the cores are slower than
one after the other.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


class Worker:
    """Runs work in a thread of its own.

    Args:
        name: of the thread, for tracebacks and profilers.
    """

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """The result of `work`, which gets an event that is set when the caller is cancelled."""
        stop = threading.Event()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, work, stop)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Let the thread end; work that has not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
