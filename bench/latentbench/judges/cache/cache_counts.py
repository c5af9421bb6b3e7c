"""What a cache of replies holds, and what a run took from it: counts for messages.

They are sentences of their own and no numbers of a leaderboard: a reply that was stored costs nothing again, and what it cost
once stays with the judgement.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What a cache holds.

    Attributes:
        replies: number of stored replies.
        bytes: size of the file.
        judges: label -> number of replies, over all identities with that label.
        oldest, newest: Unix time, None for an empty cache.
    """

    replies: int
    bytes: int
    judges: dict[str, int]
    oldest: float | None
    newest: float | None

    def __str__(self) -> str:
        """Lines for the terminal."""
        lines = [f"{self.replies:,} replies, {self.bytes / 1e6:,.1f} MB"]
        if self.oldest is not None and self.newest is not None:
            first, last = (f"{datetime.fromtimestamp(t):%Y-%m-%d %H:%M}" for t in (self.oldest, self.newest))
            lines.append(f"stored from {first} to {last}")
        return "\n".join(lines + [f"{n:>10,}  {label}" for label, n in sorted(self.judges.items())])


@dataclass(slots=True)
class FromCache:
    """What was looked up and found so far.

    Attributes:
        asked, found: numbers of requests.
        first, last: when the earliest and the latest of those found were stored, in Unix time.
    """

    asked: int = 0
    found: int = 0
    first: float = float("inf")
    last: float = float("-inf")

    def add(self, stored: float) -> None:
        """One reply that was found."""
        self.first, self.last = min(self.first, stored), max(self.last, stored)

    def __add__(self, other: FromCache) -> FromCache:
        first, last = min(self.first, other.first), max(self.last, other.last)
        return FromCache(self.asked + other.asked, self.found + other.found, first, last)

    def __str__(self) -> str:
        """A line for the end of a run; nothing where nothing was found."""
        if not self.found:
            return ""
        first, last = (f"{datetime.fromtimestamp(t):%Y-%m-%d %H:%M}" for t in (self.first, self.last))
        return f"{self.found:,} of {self.asked:,} replies came from the cache, stored {first} to {last}"
