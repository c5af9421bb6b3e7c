"""Silent windows that are hard to tell from activating ones, as kinds of test windows of their own.

    neighbour   other latents fire in it that often fire in the same windows as this one (Jaccard over windows)
    similar     other latents fire in it whose decoder directions have the largest cosine with this one's
    nearest     its embedding has the largest cosine with the mean embedding of the latent's explain windows

A random window is told from an activating one by its topic; these are not, so a description must say more than the topic. They
never replace random windows: scores on them are reported apart, by kind.

All kinds are drawn after, and apart from, the other windows of the latent, in the order above: no corpus position stands in two
windows of a latent, and asking for them changes no other window. Kind i of `SILENT` has the code -1 - i in `WindowSample.decile`.
Co-occurrence is a product of sparse binary matrices over blocks of latents; a dense matrix of latents by windows would be
larger than the corpus.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import SILENT
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import EXPLAIN, TEST, Halves, Ints, Tiles, WindowSample

BLOCK = 1 << 22
"""Activations, or numbers of a product, looked at together."""

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
        tiles = [self.of(latent) for latent in latents]
        bounds = np.concatenate([[0], np.cumsum([len(t) for t in tiles])]).astype(np.int64)
        columns = np.concatenate(tiles) if tiles else np.zeros(0, np.int64)
        shape = (len(tiles), len(self.tiles.start))
        return csr_matrix((np.ones(len(columns), np.int32), columns, bounds), shape=shape)

    def blocks(self) -> Iterator[range]:
        """Runs of latents with about `BLOCK` activations each."""
        n, first = len(self.indptr) - 1, 0
        while first < n:
            last = int(np.searchsorted(self.indptr, self.indptr[first] + BLOCK, side="right")) - 1
            last = min(n, max(last, first + 1))
            yield range(first, last)
            first = last


def cooccurring(firing: Firing, latents: Sequence[int], k: int) -> list[list[int]]:
    """Find for each latent the others that fire in the same tiles, most first.

    Jaccard(a, b) = |tiles of a and b| / |tiles of a or b|; ties go to the lower index. Latents that share no tile are none.

    Args:
        latents: the latents for which others are found.
        k: largest number of others.
    """
    mine = firing.rows(latents)
    own = np.diff(mine.indptr)
    best = _Best(len(latents), k)
    for block in firing.blocks():
        theirs = firing.rows(block)
        shared = (mine @ theirs.T).tocsr()
        sizes = np.diff(theirs.indptr)
        for i, latent in enumerate(latents):
            row = slice(shared.indptr[i], shared.indptr[i + 1])
            others, both = shared.indices[row], shared.data[row].astype(np.float64)
            jaccard = both / (own[i] + sizes[others] - both)
            index = others.astype(np.int64) + block.start
            apart = index != latent
            best.add(i, index[apart], jaccard[apart])
    return best.lists()


def aligned(
    directions: Callable[[Ints], Floats], latents: Sequence[int], candidates: Ints, k: int, block: int = 4096
) -> list[list[int]]:
    """Find for each latent those with the largest cosine between decoder directions.

    Args:
        directions: indices [m] -> decoder rows [m, d].
        latents: for which.
        candidates: indices to choose from, ascending, such as the latents that fire at all.
        k: how many at most; only positive cosines count.
        block: candidates at a time.
    """
    mine = _unit(directions(np.asarray(latents, np.int64)))
    best = _Best(len(latents), k)
    for at in range(0, len(candidates), block):
        index = candidates[at : at + block]
        cosine = mine @ _unit(directions(index)).T
        for i, latent in enumerate(latents):
            keep = (index != latent) & (cosine[i] > 0)
            best.add(i, index[keep], cosine[i][keep].astype(np.float64))
    return best.lists()


class _Best:
    """The k largest values per row, with their indices, over blocks that come in ascending order of index."""

    def __init__(self, rows: int, k: int) -> None:
        self._k = k
        self._index: list[Ints] = [np.zeros(0, np.int64)] * rows
        self._value: list[NDArray[np.float64]] = [np.zeros(0)] * rows

    def add(self, row: int, index: Ints, value: NDArray[np.float64]) -> None:
        """More candidates of a row."""
        all_index = np.concatenate([self._index[row], index])
        all_value = np.concatenate([self._value[row], value])
        top = np.lexsort((all_index, -all_value))[: self._k]
        self._index[row], self._value[row] = all_index[top], all_value[top]

    def lists(self) -> list[list[int]]:
        """Indices of each row, largest value first."""
        return [index.tolist() for index in self._index]


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
