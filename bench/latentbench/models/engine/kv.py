"""Keys and values of computed prefixes, read by many batches and changed by none: a judge's shared prefixes, steered prompts.

Every layer of every batch concatenates the stored runs with the new keys into a fresh tensor that is dropped when the layer is
done. Handing the library one cache object for several batches would be shorter; its layers are replaced in place by each
forward, so the second batch would see the first one's windows - a fault that an earlier tool had. It would also hold the
expanded prefix of all layers at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from transformers.cache_utils import DynamicLayer

KV = list[tuple[torch.Tensor, torch.Tensor]]
"""Keys and values of one run of tokens, per layer, each [heads, tokens, width]. Never written after it is made."""

Keep = Literal["nothing", "fresh", "all"]


def length(kv: KV) -> int:
    """Tokens of a run."""
    return int(kv[0][0].shape[1])


def head(kv: KV, tokens: int) -> KV:
    """The first tokens of a run; a view."""
    return [(k[:, :tokens], v[:, :tokens]) for k, v in kv]


def join(runs: Sequence[KV]) -> KV:
    """Runs one after the other, as one; a copy if there are several."""
    if len(runs) == 1:
        return runs[0]
    return [(torch.cat([r[n][0] for r in runs], 1), torch.cat([r[n][1] for r in runs], 1)) for n in range(len(runs[0]))]


class Past(Protocol):
    """What the new tokens of a batch stand behind.

    Attributes:
        width: keys of the past per row, padding included.
        valid: bool [rows, width].
        position: int64 [rows, width] of each key; meaningless where not valid.
    """

    width: int
    valid: torch.Tensor
    position: torch.Tensor

    def blocks(self, layer: int, which: int) -> Iterator[torch.Tensor]:
        """Keys (`which` 0) or values (1) of one layer, per block: [rows, heads, width of block, width of head]."""


class ChainedPast:
    """The computed prefixes of a batch, as blocks of runs: one block per depth of the chains, padded on the left.

    Args:
        chains: the runs before each row's new tokens.
        start: position of the first token of the chains.

    Attributes:
        width, valid, position: see `Past`.
    """

    def __init__(self, chains: Sequence[tuple[KV, ...]], device: torch.device, start: int = 0) -> None:
        self._blocks: list[tuple[list[KV | None], torch.Tensor, int]] = []
        starts = np.full(len(chains), start, dtype=np.int64)
        valid, position = [np.zeros((len(chains), 0), dtype=bool)], [np.zeros((len(chains), 0), dtype=np.int64)]
        for depth in range(max((len(c) for c in chains), default=0)):
            distinct: dict[int, tuple[int, KV | None]] = {}
            index = []
            for chain in chains:
                kv = chain[depth] if depth < len(chain) else None
                index.append(distinct.setdefault(id(kv), (len(distinct), kv))[0])
            runs = [kv for _, kv in distinct.values()]
            lengths = np.array([length(kv) if kv else 0 for kv in runs])[index]
            width = int(lengths.max())
            slot = np.arange(width)[None] - (width - lengths)[:, None]
            valid.append(slot >= 0)
            position.append(starts[:, None] + slot)
            starts = starts + lengths
            self._blocks.append((runs, torch.tensor(index, device=device), width))
        self.valid = torch.from_numpy(np.concatenate(valid, 1)).to(device)
        self.position = torch.from_numpy(np.concatenate(position, 1)).to(device)
        self.width = int(self.valid.shape[1])

    def blocks(self, layer: int, which: int) -> Iterator[torch.Tensor]:
        """What `Past` says."""
        for runs, index, width in self._blocks:
            tensors = [kv[layer][which] if kv else None for kv in runs]
            if len(tensors) == 1 and tensors[0] is not None:
                yield tensors[0][None].expand(len(index), -1, -1, -1)
                continue
            like = next(t for t in tensors if t is not None)
            stacked = like.new_zeros(len(tensors), like.shape[0], width, like.shape[2])
            for place, tensor in zip(stacked, tensors, strict=True):
                if tensor is not None:
                    place[:, width - tensor.shape[1] :] = tensor
            yield stacked[index]


class StackedPast:
    """Whole prompts that many batches read, stacked once: one block, padded on the right.

    Args:
        kv: per layer, keys and values [prompts, heads, width, width of head]; never written.
        lengths: int64 [prompts], real tokens of each.
        prompt: int64 [rows], the prompt of each row.

    Attributes:
        width, valid, position: see `Past`.
    """

    def __init__(
        self, kv: Sequence[tuple[torch.Tensor, torch.Tensor]], lengths: torch.Tensor, prompt: torch.Tensor
    ) -> None:
        self._kv, self._prompt = kv, prompt
        self.width = int(kv[0][0].shape[2])
        self.position = torch.arange(self.width, device=lengths.device).expand(len(prompt), -1)
        self.valid = self.position < lengths[prompt][:, None]

    def blocks(self, layer: int, which: int) -> Iterator[torch.Tensor]:
        """What `Past` says."""
        yield self._kv[layer][which][self._prompt]


class Layer(DynamicLayer):  # type: ignore[misc]
    """A transformers cache layer whose past is read from runs.

    Args:
        keep: what stays after the forward pass: `nothing`, the `fresh` keys and values, or `all` to go on decoding.
    """

    def __init__(self, layer: int, past: Past, keep: Keep) -> None:
        super().__init__()
        self._layer, self._past, self._keep = layer, past, keep
        self.is_initialized = False
        self.fresh: tuple[torch.Tensor, torch.Tensor] | None = None

    def get_seq_length(self) -> int:
        """Keys of the past, padding included."""
        return int(self.keys.shape[-2]) if self.is_initialized and self.keys is not None else self._past.width

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Keys and values that the new tokens attend to: past and new, [rows, heads, past + new, width]."""
        if self.is_initialized:
            known: tuple[torch.Tensor, torch.Tensor] = super().update(key_states, value_states)
            return known
        keys, values = key_states, value_states
        if self._past.width:
            keys = torch.cat([*self._past.blocks(self._layer, 0), key_states], 2)
            values = torch.cat([*self._past.blocks(self._layer, 1), value_states], 2)
        if self._keep == "fresh":
            self.fresh = (key_states, value_states)
        elif self._keep == "all":
            self.dtype, self.device = keys.dtype, keys.device
            self.keys, self.values, self.is_initialized = keys, values, True
        return keys, values
