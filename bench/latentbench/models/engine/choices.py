"""Allowed answers at one or more places of a prompt, as one row of branches.

For each place the answers form a trie: "1" and "10" share their first token, and what follows it decides between them. The
log-probability of an answer is the sum along its path, so it is exact for answers of any length; asking only for the first
token would give "1" and "10" the same number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from latentbench.kernel.requests import Choice
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.readout import Floats, Query
from latentbench.models.engine.wording import TAIL, Wording


@dataclass(frozen=True, slots=True)
class ChoiceRow:
    """A choice as a row to read.

    Attributes:
        row: the sequence with its branches.
        sizes: [slot][answer], number of readings whose sum is the answer's log-probability, in order.
    """

    row: Query
    sizes: tuple[tuple[int, ...], ...]

    def answers(self, logp: Floats) -> tuple[tuple[float, ...], ...]:
        """[slot][answer] log-probabilities from the row's readings."""
        flat = [n for slot in self.sizes for n in slot]
        edges = np.concatenate([[0], np.cumsum(flat)])
        total = np.concatenate([[0.0], np.cumsum(logp, dtype=np.float64)])
        sums = iter((total[edges[1:]] - total[edges[:-1]]).tolist())
        return tuple(tuple(next(sums) for _ in slot) for slot in self.sizes)


def endings(choice: Choice, text: str) -> Iterator[tuple[str, str]]:
    """Every (text before, text) pair whose tokens `choice_row` will ask for."""
    for slot in choice.slots:
        yield text, slot
        text += slot
        for answer in choice.answers:
            yield text, answer + choice.end


def choice_row(wording: Wording, choice: Choice, text: str, prompt: Tokens) -> ChoiceRow | None:
    """Put a choice into one row, or None if an answer has no token of its own (an empty answer).

    Args:
        text: the rendered prompt.
        prompt: the tokens of that text.
    """
    trunk = list(prompt)
    places: list[int] = []
    tails: list[str] = []
    for slot in choice.slots:
        trunk += wording.after(text, slot)
        text += slot
        places.append(len(trunk) - 1)
        tails.append(text[-TAIL:])
    at: list[int] = []
    target: list[int] = []
    branches: list[int] = []
    parents: list[int] = []
    sizes: list[tuple[int, ...]] = []
    for place, tail in zip(places, tails, strict=True):
        known: dict[Tokens, int] = {(): place}
        counts = []
        for answer in choice.answers:
            path = wording.after(tail, answer + choice.end)
            if not path or place < 0:
                return None
            for depth, token in enumerate(path):
                before = path[:depth]
                if before not in known:
                    parents.append(known[before[:-1]])
                    branches.append(before[-1])
                    known[before] = len(trunk) + len(branches) - 1
                at.append(known[before])
                target.append(token)
            counts.append(len(path))
        sizes.append(tuple(counts))
    row = Query(
        tuple(trunk), places[0], np.array(at, np.int64), np.array(target, np.int64), tuple(branches), tuple(parents)
    )
    return ChoiceRow(row, tuple(sizes))
