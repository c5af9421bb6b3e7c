"""Batched sampling from a causal LM with an explicit random generator.

`model.generate` draws from torch's process-wide generator, so a library call elsewhere changes the text (a fault of an
earlier tool that reset the global seed). Here the generator is an argument, rows that have ended leave the batch, and the
repetition penalty sees only the tokens of its own row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class SamplingParams:
    """How the next token is drawn.

    Attributes:
        max_tokens: new tokens per row at most.
        temperature: divides the logits; 0 takes the most likely token.
        top_p: smallest set of most likely tokens whose probability reaches this is kept.
        repetition_penalty: Keskar et al. 2019 (1909.05858): logits of tokens already in the row are divided by this
            where positive and multiplied where negative. 1 leaves them.
    """

    max_tokens: int = 256
    temperature: float = 1.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0


def pick(logits: torch.Tensor, params: SamplingParams, generator: torch.Generator | None) -> torch.Tensor:
    """Draw one token per row. logits [rows, vocab] float32 -> ids [rows]."""
    if params.temperature == 0:
        return logits.argmax(-1)
    probs = torch.softmax(logits / params.temperature, -1)
    if params.top_p >= 1:
        return torch.multinomial(probs, 1, generator=generator).squeeze(-1)
    # The kept set is nearly always inside the 1,024 most likely tokens; sorting 49 k per row would dominate the step.
    top, ids = probs.topk(min(1024, probs.shape[-1]), dim=-1)
    before = top.cumsum(-1) - top
    drawn = torch.multinomial(top.masked_fill(before >= params.top_p, 0.0), 1, generator=generator)
    return ids.gather(-1, drawn).squeeze(-1)


@torch.inference_mode()
def sample(
    model: Any,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    generator: torch.Generator,
    stop: frozenset[int],
    pad: int,
) -> list[list[int]]:
    """New token ids for each prompt, without the stop token.

    Args:
        model: a transformers causal LM.
        prompts: token ids, any lengths; left-padded here.
        generator: on the model's device; the only source of randomness.
        stop: token ids that end a row.
        pad: any valid id; masked out.
    """
    device = next(model.parameters()).device
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[pad] * (width - len(p)) + list(p) for p in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts], device=device)
    seen = torch.zeros(len(prompts), model.config.get_text_config().vocab_size, dtype=torch.bool, device=device)
    seen.scatter_(1, ids, mask.bool())
    rows = torch.arange(len(prompts), device=device)
    out: list[list[int]] = [[] for _ in prompts]
    position = (mask.cumsum(-1) - 1).clamp(min=0)
    cache: Any = None
    for _ in range(params.max_tokens):
        result = model(
            ids, attention_mask=mask, position_ids=position, past_key_values=cache, use_cache=True, logits_to_keep=1
        )
        cache = result.past_key_values
        logits = result.logits[:, -1].float()
        if params.repetition_penalty != 1:
            penalised = torch.where(logits > 0, logits / params.repetition_penalty, logits * params.repetition_penalty)
            logits = torch.where(seen, penalised, logits)
        token = pick(logits, params, generator)
        alive = torch.tensor([t not in stop for t in token.tolist()], device=device)
        for row, t in zip(rows[alive].tolist(), token[alive].tolist(), strict=True):
            out[row].append(t)
        if not alive.any():
            break
        if not alive.all():
            keep = alive.nonzero().squeeze(-1)
            cache.batch_select_indices(keep)
            rows, token, mask, seen = rows[keep], token[keep], mask[keep], seen[keep]
            position = position[keep]
        seen.scatter_(1, token[:, None], True)
        ids = token[:, None]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], 1)
        position = position[:, -1:] + 1
    return out
