"""What has come back of a whole run, call by call, and how many calls there will be.

Each reply is counted when it comes back from the cached judge, whatever becomes of its batch: a batch of a rationed endpoint
takes an hour. The number of all calls is an estimate, because what a scorer asks may depend on explanations that are still to be
written and on replies that are still to come. Of each stage the calls of a unit (a latent of a cell) are estimated from the best
that is known: all calls of the units that have ended, else the first round of those that have begun, else the first round of a
few latents with a stand-in for their explanation (`runs.forecast`). Making every trial beforehand is the tempting way, would
double the work of a run with fast judges, and would know nothing of further rounds either.

The time left is as if nothing of the rest were in the cache: for each judge as fast as its stages have been, for one that was not
asked yet as fast as the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.judge import Judge
from latentbench.judges.price import cost
from latentbench.kernel.requests import JudgeIdentity, Reply, Usage
from latentbench.panels.panel_judge import asked
from latentbench.views.causes import Causes
from latentbench.views.run_line import Spent, Standing

Work = tuple[str, ...]
"""Labels of a stage: of an explainer, or of a scorer and a judge."""
FEWEST = 8
"""Calls that have to be back before a time is said."""


@dataclass
class Part:
    """The calls of one stage.

    Attributes:
        judge: label of who is asked.
        units: latents in cells.
        stored: units that are on disk; their calls are taken to be as many as those of others.
        guess: calls of a unit before any has begun.
        begun, first: units whose first round is known, and its requests.
        ended, asked: units of which all is answered, and all their requests.
        heard, fresh: calls that came back, and those of them that did not come from the cache.
        seconds: how long the stage was worked on.
    """

    judge: str
    units: int
    stored: int
    guess: float
    begun: int = 0
    first: int = 0
    ended: int = 0
    asked: int = 0
    heard: int = 0
    fresh: int = 0
    seconds: float = 0.0

    @property
    def each(self) -> float:
        """Calls of a unit, from the best that is known."""
        if self.ended:
            return self.asked / self.ended
        return self.first / self.begun if self.begun else self.guess

    @property
    def before(self) -> int:
        """Calls behind what was on disk."""
        return round(self.each * self.stored)

    @property
    def owed(self) -> int:
        """Calls of this session, those that came back included."""
        return max(self.heard, round(self.each * (self.units - self.stored)))


@dataclass
class _Used:
    calls: int = 0
    usage: Usage = field(default_factory=Usage)

    def add(self, usage: Usage) -> None:
        self.calls += 1
        self.usage += usage


class RunTally:
    """Counts of a run that is going on; written by whoever asks and read by whoever draws, which is another thread.

    Args:
        parts: stages, in their order.
    """

    def __init__(self, parts: Mapping[Work, Part]) -> None:
        self._parts = dict(parts)
        self._now: Part | None = None
        self._since = time.monotonic()
        self._used: dict[tuple[bool, JudgeIdentity], _Used] = {}
        self._causes = Causes()
        self._lock = threading.Lock()

    @contextmanager
    def listening(self, judges: Iterable[Judge]) -> Iterator[None]:
        """Hear every reply of these judges while the block runs. One without a cache says nothing before its batch has ended."""
        parts = list(dict.fromkeys(judge for judge in asked(judges) if isinstance(judge, CachedJudge)))
        hooks = [(judge, partial(self.hear, judge.identity)) for judge in parts]
        for judge, hook in hooks:
            judge.heard.append(hook)
        try:
            yield
        finally:
            for judge, hook in hooks:
                judge.heard.remove(hook)

    def at(self, work: Work, stored: int) -> None:
        """A stage begins, of which so many units are on disk, and the one before it has ended."""
        with self._lock:
            self._stop()
            self._now = self._parts[work]
            self._now.stored = stored

    def begun(self, units: int, requests: int) -> None:
        """So many units of the stage are asked about; their first round has so many requests."""
        if self._now is not None:
            self._now.begun += units
            self._now.first += requests

    def ended(self, units: int, requests: int) -> None:
        """So many units of the stage are answered, which took so many requests."""
        if self._now is not None:
            self._now.ended += units
            self._now.asked += requests

    def hear(self, identity: JudgeIdentity, replies: Sequence[Reply]) -> None:
        """Replies of a judge have come back."""
        with self._lock:
            for reply in replies:
                self._used.setdefault((reply.cached, reply.by or identity), _Used()).add(reply.usage)
                self._causes.add(reply.outcome, reply.error)
            if self._now is not None:
                self._now.heard += len(replies)
                self._now.fresh += sum(not reply.cached for reply in replies)

    def standing(self) -> Standing:
        """Where the run is now."""
        with self._lock:
            self._stop()
            parts = list(self._parts.values())
            now = self._now
            return Standing(
                done=sum(part.before + part.heard for part in parts),
                total=sum(part.before + part.owed for part in parts),
                left=_left(parts) if sum(part.heard for part in parts) >= FEWEST else None,
                rate=now.heard / now.seconds if now is not None and now.seconds else 0.0,
                asked=self._spent(cached=False),
                cached=self._spent(cached=True),
                failed=self._causes.counts,
            )

    def _stop(self) -> None:
        """Give the stage the time since the last look."""
        now = time.monotonic()
        if self._now is not None:
            self._now.seconds += now - self._since
        self._since = now

    def _spent(self, cached: bool) -> Spent:
        used = [(identity, own) for (kind, identity), own in self._used.items() if kind is cached]
        prices = [cost(own.usage, identity) for identity, own in used]
        known = [price for price in prices if price is not None]
        return Spent(
            calls=sum(own.calls for _, own in used),
            tokens_in=sum(own.usage.tokens_in for _, own in used),
            tokens_out=sum(own.usage.tokens_out for _, own in used),
            dollars=sum(known, 0.0) if len(known) == len(prices) else None,
        )


def _left(parts: Sequence[Part]) -> float:
    """Seconds until all that is owed has come back."""
    everything = _pace(parts)
    found = 0.0
    for part in parts:
        own = [other for other in parts if other.judge == part.judge and other.heard]
        found += (part.owed - part.heard) * (_pace(own) if own else everything)
    return found


def _pace(parts: Sequence[Part]) -> float:
    """Seconds of a call, over the time of these stages: of one that was asked, where any was."""
    calls = sum(part.fresh for part in parts) or sum(part.heard for part in parts)
    return sum(part.seconds for part in parts) / calls if calls else 0.0
