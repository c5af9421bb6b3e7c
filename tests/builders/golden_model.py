"""A tiny language model and a simulator on it whose weights are a formula: no generator, no training, no download.

Weights from a seeded generator would do on one machine; another release of the library may draw other numbers, and the golden
files would then change without a change of the code. The tokenizer has one token for each byte and so nothing to learn.
"""

from __future__ import annotations

from pathlib import Path

import torch
from latentbench.judges.simulator import artifact, lora
from latentbench.judges.simulator.artifact import Calibration, Scaling
from latentbench.judges.simulator.heads import Heads
from latentbench.models.language_model import load
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
WIDTH, LAYERS = 16, 2


def formula(module: torch.nn.Module, scale: float) -> None:
    """Fill every weight with sines of its place; those of one dimension (norms, biases) stay as they are."""
    with torch.no_grad():
        for number, parameter in enumerate(module.parameters()):
            if parameter.dim() > 1:
                place = torch.arange(parameter.numel(), dtype=torch.float64)
                parameter.copy_((scale * torch.sin(1.7 * place + 0.9 * number + 0.001 * place**1.5)).view_as(parameter))


def model_folder(folder: Path) -> str:
    """Write the model and give its folder as a reference."""
    letters = {letter: i for i, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=letters, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(list(SPECIAL))
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=SPECIAL[1], eos_token=SPECIAL[2], pad_token=SPECIAL[0]
    )
    fast.chat_template = (
        "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    fast.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=WIDTH,
        intermediate_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=2,
        num_key_value_heads=1,
        max_position_embeddings=512,
        bos_token_id=fast.bos_token_id,
        eos_token_id=fast.eos_token_id,
        pad_token_id=fast.pad_token_id,
    )
    model = LlamaForCausalLM(config)
    formula(model, 0.4)
    model.save_pretrained(folder)
    return str(folder)


def simulator_folder(folder: Path, base: str) -> str:
    """Write a simulator on the model of another folder, and give its own."""
    folder.mkdir()
    loaded = load(base, dtype="float32", device="cpu")
    lora.attach(loaded.model, 2, 4.0, torch.Generator().manual_seed(0), LAYERS)
    adapter = {
        name: (0.1 * torch.sin(1.3 * torch.arange(value.numel()))).view_as(value).bfloat16().float()
        for name, value in lora.state(loaded.model).items()
    }
    heads = Heads(WIDTH, n_heads=2, ff=8, reach=2)
    formula(heads, 0.5)
    with torch.no_grad():
        for parameter in heads.parameters():
            if parameter.dim() < 2:
                parameter.fill_(0.25)
    calibration = Calibration(window=Scaling(scale=2.0, bias=-0.25), token=Scaling(scale=3.0, bias=0.5))
    artifact.save(folder, base, loaded.files.identity, LAYERS, 2, 4.0, adapter, heads, calibration)
    return str(folder)
