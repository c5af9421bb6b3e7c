"""Batched generation in which a reply does not depend on what else is in the batch.

Each request has its own torch generator, and draws by inverting its own cumulative distribution with its own uniform numbers.
One generator per batch, as `model.generate` has, hands out different numbers as soon as another row joins or ends earlier.
Rows that have ended leave the batch.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from latentbench.models.engine.engine import Piece
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.shared import SharedPrefixes, Work, batches, check


@dataclass(frozen=True, slots=True)
class Draw:
    """One text to generate.

    Attributes:
        tokens: the prompt.
        max_tokens: new tokens at most.
        temperature: 0 takes the most likely token.
        seed: of the request's own generator.
    """

    tokens: Tokens
    max_tokens: int
    temperature: float
    seed: int


@dataclass(frozen=True, slots=True)
class Drawn:
    """New tokens of one request, without the stop token, and how many prompt tokens were not computed for it."""

    tokens: list[int]
    saved: int


def generate(
    shared: SharedPrefixes,
    draws: Sequence[Draw],
    ends: frozenset[int],
    rows: int,
    cache_bytes: int,
    stop: threading.Event,
) -> list[Drawn]:
    """Generate all texts.

    Args:
        ends: tokens that end a text.
        rows: decoded together at most.
        cache_bytes: memory for their keys and values.
        stop: set when the caller goes away.
    """
    if not draws:
        return []
    sequences, limits = [d.tokens for d in draws], [len(d.tokens) - 1 for d in draws]
    works = shared.compute(shared.plan(sequences, limits), sequences, limits, stop)
    out: list[Drawn] = [Drawn([], w.saved) for w in works]
    room = max(1, cache_bytes // shared.bytes_per_token)
    for together in batches([len(d.tokens) + d.max_tokens for d in draws], room, rows):
        texts = _decode(shared, [draws[i] for i in together], [works[i] for i in together], ends, stop)
        for i, text in zip(together, texts, strict=True):
            out[i].tokens.extend(text)
    return out


@torch.inference_mode()
def _decode(
    shared: SharedPrefixes, draws: Sequence[Draw], works: Sequence[Work], ends: frozenset[int], stop: threading.Event
) -> list[list[int]]:
    engine = shared.engine
    check(stop)
    done = engine.forward([Piece(w.chain, d.tokens[w.start :]) for d, w in zip(draws, works, strict=True)], keep="all")
    last = torch.tensor([len(d.tokens) - w.start - 1 for d, w in zip(draws, works, strict=True)], device=engine.device)
    rows = torch.arange(len(draws), device=engine.device)
    new = torch.arange(done.hidden.shape[1], device=engine.device)[None] <= last[:, None]
    valid = torch.cat([done.past.valid, new], 1)
    position = torch.cat([done.past.position, done.position], 1)
    at = done.position[rows, last]
    hidden, cache = done.hidden[rows, last], done.cache
    uniform, cold, left = _uniforms(draws, engine.device)
    seen = torch.ones(1, 1, 1, dtype=torch.bool, device=engine.device)
    out: list[list[int]] = [[] for _ in draws]
    for step in range(max(d.max_tokens for d in draws)):
        check(stop)
        token = pick(engine.logits(hidden), cold, uniform[:, step])
        ended = [t in ends for t in token.tolist()]
        for row, t, e in zip(rows.tolist(), token.tolist(), ended, strict=True):
            if not e:
                out[row].append(t)
        alive = ~torch.tensor(ended, device=engine.device) & (left > step + 1)
        if not alive.any():
            break
        if not alive.all():
            stay = alive.nonzero().squeeze(-1)
            cache.batch_select_indices(stay)
            rows, token, valid, position, at = rows[stay], token[stay], valid[stay], position[stay], at[stay]
            uniform, cold, left = uniform[stay], cold[stay], left[stay]
        at = at + 1
        mask = engine.mask(valid, position, at[:, None], seen)
        hidden = engine.step(token[:, None], mask, at[:, None], cache)[:, -1]
        valid = torch.cat([valid, torch.ones_like(valid[:, :1])], 1)
        position = torch.cat([position, at[:, None]], 1)
    return out


def _uniforms(draws: Sequence[Draw], device: torch.device) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Per request its uniform numbers [rows, longest], its temperature [rows] and its allowance [rows]."""
    uniform = torch.zeros(len(draws), max(d.max_tokens for d in draws), dtype=torch.float64)
    for row, draw in zip(uniform, draws, strict=True):
        if draw.temperature > 0:
            generator = torch.Generator().manual_seed(draw.seed)
            row[: draw.max_tokens] = torch.rand(draw.max_tokens, generator=generator, dtype=torch.float64)
    temperature = torch.tensor([d.temperature for d in draws])
    left = torch.tensor([d.max_tokens for d in draws])
    return uniform.to(device), temperature.to(device), left.to(device)


def pick(logits: torch.Tensor, temperature: torch.Tensor, uniform: torch.Tensor) -> torch.Tensor:
    """One token per row: the most likely one where the temperature is 0, else the one whose share of the cumulative
    distribution holds the row's uniform number.

    Args:
        logits: float32 [rows, vocabulary].
        temperature, uniform: [rows], uniform in [0, 1).
    """
    best = logits.argmax(-1)
    if not (temperature > 0).any():
        return best
    warm = torch.where(temperature > 0, temperature, torch.ones_like(temperature))
    mass = torch.softmax(logits.double() / warm[:, None], -1).cumsum(-1)
    drawn = torch.searchsorted(mass, (uniform * mass[:, -1])[:, None], right=True).squeeze(-1)
    return torch.where(temperature > 0, drawn.clamp(max=logits.shape[-1] - 1), best)
