"""One latent's activations -> its explain and test windows. Pure functions on arrays.

Every context is tiled from its start in steps of one window; the tail that is shorter than a window is never used. Windows of
one latent are pairwise disjoint in corpus position, whatever their role. The test windows are drawn *first* and from a seed of
their own, so they are the same for every way of choosing explain windows and two strategies compare paired. Drawing explain
windows first is the tempting order, but then `top` empties the upper deciles and each strategy is tested on other windows.

A centred window is re-cut around its peak and its activations are read again at the shifted positions. Neighbouring peaks give
overlapping windows; of those the stronger centre stays. Activations travel as float16, whose bit patterns order like their
values when positive: maxima and the ranking are taken on uint16, where NumPy's stable sort is a radix sort.

With `copies` the explain windows that share eight tokens in a row with a test window are drawn again from those that do not. It
is they that give way, because the test windows must not depend on how explain windows are chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.quota import spread

if TYPE_CHECKING:
    from latentbench.suites.build.copies import Copies

Strategy = Literal["top", "random", "quantile", "mix"]
Ints = NDArray[np.int64]
Halves = NDArray[np.float16]
Bools = NDArray[np.bool_]

DECILES = 10
EXPLAIN, TEST = 0, 1
RANDOM = -1
"""Code, in place of a decile, of a silent window drawn at random."""
CONTRAST_STREAM = 1
INFINITE = 0x7C00
"""Bits of infinity in float16."""


@dataclass(frozen=True)
class Tiles:
    """A corpus cut into windows.

    Attributes:
        window: tokens per window.
        offsets: first position of each context, then the number of tokens [contexts + 1].
        start: first position of each tile, ascending [tiles].
        context: context of each tile [tiles].
        of: tile of each position, -1 in unused tails [tokens]; 4 bytes a token buy a lookup instead of a search.
    """

    window: int
    offsets: Ints
    start: Ints
    context: Ints
    of: NDArray[np.int32]

    @cached_property
    def ends(self) -> tuple[Ints, Ints]:
        """First position that a window around a peak in each tile may have, and the last one [tiles]."""
        return self.offsets[self.context], self.offsets[self.context + 1] - self.window

    @property
    def unused(self) -> int:
        """Tokens in tails shorter than a window."""
        return int(self.offsets[-1]) - len(self.start) * self.window


def tile(offsets: NDArray[np.integer], window: int) -> Tiles:
    """Tile every context from its start.

    Args:
        offsets: [contexts + 1], first position of each context and then the number of tokens.
        window: tokens per window.
    """
    bounds = np.asarray(offsets, dtype=np.int64)
    per = np.diff(bounds) // window
    context = np.repeat(np.arange(len(per)), per)
    number = np.arange(len(context)) - (np.cumsum(per) - per)[context]
    start = bounds[context] + window * number
    of = np.full(int(bounds[-1]), -1, dtype=np.int32)
    of[(start[:, None] + np.arange(window)).ravel()] = np.repeat(np.arange(len(start), dtype=np.int32), window)
    return Tiles(window, bounds, start, context, of)


@dataclass(frozen=True)
class WindowPlan:
    """How many windows of each sort.

    Attributes:
        explain: explain windows asked for.
        sampling: `top` the largest maxima; `random` any activating; `quantile` equally many of each decile; `mix` half
            `top` (the larger half when odd), then `quantile` over the rest.
        per_decile: activating test windows asked for in each decile of window maxima.
        negatives: test windows on which the latent is silent.
        centred: re-cut activating windows around their peak.
        contrast: explain windows on which the latent is silent.
    """

    explain: int
    sampling: Strategy
    per_decile: int
    negatives: int
    centred: bool = False
    contrast: int = 0

    @property
    def positives(self) -> int:
        """Activating test windows asked for."""
        return self.per_decile * DECILES


@dataclass(frozen=True)
class WindowSample:
    """The windows of one latent: explain windows strongest first and silent ones last, then test windows by position.

    Attributes:
        start: first position [m].
        role: EXPLAIN or TEST [m].
        decile: 0 (weakest) to 9 of an activating window; -1 for silent ones drawn at random, below for those drawn on purpose
            (`latentbench.suites.build.negatives`) [m].
        activations: [m, window]; zero where the latent is silent.
        edges: decile edges of the maxima of all candidate windows [11]; empty for a latent that never fires.
        candidates: activating windows that could be drawn.
        rate_token: share of all tokens on which it fires.
        rate_context: share of all contexts in which it fires.
        max: largest activation anywhere, tails included.
        blocked: candidates that could not be explain windows, because they share eight tokens in a row with a test window. They
            are counted only where a window that was drawn is among them.
    """

    start: Ints
    role: NDArray[np.int8]
    decile: NDArray[np.int8]
    activations: Halves
    edges: Halves
    candidates: int
    rate_token: float
    rate_context: float
    max: float
    blocked: int = 0

    def count(self, role: int, active: bool) -> int:
        """Windows of a role that fire, or silent ones drawn at random."""
        return int(((self.role == role) & (self.decile >= 0 if active else self.decile == RANDOM)).sum())


def sample(
    positions: NDArray[np.integer],
    values: NDArray[np.floating],
    tiles: Tiles,
    plan: WindowPlan,
    test_seed: int,
    explain_seed: int,
    copies: Copies | None = None,
) -> WindowSample:
    """Draw the windows of one latent.

    Too few candidates are shared out in the proportion asked for; nothing is repeated or padded, so fewer windows come back.

    Args:
        positions: where the latent fires, ascending [nnz].
        values: its activations there [nnz]; entries that are not > 0 count as silence.
        tiles: the tiling of the corpus.
        plan: what to draw.
        test_seed: for the test windows, the latent's own.
        explain_seed: for the explain windows, the latent's own.
        copies: of the corpus, to keep explain and test windows apart; `tiles` must be those without copies.
    """
    where, bits = _firing(positions, values)
    fires = _fires(where, bits, tiles, plan.centred, copies)
    starts, maxima = fires.start, fires.maximum
    order = np.argsort(maxima, kind="stable")
    low = [-(-d * len(order) // DECILES) for d in range(DECILES + 1)]
    test_rng, explain_rng = np.random.default_rng(test_seed), np.random.default_rng(explain_seed)

    free = np.ones(len(order), dtype=np.bool_)
    tested = _test_positives(low, plan, test_rng)
    free[tested] = False
    explained = _explain(low, free, plan, explain_rng)
    silent = _Silent(fires.taken, len(tiles.start))
    negative = silent.drawn(plan.negatives, test_rng)
    negatives = tiles.start[negative]
    test_start = np.concatenate([starts[order[tested]], negatives])
    blocked = 0
    if copies is not None and copies.shares(starts[order[explained]], test_start).any():
        shared = free & copies.shares(starts[order], test_start)
        blocked = int(shared.sum())
        explained = _explain(low, free & ~shared, plan, np.random.default_rng(explain_seed))
    contrast = np.zeros(0, dtype=np.int64)
    if plan.contrast:
        taken = np.concatenate([fires.taken, negative])
        if copies is not None:
            rest = _Silent(taken, len(tiles.start)).all()
            taken = np.concatenate([taken, rest[copies.shares(tiles.start[rest], test_start)]])
        # A stream of their own: asking for them changes no other window.
        stream = np.random.default_rng((explain_seed, CONTRAST_STREAM))
        contrast = tiles.start[_Silent(taken, len(tiles.start)).drawn(plan.contrast, stream)]

    # Ranks descend for explain windows (strongest first); positions ascend for test windows.
    explained = np.sort(explained)[::-1]
    test_decile = np.concatenate([_decile(tested, low), np.full(len(negatives), RANDOM)])
    by_position = np.argsort(test_start)
    start = np.concatenate([starts[order[explained]], np.sort(contrast), test_start[by_position]])
    decile = np.concatenate([_decile(explained, low), np.full(len(contrast), RANDOM), test_decile[by_position]])
    role = np.repeat(np.array([EXPLAIN, TEST], dtype=np.int8), [len(explained) + len(contrast), len(test_start)])
    edges = maxima[order[np.minimum(low, len(order) - 1)]] if len(order) else maxima
    return WindowSample(
        start=start,
        role=role,
        decile=decile.astype(np.int8),
        activations=read(where, bits.view(np.float16), start, tiles.window),
        edges=edges.view(np.float16),
        candidates=len(order),
        rate_token=len(where) / max(int(tiles.offsets[-1]), 1),
        rate_context=fires.contexts / max(len(tiles.offsets) - 1, 1),
        max=float(bits.max().view(np.float16)) if len(bits) else 0.0,
        blocked=blocked,
    )


def read(positions: Ints, values: Halves, start: Ints, window: int) -> Halves:
    """Activations of windows, read at their own positions.

    Args:
        positions: where the latent fires, ascending [nnz].
        values: [nnz].
        start: first position of each window, any order [m].

    Returns:
        [m, window]
    """
    low = np.searchsorted(positions, start)
    count = np.searchsorted(positions, start + window) - low
    row = np.repeat(np.arange(len(start)), count)
    entry = np.repeat(low - (np.cumsum(count) - count), count) + np.arange(len(row))
    out = np.zeros((len(start), window), dtype=np.float16)
    out[row, positions[entry] - start[row]] = values[entry]
    return out


def positive(values: NDArray[np.floating]) -> Bools:
    """Mark the values above 0; of float16 by their bits, which is several times faster than NumPy's comparison."""
    if values.dtype != np.float16:
        marked: Bools = values > 0
        return marked
    # From the smallest number to infinity; 0 wraps around, and what is below 0 or no number lies beyond.
    return values.view(np.uint16) - np.uint16(1) < np.uint16(INFINITE)


