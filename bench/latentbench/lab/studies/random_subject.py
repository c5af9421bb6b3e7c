"""A subject with random weights: the architecture and tokenizer of a real one, knowing nothing.

What an explanation pipeline finds in it is structure of the text and of the architecture, not of anything learnt.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from latentbench.kernel.identity import digest, seed_for
from latentbench.models.source import resolve

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.json", "merges.txt")


def random_weights(model: str, seed: int, folder: Path) -> Path:
    """A model folder with random weights, made once.

    Args:
        model: reference whose configuration and tokenizer are taken.
        seed: of the weights.
        folder: where such folders are kept.

    Raises:
        ModelError: the model cannot be had.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    files = resolve(model)
    made = folder / f"random-{digest([files.identity, seed])}"
    if made.exists():
        return made.resolve()
    config = AutoConfig.from_pretrained(files.folder)
    # The initialisation draws from the process-wide generator, which is given back as it was.
    with torch.random.fork_rng():
        # A seed of its own: a subject that was itself initialised from 0, 1, ... must not come out again.
        torch.manual_seed(seed_for("random subject", seed))
        drawn = AutoModelForCausalLM.from_config(config)
    part = made.with_name(made.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    drawn.save_pretrained(part)
    for name in TOKENIZER:
        if (files.folder / name).exists():
            shutil.copy(files.folder / name, part / name)
    part.replace(made)
    return made.resolve()
