"""Generation behind shared prefixes, in which a reply does not depend on what else is in the batch.

The prefixes are computed once a call (`shared`), the texts are drawn by `sampler` with each request's own random numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from latentbench.models.engine.engine import Engine, Pass, Piece
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.sampler import OwnUniforms, Rows, sample
from latentbench.models.engine.shared import SharedPrefixes, Work, batches, check


@dataclass(frozen=True, slots=True)
class Draw:
    """One text to generate.

    Attributes:
        tokens: the prompt.
        max_tokens: new tokens at most.
        temperature: 0 takes the most likely token.
        seed: starts the request's own random numbers.
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
    return continued(
        engine, done, [len(d.tokens) - w.start for d, w in zip(draws, works, strict=True)], draws, ends, stop
    )


@torch.inference_mode()
def continued(
    engine: Engine,
    done: Pass,
    new_tokens: Sequence[int],
    draws: Sequence[Draw],
    ends: frozenset[int],
    stop: threading.Event,
) -> list[list[int]]:
    """Generate behind a pass over prompts that kept all of its keys and values.

    Args:
        done: the pass, a row per draw.
        new_tokens: tokens of each row in it, padding left out.
    """
    last = torch.tensor([n - 1 for n in new_tokens], device=engine.device)
    every = torch.arange(len(draws), device=engine.device)
    new = torch.arange(done.hidden.shape[1], device=engine.device)[None] <= last[:, None]
    rows = Rows(
        engine,
        done.cache,
        torch.cat([done.past.valid, new], 1),
        torch.cat([done.past.position, done.position], 1),
        done.position[every, last],
    )
    limits = [d.max_tokens for d in draws]
    numbers = OwnUniforms.seeded([d.seed for d in draws], [d.temperature for d in draws], limits, engine.device)
    return sample(rows, done.hidden[every, last], numbers, limits, ends, lambda: check(stop))
