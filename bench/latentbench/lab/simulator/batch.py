"""Examples as tensors: one row per description, its windows as branches that see the description and not each other.

A row is `prefix | window 1, suffix | window 2, suffix | ...`; each branch stands at the positions that it would have alone. So
the description is paid for once per row, in the forward and in the backward pass, and the hidden states are those of separate
sequences, which is how a judge computes them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from latentbench.judges.simulator.simulator_prompt import prefix_ids, suffix_ids, window_ids
from latentbench.lab.simulator.lessons import Example


@dataclass(frozen=True, slots=True, eq=False)
class EncodedExample:
    """One example as ids.

    Attributes:
        prefix: ids of the description.
        windows: ids of each window with its suffix.
        pieces: of each window, how many ids are the window's own.
        labels: float32 [pieces] of each window: 1 where the piece overlaps a firing token.
        ranges: of each window, the pieces of every token.
        example: where it came from.
    """

    prefix: list[int]
    windows: list[list[int]]
    pieces: list[int]
    labels: list[np.ndarray[Any, np.dtype[np.float32]]]
    ranges: list[list[tuple[int, int]]]
    example: Example

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return len(self.prefix) + sum(len(w) for w in self.windows)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Tensors of several rows.

    Attributes:
        ids, positions: int64 [B, L].
        mask: bool [B, 1, L, L]: who sees whom.
        row, column: int64 [W, P]: where the pieces and suffix of each of W windows stand.
        valid: bool [W, P]: not padding. Suffix pieces are valid.
        last: int64 [W]: place of the last suffix piece.
        own: bool [W, P]: pieces of the window itself.
        labels: float32 [W, P].
        active: float32 [W].
    """

    ids: Tensor
    positions: Tensor
    mask: Tensor
    row: Tensor
    column: Tensor
    valid: Tensor
    last: Tensor
    own: Tensor
    labels: Tensor
    active: Tensor


def encode(tokenizer: Any, example: Example) -> EncodedExample:
    """Tokenise an example for the base."""
    suffix = suffix_ids(tokenizer)
    windows, pieces, labels, all_ranges = [], [], [], []
    for window in example.windows:
        ids, ranges = window_ids(tokenizer, window.tokens)
        own = np.zeros(len(ids), np.float32)
        for (a, b), fires in zip(ranges, window.labels, strict=True):
            if fires:
                own[a:b] = 1
        windows.append(ids + suffix)
        pieces.append(len(ids))
        labels.append(own)
        all_ranges.append(ranges)
    return EncodedExample(prefix_ids(tokenizer, example.description), windows, pieces, labels, all_ranges, example)


def collate(rows: Sequence[EncodedExample], pad: int = 0) -> Batch:
    """Rows of like length as one batch."""
    longest = max(r.length for r in rows)
    ids = np.full((len(rows), longest), pad, np.int64)
    positions = np.zeros((len(rows), longest), np.int64)
    # 0 is padding, 1 the prefix, 2.. the windows.
    segment = np.zeros((len(rows), longest), np.int64)
    spans: list[tuple[int, int, int, int]] = []
    for i, row in enumerate(rows):
        at = len(row.prefix)
        ids[i, :at], positions[i, :at], segment[i, :at] = row.prefix, np.arange(at), 1
        for k, window in enumerate(row.windows):
            end = at + len(window)
            ids[i, at:end], segment[i, at:end] = window, 2 + k
            positions[i, at:end] = len(row.prefix) + np.arange(len(window))
            spans.append((i, at, end, row.pieces[k]))
            at = end
    widest = max(end - at for _, at, end, _ in spans)
    shape = (len(spans), widest)
    row_at, column = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    valid, own = np.zeros(shape, np.bool_), np.zeros(shape, np.bool_)
    labels = np.zeros(shape, np.float32)
    for w, (i, at, end, n) in enumerate(spans):
        row_at[w] = i
        column[w, : end - at] = np.arange(at, end)
        valid[w, : end - at], own[w, :n] = True, True
    flat = [own_labels for row in rows for own_labels in row.labels]
    for w, own_labels in enumerate(flat):
        labels[w, : len(own_labels)] = own_labels
    seg = torch.from_numpy(segment)
    order = torch.arange(longest)
    causal = order[:, None] >= order[None, :]
    same = (seg[:, :, None] == seg[:, None, :]) | (seg[:, None, :] == 1)
    # A pad sees itself, so that no row of the mask is empty.
    mask = (same & causal & (seg[:, None, :] > 0)) | torch.eye(longest, dtype=torch.bool)
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(positions),
        mask[:, None],
        torch.from_numpy(row_at),
        torch.from_numpy(column),
        torch.from_numpy(valid),
        torch.tensor([end - at - 1 for _, at, end, _ in spans]),
        torch.from_numpy(own),
        torch.from_numpy(labels),
        torch.tensor([float(x.any()) for x in flat]),
    )
