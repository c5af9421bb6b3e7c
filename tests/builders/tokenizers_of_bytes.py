"""Tokenizers that write rare characters as bytes, each in its family's own way, and text that needs them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, Literal

import torch

from tests.conftest import SENTENCES

TEXTS = {
    "chinese": "大国时代人民中国的河流从山上流下来，经过古老的城市。",
    "arabic": "ينبع النهر من الجبال ويجري بجانب المدينة القديمة ﷽",
    "emoji": "🎉👩‍👩‍👧 🇩🇪 ok 🫠 done ✅🏽",
    "code": "def f(x):\n\treturn {'é': x ** 2}  # naïve — “quoted” …",
}

Family = Literal["gemma", "llama", "gpt2"]


def tokenizer(family: Family) -> Any:
    """A small BPE without pieces for the characters of `TEXTS`.

    Args:
        family: `gemma` and `llama` fall back to bytes, the first without a start token, the second with its rules for the first
            space; `gpt2` is byte-level.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if family == "gpt2":
        made = Tokenizer(models.BPE())
        made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        made.decoder = decoders.ByteLevel()
        special, alphabet = ["<|endoftext|>"], pre_tokenizers.ByteLevel.alphabet()
    else:
        made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
        parts = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
        if family == "llama":
            made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
            parts.append(decoders.Strip(" ", 1, 0))
        else:
            made.normalizer = normalizers.Replace(" ", "▁")
        made.decoder = decoders.Sequence(parts)
        special, alphabet = ["<unk>", "<s>", "</s>", *(f"<0x{i:02X}>" for i in range(256))], ["\n", "\t"]
    made.train_from_iterator(
        SENTENCES, trainers.BpeTrainer(vocab_size=500, special_tokens=special, initial_alphabet=alphabet)
    )
    names = {"gpt2": {"eos_token": "<|endoftext|>"}, "gemma": {"eos_token": "</s>", "unk_token": "<unk>"}}
    names["llama"] = {**names["gemma"], "bos_token": "<s>"}
    if family != "gpt2":
        # Byte tokens are ordinary pieces; the trainer keeps what it is given as special.
        made = Tokenizer.from_str(_plain(made.to_str()))
    return PreTrainedTokenizerFast(tokenizer_object=made, **names[family])


def _plain(text: str) -> str:
    import json

    held = json.loads(text)
    held["added_tokens"] = [t for t in held["added_tokens"] if not t["content"].startswith("<0x")]
    return json.dumps(held)


def subject_folder(folder: Path, family: Family, chat_template: str | None = None) -> Path:
    """A random two-layer Llama with such a tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    made = tokenizer(family)
    made.chat_template = chat_template
    made.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(made),
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=2,
            initializer_range=0.2,
            bos_token_id=made.bos_token_id,
            eos_token_id=made.eos_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def mixed(seed: int, length: int) -> str:
    """Words and scraps of all the texts in a random order."""
    rng = random.Random(seed)
    pool = [scrap for text in TEXTS.values() for scrap in text.split(" ")] + " ".join(SENTENCES).split()
    return " ".join(rng.choice(pool) for _ in range(length))
