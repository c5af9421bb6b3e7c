"""A judge behind the reply cache: what is stored is not asked, what is asked twice is paid once, by whichever process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from latentbench.judges.cache.cache_counts import CacheStats, FromCache
from latentbench.judges.cache.replies import ReplyCache
from latentbench.judges.judge import BaseJudge, Judge, guarded
from latentbench.kernel.errors import BenchError
from latentbench.kernel.requests import NEEDS, Activate, Projected, Reply, Request, request_key

__all__ = ["CacheStats", "CachedJudge", "ReplyCache"]

MEASURED = 256
"""Activations per chunk: they are measured in this process, whatever the size that suits the judge that writes."""
SOON, LATE = 0.02, 0.5
"""Seconds until the first and between later looks whether another process has been answered."""


class CachedJudge(BaseJudge):
    """A judge whose replies are looked up first and stored as they come.

    What several requests of a batch, or of batches that are under way at the same time, have in common is asked once; the others
    get the same reply marked as cached. What another process is asking at the same time is waited for, and asked here if that
    process fails or ends. The rest is asked in chunks of one kind and of the size that the judge names as its `chunk`, and each
    chunk is stored when it is done, so that a killed run has paid for at most one chunk in vain and a chunk in which the judge
    breaks down takes no other with it.

    Args:
        judge: the backend.
        cache: where its replies are kept.

    Attributes:
        heard: each is told of every reply as soon as it is stored, or found in the cache; not what it says.
    """

    def __init__(self, judge: Judge, cache: ReplyCache) -> None:
        self.judge, self.cache = judge, cache
        self.identity, self.can, self.reads_truth = judge.identity, judge.can, judge.reads_truth
        self.in_flight, self.chunk = judge.in_flight, judge.chunk
        self.seen = FromCache()
        self.heard: list[Callable[[Sequence[Reply]], None]] = []
        self._flying: dict[str, asyncio.Future[Reply]] = {}

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """Answer from the cache what it knows, ask the backend the rest and store its replies as they come."""
        keys = self._keys(requests)
        known = self.cache.get(keys, self.seen)
        self.seen.asked += len(keys)
        found = [known[k] for k in keys if k in known]
        self.seen.found += len(found)
        self._tell(found)
        waiting = {k: self._flying[k] for k in keys if k not in known and k in self._flying}
        mine = {k: r for k, r in zip(keys, requests, strict=True) if k not in known and k not in waiting}
        loop = asyncio.get_running_loop()
        self._flying.update({k: loop.create_future() for k in mine})
        try:
            claimed = self.cache.claim(mine)
            async with asyncio.TaskGroup() as group:
                own = {k: r for k, r in mine.items() if k in claimed}
                tasks = [group.create_task(self._ask(chunk)) for chunk in self._chunks(own)]
                if len(own) < len(mine):
                    others = {k: r for k, r in mine.items() if k not in claimed}
                    tasks.append(group.create_task(self._hear(others)))
        except BaseExceptionGroup as e:
            raise e.exceptions[0] from e
        finally:
            for k in mine:
                self._flying.pop(k).cancel()
            # What is left of a call that was given up; where it cannot be written, the claim ends with this process.
            with suppress(BenchError):
                self.cache.release(mine)
        fresh = {k: reply for task in tasks for k, reply in task.result().items()}
        shared = await self._wait(waiting, dict(zip(keys, requests, strict=True)))
        replies, late = [], []
        for k in keys:
            if k in fresh:
                replies.append(fresh[k])
                known[k] = replace(fresh.pop(k), cached=True)
            else:
                replies.append(known[k] if k in known else shared[k])
                late += replies[-1:] if k in mine or k in shared else []
        self._tell(late)
        return replies

    def look_up(self, requests: Sequence[Request]) -> list[Reply | None]:
        """The stored reply to each request, None where there is none."""
        keys = self._keys(requests)
        known = self.cache.get(keys)
        return [known.get(key) for key in keys]

    def forget(self, requests: Sequence[Request], dry_run: bool = False) -> int:
        """Delete the stored replies to these requests, or count them; how many."""
        return self.cache.forget(self._keys(requests), dry_run=dry_run)

    def _keys(self, requests: Sequence[Request]) -> list[str]:
        return [request_key(self.identity, r, self.reads_truth) for r in requests]

    async def probe(self, request: Request) -> str | None:
        """What the backend says."""
        return await self.judge.probe(request)

    async def close(self) -> None:
        """Close the backend; the cache may serve other judges and stays open."""
        await self.judge.close()

    def _chunks(self, requests: Mapping[str, Request]) -> list[list[tuple[str, Request]]]:
        """Requests by key, cut into chunks of one kind each."""
        found = []
        for kind in NEEDS:
            own = [(k, r) for k, r in requests.items() if isinstance(r, kind)]
            size = MEASURED if kind in (Activate, Projected) else self.chunk
            found += [own[i : i + size] for i in range(0, len(own), size)]
        return found

    async def _wait(
        self, waiting: Mapping[str, asyncio.Future[Reply]], requests: Mapping[str, Request]
    ) -> dict[str, Reply]:
        """Replies that another call asked for; if that call was given up, they are asked here."""
        if not waiting:
            return {}
        # Awaiting the futures themselves would cancel them for their owner when this call is cancelled.
        await asyncio.wait(waiting.values())
        lost = [k for k, future in waiting.items() if future.cancelled()]
        again = dict(zip(lost, await self.answer([requests[k] for k in lost]), strict=True)) if lost else {}
        return {k: again[k] if k in again else replace(f.result(), cached=True) for k, f in waiting.items()}

    async def _hear(self, requests: Mapping[str, Request]) -> dict[str, Reply]:
        """Replies that another process asks for; what that gives up is asked here."""
        left, heard, pause = dict(requests), {}, SOON
        while left:
            found = self.cache.get(left, self.seen)
            self.seen.found += len(found)
            self._tell(list(found.values()))
            for k, reply in found.items():
                self._flying[k].set_result(reply)
                heard[k] = reply
                del left[k]
            claimed = self.cache.claim(left)
            for chunk in self._chunks({k: left.pop(k) for k in claimed}):
                heard |= await self._ask(chunk)
            if left and not claimed:
                await asyncio.sleep(pause)
                pause = min(2 * pause, LATE)
        return heard

    async def _ask(self, chunk: Sequence[tuple[str, Request]]) -> dict[str, Reply]:
        replies = await guarded(self.judge, [r for _, r in chunk])
        entries = [(k, r, reply) for (k, r), reply in zip(chunk, replies, strict=True)]
        self.cache.put(self.identity, self.reads_truth, entries)
        self._tell(replies)
        for k, _, reply in entries:
            self._flying[k].set_result(reply)
        return {k: reply for k, _, reply in entries}

    def _tell(self, replies: Sequence[Reply]) -> None:
        # Who counts needs to know what a reply cost and whether it is one, not what it says.
        bare = [Reply(r.outcome, usage=r.usage, error=r.error, cached=r.cached, by=r.by) for r in replies]
        for hook in self.heard if replies else ():
            hook(bare)
