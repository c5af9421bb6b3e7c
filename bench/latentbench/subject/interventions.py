"""Steered next tokens and texts: one-token forward passes on prompts that are computed once.

An intervention acts on the last prompt token and on every generated token. Everything before the last prompt token is
therefore the clean prompt, whatever is added, so its keys and values are computed once and read by every strength, latent and
text; a strength costs one token per prompt. They are never written: each layer joins them with the keys and values of its own
new tokens for the length of one pass.

Hooking the subject and calling `generate` is shorter, and has been wrong in two ways: a hook that edits position -1 of the
prompt only stops acting once a cache feeds one token at a time (unless it edits that one token, too), and a hook that edits
every position changes the prompt itself. Here each forward pass has exactly one position, and it is edited.

    addition    h + delta * d_f
    ablation    h - a_f(h) * d_f        (encode, set the latent to 0, decode, add back the error)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

from latentbench.kernel.errors import CoderError
from latentbench.models.engine.attention import use_grouped_decode
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
        hookpoint: where, see `writes_at`.
        directions: [rows, d] float32.
        delta: [rows] float32.
    """

    hookpoint: str
    directions: Tensor
    delta: Tensor

    def rows(self, chosen: Tensor) -> Addition:
        """See `Change`."""
        return Addition(self.hookpoint, self.directions[chosen], self.delta[chosen])

    @contextmanager
    def applied(self, loaded: Loaded) -> Iterator[None]:
        """See `Change`."""
        shift = (self.delta[:, None] * self.directions)[:, None]
        with edit(loaded, self.hookpoint, lambda h: (h.float() + shift.to(h.device)).to(h.dtype)):
            yield