def _firing(positions: NDArray[np.integer], values: NDArray[np.floating]) -> tuple[Ints, NDArray[np.uint16]]:
    halves = np.ascontiguousarray(values, dtype=np.float16)
    fires = positive(halves)
    where = np.asarray(positions).astype(np.int64)
    bits = halves.view(np.uint16)
    return (where, bits) if fires.all() else (where[fires], bits[fires])


@dataclass(frozen=True)
class _Fires:
    """Where one latent fires, by windows.

    Attributes:
        start: first position of every window that may be drawn, ascending [n].
        maximum: bits of the largest activation in each [n].
        taken: tiles that are not silent, in no order; with centred windows also those that one of these reaches into, whether
            it is drawn or not, so that silent windows are the same for every way of choosing explain windows.
        contexts: number of contexts in which it fires.
    """

    start: Ints
    maximum: NDArray[np.uint16]
    taken: Ints
    contexts: int


def _fires(where: Ints, bits: NDArray[np.uint16], tiles: Tiles, centred: bool, copies: Copies | None) -> _Fires:
    of = tiles.of[where]
    inside = of >= 0
    tiled, strength, place = of, bits, where
    loose = where[:0]
    if not inside.all():
        tiled, strength, place, loose = of[inside], bits[inside], where[inside], where[~inside]
    first = _firsts(tiled)
    active = tiled[first].astype(np.int64)
    contexts = _distinct(tiles.context[active], np.searchsorted(tiles.offsets, loose, side="right") - 1)
    ahead = _largest(strength, tiled)
    maxima = ahead[first]
    if not centred or not len(first):
        return _Fires(tiles.start[active], maxima, active, contexts)

    # The first entry of a tile that none behind it exceeds is its largest, and of equal ones the first.
    unsurpassed = np.flatnonzero(strength == ahead)
    peaks = unsurpassed[_firsts(tiled[unsurpassed])]
    earliest, latest = tiles.ends
    start = np.minimum(np.maximum(place[peaks] - tiles.window // 2, earliest[active]), latest[active])
    kept = np.arange(len(start))
    if copies is not None:
        # A window that is re-cut may reach into a tile that is a copy.
        kept = kept[~copies.copied(start)]
        kept = kept[disjoint(start[kept], maxima[kept], tiles.window)]
    else:
        kept = np.flatnonzero(disjoint(start, maxima, tiles.window))
    start, maximum = start[kept], maxima[kept]
    # A window that is moved out of its tile reaches into one other; only a stronger one can raise its maximum.
    earlier = start < tiles.start[active[kept]]
    other = tiles.of[np.where(earlier, start, start + (tiles.window - 1))]
    beside = np.minimum(np.maximum(kept + 1 - 2 * earlier, 0), len(active) - 1)
    raised = np.flatnonzero((other < 0) | ((active[beside] == other) & (maxima[beside] > maximum)))
    if len(raised):
        low, high = np.searchsorted(where, start[raised]), np.searchsorted(where, start[raised] + tiles.window)
        # The 0 at the end gives reduceat a legal index for a window that ends after the last firing.
        padded = np.append(bits, np.uint16(0))
        maximum[raised] = np.maximum.reduceat(padded, np.stack([low, high], 1).ravel())[::2]
    return _Fires(start, maximum, np.concatenate([active, other[other >= 0]]), contexts)


def _firsts(numbers: NDArray[np.integer]) -> Ints:
    """Where a number stands that is another one than before."""
    new = np.ones(len(numbers), dtype=np.bool_)
    np.not_equal(numbers[1:], numbers[:-1], out=new[1:])
    return np.flatnonzero(new)


def _largest(strength: NDArray[np.uint16], tiled: NDArray[np.integer]) -> NDArray[np.uint16]:
    """For each entry the largest from it to the end of its tile.

    Every step looks twice as far ahead, at all entries at once. `np.maximum.reduceat` goes from tile to tile, and most tiles have
    one or two entries.
    """
    found, ahead = strength.copy(), 1
    while ahead < len(found) and (same := tiled[ahead:] == tiled[:-ahead]).any():
        # No strength is 0, so what is of another tile is the least of all.
        found[:-ahead] = np.maximum(found[:-ahead], found[ahead:] * same)
        ahead *= 2
    return found


def _distinct(some: Ints, others: Ints) -> int:
    """How many numbers stand in two ascending arrays."""
    if len(others):
        return len(np.union1d(some, others))
    return len(_firsts(some))


def disjoint(start: Ints, strength: NDArray[np.integer], window: int) -> Bools:
    """Mark the windows that stay when overlapping ones are removed, the strongest kept first (the earlier one of equals).

    A window centred in a tile reaches at most half a window beyond it, so only neighbours overlap. Each round keeps every window
    that is stronger than its remaining neighbours: the same result as a greedy loop, in as many rounds as a chain of falling
    strengths is long at most.

    Args:
        start: ascending [n]; window i overlaps none but i - 1 and i + 1.
        strength: [n]

    Returns:
        [n]
    """
    linked = np.diff(start) < window
    earlier_wins = strength[:-1] >= strength[1:]
    keep = np.zeros(len(start), dtype=np.bool_)
    alive = np.arange(len(start))
    while len(alive):
        lost = linked & earlier_wins
        wins = np.ones(len(alive), dtype=np.bool_)
        wins[1:] &= ~lost
        wins[:-1] &= ~(linked ^ lost)
        keep[alive[wins]] = True
        left = ~wins
        left[1:] &= ~(linked & wins[:-1])
        left[:-1] &= ~(linked & wins[1:])
        # Few are left, and only neighbours of before are neighbours.
        some = np.flatnonzero(left)
        alive, pairs = alive[some], some[:-1]
        linked, earlier_wins = linked[pairs] & (np.diff(some) == 1), earlier_wins[pairs]
    return keep


def _decile(rank: Ints, low: list[int]) -> Ints:
    return np.searchsorted(low, rank, side="right") - 1


def _test_positives(low: list[int], plan: WindowPlan, rng: np.random.Generator) -> Ints:
    """Ranks of the activating test windows."""
    n, asked = low[-1], plan.positives + plan.explain
    target = plan.positives if n >= asked else n * plan.positives // asked
    room = [min(plan.per_decile, high - start) for start, high in pairwise(low)]
    picks = [
        start + rng.choice(high - start, take, replace=False, shuffle=False)
        for start, high, take in zip(low[:-1], low[1:], spread(target, room), strict=True)
        if take
    ]
    return np.concatenate(picks) if picks else np.zeros(0, dtype=np.int64)


def _explain(low: list[int], free: Bools, plan: WindowPlan, rng: np.random.Generator) -> Ints:
    """Ranks of the explain windows among the free ones."""
    ranks = np.flatnonzero(free)
    n = min(plan.explain, len(ranks))
    if plan.sampling == "random":
        return ranks[rng.choice(len(ranks), n, replace=False, shuffle=False)] if n else ranks[:0]
    n_top = {"top": n, "mix": n - n // 2, "quantile": 0}[plan.sampling]
    top, rest = ranks[len(ranks) - n_top :], ranks[: len(ranks) - n_top]
    cuts = np.searchsorted(rest, low)
    quota = spread(n - n_top, np.diff(cuts).tolist())
    picks = [
        rest[start + rng.choice(high - start, take, replace=False, shuffle=False)]
        for start, high, take in zip(cuts[:-1], cuts[1:], quota, strict=True)
        if take
    ]
    return np.concatenate([top, *picks])


class _Silent:
    """The tiles on which a latent is silent, by their rank, because they are nearly all and few are drawn.

    Args:
        taken: the other tiles, in any order, some perhaps twice.
        tiles: number of all tiles.
    """

    def __init__(self, taken: Ints, tiles: int) -> None:
        if len(taken) * 16 < tiles:
            self._taken = np.unique(taken)
        else:
            marks = np.zeros(tiles, dtype=np.bool_)
            marks[taken] = True
            self._taken = np.flatnonzero(marks)
        self._size = tiles - len(self._taken)

    def drawn(self, n: int, rng: np.random.Generator) -> Ints:
        """`n` of the silent tiles, fewer where there are fewer."""
        return self._at(rng.choice(self._size, min(n, self._size), replace=False, shuffle=False))

    def all(self) -> Ints:
        """All silent tiles, ascending."""
        return self._at(np.arange(self._size))

    def _at(self, rank: Ints) -> Ints:
        """The silent tiles of these ranks."""
        before = self._taken - np.arange(len(self._taken))
        found: Ints = rank + np.searchsorted(before, rank, side="right")
        return found
