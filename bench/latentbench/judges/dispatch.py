"""A judge that answers each kind of request in a function of its own.

What it can do follows from the functions that it declares, so a judge cannot claim a kind that it has no answer for. A table of
abilities beside the functions would be shorter to write and would be wrong after the next change of one of the two.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from latentbench.judges.judge import BaseJudge
from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.requests import NEEDS, Capability, Reply, Request

R = TypeVar("R", bound=Request)


class DispatchJudge(BaseJudge):
    """A judge that is put together with `serve`. A subclass may take abilities out of `can`, and is then not asked for them."""

    def __init__(self) -> None:
        self._functions: dict[type, Callable[[Sequence[Any]], Awaitable[list[Reply]]]] = {}

    def serve(
        self, kind: type[R], function: Callable[[Sequence[R]], Awaitable[list[Reply]]], *more: Capability
    ) -> None:
        """Declare the function that answers a kind of request.

        Args:
            kind: type of the requests.
            function: one reply per request, in order.
            more: what it can beyond the plain request (`Capability.SLOTS`).
        """
        self._functions[kind] = function
        self.can = self.can | {NEEDS[kind], *more}

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """See `Judge`. Each kind goes to its function in one call, so that it shares what it can.

        Raises:
            CapabilityError: a request of a kind that this judge does not answer.
        """
        kinds = [kind for kind in NEEDS if any(isinstance(r, kind) for r in requests)]
        for kind in kinds:
            if kind not in self._functions or NEEDS[kind] not in self.can:
                raise CapabilityError(
                    f"judge {self.identity.label} cannot {NEEDS[kind].value}; it can {sorted(self.can)}."
                )
        found: dict[type, Iterator[Reply]] = {}
        for kind in kinds:
            found[kind] = iter(await self._functions[kind]([r for r in requests if isinstance(r, kind)]))
        return [next(found[type(r)]) for r in requests]


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