@dataclass(frozen=True, eq=False)
class Ablation:
    """h - a_f(h) * direction, per row.

    Attributes:
        coder: that the latents belong to.
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
        """See `Change`."""
        return Ablation(self.coder, self.latents[chosen])

    @contextmanager
    def applied(self, loaded: Loaded) -> Iterator[None]:
        """See `Change`."""
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
class Prompts:
    """Prompts whose tokens but the last are computed, clean.

    Attributes:
        kv: per layer, keys and values [prompts, heads, width, d]; padded on the right, never written.
        before: int64 [prompts], tokens in front of the last one.
        last: int64 [prompts], the last token.
    """

    kv: list[tuple[Tensor, Tensor]]
    before: Tensor
    last: Tensor

    @property
    def width(self) -> int:
        """Positions of `kv`."""
        return int(self.kv[0][0].shape[2])


class _Joined(DynamicLayer):  # type: ignore[misc]
    """A cache layer that reads the prompt of each row from shared tensors and keeps only the row's new tokens."""

    def __init__(self, keys: Tensor, values: Tensor, prompt: Tensor) -> None:
        super().__init__()
        self._shared, self._prompt = (keys, values), prompt
        self._own: tuple[Tensor, Tensor] | None = None

    def get_seq_length(self) -> int:
        """Positions so far."""
        return int(self._shared[0].shape[2]) + (int(self._own[0].shape[2]) if self._own else 0)

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Keys and values that the new token attends to."""
        own = (key_states, value_states)
        if self._own is not None:
            own = (torch.cat([self._own[0], own[0]], 2), torch.cat([self._own[1], own[1]], 2))
        self._own = own
        return (
            torch.cat([self._shared[0][self._prompt], own[0]], 2),
            torch.cat([self._shared[1][self._prompt], own[1]], 2),
        )


@torch.inference_mode()
def prefill(loaded: Loaded, prompts: Sequence[Sequence[int]]) -> Prompts:
    """Compute all tokens of each prompt but the last.

    Args:
        loaded: the subject; a model with SDPA attention is switched to the grouped kernel of `models.engine.attention`.
        prompts: token ids, BOS included where the subject wants one; at least 2 tokens each.

    Raises:
        ValueError: a prompt of fewer than 2 tokens.
    """
    if any(len(p) < 2 for p in prompts):
        raise ValueError("a prompt needs a token in front of the one that is edited.")
    use_grouped_decode(loaded.model)
    before = torch.tensor([len(p) - 1 for p in prompts])
    width = int(before.max())
    order = sorted(range(len(prompts)), key=lambda i: -len(prompts[i]))
    kv: list[tuple[Tensor, Tensor]] = []
    while order:
        longest = len(prompts[order[0]]) - 1
        now, order = order[: max(1, PREFILL_TOKENS // longest)], order[max(1, PREFILL_TOKENS // longest) :]
        # Causal attention: what is padded on the right is seen by no real token, so no mask is needed.
        ids = torch.tensor([[*prompts[i][:-1], *[0] * (longest + 1 - len(prompts[i]))] for i in now])
        cache = loaded.model.base_model(ids.to(loaded.device), use_cache=True).past_key_values
        for n, layer in enumerate(cache.layers):
            if len(kv) == n:
                shape = (len(prompts), layer.keys.shape[1], width, layer.keys.shape[3])
                kv.append((layer.keys.new_zeros(shape), layer.values.new_zeros(*shape[:3], layer.values.shape[3])))
            kv[n][0][now, :, :longest] = layer.keys
            kv[n][1][now, :, :longest] = layer.values
    last = torch.tensor([p[-1] for p in prompts])
    return Prompts(kv, before.to(loaded.device), last.to(loaded.device))


class _Rows:
    """Rows on their way through the subject, one token per call."""

    def __init__(self, loaded: Loaded, prompts: Prompts, prompt: Tensor, change: Change | None) -> None:
        self._loaded, self._change = loaded, change
        self._cache = Cache(layers=[_Joined(k, v, prompt) for k, v in prompts.kv])
        self._position = prompts.before[prompt]
        slots = torch.arange(prompts.width, device=loaded.device)
        self._mask = (slots[None] < self._position[:, None]).long()
        self.first = prompts.last[prompt]

    @torch.inference_mode()
    def step(self, token: Tensor) -> Tensor:
        """Logits [rows, vocabulary] float32 after one more token [rows], which is edited."""
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(token), 1)], 1)
        call = {
            "input_ids": token[:, None],
            "attention_mask": self._mask,
            "position_ids": self._position[:, None],
            "past_key_values": self._cache,
            "use_cache": True,
        }
        if self._change is None:
            out = self._loaded.model(**call)
        else:
            with self._change.applied(self._loaded):
                out = self._loaded.model(**call)
        self._position = self._position + 1
        logits: Tensor = out.logits[:, -1].float()
        return logits


def log_probs(loaded: Loaded, prompts: Prompts, prompt: Tensor, change: Change | None) -> Tensor:
    """log p(next token) [rows, vocabulary], float32, with the last prompt token edited.

    Args:
        loaded: the subject.
        prompts: from `prefill`.
        prompt: int64 [rows], the prompt of each row; a prompt may stand in many rows.
        change: of as many rows; None: clean.
    """
    rows = _Rows(loaded, prompts, prompt, change)
    return torch.log_softmax(rows.step(rows.first), -1)


def kl(clean: Tensor, changed: Tensor) -> Tensor:
    """KL(clean || changed) per row in nats [rows], of log-probabilities [rows, vocabulary]."""
    return (clean.exp() * (clean - changed)).sum(-1)


def gumbel(seeds: Sequence[int], steps: int, vocabulary: int) -> Tensor:
    """Gumbel noise [len(seeds), steps, vocabulary] float32, each row from its own seed, drawn on the CPU.

    Rows that get the same noise are coupled: where their distributions agree they draw the same token.
    """
    rows = []
    for seed in seeds:
        uniform = torch.rand(steps, vocabulary, generator=torch.Generator().manual_seed(seed))
        rows.append(-torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7))))
    return torch.stack(rows)


def continue_texts(loaded: Loaded, prompts: Prompts, prompt: Tensor, change: Change | None, noise: Tensor) -> Tensor:
    """Sample at temperature 1 with given noise; the last prompt token and every sampled token are edited.

    Args:
        loaded, prompts, prompt, change: as in `log_probs`.
        noise: [prompts, new tokens, vocabulary] from `gumbel`, by *prompt*, so that all rows of a prompt share it; prompts
            that stand in no row may be missing at the end.

    Returns:
        Token ids int64 [rows, new tokens]; end tokens are tokens like others.
    """
    rows = _Rows(loaded, prompts, prompt, change)
    token, drawn = rows.first, []
    where = prompt.to(noise.device)
    for step in range(noise.shape[1]):
        token = (torch.log_softmax(rows.step(token), -1) + noise[where, step].to(loaded.device)).argmax(-1)
        drawn.append(token)
    return torch.stack(drawn, 1)
