"""How far a whole run is, as a bar or a line: calls, time left, what they used and cost, and which failed.

A run says where it stands in numbers (`Standing`); how they are written is decided here alone. What was paid in this session and
what the reply cache gave stand apart: their sum is what a method costs, and would be read as money that was spent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from latentbench.views.number import count, dollars, percent

CAUSES = 2
"""Reasons for failed calls that are named; the number is that of all."""
REASON = 60
"""Characters of a reason."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What calls used.

    Attributes:
        dollars: an estimate; None where a model has no known price.
    """

    calls: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    dollars: float | None = 0.0

    def __str__(self) -> str:
        """Tokens and money."""
        price = "unknown cost" if self.dollars is None else f"{dollars(self.dollars)} $"
        return f"{count(self.tokens_in)} tokens in, {count(self.tokens_out)} out, {price}"


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a run is.

    Attributes:
        done: calls that have come back, with those behind what is on disk already.
        total: calls of the whole run, as far as they can be known.
        left: seconds; None where nothing can be said yet.
        rate: calls per second.
        asked: what was asked in this session.
        cached: what the reply cache, or an equal call beside it, gave in this session.
        failed: reason -> how many calls failed for it, the most frequent first.
    """

    done: int = 0
    total: int = 0
    left: float | None = None
    rate: float = 0.0
    asked: Spent = Spent()
    cached: Spent = Spent()
    failed: Mapping[str, int] = field(default_factory=dict)


def spent_line(standing: Standing) -> str:
    """What the calls of this session used, and which failed."""
    parts = [f"asked {count(standing.asked.calls)}: {standing.asked}"]
    if standing.cached.calls:
        parts.append(f"from the cache {count(standing.cached.calls)}: {standing.cached} not paid again")
    if standing.failed:
        named = list(standing.failed.items())
        causes = [f"{count(n)} {_cut(reason)}" for reason, n in named[:CAUSES]]
        other = sum(n for _, n in named[CAUSES:])
        causes += [f"{count(other)} for other reasons"] if other else []
        parts.append(f"{count(sum(standing.failed.values()))} calls without answer ({', '.join(causes)})")
    return "; ".join(parts)


def run_line(standing: Standing) -> str:
    """Where a run is, for a log; nothing where it asks nobody."""
    if not standing.total:
        return ""
    share = percent(standing.done / standing.total)
    left = f", ~{time_left(standing.left)} left" if standing.left is not None else ""
    return f"whole run {share} of ~{count(standing.total)} calls{left}; {spent_line(standing)}"


def end_line(standing: Standing) -> str:
    """What a session of a run did, when it has ended; nothing where it asked nobody."""
    calls = standing.asked.calls + standing.cached.calls
    return f"whole run: {count(calls)} calls in this session; {spent_line(standing)}" if calls else ""


def time_left(seconds: float) -> str:
    """A forecast, in the unit in which it has two digits."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def clock(seconds: float | None) -> str:
    """A forecast beside a bar: 1:05, or 2:03:00."""
    if seconds is None:
        return "-:--"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _cut(reason: str) -> str:
    return reason if len(reason) <= REASON else f"{reason[: REASON - 1].rstrip()}…"
