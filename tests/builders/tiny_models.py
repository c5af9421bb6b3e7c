"""Random models of other architectures, two or three blocks wide 32, with the tokenizer of the tiny subject."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from latentbench.models.language_model import Loaded, load

COMMON: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 512,
    "initializer_range": 0.2,
}
EXTRA: dict[str, dict[str, Any]] = {
    "gemma2": {**COMMON, "num_key_value_heads": 2, "head_dim": 6, "sliding_window": 64, "query_pre_attn_scalar": 6},
    "olmo2": {**COMMON, "num_key_value_heads": 2},
    "gpt2": {"n_embd": 32, "n_layer": 3, "n_head": 4, "n_positions": 512, "initializer_range": 0.2},
    "gpt_neox": COMMON,
}
"""Settings per model type; attention of `gemma2` is 24 wide, so that no other place has its width."""


def tiny_model_folder(folder: Path, kind: str, tokenizer: Path, gains: bool = True) -> Path:
    """Write a random model.

    Args:
        folder: made.
        kind: a key of `EXTRA`.
        tokenizer: the folder whose tokenizer it gets.
        gains: the norms have gains and biases of their own, and not 1 and 0.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    shutil.copytree(tokenizer, folder, ignore=shutil.ignore_patterns("*.safetensors", "config.json"))
    fast = AutoTokenizer.from_pretrained(folder)
    ids = {"vocab_size": len(fast), "bos_token_id": fast.bos_token_id, "eos_token_id": fast.eos_token_id}
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = AutoModelForCausalLM.from_config(
            AutoConfig.for_model(kind, **EXTRA[kind], **ids, pad_token_id=fast.pad_token_id)
        )
        if gains:
            for name, value in model.named_parameters():
                if "norm" in name or ".ln_" in name:
                    with torch.no_grad():
                        value.add_(0.3 * torch.randn(value.shape))
    model.save_pretrained(folder)
    return folder


def tiny_model(folder: Path, kind: str, tokenizer: Path, gains: bool = True) -> Loaded:
    """The same, loaded in float32."""
    return load(str(tiny_model_folder(folder, kind, tokenizer, gains)), dtype="float32", device="cpu")
