"""The one generation loop: rows go through the model one token per step, and those that have ended leave the batch.

`model.generate` draws from torch's process-wide generator, so a library call elsewhere changes the text (a fault of an earlier
tool that reset the global seed). Here the random numbers are an argument, and there are three ways to hand them out, because
three things must not change a text:

    OwnUniforms       company: a judge's reply is the same whatever else is in its batch
    GumbelNoise       an intervention: rows that share the noise draw the same token wherever their distributions agree
    BatchGenerator    time: the packaged corpus is pinned by a hash, and one generator per batch drew it
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from latentbench.models.engine.engine import Engine
from latentbench.models.engine.kv import ChainedPast


class Randomness(Protocol):
    """Random numbers of a batch, and how they become tokens."""

    def pick(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """One token id per row.

        Args:
            logits: float32 [rows, vocabulary].
            rows: int64 [rows], the place of each row in the batch before any row left it.
            step: tokens drawn before this one.
        """


@dataclass(frozen=True, eq=False)
class OwnUniforms:
    """Each row inverts its own cumulative distribution with its own uniform numbers.

    A generator per batch would hand out different numbers as soon as another row joins or ends earlier.

    Attributes:
        temperature: [rows]; 0 takes the most likely token.
        uniform: float64 [rows, steps], in [0, 1).
    """

    temperature: Tensor
    uniform: Tensor

    @classmethod
    def seeded(
        cls, seeds: Sequence[int], temperatures: Sequence[float], steps: Sequence[int], device: torch.device
    ) -> OwnUniforms:
        """Numbers of rows that each have a seed, a temperature and a number of steps; cold rows need none."""
        uniform = torch.zeros(len(seeds), max(steps), dtype=torch.float64)
        for row, seed, temperature, own in zip(uniform, seeds, temperatures, steps, strict=True):
            if temperature > 0:
                generator = torch.Generator().manual_seed(seed)
                row[:own] = torch.rand(own, generator=generator, dtype=torch.float64)
        return cls(torch.tensor(temperatures).to(device), uniform.to(device))

    def pick(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """What `Randomness` says; the token is the one whose share of the cumulative distribution holds the row's number."""
        best, temperature = logits.argmax(-1), self.temperature[rows]
        if not (temperature > 0).any():
            return best
        warm = torch.where(temperature > 0, temperature, torch.ones_like(temperature))
        mass = torch.softmax(logits.double() / warm[:, None], -1).cumsum(-1)
        place = (self.uniform[rows, step] * mass[:, -1])[:, None]
        drawn = torch.searchsorted(mass, place, right=True).squeeze(-1)
        return torch.where(temperature > 0, drawn.clamp(max=logits.shape[-1] - 1), best)


@dataclass(frozen=True, eq=False)
class GumbelNoise:
    """Rows take the token with the highest sum of log-probability and given noise, which samples at temperature 1.

    Attributes:
        noise: [batches of noise, steps, vocabulary], see `gumbel`; on any device.
        owner: int64 [rows], whose noise each row has; rows that share it are coupled.
    """

    noise: Tensor
    owner: Tensor

    def pick(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """What `Randomness` says."""
        own = self.noise[self.owner[rows].to(self.noise.device), step].to(logits.device)
        return (torch.log_softmax(logits, -1) + own).argmax(-1)


def gumbel(seeds: Sequence[int], steps: int, vocabulary: int) -> Tensor:
    """Gumbel noise [len(seeds), steps, vocabulary] float32, each row from its own seed, drawn on the CPU."""
    rows = []
    for seed in seeds:
        uniform = torch.rand(steps, vocabulary, generator=torch.Generator().manual_seed(seed))
        rows.append(-torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))))
    return torch.stack(rows)


