"""The stored activations of a suite against a fresh run of subject and coders.

Identities are compared first: with other weights, another coder or other text the numbers differ for a reason that has a name.
Then contexts are cut from the corpus again, a sample of them goes through the subject in batches of another size than in the
build, and every stored window in them is compared token by token.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.corpora.contexts import contexts
from latentbench.corpora.corpus import corpus_identity, documents
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import seed_for
from latentbench.models.language_model import Loaded, load
from latentbench.subject.activations.encode import encode_contexts
from latentbench.subject.coders.coder_spec import load_coder
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.coders.start_token import started
from latentbench.suites.build.suite_recipe import SuiteRecipe, anchored_recipe, load_recipe
from latentbench.suites.store import Suite
from latentbench.suites.stored_columns import flat_list
from latentbench.suites.window_groups import whole

TOLERANCE = {"float32": 2e-3, "float16": 1e-2, "bfloat16": 5e-2}
"""Largest difference from a stored activation, as a share of the latent's largest activation. Stored values are float16 (5e-4
relative); the rest is the subject's arithmetic, whose last digits depend on the batch that a context was in."""

MAX_DISAGREEING = 0.02
"""Share of active tokens that may be off by more: at the edge of a TopK a latent comes and goes with the last digits."""

BATCH = 8


@dataclass(frozen=True)
class ContextCut:
    """A context cut from the corpus again: its number, the corpus position of its first token, and its ids."""

    number: int
    start: int
    ids: NDArray[np.int32]


def compare(suite: Suite, n_contexts: int, base: Path) -> tuple[list[str], str]:
    """Run some contexts again and compare every window in them.

    Args:
        suite: built from a recipe.
        n_contexts: how many contexts to run.
        base: folder with the suite's `recipe.yaml`, where its relative paths start.

    Returns:
        (problems, a line that says what was compared and how far off it was)

    Raises:
        SpecError, DataError, ModelError, CoderError: recipe, corpus, subject or a coder cannot be had.
    """
    if "subject" not in suite.manifest:
        raise DataError(f"{suite.id} was not built from a subject's activations; there is nothing to run again.")
    recipe = anchored_recipe(load_recipe(base / "recipe.yaml"), base.resolve())
    loaded = as_built(load(recipe.subject.model, recipe.subject.dtype, loading=recipe.subject.loading), suite)
    coders = [load_coder(entry.coder, loaded) for entry in recipe.coders]
    named = {entry.coder.name: coder for entry, coder in zip(recipe.coders, coders, strict=True)}
    problems = changed(suite.manifest, loaded, named, corpus_identity(recipe.corpus), loaded.dtype)
    if problems:
        return problems, "subject, coders and corpus are those of the build"
    chosen = _choose(suite, n_contexts)
    cuts = cut_again(recipe, loaded, chosen)
    return _compare(suite, recipe, loaded, coders, cuts)


def as_built(loaded: Loaded, suite: Suite) -> Loaded:
    """The subject with a start token in front of what it reads, or without, as the suite's build had it."""
    return started(loaded, bool(suite.manifest.get("bos", True)), {})


def changed(
    manifest: Mapping[str, Any],
    loaded: Loaded,
    coders: Mapping[str, SparseCoder],
    corpus: str | None = None,
    dtype: str | None = None,
) -> list[str]:
    """What is not as it was when a suite was built, one sentence each.

    Args:
        manifest: of the suite.
        loaded: its subject as it is here.
        coders: by name, those to compare.
        corpus, dtype: identity of the corpus and dtype of the subject here; not compared if None.
    """
    keys = {entry["name"]: entry["key"] for entry in manifest["coders"]}
    pairs = [("subject weights", manifest["subject"]["weights"], loaded.files.identity)]
    if dtype is not None:
        pairs.append(("subject dtype", manifest["subject"]["dtype"], dtype))
    if corpus is not None:
        pairs.append(("corpus", manifest["corpus"]["identity"], corpus))
    pairs += [(f"coder {name}", keys[name], coder.key) for name, coder in coders.items()]
    return [f"{what}: {here} here, {there} in the build" for what, there, here in pairs if here != there]


