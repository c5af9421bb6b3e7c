"""Which windows of a corpus are copies of others, so that no latent is tested on what its explainer has read.

Text stands in a corpus more than once: mirrored pages, boilerplate, quotations. Two rules keep a latent's windows apart.

    copied     at least half of a window's runs of eight tokens (`latentbench.suites.shingles`) stand earlier in the corpus: it is
               no candidate, for any latent. Of ten copies of a document the first is left, so a latent that fires in ten copies
               of one window has one window, which qualifies it as one.
    shares     a window has a run of eight tokens in common with a test window of the same latent: it is no explain window of it.

The first rule alone would leave passages that are quoted in other words around them. The second alone would draw a test window
ten times, and block everything that explains it. Dropping every window with a run that stands anywhere earlier is the tempting
single rule: in a large corpus that is most windows, and what is left is odd text. "Earlier" means at least one window earlier, so
a text that repeats itself within one window is not a copy of itself.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.suites.build.sampling import Bools, Ints, Tiles
from latentbench.suites.shingles import SHINGLE, plain_runs, shingle_hashes


class Copies:
    """The runs of a corpus that stand in it more than once.

    Memory is 5 bytes a token, and 5 more for every token at which a repeated run starts.

    Args:
        tokens: of the corpus [tokens].
        window: tokens per window; shorter windows than a run are compared whole.
    """

    def __init__(self, tokens: NDArray[np.int32], window: int) -> None:
        self._n = min(SHINGLE, window)
        self._runs = window - self._n + 1
        hashes = shingle_hashes(tokens, self._n)
        order = np.argsort(hashes, kind="stable")
        sorted_hashes = hashes[order]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = sorted_hashes[1:] != sorted_hashes[:-1]
        run = np.cumsum(fresh) - 1
        often = np.diff(np.flatnonzero(fresh), append=len(order)) > 1
        first = np.empty(len(order), np.int64)
        # The sort is stable, so the first of equal hashes is the first in the corpus.
        first[order] = order[fresh][run]
        earlier = _cumulated(first <= np.arange(len(order)) - window, len(tokens))
        # For every start and not only those of tiles, because windows that are re-cut start anywhere.
        self._copied = 2 * (earlier[self._runs :] - earlier[: len(earlier) - self._runs]) >= self._runs
        number = np.full(len(order), -1, np.int32)
        number[order] = np.where(often, np.cumsum(often) - 1, -1)[run]
        where = np.flatnonzero(number >= 0)
        self._until = _cumulated(number >= 0, len(tokens))
        self._number = number[where]
        self._plain = plain_runs(tokens, where, self._n)
        self._seen = np.zeros(int(often.sum()), np.bool_)

    def copied(self, start: Ints) -> Bools:
        """Mark the windows of which at least half of the runs stand at least one window earlier in the corpus.

        Args:
            start: first position of each window [m].
        """
        marked: Bools = self._copied[start]
        return marked

    def without_copies(self, tiles: Tiles) -> Tiles:
        """The tiling without the tiles that are copies, as if they were unused tails."""
        kept = ~self.copied(tiles.start)
        if kept.all():
            return tiles
        number = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1).astype(np.int32)
        return replace(tiles, start=tiles.start[kept], context=tiles.context[kept], of=number[tiles.of])

    def shares(self, start: Ints, others: Ints) -> Bools:
        """Mark the windows that have a run of eight tokens in common with one of the others.

        Args:
            start: first position of each window [m].
            others: those of the others.
        """
        marked = np.zeros(len(start), np.bool_)
        _, held = self._repeated(others)
        if len(held):
            row, run = self._repeated(start)
            self._seen[held] = True
            marked[row[self._seen[run]]] = True
            self._seen[held] = False
        return marked

    def _repeated(self, start: Ints) -> tuple[Ints, NDArray[np.int32]]:
        """Runs of windows that stand in the corpus more than once: number of the window, number of the run."""
        low = self._until[start]
        count = self._until[start + self._runs] - low
        some = np.flatnonzero(count)
        low, count = low[some], count[some]
        row = np.repeat(np.arange(len(some)), count)
        entry = np.repeat(low - (np.cumsum(count) - count), count) + np.arange(len(row))
        plain = self._plain[entry]
        if plain.any():
            nothing_else = np.bincount(row[plain], minlength=len(some)) == self._runs
            counts = ~plain | nothing_else[row]
            row, entry = row[counts], entry[counts]
        return some[row], self._number[entry]


def _cumulated(marks: Bools, tokens: int) -> NDArray[Any]:
    """Marks before each position, and before the end of the corpus [tokens + 1]."""
    out = np.zeros(tokens + 1, np.int32 if tokens < 1 << 31 else np.int64)
    np.cumsum(marks, out=out[1 : len(marks) + 1])
    out[len(marks) + 1 :] = out[len(marks)]
    return out
