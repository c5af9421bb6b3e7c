"""Drawing a latent's windows at a million tokens, against what nobody can leave out: a pass over entries, a sort of maxima.

The bare side looks every entry's window up, takes each window's maximum, sorts these and copies the token ids of as many
windows as the plan asks for. A round draws three hundred latents, each with entries of its own.
"""

from __future__ import annotations

import numpy as np
import pytest
from conftest import Figure
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.sampling import WindowPlan, sample, tile
from numpy.typing import NDArray

TOKENS, CONTEXT, WINDOW, LATENTS = 1 << 20, 256, 32, 300
PLAN = {"explain": 40, "per_decile": 10, "negatives": 100}
ASKED = 240

Latent = tuple[NDArray[np.uint32], NDArray[np.float16]]


def fires(rate: float, seed: int) -> Latent:
    rng = np.random.default_rng(seed)
    positions = np.flatnonzero(rng.random(TOKENS) < rate).astype(np.uint32)
    return positions, rng.exponential(size=len(positions)).astype(np.float16)


def one_pass(latent: Latent, of: NDArray[np.int32], tokens: NDArray[np.int32]) -> int:
    """The bare work; returns something, so that it cannot be left out."""
    positions, values = latent
    tiles = of[positions]
    first = np.flatnonzero(np.diff(tiles, prepend=-1))
    order = np.argsort(np.maximum.reduceat(values.view(np.uint16), first), kind="stable")
    start = tiles[first[order[:ASKED]]] * WINDOW
    dense = np.zeros((len(start), WINDOW), np.float16)
    ids = tokens[start[:, None] + np.arange(WINDOW)]
    return len(dense) + len(ids)


# 32 of 2,304 latents a token is a mean rate of 1.4 %.
@pytest.mark.parametrize(
    ("rate", "centred", "apart"),
    [(0.014, False, False), (0.05, False, False), (0.014, True, False), (0.014, False, True)],
    ids=["usual", "often", "centred", "apart"],
)
def test_drawing_one_latent(figure: Figure, rate: float, centred: bool, apart: bool) -> None:
    tokens = np.random.default_rng(0).integers(0, 50_000, TOKENS).astype(np.int32)
    copies = Copies(tokens, WINDOW) if apart else None
    tiles = tile(np.arange(0, TOKENS + 1, CONTEXT), WINDOW)
    tiles = copies.without_copies(tiles) if copies else tiles
    plan = WindowPlan(sampling="quantile", centred=centred, **PLAN)
    latents = [fires(rate, seed) for seed in range(LATENTS)]

    def drawn(_: int) -> None:
        for latent in latents:
            assert len(sample(*latent, tiles, plan, 1, 2, copies).start) == ASKED

    def bare(_: int) -> None:
        for latent in latents:
            one_pass(latent, tiles.of, tokens)

    said = [
        f"firing on {100 * rate:g} % of 1 M tokens",
        *(["centred"] if centred else []),
        *(["copies kept apart"] if apart else []),
    ]
    figure(
        f"drawing the windows of a latent ({', '.join(said)}) against one pass over its entries and a sort of its maxima",
        own=drawn,
        bare=bare,
        target="> 1,000 latents/s" if apart or not centred else "",
        shown="cost",
        clock="cpu",
        amount=LATENTS,
        unit="latents",
    )
