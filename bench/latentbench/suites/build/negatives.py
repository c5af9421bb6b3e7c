"""Silent windows that are hard to tell from activating ones, as kinds of test windows of their own.

    neighbour   other latents fire in it that often fire in the same windows as this one (Jaccard over windows)
    similar     other latents fire in it whose decoder directions have the largest cosine with this one's
    nearest     its embedding has the largest cosine with the mean embedding of the latent's explain windows

A random window is told from an activating one by its topic; these are not, so a description must say more than the topic. They
never replace random windows: scores on them are reported apart, by kind.

All kinds are drawn after, and apart from, the other windows of the latent, in the order above: no corpus position stands in two
windows of a latent, and asking for them changes no other window. Kind i of `SILENT` has the code -1 - i in `WindowSample.decile`.
Which latents fire together, and whose directions are alike, is found for a block of latents against another block, keeping the
best of each: all drawn latents at a time against a block would grow with the suite, and all pairs of latents with its square.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import SILENT
from latentbench.kernel.mapped_pages import let_go
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import EXPLAIN, TEST, Halves, Ints, Tiles, WindowSample, positive

BLOCK = 1 << 22
"""Activations, or numbers of a product, looked at together."""
SIDE = 1 << 11
"""Latents of a block at most, so that a product of two blocks has at most `BLOCK` numbers."""

Floats = NDArray[np.float32]
Embed = Callable[[Sequence[str]], Floats]
"""Texts -> unit vectors [n, d]."""


@dataclass(frozen=True)
class Firing:
    """Tiles in which each latent of a coder fires, from its activations in CSR form over latents.

    Attributes:
        indptr: [latents + 1].
        position: ascending within each latent [nnz].
        value: entries that are not > 0 count as silence [nnz].
        tiles: the tiling of the corpus.
    """

    indptr: Ints
    position: NDArray[np.integer]
    value: NDArray[np.floating]
    tiles: Tiles

    def of(self, latent: int) -> Ints:
        """Tiles in which a latent fires, ascending."""
        entries = slice(int(self.indptr[latent]), int(self.indptr[latent + 1]))
        tile = self.tiles.of[self.position[entries][np.asarray(self.value[entries]) > 0]]
        return np.unique(tile[tile >= 0]).astype(np.int64)

    def rows(self, latents: Sequence[int]) -> csr_matrix:
        """Binary matrix [len(latents), tiles]."""
        index = np.asarray(latents, np.int64)
        size = self.indptr[index + 1] - self.indptr[index]
        row = np.repeat(np.arange(len(index)), size)
        entry = np.repeat(self.indptr[index] - (np.cumsum(size) - size), size) + np.arange(len(row))
        tile = self.tiles.of[self.position[entry]]
        fires = positive(np.asarray(self.value[entry])) & (tile >= 0)
        row, tile = row[fires], tile[fires]
        new = np.ones(len(row), np.bool_)
        new[1:] = (row[1:] != row[:-1]) | (tile[1:] != tile[:-1])
        bounds = np.searchsorted(row[new], np.arange(len(index) + 1))
        for array in (self.position, self.value):
            let_go(array)
        shape = (len(index), len(self.tiles.start))
        return csr_matrix((np.ones(int(new.sum()), np.int32), tile[new], bounds), shape=shape)

    def blocks(self, latents: Sequence[int]) -> Iterator[Sequence[int]]:
        """The latents in turn, about `BLOCK` activations and at most `SIDE` latents at a time."""
        index = np.asarray(latents, np.int64)
        ends = np.cumsum(self.indptr[index + 1] - self.indptr[index])
        first = 0
        while first < len(index):
            before = int(ends[first - 1]) if first else 0
            last = int(np.searchsorted(ends, before + BLOCK, side="right"))
            last = min(max(last, first + 1), first + SIDE)
            yield latents[first:last]
            first = last


def cooccurring(firing: Firing, latents: Sequence[int], k: int) -> list[list[int]]:
    """Find for each latent the others that fire in the same tiles, most first.

    Jaccard(a, b) = |tiles of a and b| / |tiles of a or b|; ties go to the lower index. Latents that share no tile are none.

    Args:
        latents: the latents for which others are found.
        k: largest number of others.
    """
    found = []
    everyone = range(len(firing.indptr) - 1)
    for some in firing.blocks(latents):
        mine, asked = firing.rows(some), np.asarray(some, np.int64)
        best, own = _Best(len(some), k), np.diff(mine.indptr)
        for block in firing.blocks(everyone):
            theirs = firing.rows(block)
            shared = (mine @ theirs.T).tocoo()
            row, other, both = shared.row, shared.col, shared.data.astype(np.float64)
            jaccard = both / (own[row] + np.diff(theirs.indptr)[other] - both)
            index = other.astype(np.int64) + block[0]
            apart = index != asked[row]
            best.add(row[apart], index[apart], jaccard[apart])
        found += best.lists()
    return found


def aligned(
    directions: Callable[[Ints], Floats], latents: Sequence[int], candidates: Ints, k: int, block: int = 4096
) -> list[list[int]]:
    """Find for each latent those with the largest cosine between decoder directions.

    Args:
        directions: indices [m] -> decoder rows [m, d].
        latents: for which.
        candidates: indices to choose from, ascending, such as the latents that fire at all.
        k: how many at most; only positive cosines count.
        block: candidates, and latents, at a time.
    """
    found = []
    for first in range(0, len(latents), block):
        asked = np.asarray(latents[first : first + block], np.int64)
        mine, best = _unit(directions(asked)), _Best(len(asked), k)
        for at in range(0, len(candidates), block):
            index = candidates[at : at + block]
            cosine = mine @ _unit(directions(index)).T
            cosine[asked[:, None] == index] = 0
            # The k best of a row and all that are equal to the last of them; of these the lower index counts.
            least = np.partition(cosine, max(len(index) - k, 0), axis=1)[:, max(len(index) - k, 0)]
            row, column = np.nonzero((cosine > 0) & (cosine >= np.maximum(least, best.least)[:, None]))
            best.add(row, index[column], cosine[row, column].astype(np.float64))
        found += best.lists()
    return found


class _Best:
    """The k largest values of each row, with their indices; of equal values those with the lower index."""

    def __init__(self, rows: int, k: int) -> None:
        self._k = k
        self._index: Ints = np.full((rows, k), -1, np.int64)
        self._value: NDArray[np.float64] = np.zeros((rows, k))

    @property
    def least(self) -> NDArray[np.float64]:
        """The value in each row that another one must reach; 0 where there is room."""
        return self._value[:, -1]

    def add(self, row: Ints, index: Ints, value: NDArray[np.float64]) -> None:
        """More values above 0, in any order."""
        enough = value >= self.least[row]
        row, index, value = row[enough], index[enough], value[enough]
        rows = np.unique(row)
        if not len(rows):
            return
        held = self._index[rows].ravel() >= 0
        all_row = np.concatenate([np.repeat(rows, self._k)[held], row])
        all_index = np.concatenate([self._index[rows].ravel()[held], index])
        all_value = np.concatenate([self._value[rows].ravel()[held], value])
        order = np.lexsort((all_index, -all_value, all_row))
        in_order = all_row[order]
        place = np.arange(len(order)) - np.searchsorted(in_order, in_order)
        kept = place < self._k
        at, order = (in_order[kept], place[kept]), order[kept]
        self._index[at], self._value[at] = all_index[order], all_value[order]

    def lists(self) -> list[list[int]]:
        """Indices of each row, largest value first."""
        return [row[row >= 0].tolist() for row in self._index]


class EmbeddedWindows:
    """Windows of the corpus with their embeddings, shared by all latents.

    Args:
        tiles: the tiling of the corpus.
        text: starts [m] -> texts.
        embed: texts -> unit vectors.
        size: tiles that are embedded; all of them if there are no more.
        seed: of the draw.
    """

    def __init__(self, tiles: Tiles, text: Callable[[Ints], list[str]], embed: Embed, size: int, seed: int) -> None:
        n = len(tiles.start)
        rng = np.random.default_rng(seed_for("pool", seed))
        self.tile: Ints = np.sort(rng.choice(n, min(size, n), replace=False))
        self._embed, self._text = embed, text
        self._vectors = embed(text(tiles.start[self.tile])) if n else np.zeros((0, 1), np.float32)

    def ordered(self, explain: Ints) -> Ints:
        """Tiles of the pool, nearest to the explain windows first.

        Args:
            explain: starts of the latent's explain windows [m].
        """
        if not len(explain) or not len(self.tile):
            return self.tile[:0]
        centre = self._embed(self._text(explain)).mean(axis=0)
        return self.tile[np.argsort(-(self._vectors @ centre), kind="stable")]


def appended(
    sample: WindowSample,
    active: Ints,
    tiles: Tiles,
    asked: Sequence[tuple[str, int, Ints]],
    seed: int,
    copies: Copies | None = None,
) -> WindowSample:
    """A latent's windows with hard ones behind them, kind after kind, each kind by position.

    Fewer come back where there are fewer; nothing is repeated.

    Args:
        sample: the latent's other windows.
        active: tiles in which it fires.
        tiles: the tiling of the corpus.
        asked: kind, how many, candidate tiles. Those of `nearest` come nearest first and are taken in that order; of the other
            kinds they are drawn at random.
        seed: the latent's own.
        copies: of the corpus, to leave out windows that share eight tokens in a row with an explain window.
    """
    explain = sample.start[sample.role == EXPLAIN]
    free = np.ones(len(tiles.start), np.bool_)
    free[active] = False
    # A centred window lies across two tiles.
    for edge in (sample.start, sample.start + tiles.window - 1):
        touched = tiles.of[edge]
        free[touched[touched >= 0]] = False
    starts, codes = [sample.start], [sample.decile]
    for kind, n, candidates in asked:
        usable = candidates[free[candidates]]
        if copies is not None:
            usable = usable[~copies.shares(tiles.start[usable], explain)]
        if kind != "nearest":
            usable = np.unique(usable)
            rng = np.random.default_rng(seed_for(kind, seed))
            usable = usable[rng.choice(len(usable), min(n, len(usable)), replace=False)]
        taken = np.sort(usable[:n])
        free[taken] = False
        starts.append(tiles.start[taken])
        codes.append(np.full(len(taken), -1 - SILENT.index(kind), np.int8))
    start = np.concatenate(starts)
    more = len(start) - len(sample.start)
    silent: Halves = np.zeros((more, tiles.window), np.float16)
    return replace(
        sample,
        start=start,
        decile=np.concatenate(codes).astype(np.int8),
        role=np.concatenate([sample.role, np.full(more, TEST, np.int8)]),
        activations=np.concatenate([sample.activations, silent]),
    )


def counted(sample: WindowSample, kind: str) -> int:
    """Windows of a hard kind."""
    return int((sample.decile == -1 - SILENT.index(kind)).sum())


def explained(sample: WindowSample) -> Ints:
    """Starts of the activating explain windows."""
    start: Ints = sample.start[(sample.role == EXPLAIN) & (sample.decile >= 0)]
    return start


def _unit(rows: Floats) -> Floats:
    norm = np.linalg.norm(rows, axis=-1, keepdims=True)
    unit: Floats = (rows / np.maximum(norm, 1e-12)).astype(np.float32)
    return unit
