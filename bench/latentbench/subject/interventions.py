"""Steered next tokens and texts: one-token forward passes on prompts that are computed once.

An intervention acts on the last prompt token and on every generated token. Everything before the last prompt token is
therefore the clean prompt, whatever is added, so its keys and values are computed once and read by every strength, latent and
text; a strength costs one token per prompt. They are never written: a batch reads them through `models.engine.kv`, as a judge
reads its shared prefixes, and the engine's one loop draws the texts.

Hooking the subject and calling `generate` is shorter, and has been wrong in two ways: a hook that edits position -1 of the
prompt only stops acting once a cache feeds one token at a time (unless it edits that one token, too), and a hook that edits
every position changes the prompt itself. Here each forward pass has exactly one position, and it is edited.

    addition    h + delta * d_f
    ablation    h - a_f(h) * d_f        (encode, set the latent to 0, decode, add back the error)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderError
from latentbench.models.engine.engine import Engine, Piece
from latentbench.models.engine.kv import Keep, StackedPast
from latentbench.models.engine.sampler import GumbelNoise, Rows, sample
from latentbench.models.engine.shared import batches
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import INPUT, edit

PREFILL_TOKENS = 4096
"""Tokens per forward pass while prompts are computed, padding included."""


class Change(Protocol):
    """What is done to the hidden state of each row."""

    def rows(self, chosen: Tensor) -> Change:
        """The change of some rows."""

    def applied(self, loaded: Loaded) -> AbstractContextManager[None]:
        """While open, forward passes of one token per row are changed."""


def writes_at(coder: SparseCoder) -> str:
    """The hookpoint where a latent's direction lives: a coder that reads a module's input and writes elsewhere (neurons,
    transcoders) writes that module's output."""
    return coder.hookpoint.removesuffix(INPUT) if coder.kind in ("neurons", "transcoder") else coder.hookpoint


@dataclass(frozen=True, eq=False)
class Addition:
    """h + delta * direction, per row.

    Attributes:
        hookpoint: where it is added, see `writes_at`.
        directions: [rows, d] float32.
        delta: [rows] float32.
    """

    hookpoint: str
    directions: Tensor
    delta: Tensor

    def rows(self, chosen: Tensor) -> Addition:
        """What `Change` says."""
        return Addition(self.hookpoint, self.directions[chosen], self.delta[chosen])

    @contextmanager
    def applied(self, loaded: Loaded) -> Iterator[None]:
        """What `Change` says."""
        shift = (self.delta[:, None] * self.directions)[:, None]
        with edit(loaded, self.hookpoint, lambda h: (h.float() + shift.to(h.device)).to(h.dtype)):
            yield


@dataclass(frozen=True, eq=False)
class Ablation:
    """h - a_f(h) * direction, per row.

    Attributes:
        coder: the coder that the latents belong to.
        latents: int64 [rows].
    """

    coder: SparseCoder
    latents: Tensor

    def __post_init__(self) -> None:
        if self.coder.kind == "neurons":
            raise CoderError(
                f"coder {self.coder.name!r} keeps absolute activations, so a neuron cannot be set to zero through it; use "
                "addition."
            )

    def rows(self, chosen: Tensor) -> Ablation:
        """What `Change` says."""
        return Ablation(self.coder, self.latents[chosen])

    @contextmanager
    def applied(self, loaded: Loaded) -> Iterator[None]:
        """What `Change` says."""
        seen: list[Tensor] = []

        def read(h: Tensor) -> Tensor:
            seen[:] = [h]
            return h

        def write(h: Tensor) -> Tensor:
            value = self.activation((seen[0] if seen else h)[:, 0])
            removed = value[:, None] * self.coder.direction(self.latents).to(h.device)
            return (h.float() - removed[:, None]).to(h.dtype)

        where = writes_at(self.coder)
        if where == self.coder.hookpoint:
            with edit(loaded, where, write):
                yield
        else:
            with edit(loaded, self.coder.hookpoint, read), edit(loaded, where, write):
                yield

    def activation(self, acts: Tensor) -> Tensor:
        """The row's own latent on each row of activations [rows, d_in], float32 [rows]; 0 where it is silent."""
        found = self.coder.encode(acts)
        mine = found.latents == self.latents.to(found.latents.device)[found.rows]
        value = torch.zeros(len(acts), dtype=torch.float32, device=acts.device)
        value[found.rows[mine]] = found.values[mine].float()
        return value


