"""How many calls may be under way at an endpoint.

The limit grows by one for each limit's worth of successes while it is used in full, and halves when the endpoint says "too
many" - once per cool-down, because the calls that were already under way will all say it. A fixed number is either too slow
for one endpoint or a storm for the next.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class Limiter:
    """A semaphore whose size follows the endpoint.

    Args:
        most: never more calls than this.
        cool_down: seconds after a cut in which further refusals do not cut again.
    """

    def __init__(self, most: int, cool_down: float = 5.0) -> None:
        self.most, self.cool_down = most, cool_down
        self.limit = float(most)
        self.active = 0
        self._cut_at = -float("inf")
        self._waiting: list[asyncio.Future[None]] = []

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Wait for a place and hold it."""
        while self.active >= int(self.limit):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                self._wake()  # the place that this call was offered goes to the next
                raise
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1
            self._wake()

    def success(self) -> None:
        """A call went through."""
        if self.active >= int(self.limit):
            self.limit = min(self.most, self.limit + 1 / self.limit)

    def refused(self) -> None:
        """The endpoint said that there are too many calls."""
        now = time.monotonic()
        if now - self._cut_at >= self.cool_down:
            self._cut_at = now
            self.limit = max(1.0, self.limit / 2)

    def _wake(self) -> None:
        free = int(self.limit) - self.active
        while self._waiting and free > 0:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                free -= 1
