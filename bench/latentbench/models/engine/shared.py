"""Which prefixes of a call are computed once, and which of them outlive the call.

The longest prefix of a call (system message and few-shot examples) is kept for the next ones, found again by its token ids; all
others live for one call. A cache of every prompt ever seen would need memory without bound for prefixes that never return.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from latentbench.models.engine.engine import Engine, Piece
from latentbench.models.engine.kv import KV, head, join, length
from latentbench.models.engine.prefix import PrefixTree, Segment, Tokens, common, prefix_tree


class Stopped(Exception):
    """The caller went away between two batches; what was computed is dropped."""


def check(stop: threading.Event) -> None:
    """Leave the computation if the caller went away."""
    if stop.is_set():
        raise Stopped


@dataclass(frozen=True, slots=True)
class Work:
    """One sequence after sharing.

    Attributes:
        chain: computed runs of its first tokens.
        start: how many tokens they are.
        saved: how many tokens somebody else paid for.
    """

    chain: tuple[KV, ...]
    start: int
    saved: int


@dataclass
class SharedPrefixes:
    """Computes the shared segments of sequences and keeps the outermost ones between calls.

    Attributes:
        engine: the model.
        batch_tokens: new tokens per forward pass at most.
        least: shortest prefix worth a pass of its own.
        keep_tokens: tokens kept between calls, over all prefixes.
    """

    engine: Engine
    batch_tokens: int
    least: int = 16
    keep_tokens: int = 8192
    _kept: dict[Tokens, KV] = field(default_factory=dict, repr=False)

    @property
    def bytes_per_token(self) -> int:
        """Memory of the keys and values of one token."""
        found: int = self.engine.bytes_per_token
        return found

    def plan(self, sequences: Sequence[Tokens], limits: Sequence[int]) -> PrefixTree:
        """The tree of a call; see `prefix_tree`. A single sequence is kept for the next call, which is often its neighbour."""
        if len(sequences) == 1 and limits[0] >= self.least:
            return PrefixTree((Segment(-1, 0, sequences[0][: limits[0]], 0),), (0,))
        return prefix_tree(sequences, limits, self.least)

    def compute(
        self, tree: PrefixTree, sequences: Sequence[Tokens], limits: Sequence[int], stop: threading.Event
    ) -> list[Work]:
        """Compute the segments, level by level, and say what each sequence may build on."""
        known: dict[int, tuple[KV, ...]] = {}
        reused: dict[int, int] = {}
        for depth in range(max((s.depth for s in tree.segments), default=-1) + 1):
            todo: list[tuple[int, Piece]] = []
            for n, segment in enumerate(tree.segments):
                if segment.depth != depth:
                    continue
                chain = known[segment.parent] if segment.parent >= 0 else ()
                found = self._recall(segment.tokens) if depth == 0 else None
                reused[n] = length(found) if found else 0
                if found and reused[n] == len(segment.tokens):
                    known[n] = (found,)
                    continue
                todo.append((n, Piece((found,) if found else chain, segment.tokens[reused[n] :])))
            for batch in batches([len(p.tokens) for _, p in todo], self.batch_tokens):
                check(stop)
                done = self.engine.forward([todo[i][1] for i in batch], keep="fresh")
                for row, i in enumerate(batch):
                    n, piece = todo[i]
                    fresh = done.fresh(row, len(piece.tokens))
                    known[n] = (join([*piece.chain, fresh]),) if depth == 0 else (*piece.chain, fresh)
            if depth == 0:
                for n, segment in enumerate(tree.segments):
                    if segment.depth == 0:
                        self._remember(segment.tokens, known[n][0])
        return self._works(tree, sequences, limits, known, reused)

    def _works(
        self,
        tree: PrefixTree,
        sequences: Sequence[Tokens],
        limits: Sequence[int],
        known: dict[int, tuple[KV, ...]],
        reused: dict[int, int],
    ) -> list[Work]:
        paid: set[int] = set()
        works = []
        for i, owner in enumerate(tree.owner):
            if owner < 0:
                found = self._recall(sequences[i][: limits[i]])
                works.append(Work((found,), length(found), length(found)) if found else Work((), 0, 0))
                continue
            path = tree.path(owner)
            # The first sequence that runs through a segment pays for what was computed of it.
            spent = sum(len(tree.segments[n].tokens) - reused[n] for n in path if n not in paid)
            paid.update(path)
            start = tree.segments[owner].end
            works.append(Work(known[owner], start, start - spent))
        return works

    def _recall(self, tokens: Tokens) -> KV | None:
        """The longest kept run that `tokens` starts with."""
        best, overlap = None, 0
        for kept in self._kept:
            shared = common(kept, tokens)
            if shared > overlap:
                best, overlap = kept, shared
        if best is None or overlap < self.least:
            return None
        kv = self._kept.pop(best)
        self._kept[best] = kv  # most recently used last
        return head(kv, overlap)

    def _remember(self, tokens: Tokens, kv: KV) -> None:
        if len(tokens) > self.keep_tokens or any(common(k, tokens) == len(tokens) for k in self._kept):
            return
        for kept in [k for k in self._kept if common(k, tokens) == len(k)]:
            del self._kept[kept]
        self._kept[tokens] = kv
        while sum(len(k) for k in self._kept) > self.keep_tokens:
            del self._kept[next(iter(self._kept))]


def batches(lengths: Sequence[int], tokens: int, rows: int = 1 << 30) -> list[list[int]]:
    """Indices in batches of like length, longest first, of at most `rows` with rows x longest <= `tokens` (or a single one)."""
    out: list[list[int]] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        if out and (len(out[-1]) + 1) * lengths[out[-1][0]] <= tokens and len(out[-1]) < rows:
            out[-1].append(i)
        else:
            out.append([i])
    return out
