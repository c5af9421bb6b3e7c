"""A small recipe over the tiny subject: random directions at layer 1 and neurons at layer 2, and what a test adds."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import SENTENCES


def directions(name: str, hookpoint: str, latents: int) -> dict[str, Any]:
    """A coder of random directions."""
    coder = {"name": name, "format": "random", "hookpoint": hookpoint, "k": 4, "n_latents": 24}
    return {"latents": latents, "coder": coder}


def neurons(latents: int) -> dict[str, Any]:
    """The coder `n` of neurons."""
    coder = {"name": "n", "format": "neurons", "hookpoint": "layers.2.mlp.down_proj:in", "k": 4}
    return {"latents": latents, "coder": coder}


def toy_recipe(
    folder: Path, subject: Path, coders: Sequence[dict[str, Any]], texts: int, explain: int, positives: int
) -> None:
    """Write `corpus.jsonl` and `recipe.yaml` into a folder."""
    rng = random.Random(0)
    words = " ".join(SENTENCES).split()
    with (folder / "corpus.jsonl").open("w", encoding="utf-8") as f:
        for _ in range(texts):
            f.write(json.dumps({"text": " ".join(rng.choice(words) for _ in range(rng.randrange(8, 60)))}) + "\n")
    recipe = {
        "name": "toy",
        "version": "1-0",
        "subject": {"model": str(subject), "dtype": "float32"},
        "corpus": {"kind": "jsonl", "path": "corpus.jsonl"},
        "context": 40,
        "window": 8,
        "min_windows": 30,
        "strata": 2,
        "tune_share": 0.0,
        "explain": {"n": explain},
        "test": {"positives_per_decile": positives, "negatives": 10},
        "coders": list(coders),
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
