"""How many calls may be under way at an endpoint, and how fast they may follow each other.

Nobody knows an endpoint's limits, so they are found: by calls in flight (`Limiter`) and by calls a second (`Pace`). One number
for both is the tempting way: an endpoint that answers in a millisecond is over any rate with one call in flight, and one that
counts calls in flight is over its limit at any rate. Nothing here knows a clock; the caller says what time it is.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST, GROWTH = 10.0, 1.05
"""Calls a second at which a new endpoint is first asked, and the factor with each call until one is refused: a thousand a second
after two seconds, and one call too many for an endpoint that allows a few, instead of all that were allowed to be under way."""
ROUGH, PLATEAU = 3.0, 8.0
"""Seconds of paced calls until the rate is again what seemed to be allowed: after the first refusal, which is a rough guess, and
after later ones."""
UNASKED = 8.0
"""Longest pause in seconds where the endpoint names none: one that refuses whatever the pause is would wait for ever longer."""

LEAST = 1.0
"""Calls a second below which pauses alone slow down: an endpoint that is short of something may refuse whatever the rate is."""


class Limiter:
    """A semaphore whose size follows the endpoint: one more for each size's worth of successes, half after a refusal.

    Args:
        most: never more calls than this.
    """

    def __init__(self, most: int) -> None:
        self.most, self.limit, self.active = most, float(most), 0
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

    def success(self, under_way: int) -> None:
        """A call went through while so many were at the endpoint; those that wait for their turn are no sign of more room."""
        if under_way >= int(self.limit):
            self.limit = min(self.most, self.limit + 1 / self.limit)

    def cut(self) -> None:
        """The endpoint said that there are too many calls."""
        self.limit = max(1.0, self.limit / 2)

    def _wake(self) -> None:
        free = int(self.limit) - self.active
        while self._waiting and free > 0:
            turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                free -= 1


class Pace:
    """When the next call may be sent: after the pause that a refusal asks for, and no sooner after the call before than allowed.

    What an endpoint allows is what it took until it refused, over the time until it took calls again (times 1.5, because a pause
    is never as short as it could be), and less than the rate that it refused. From 95 % of that the rate goes on along a
    cubic curve: flat where it was refused, steeper the longer it is not refused (the window of TCP CUBIC, RFC 9438, section 4.2).

    Args:
        backoff: seconds, of which a first pause is 0.15 to 0.3 where the endpoint names none; it doubles, up to
            `UNASKED`, until a call goes through.
        longest: longest pause in seconds, also where the endpoint asks for more.
        jitter: for the lengths of pauses, so that two processes do not come back at the same time.
    """

    def __init__(self, backoff: float, longest: float, jitter: random.Random) -> None:
        self.backoff, self.longest, self.jitter = max(backoff, 0.01), longest, jitter
        self.until = self._last = self._since = -float("inf")
        self._allowed: float | None = None
        self._tried = self._paced = 0.0
        self._plateau = ROUGH
        self._sent = self._after = self._refused = self._streak = 0

    @property
    def rate(self) -> float:
        """Calls a second."""
        if self._allowed is None:
            return FIRST * GROWTH ** min(self._sent, 200)
        return self._allowed * (1 + 0.05 * (self._paced / self._plateau - 1) ** 3)

    def next(self) -> float:
        """Time of the next call."""
        return self.until if self._last < self.until else self._last + 1 / self.rate

    def sent(self, now: float) -> None:
        """A call is sent."""
        if self._sent == 0:
            self._since = now
        gap = now - self._last
        # Only time in which calls were held back says that the endpoint takes this rate; a pause or a lull says nothing.
        if self._last >= self.until and gap < 1.5 / self.rate:
            self._paced += gap
        self._last = now
        self._sent += 1
        self._after += 1

    def accepted(self, sent: float) -> None:
        """A call that was sent then went through; the first one after a pause begins a new count."""
        if self._streak and sent >= self.until:
            self._since, self._sent, self._refused, self._streak = self.until, self._after, 0, 0

    def refused(self, sent: float, now: float, asked: float | None) -> bool:
        """A call that was sent then was one too many.

        Args:
            asked: seconds that the endpoint asks to wait, if it says.

        Returns:
            Whether a pause begins; calls that were under way when one began say the same once more.
        """
        self._refused += 1
        new = sent >= self.until
        if new:
            if self._streak == 0 and self._allowed is not None:
                self._plateau = PLATEAU
            self._tried, self._paced, self._after = self.rate, 0.0, 0
            own = min(UNASKED, self.backoff * 2.0 ** min(30, self._streak) * self.jitter.uniform(0.15, 0.3))
            # An endpoint that names a pause is believed, until it has refused the call after it three times.
            pause = asked if asked is not None and self._streak < 3 else max(own, asked or 0.0)
            self._streak += 1
            self.until = now + min(self.longest, pause)
        elif asked is not None:
            self.hold(now, asked)
        took = max(1, self._sent - self._refused) / max(self.until - self._since, 1e-3)
        self._allowed = max(LEAST, min(0.97 * self._tried, 1.5 * took))
        return new

    def hold(self, now: float, seconds: float) -> None:
        """Send nothing for so long: the endpoint said that nothing is left."""
        self.until = max(self.until, now + min(self.longest, seconds))