@dataclass(frozen=True)
class SamplingParams:
    """How the next token of a sampled document is drawn.

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


class BatchGenerator:
    """All rows draw from one generator; the repetition penalty sees only the tokens of its own row.

    Args:
        generator: on the model's device; the only source of randomness.
        prompts: token ids per row, which the penalty counts as said.
    """

    def __init__(self, params: SamplingParams, generator: torch.Generator, prompts: Sequence[Sequence[int]]) -> None:
        self._params, self._generator = params, generator
        self._prompts = prompts
        self._said: Tensor | None = None

    def pick(self, logits: Tensor, rows: Tensor, step: int) -> Tensor:
        """What `Randomness` says."""
        penalty = self._params.repetition_penalty
        if penalty == 1:
            return self._draw(logits)
        if self._said is None:
            self._said = torch.zeros(len(self._prompts), logits.shape[-1], dtype=torch.bool, device=logits.device)
            for said, prompt in zip(self._said, self._prompts, strict=True):
                said[list(prompt)] = True
        penalised = torch.where(logits > 0, logits / penalty, logits * penalty)
        token = self._draw(torch.where(self._said[rows], penalised, logits))
        self._said[rows, token] = True
        return token

    def _draw(self, logits: Tensor) -> Tensor:
        if self._params.temperature == 0:
            return logits.argmax(-1)
        probs = torch.softmax(logits / self._params.temperature, -1)
        if self._params.top_p >= 1:
            return torch.multinomial(probs, 1, generator=self._generator).squeeze(-1)
        # The kept set is nearly always inside the 1,024 most likely tokens; sorting 49 k per row would dominate the step.
        top, ids = probs.topk(min(1024, probs.shape[-1]), dim=-1)
        before = top.cumsum(-1) - top
        drawn = torch.multinomial(top.masked_fill(before >= self._params.top_p, 0.0), 1, generator=self._generator)
        return ids.gather(-1, drawn).squeeze(-1)


@dataclass
class Rows:
    """Rows of a batch on their way through the model.

    Attributes:
        engine: the model.
        cache: a transformers cache whose layers keep all, see `kv.Layer`.
        valid: bool [rows, keys], which keys of the cache are real.
        position: int64 [rows, keys] of each key.
        at: int64 [rows], position of the last token.
    """

    engine: Engine
    cache: Any
    valid: Tensor
    position: Tensor
    at: Tensor

    def step(self, token: Tensor) -> Tensor:
        """Hidden states [rows, d_model] after one more token per row [rows]."""
        self.at = self.at + 1
        at = self.at[:, None]
        itself = torch.ones(1, 1, 1, dtype=torch.bool, device=at.device)
        mask = self.engine.mask(self.valid, self.position, at, itself)
        hidden = self.engine.step(token[:, None], mask, at, self.cache)[:, -1]
        self.valid = torch.cat([self.valid, torch.ones_like(at, dtype=torch.bool)], 1)
        self.position = torch.cat([self.position, at], 1)
        return hidden

    def select(self, stay: Tensor) -> None:
        """Drop all rows but some."""
        self.cache.batch_select_indices(stay)
        self.valid, self.position, self.at = self.valid[stay], self.position[stay], self.at[stay]


@torch.inference_mode()
def sample(
    rows: Rows,
    hidden: Tensor,
    randomness: Randomness,
    limits: Sequence[int],
    ends: frozenset[int] = frozenset(),
    check: Callable[[], None] = lambda: None,
) -> list[list[int]]:
    """New token ids of each row, without the one that ended it.

    Args:
        rows: where they stand; used up.
        hidden: [rows, d_model] after their last tokens.
        limits: new tokens at most, per row.
        ends: token ids that end a row.
        check: called before each token; what it raises ends the loop.
    """
    device = hidden.device
    left, number = torch.tensor(limits, device=device), torch.arange(len(limits), device=device)
    out: list[list[int]] = [[] for _ in limits]
    for step in range(max(limits)):
        check()
        token = randomness.pick(rows.engine.logits(hidden), number, step)
        ended = [t in ends for t in token.tolist()]
        for row, t, e in zip(number.tolist(), token.tolist(), ended, strict=True):
            if not e:
                out[row].append(t)
        alive = ~torch.tensor(ended, device=device) & (left > step + 1)
        if not alive.any():
            break
        if not alive.all():
            stay = alive.nonzero().squeeze(-1)
            rows.select(stay)
            token, number, left = token[stay], number[stay], left[stay]
        hidden = rows.step(token)
    return out


@torch.inference_mode()
def sample_prompts(
    engine: Engine,
    prompts: Sequence[Sequence[int]],
    params: SamplingParams,
    generator: torch.Generator,
    ends: frozenset[int],
) -> list[list[int]]:
    """New token ids of prompts that share nothing, all from one generator; see `BatchGenerator`.

    Prompts are padded on the left, where the others of this room are padded on the right: the rounding follows the place of a
    key, and documents that are pinned by a hash were drawn so. A pad sees itself, so that no row of the mask is empty.
    """
    width = max(len(p) for p in prompts)
    ids = torch.tensor([[0] * (width - len(p)) + list(p) for p in prompts], device=engine.device)
    real = torch.tensor([[False] * (width - len(p)) + [True] * len(p) for p in prompts], device=engine.device)
    position = (real.cumsum(-1) - 1).clamp(min=0)
    causal = torch.ones(width, width, dtype=torch.bool, device=engine.device).tril()
    itself = torch.eye(width, dtype=torch.bool, device=engine.device)
    nothing = ChainedPast([()] * len(prompts), engine.device)
    cache = engine.cache(nothing, "all")
    mask = engine.mask(nothing.valid, nothing.position, position, causal & real[:, None] | itself)
    hidden = engine.step(ids, None if bool(real.all()) else mask, position, cache)[:, -1]
    rows = Rows(engine, cache, real, position, position[:, -1])
    return sample(rows, hidden, BatchGenerator(params, generator, prompts), [params.max_tokens] * len(prompts), ends)
