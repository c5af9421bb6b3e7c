"""The hard negatives of a recipe: which latents' windows, from which activations and embeddings.

What a kind means and how windows are drawn is in `negatives`, as functions on arrays; here stand the recipe, coder and store.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import seed_for
from latentbench.kernel.kinds import DRAWN
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.suites.build.copies import Copies
from latentbench.suites.build.draw import LatentDraw
from latentbench.suites.build.negatives import (
    Embed,
    EmbeddedWindows,
    Firing,
    Floats,
    aligned,
    appended,
    cooccurring,
    explained,
)
from latentbench.suites.build.sampling import Ints, Tiles, WindowSample
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.suites.build.token_strings import TokenStrings


def with_hard(
    recipe: SuiteRecipe,
    firing: Firing,
    coder: SparseCoder,
    drawn: LatentDraw,
    samples: Sequence[WindowSample],
    pool: EmbeddedWindows | None,
    copies: Copies | None = None,
) -> list[WindowSample]:
    """The samples of one coder with the hard negatives that the recipe asks for behind them.

    Args:
        firing: where each latent of the coder fires.
        drawn: the latents of the samples.
        pool: embedded windows, if the recipe asks for `nearest`.
        copies: of the corpus, if the recipe keeps copies apart.
    """
    hard, tiles, latents = recipe.test.hard, firing.tiles, drawn.index.tolist()
    none: list[list[int]] = [[] for _ in latents]
    asked = {kind: int(getattr(hard, kind)) for kind in DRAWN}
    if not any(asked.values()):
        return list(samples)

    def directions(index: Ints) -> Floats:
        rows: Floats = coder.direction(torch.from_numpy(index)).float().cpu().numpy()
        return rows

    fires = np.flatnonzero(np.diff(firing.indptr) > 0)
    others = {
        "neighbour": cooccurring(firing, latents, hard.latents) if hard.neighbour else none,
        "similar": aligned(directions, latents, fires, hard.latents) if hard.similar else none,
    }
    found = []
    for i, (latent, s) in enumerate(zip(latents, samples, strict=True)):
        candidates = {
            kind: np.concatenate([*map(firing.of, lists[i]), []]).astype(int) for kind, lists in others.items()
        }
        candidates["nearest"] = pool.ordered(explained(s)) if pool else tiles.context[:0]
        wanted = [(kind, n, candidates[kind]) for kind, n in asked.items() if n]
        seed = seed_for("hard", recipe.seed, coder.name, latent)
        found.append(appended(s, firing.of(latent), tiles, wanted, seed, copies))
    return found


def embedded(
    recipe: SuiteRecipe, store: ActivationStore, tiles: Tiles, tokenizer: Any, embed: Embed | None
) -> EmbeddedWindows | None:
    """The embedded windows, if the recipe asks for `nearest`.

    Raises:
        SpecError: it does and nobody gave an embedding model.
    """
    if not recipe.test.hard.nearest:
        return None
    if embed is None:
        raise SpecError(f"{recipe.name} asks for `nearest` windows: build it with an embedding model.")
    strings = TokenStrings(tokenizer)

    def text(start: Ints) -> list[str]:
        ids = store.tokens[start[:, None] + np.arange(tiles.window)].tolist()
        return ["".join(tokens) for tokens in strings.of(ids)]

    return EmbeddedWindows(tiles, text, embed, recipe.test.hard.pool, recipe.seed)
