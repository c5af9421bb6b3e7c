"""Which latents of a coder enter a suite, and on which side of the tune/test split.

A latent qualifies with enough activating windows. The qualifying ones are cut into equal-count strata of firing rate and drawn
equally from each, because a uniform draw over a skewed rate distribution is nearly all rare latents, on which explainers
differ least. The split alternates through the strata, so both sides have the same mixture of rates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.mapped_pages import let_go
from latentbench.stats.quota import spread
from latentbench.suites.build.sampling import Ints, Tiles, positive

CHUNK = 1 << 20
"""Entries that are counted together."""


@dataclass(frozen=True)
class Counts:
    """How often each latent of a coder fires.

    Attributes:
        tokens: firing tokens [latents].
        windows: tiles with at least one firing token [latents].
    """

    tokens: Ints
    windows: Ints


def count(indptr: Ints, positions: NDArray[np.integer], values: NDArray[np.floating], tiles: Tiles) -> Counts:
    """Count over a latent-major CSR, a million entries at a time. Pages of mapped files are let go, so memory does not grow with
    the entries.

    Args:
        indptr: [latents + 1]
        positions: ascending within each latent [nnz].
        values: entries that are not > 0 count as silence [nnz].
        tiles: the tiling of the corpus.
    """
    n = len(indptr) - 1
    tokens, windows = np.zeros(n, dtype=np.int64), np.zeros(n, dtype=np.int64)
    first = 0
    while first < n:
        last = max(int(np.searchsorted(indptr, indptr[first] + CHUNK, side="right")) - 1, first + 1)
        place, value = positions[indptr[first] : indptr[last]], values[indptr[first] : indptr[last]]
        bounds = indptr[first : last + 1] - indptr[first]
        of, fires = tiles.of[place], positive(value)
        if not fires.all():
            bounds, of = _before(fires)[bounds], of[fires]
        # Positions ascend, so entries of one tile stand together; between them stands none of an unused tail.
        new = np.ones(len(of), dtype=np.bool_)
        np.not_equal(of[1:], of[:-1], out=new[1:])
        new[bounds[:-1][bounds[:-1] < len(of)]] = True
        new &= of >= 0
        tokens[first:last], windows[first:last] = np.diff(bounds), np.diff(_before(new)[bounds])
        let_go(place)
        let_go(value)
        first = last
    return Counts(tokens, windows)


def _before(marks: NDArray[np.bool_]) -> Ints:
    """Marks before each place, and all of them [n + 1]."""
    found = np.zeros(len(marks) + 1, dtype=np.int64)
    np.cumsum(marks, out=found[1:])
    return found


@dataclass(frozen=True)
class LatentDraw:
    """The drawn latents of one coder, by index.

    Attributes:
        index: coordinate in the coder, ascending [n].
        stratum: of firing rate, 0 = rarest [n].
        tune: whether the latent is on the tuning side [n].
        qualifying: how many latents there were to draw from.
    """

    index: Ints
    stratum: Ints
    tune: NDArray[np.bool_]
    qualifying: int


def qualify(counts: Counts, min_windows: int, max_windows: int | None) -> NDArray[np.bool_]:
    """Mark the latents that fire in at least, and at most, so many windows [latents]."""
    enough: NDArray[np.bool_] = counts.windows >= max(min_windows, 1)
    return enough if max_windows is None else enough & (counts.windows <= max_windows)


def draw(
    counts: Counts,
    n: int,
    min_windows: int,
    strata: int,
    tune_share: float,
    seed: int,
    coder: str,
    max_windows: int | None = None,
) -> LatentDraw:
    """Draw latents of one coder.

    Args:
        counts: of all its latents.
        n: how many to draw; fewer come back when fewer qualify.
        min_windows: activating windows that qualify a latent.
        strata: equal-count bins of the firing rate per token over the qualifying latents.
        tune_share: share of the drawn latents on the tuning side.
        seed: of the suite.
        coder: name of the coder; two coders never share a draw.
        max_windows: activating windows above which a latent does not qualify, for a suite of rare ones.
    """
    rng = np.random.default_rng(seed_for("draw", seed, coder))
    qualifying = np.flatnonzero(qualify(counts, min_windows, max_windows))
    # A stable sort breaks ties by index.
    by_rate = qualifying[np.argsort(counts.tokens[qualifying], kind="stable")]
    bins = np.array_split(by_rate, strata)
    quota = spread(n, [len(b) for b in bins])
    picks = [rng.choice(b, take, replace=False) for b, take in zip(bins, quota, strict=True)]
    index = np.concatenate(picks)
    stratum = np.repeat(np.arange(strata), quota)
    # Item i is for tuning when the running total i * share passes a whole number: exact in all, even in every stratum.
    steps = np.floor(np.arange(len(index) + 1) * tune_share + 1e-9)
    tune = np.diff(steps) > 0
    order = np.argsort(index)
    return LatentDraw(index[order], stratum[order], tune[order], len(qualifying))


def chosen(
    counts: Counts,
    index: Sequence[int],
    min_windows: int,
    strata: int,
    tune_share: float,
    max_windows: int | None = None,
) -> LatentDraw:
    """The latents that a recipe names, as `draw` would return them; those that do not qualify are left out.

    For suites that must hold the same latents as another one (another corpus, another window length): a draw depends on the
    firing rates, so two such suites would hardly share a latent and could not be compared pair by pair.

    Args:
        counts, min_windows, strata, tune_share, max_windows: as for `draw`.
        index: coordinates in the coder.

    Raises:
        SpecError: a coordinate that the coder does not have.
    """
    wanted = np.unique(np.asarray(index, dtype=np.int64))
    if len(wanted) and not 0 <= wanted[0] <= wanted[-1] < len(counts.windows):
        raise SpecError(f"latents {wanted[0]} to {wanted[-1]} are asked for; the coder has {len(counts.windows)}.")
    kept = wanted[qualify(counts, min_windows, max_windows)[wanted]]
    by_rate = kept[np.argsort(counts.tokens[kept], kind="stable")]
    bins = np.array_split(by_rate, strata)
    stratum = np.repeat(np.arange(strata), [len(b) for b in bins])
    steps = np.floor(np.arange(len(by_rate) + 1) * tune_share + 1e-9)
    order = np.argsort(by_rate)
    return LatentDraw(by_rate[order], stratum[order], (np.diff(steps) > 0)[order], len(kept))
