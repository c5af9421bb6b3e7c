"""What has come back of a whole run, call by call, and how many calls there will be.

Each reply is counted when it comes back from the cached judge, whatever becomes of its batch: a batch of a rationed endpoint
takes an hour. The number of all calls is an estimate, because what a scorer asks may depend on explanations that are still to be
written and on replies that are still to come. Of each stage the calls of a unit (a latent of a cell) are estimated from the best
that is known: all calls of the units that have ended, else the first round of those that have begun, else the first round of a
few latents with a stand-in for their explanation (`runs.forecast`). Making every trial beforehand is the tempting way, would
double the work of a run with fast judges, and would know nothing of further rounds either.

Calls that came back are counted by judge, whoever asked: what several scorers ask of one judge is under way together. The time
left is that of the judge that has most to do, because all of them are asked at once, and as if nothing of the rest were in the
cache: each as fast as it has been while it was asked, one that was not asked yet as fast as the others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
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
_asked: ContextVar[str] = ContextVar("asked", default="")
"""Label of the judge that the code under way asks; what is started from it, to the call itself, inherits it."""
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
    """

    judge: str
    units: int
    stored: int
    guess: float
    begun: int = 0
    first: int = 0
    ended: int = 0
    asked: int = 0

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
        return round(self.each * (self.units - self.stored))


@dataclass
class _Pace:
    """How one judge answers.

    Attributes:
        heard, fresh: calls that came back, and those of them that did not come from the cache.
        seconds: how long anything was asked of it.
        asking: how many batches are under way.
    """

    heard: int = 0
    fresh: int = 0
    seconds: float = 0.0
    asking: int = 0


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
        self._paces = {part.judge: _Pace() for part in parts.values()}
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

    def part(self, work: Work) -> Part:
        """What is known of a stage."""
        return self._parts[work]

    @contextmanager
    def asking(self, judge: str) -> Iterator[None]:
        """Something is asked of a judge, by its label, while the block runs; replies that come in it are that judge's."""
        pace, before = self._paces[judge], _asked.set(judge)
        with self._lock:
            self._look()
            pace.asking += 1
        try:
            yield
        finally:
            with self._lock:
                self._look()
                pace.asking -= 1
            _asked.reset(before)

    def begun(self, work: Work, units: int, requests: int) -> None:
        """So many units of a stage are asked about; their first round has so many requests."""
        self._parts[work].begun += units
        self._parts[work].first += requests

    def ended(self, work: Work, units: int, requests: int) -> None:
        """So many units of a stage are answered, which took so many requests."""
        self._parts[work].ended += units
        self._parts[work].asked += requests

    def hear(self, identity: JudgeIdentity, replies: Sequence[Reply]) -> None:
        """Replies of a judge have come back."""
        with self._lock:
            for reply in replies:
                self._used.setdefault((reply.cached, reply.by or identity), _Used()).add(reply.usage)
                self._causes.add(reply.outcome, reply.error)
            pace = self._paces.get(_asked.get())
            if pace is not None:
                pace.heard += len(replies)
                pace.fresh += sum(not reply.cached for reply in replies)

    def standing(self) -> Standing:
        """Where the run is now."""
        with self._lock:
            self._look()
            parts = list(self._parts.values())
            owed = {judge: sum(p.owed for p in parts if p.judge == judge) for judge in self._paces}
            calls = {judge: max(pace.heard, owed[judge]) for judge, pace in self._paces.items()}
            heard = sum(pace.heard for pace in self._paces.values())
            before = sum(part.before for part in parts)
            now = [pace for pace in self._paces.values() if pace.asking] or list(self._paces.values())
            return Standing(
                done=before + heard,
                total=before + sum(calls.values()),
                left=_left(calls, self._paces) if heard >= FEWEST else None,
                rate=sum(pace.heard / pace.seconds for pace in now if pace.seconds),
                asked=self._spent(cached=False),
                cached=self._spent(cached=True),
                failed=self._causes.counts,
            )

    def _look(self) -> None:
        """Give the judges that are asked the time since the last look."""
        now = time.monotonic()
        for pace in self._paces.values():
            if pace.asking:
                pace.seconds += now - self._since
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


def _left(calls: Mapping[str, int], paces: Mapping[str, _Pace]) -> float:
    """Seconds until all that is owed has come back."""
    everything = _seconds(list(paces.values()))
    own = {judge: _seconds([pace]) if pace.heard else everything for judge, pace in paces.items()}
    return max(((n - paces[judge].heard) * own[judge] for judge, n in calls.items()), default=0.0)


def _seconds(paces: Sequence[_Pace]) -> float:
    """Seconds of a call, over the time in which these were asked: of one that was not in the cache, where any was not."""
    calls = sum(pace.fresh for pace in paces) or sum(pace.heard for pace in paces)
    return sum(pace.seconds for pace in paces) / calls if calls else 0.0
