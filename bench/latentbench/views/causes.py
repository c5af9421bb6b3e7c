"""Why there is no answer, as a few lines with counts.

Messages of endpoints differ in numbers, ids and quoted texts from call to call, so they are counted by what is left without these
and shown by the first that came. Counting whole messages is the tempting way, and gives a thousand causes of one call each.
"""

from __future__ import annotations

import re
from collections import Counter

from latentbench.kernel.outcome import Outcome

VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\b[\w-]*\d[\w-]*\b")
"""Quoted texts, numbers and ids."""
COMPARED = 110
"""Characters without these by which two messages are the same."""


class Causes:
    """Counts of outcomes that are no answer, by their reasons."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}

    def add(self, outcome: Outcome, error: str | None) -> str:
        """One more, unless it is an answer; returns the reason as it is shown, "" of an answer."""
        said = " ".join((error or "no reason given").split())
        if outcome is Outcome.OK:
            return ""
        # The status of an endpoint is a number that says something.
        kind = f"{outcome.value}: {said[:4]}{VARYING.sub('', said[4:])[:COMPARED]}"
        self._counts[kind] += 1
        # Whole: what to do about it stands at the end.
        return self._first.setdefault(kind, f"{outcome.value}: {said}")

    @property
    def counts(self) -> dict[str, int]:
        """`api: 401 Unauthorized: invalid key` -> how often, the most frequent first."""
        found: Counter[str] = Counter()
        for kind, n in self._counts.most_common():
            found[self._first[kind]] += n
        return dict(found.most_common())

    def __str__(self) -> str:
        """What a progress line says; nothing where everything was answered."""
        kinds = [f"{self._counts.total():,} without answer ({first})" for first in list(self.counts)[:1]]
        return "".join(kinds)
