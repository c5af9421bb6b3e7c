"""The thread in which a judge of this process computes, one for each judge, and whose turn it is.

Computing in the event loop is shorter, and then nothing is heard while a model computes: no reply of another judge, and no caller
that goes away.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, TypeVar

T = TypeVar("T")


class Worker:
    """The thread of an in-process judge: one call at a time, and a caller that goes away is heard between two batches.

    A thread, because the event loop must go on while a model computes; one, because two passes that share the cores are slower
    than one after the other. For the same reason the workers of a process take turns, call by call, unless they say otherwise.

    Attributes:
        turns: who computes; one for all workers.

    Args:
        name: shown in tracebacks and profilers.
        elsewhere: whether the work is done by another process, and takes no turn.
    """

    turns: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, name: str, elsewhere: bool = False) -> None:
        self._turn = threading.Lock() if elsewhere else self.turns
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)

    async def run(self, work: Callable[[threading.Event], T]) -> T:
        """The result of `work`, which gets an event that is set when the caller is cancelled."""
        stop = threading.Event()

        def in_turn() -> T:
            with self._turn:
                return work(stop)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, in_turn)
        except asyncio.CancelledError:
            stop.set()
            raise

    def close(self) -> None:
        """Let the thread end; work that has not begun is dropped."""
        self._pool.shutdown(wait=False, cancel_futures=True)
