"""Shared prefixes of token sequences, as a tree of segments.

Judge prompts differ at the end: system message and few-shot examples are the same for all, the explanation for the trials of
one latent, and only the windows are new. The tree finds that by itself from the tokens. Declaring the shared part in the
request would be simpler to compute and wrong sooner or later: a tokenizer may merge the last shared character with the first
different one, and a declared prefix would then silently change the tokens that the model sees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

Tokens = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of tokens that several sequences share.

    Attributes:
        parent: number of the segment before it, or -1 if it starts the sequences.
        start: position of its first token.
        tokens: the run.
        depth: number of segments before it.
    """

    parent: int
    start: int
    tokens: Tokens
    depth: int

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.tokens)


@dataclass(frozen=True, slots=True)
class PrefixTree:
    """Segments, parents before children, and for every sequence the last segment that it runs through (-1: none)."""

    segments: tuple[Segment, ...]
    owner: tuple[int, ...]

    def path(self, segment: int) -> tuple[int, ...]:
        """Numbers of the segments from the start of a sequence through `segment`; empty for -1."""
        found: list[int] = []
        while segment >= 0:
            found.append(segment)
            segment = self.segments[segment].parent
        return tuple(reversed(found))

    def shared(self, sequence: int) -> int:
        """How many first tokens of a sequence lie in segments."""
        last = self.owner[sequence]
        return self.segments[last].end if last >= 0 else 0


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the common prefix."""
    limit = min(len(a), len(b))
    if a[:limit] == b[:limit]:
        return limit
    # Bisection over slice comparisons, which run in C; a loop over tokens would not.
    low, high = 0, limit
    while high - low > 1:
        middle = (low + high) // 2
        if a[low:middle] == b[low:middle]:
            low = middle
        else:
            high = middle
    return low


def prefix_tree(sequences: Sequence[Tokens], limits: Sequence[int], least: int = 16) -> PrefixTree:
    """Find the segments worth computing once.

    Args:
        sequences: token ids.
        limits: per sequence, how many of its first tokens may be shared; at most `len - 1`, because the token whose output
            is read must be computed for itself.
        least: shortest segment. Each level of segments is one more forward pass in a row, which a few tokens do not repay.

    Returns:
        A tree in which every segment is shared by at least two sequences.
    """
    # A sequence stands for itself only up to its limit; one that ends inside a shared run is a leaf there.
    keys = [tuple(s[:limit]) for s, limit in zip(sequences, limits, strict=True)]
    order = sorted(range(len(keys)), key=lambda i: keys[i])
    segments: list[Segment] = []
    owner = [-1] * len(keys)
    stack = [(0, len(order), -1, 0)] if len(order) > 1 else []
    while stack:
        low, high, parent, start = stack.pop()
        # In sorted order the first and the last sequence share the least.
        end = common(keys[order[low]], keys[order[high - 1]])
        if end - start >= least:
            depth = segments[parent].depth + 1 if parent >= 0 else 0
            segments.append(Segment(parent, start, keys[order[low]][start:end], depth))
            parent, start = len(segments) - 1, end
            for k in range(low, high):
                owner[order[k]] = parent
        cut = low
        for k in range(low + 1, high + 1):
            key = keys[order[cut]][end : end + 1]
            if k == high or keys[order[k]][end : end + 1] != key:
                if key and k - cut > 1:
                    stack.append((cut, k, parent, start))
                cut = k
    return PrefixTree(tuple(segments), tuple(owner))
