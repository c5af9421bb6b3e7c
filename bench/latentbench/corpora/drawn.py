"""Sampled text on disk: drawn once per (model, recipe, seed, size), then a JSONL file like any other.

The file's name is a hash of everything that was asked for; what it *is* (`corpus_identity`) is a hash of what came out.
"""

from __future__ import annotations

from pathlib import Path

from latentbench.corpora.corpus_spec import OnTokens, SampledCorpus
from latentbench.corpora.sampled import SampledRecipe, write
from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import digest
from latentbench.kernel.tasks import find
from latentbench.models.language_model import load
from latentbench.models.source import cache_dir, resolve

PATIENCE = 20
"""Batches in a row without one usable document after which the model is given up."""


def drawn_file(spec: SampledCorpus, on_tokens: OnTokens | None = None) -> Path:
    """The `.jsonl.gz` file of a sampled corpus, drawing it first if the cache has none.

    Args:
        spec: what to draw.
        on_tokens: called after every batch with the tokens kept so far.

    Raises:
        UnknownName, SpecError: no such recipe, or one that does not fit its schema.
        ModelError: the model cannot be loaded.
        DataError: the model writes nothing but loops, duplicates and fragments.
    """
    path = find("corpora", spec.recipe)
    recipe = validate(SampledRecipe, read_yaml(path), str(path))
    model = resolve(spec.model)
    key = digest([model.identity, spec.dtype, recipe, spec.seed, spec.n_tokens, spec.batch])
    out = cache_dir() / "corpora" / f"sampled-{key}.jsonl.gz"
    if out.exists():
        return out
    drawing = out.with_name(f"drawing-{out.name}")
    last, fruitless = 0, 0
    for total in write(load(spec.model, dtype=spec.dtype), recipe, spec.seed, spec.n_tokens, drawing, spec.batch):
        if on_tokens is not None:
            on_tokens(total)
        fruitless = 0 if total > last else fruitless + 1
        if fruitless == PATIENCE:
            raise DataError(
                f"{spec.model!r} wrote no usable document in {PATIENCE} batches (all too short, looping or repeated). "
                f"Check the recipe {path}: max_tokens, temperature, and enough registers, topics and openings."
            )
        last = total
    drawing.replace(out)
    return out