@dataclass(frozen=True, eq=False)
class PromptCache:
    """Prompts whose tokens but the last are computed, clean.

    Attributes:
        engine: the subject.
        kv: per layer, keys and values [prompts, heads, width, d]; padded on the right, never written.
        before: int64 [prompts], tokens in front of the last one.
        last: int64 [prompts], the last token.
    """

    engine: Engine
    kv: list[tuple[Tensor, Tensor]]
    before: Tensor
    last: Tensor

    def read(self, prompt: Tensor, keep: Keep) -> tuple[Rows, Tensor]:
        """Rows behind prompts [rows], and their hidden states after the last prompt token, which is edited."""
        past = StackedPast(self.kv, self.before, prompt)
        rows = Rows(self.engine, self.engine.cache(past, keep), past.valid, past.position, self.before[prompt] - 1)
        return rows, rows.step(self.last[prompt])


@torch.inference_mode()
def prefill(loaded: Loaded, prompts: Sequence[Sequence[int]]) -> PromptCache:
    """Compute all tokens of each prompt but the last.

    Args:
        loaded: the subject, see `Engine`.
        prompts: token ids, BOS included where the subject wants one; at least 2 tokens each.

    Raises:
        ModelError: the engine does not cover the subject, see `Engine`.
        ValueError: a prompt of fewer than 2 tokens.
    """
    if any(len(p) < 2 for p in prompts):
        raise ValueError("a prompt needs a token in front of the one that is edited.")
    engine = Engine(loaded)
    lengths = [len(p) - 1 for p in prompts]
    kv: list[tuple[Tensor, Tensor]] = []
    for batch in batches(lengths, PREFILL_TOKENS):
        done = engine.forward([Piece((), tuple(prompts[i][:-1])) for i in batch], keep="fresh")
        fresh = [layer.fresh for layer in done.cache.layers]
        if not kv:
            kv = [(_room(k, len(prompts), max(lengths)), _room(v, len(prompts), max(lengths))) for k, v in fresh]
        for whole, part in zip(kv, fresh, strict=True):
            for to, of in zip(whole, part, strict=True):
                to[batch, :, : of.shape[2]] = of
    last = torch.tensor([p[-1] for p in prompts])
    return PromptCache(engine, kv, torch.tensor(lengths).to(loaded.device), last.to(loaded.device))


def _room(like: Tensor, prompts: int, width: int) -> Tensor:
    """Empty keys or values [prompts, heads, width, d]."""
    return like.new_zeros(prompts, like.shape[1], width, like.shape[3])


def log_probs(prompts: PromptCache, prompt: Tensor, change: Change | None) -> Tensor:
    """log p(next token) [rows, vocabulary], float32, with the last prompt token edited.

    Args:
        prompts: from `prefill`.
        prompt: int64 [rows], the prompt of each row; a prompt may stand in many rows.
        change: what is done to as many rows; None leaves them clean.
    """
    with _changed(prompts, change):
        _, hidden = prompts.read(prompt, "nothing")
    return torch.log_softmax(prompts.engine.logits(hidden), -1)


def kl(clean: Tensor, changed: Tensor) -> Tensor:
    """KL(clean || changed) per row in nats [rows], of log-probabilities [rows, vocabulary]."""
    return (clean.exp() * (clean - changed)).sum(-1)


def continue_texts(prompts: PromptCache, prompt: Tensor, change: Change | None, noise: Tensor) -> Tensor:
    """Sample at temperature 1 with given noise; the last prompt token and every sampled token are edited.

    Args:
        prompts, prompt, change: as in `log_probs`.
        noise: [prompts, new tokens, vocabulary] from `sampler.gumbel`, by *prompt*, so that all rows of a prompt share it;
            prompts that stand in no row may be missing at the end.

    Returns:
        Token ids int64 [rows, new tokens]; end tokens are tokens like others.
    """
    with _changed(prompts, change):
        rows, hidden = prompts.read(prompt, "all")
        return torch.tensor(sample(rows, hidden, GumbelNoise(noise, prompt), [noise.shape[1]] * len(prompt)))


def _changed(prompts: PromptCache, change: Change | None) -> AbstractContextManager[None]:
    return nullcontext() if change is None else change.applied(prompts.engine.loaded)
