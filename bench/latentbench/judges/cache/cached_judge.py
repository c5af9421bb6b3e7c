"""A judge behind the reply cache: what is stored is not asked, what is asked twice is paid once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any

from latentbench.judges.cache.replies import CacheStats, ReplyCache
from latentbench.judges.judge import BaseJudge, Judge
from latentbench.kernel.requests import Activate, Chat, Choice, Continuation, Embed, Reply, Simulate, request_key

__all__ = ["CacheStats", "CachedJudge", "ReplyCache"]

CHUNK = 256
"""Requests per chunk where the judge names no size; always for `activate`, which runs in this process whatever the judge is."""


class CachedJudge(BaseJudge):
    """A judge whose replies are looked up first and stored as they come.

    What several requests of a batch, or of batches that are under way at the same time, have in common is asked once; the others
    get the same reply marked as cached. The rest is asked in chunks of the size that the judge names as its `chunk`, and each
    chunk is stored when it is done, so that a killed run has paid for at most one chunk in vain.

    Args:
        judge: the backend.
        cache: where its replies are kept.
    """

    def __init__(self, judge: Judge, cache: ReplyCache) -> None:
        self.judge, self.cache = judge, cache
        self.identity, self.can, self.reads_truth = judge.identity, judge.can, judge.reads_truth
        self.in_flight = int(getattr(judge, "in_flight", 1))
        self._chunk = int(getattr(judge, "chunk", CHUNK))
        self._flying: dict[str, asyncio.Future[Reply]] = {}

    async def generate(self, requests: Sequence[Chat]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.generate)

    async def choose(self, requests: Sequence[Choice]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.choose)

    async def loglik(self, requests: Sequence[Continuation]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.loglik)

    async def embed(self, requests: Sequence[Embed]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.embed)

    async def simulate(self, requests: Sequence[Simulate]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.simulate)

    async def activate(self, requests: Sequence[Activate]) -> list[Reply]:
        """See `Judge`."""
        return await self._answer(requests, self.judge.activate, CHUNK)

    async def close(self) -> None:
        """Close the backend; the cache may serve other judges and stays open."""
        await self.judge.close()

    async def _answer(
        self,
        requests: Sequence[Any],
        method: Callable[[Sequence[Any]], Awaitable[list[Reply]]],
        size: int | None = None,
    ) -> list[Reply]:
        keys = [request_key(self.identity, r, self.reads_truth) for r in requests]
        known = self.cache.get(keys)
        waiting = {k: self._flying[k] for k in keys if k not in known and k in self._flying}
        mine = {k: r for k, r in zip(keys, requests, strict=True) if k not in known and k not in waiting}
        loop = asyncio.get_running_loop()
        self._flying.update({k: loop.create_future() for k in mine})
        todo = list(mine.items())
        size = size or self._chunk
        chunks = [todo[i : i + size] for i in range(0, len(todo), size)]
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(self._ask(chunk, method)) for chunk in chunks]
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from e
        finally:
            for k in mine:
                self._flying.pop(k).cancel()
        fresh = {k: reply for task in tasks for k, reply in task.result().items()}
        shared = await self._wait(waiting, dict(zip(keys, requests, strict=True)), method)
        replies = []
        for k in keys:
            if k in fresh:
                replies.append(fresh[k])
                known[k] = replace(fresh.pop(k), cached=True)
            else:
                replies.append(known[k] if k in known else shared[k])
        return replies

    async def _wait(
        self,
        waiting: dict[str, asyncio.Future[Reply]],
        requests: dict[str, Any],
        method: Callable[[Sequence[Any]], Awaitable[list[Reply]]],
    ) -> dict[str, Reply]:
        """Replies that another call asked for; if that call was given up, they are asked here."""
        if not waiting:
            return {}
        # Awaiting the futures themselves would cancel them for their owner when this call is cancelled.
        await asyncio.wait(waiting.values())
        lost = [k for k, future in waiting.items() if future.cancelled()]
        again = dict(zip(lost, await self._answer([requests[k] for k in lost], method), strict=True)) if lost else {}
        return {k: again[k] if k in again else replace(f.result(), cached=True) for k, f in waiting.items()}

    async def _ask(
        self, chunk: Sequence[tuple[str, Any]], method: Callable[[Sequence[Any]], Awaitable[list[Reply]]]
    ) -> dict[str, Reply]:
        replies = await method([r for _, r in chunk])
        entries = [(k, r, reply) for (k, r), reply in zip(chunk, replies, strict=True)]
        self.cache.put(self.identity, self.reads_truth, entries)
        for k, _, reply in entries:
            self._flying[k].set_result(reply)
        return {k: reply for k, _, reply in entries}