def _choose(suite: Suite, n: int) -> NDArray[np.int64]:
    """Numbers of the contexts to run, drawn from those that hold windows."""
    held = np.unique(whole(suite.stored, ("context",)).column(0).to_numpy())
    rng = np.random.default_rng(seed_for("verify", suite.digest))
    return np.sort(rng.choice(held, min(n, len(held)), replace=False))


def cut_again(recipe: SuiteRecipe, loaded: Loaded, chosen: NDArray[np.int64]) -> list[ContextCut]:
    """Contexts of the recipe's corpus by number, in corpus order."""
    wanted, last = set(chosen.tolist()), int(chosen.max(initial=-1))
    settings = recipe.contexts
    cuts, start = [], 0
    for number, context in enumerate(
        contexts(documents(recipe.corpus), loaded.tokenizer, settings, recipe.corpus.max_tokens)
    ):
        if number in wanted:
            cuts.append(ContextCut(number, start, context.ids))
        if number >= last:
            break
        start += len(context.ids)
    return cuts


def _compare(
    suite: Suite, recipe: SuiteRecipe, loaded: Loaded, coders: list[SparseCoder], cuts: list[ContextCut]
) -> tuple[list[str], str]:
    found = encode_contexts(loaded, coders, [c.ids for c in cuts], BATCH)
    first = np.concatenate([[0], np.cumsum([len(c.ids) for c in cuts])])
    at = {c.number: (i, c.start) for i, c in enumerate(cuts)}
    tokens = np.concatenate([c.ids for c in cuts])

    table = suite.window_table
    values, bounds = flat_list(table.column("activations"))
    stored = values.to_numpy(zero_copy_only=False).astype(np.float32)
    ids = flat_list(table.column("ids"))[0].to_numpy()
    position, context = (table.column(name).to_numpy() for name in ("position", "context"))
    owner = np.array(table.column("latent").to_pylist())
    here = np.isin(context, list(at))

    problems: list[str] = []
    off, active, windows, worst = 0, 0, 0, 0.0
    limit = TOLERANCE[loaded.dtype]
    scale = dict(zip(*(suite.latent_table.column(c).to_pylist() for c in ("latent", "max_activation")), strict=True))
    powers: Mapping[str, int] = suite.manifest.get("scales", {})
    for coder in coders:
        sparse = found[coder.name]
        rows, latents, numbers = (t.cpu().numpy() for t in (sparse.rows, sparse.latents, sparse.values.float()))
        order = np.lexsort((rows, latents))
        rows, latents, numbers = rows[order], latents[order], numbers[order]
        for index in _indices(suite, coder.name):
            latent = f"{coder.name}/{index}"
            dense = np.zeros(len(tokens), dtype=np.float32)
            mine = slice(*np.searchsorted(latents, [index, index + 1]))
            dense[rows[mine]] = np.ldexp(np.maximum(numbers[mine], 0), -powers.get(latent, 0))
            for w in np.flatnonzero(here & (owner == latent)).tolist():
                i, start = at[int(context[w])]
                row = int(first[i] + position[w] - start)
                span, old = slice(row, row + recipe.window), slice(bounds[w], bounds[w + 1])
                if not np.array_equal(tokens[span], ids[old]):
                    problems.append(f"window {w} of {latent}: the corpus has other tokens there")
                    continue
                gap = np.abs(dense[span] - stored[old]) / scale[latent]
                windows += 1
                active += int(((dense[span] > 0) | (stored[old] > 0)).sum())
                off += int((gap > limit).sum())
                worst = max(worst, float(gap.max()))
    share = off / max(active, 1)
    said = (
        f"activations of {windows} windows in {len(cuts)} contexts run again: {off} of {active} active tokens ({share:.2%}, "
        f"allowed {MAX_DISAGREEING:.0%}) are off by more than {limit:g} of the latent's maximum, at most {worst:.3g}"
    )
    if share > MAX_DISAGREEING:
        problems.append(f"{share:.1%} of the active tokens have another activation than stored")
    return problems, said


def _indices(suite: Suite, coder: str) -> list[int]:
    columns = (suite.latent_table.column(name).to_pylist() for name in ("coder", "index"))
    return [i for c, i in zip(*columns, strict=True) if c == coder]
