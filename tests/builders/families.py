"""Random subjects of many families, a few thousand weights each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from latentbench.models.language_model import Loaded
from latentbench.models.source import ModelFiles

WIDTH = 16

_PLAIN = {
    "vocab_size": 64,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
_MOE = {"num_experts": 2, "num_local_experts": 2, "num_experts_per_tok": 1, "moe_intermediate_size": 24}
_TEXT = {**_PLAIN, "head_dim": 8}
_LISTS = {
    "vocab_size": 64,
    "n_embd": WIDTH,
    "n_layer": 2,
    "n_head": 2,
    "n_positions": 64,
    "bos_token_id": 0,
    "eos_token_id": 1,
}

FAMILIES: dict[str, dict[str, Any]] = {
    **dict.fromkeys(
        (
            "llama",
            "mistral",
            "qwen2",
            "phi",
            "phi3",
            "stablelm",
            "cohere",
            "cohere2",
            "olmo",
            "olmo2",
            "olmo3",
            "starcoder2",
            "granite",
            "nemotron",
            "persimmon",
            "smollm3",
            "gpt_neox",
            "nanochat",
            "bitnet",
            "exaone4",
            "biogpt",
        ),
        _PLAIN,
    ),
    **{
        name: {**_TEXT, "sliding_window": 16}
        for name in ("gemma", "gemma2", "gemma3_text", "qwen3", "glm", "glm4", "helium")
    },
    **dict.fromkeys(("gpt2", "gpt_bigcode", "openai-gpt"), _LISTS),
    **{name: {**_PLAIN, **_MOE} for name in ("mixtral", "olmoe", "granitemoe", "phimoe")},
    "qwen3_moe": {**_TEXT, **_MOE},
    "gpt_oss": {**_TEXT, **_MOE},
    "gptj": {**_LISTS, "rotary_dim": 4},
    "codegen": {**_LISTS, "n_head": 4, "rotary_dim": 4},
    "gpt_neo": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_layers": 2,
        "num_heads": 2,
        "attention_types": [[["global", "local"], 1]],
        "max_position_embeddings": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "opt": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "ffn_dim": 24,
        "max_position_embeddings": 64,
        "word_embed_proj_dim": WIDTH,
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
    },
    "mpt": {"vocab_size": 64, "d_model": WIDTH, "n_layers": 2, "n_heads": 2, "max_seq_len": 64, "expansion_ratio": 2},
    "falcon": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "alibi": False,
        "multi_query": True,
        "new_decoder_architecture": False,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "bloom": {"vocab_size": 64, "hidden_size": WIDTH, "n_layer": 2, "n_head": 2, "bos_token_id": 0, "eos_token_id": 1},
    "xglm": {
        "vocab_size": 64,
        "d_model": WIDTH,
        "num_layers": 2,
        "attention_heads": 2,
        "ffn_dim": 24,
        "max_position_embeddings": 64,
    },
    "mamba": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "state_size": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "mamba2": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "state_size": 4,
        "num_heads": 4,
        "head_dim": 8,
        "n_groups": 1,
        "chunk_size": 8,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "falcon_mamba": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "state_size": 4,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
    "recurrent_gemma": {**_PLAIN, "lru_width": WIDTH, "attention_window_size": 16, "num_hidden_layers": 3},
    "rwkv": {
        "vocab_size": 64,
        "hidden_size": WIDTH,
        "num_hidden_layers": 2,
        "context_length": 64,
        "bos_token_id": 0,
        "eos_token_id": 1,
    },
}
"""Family, as transformers calls it -> what its configuration says."""


def subject(family: str, tokenizer: Any = None, **changes: Any) -> Loaded:
    """A subject of a family, in memory."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[family](**FAMILIES[family] | changes))
        # Biases and norms start as constants, which would hide a norm that is left out.
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.3 * torch.rand_like(parameter)
    files = ModelFiles(family, Path(), f"random-{family}")
    return Loaded(files, model.eval().requires_grad_(False), tokenizer, "float32", torch.device("cpu"))
