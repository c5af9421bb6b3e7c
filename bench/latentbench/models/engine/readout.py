"""Log-probabilities of wanted tokens at wanted places, with shared prefixes and logits only where something is read.

`choose` and `loglik` differ only in what they read, so both are rows of this one computation: answers are branches of a row, a
continuation is read along the row.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from latentbench.models.engine.engine import Piece
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.shared import SharedPrefixes, Work, batches, check

Ints = np.ndarray[Any, np.dtype[np.int64]]
Floats = np.ndarray[Any, np.dtype[np.float32]]

LOGIT_ROWS = 512
"""Positions whose logits are computed together: 512 x 50 k x 4 bytes is 100 MB."""


@dataclass(frozen=True, slots=True)
class Query:
    """What to read from one sequence.

    Attributes:
        tokens: the sequence.
        first: index of the first token whose output is read; only the tokens before it may be shared.
        at: int64 [m], index in `tokens + branches` of the token whose output is read.
        target: int64 [m], the token whose log-probability is wanted there.
        branches: tokens of alternative endings.
        parents: for each branch, the index in `tokens + branches` of the token before it.
    """

    tokens: Tokens
    first: int
    at: Ints
    target: Ints
    branches: Tokens = ()
    parents: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Readings:
    """Results of `read`, in the order of the rows.

    Attributes:
        logp: per row float32 [m], natural log.
        saved: per row, how many of its tokens were not computed for it.
    """

    logp: list[Floats]
    saved: list[int]


def read(shared: SharedPrefixes, rows: Sequence[Query], segment_bytes: int, stop: threading.Event) -> Readings:
    """Log-probabilities of all rows.

    Args:
        segment_bytes: memory for the keys and values of one call's prefixes; a call that needs more is split.
        stop: set when the caller goes away.
    """
    if not rows:
        return Readings([], [])
    sequences, limits = [r.tokens for r in rows], [r.first for r in rows]
    tree = shared.plan(sequences, limits)
    if len(rows) > 1 and shared.bytes_per_token * sum(len(s.tokens) for s in tree.segments) > segment_bytes:
        return _halves(shared, rows, segment_bytes, stop)
    works = shared.compute(tree, sequences, limits, stop)
    logp: list[Floats] = [np.zeros(0, np.float32)] * len(rows)
    widths = [len(r.tokens) - w.start + len(r.branches) for r, w in zip(rows, works, strict=True)]
    for batch in batches(widths, shared.batch_tokens):
        check(stop)
        for i, values in zip(batch, _batch(shared, [rows[i] for i in batch], [works[i] for i in batch]), strict=True):
            logp[i] = values
    return Readings(logp, [w.saved for w in works])


def _halves(shared: SharedPrefixes, rows: Sequence[Query], segment_bytes: int, stop: threading.Event) -> Readings:
    """Two calls instead of one, cut in sorted order so that most prefixes stay on one side; the outermost is kept anyway."""
    order = sorted(range(len(rows)), key=lambda i: rows[i].tokens)
    logp: list[Floats] = [np.zeros(0, np.float32)] * len(rows)
    saved = [0] * len(rows)
    for part in (order[: len(order) // 2], order[len(order) // 2 :]):
        found = read(shared, [rows[i] for i in part], segment_bytes, stop)
        for k, i in enumerate(part):
            logp[i], saved[i] = found.logp[k], found.saved[k]
    return Readings(logp, saved)


def _batch(shared: SharedPrefixes, rows: Sequence[Query], works: Sequence[Work]) -> list[Floats]:
    pieces = [
        Piece(w.chain, r.tokens[w.start :] + r.branches, tuple(p - w.start for p in r.parents))
        for r, w in zip(rows, works, strict=True)
    ]
    done = shared.engine.forward(pieces)
    width = done.hidden.shape[1]
    flat = np.concatenate([n * width + r.at - w.start for n, (r, w) in enumerate(zip(rows, works, strict=True))])
    target = np.concatenate([r.target for r in rows])
    places, inverse = np.unique(flat, return_inverse=True)
    hidden = done.hidden.reshape(-1, done.hidden.shape[-1])[torch.from_numpy(places).to(done.hidden.device)]
    values = target_logp(shared, hidden, inverse, target)
    return np.split(values, np.cumsum([len(r.at) for r in rows])[:-1])


@torch.inference_mode()
def target_logp(shared: SharedPrefixes, hidden: torch.Tensor, inverse: Ints, target: Ints) -> Floats:
    """log softmax(logits)[inverse, target], with the logits of `LOGIT_ROWS` places in memory at a time.

    Args:
        hidden: [places, d_model].
        inverse: [m], which place.
        target: [m], which token.
    """
    out = np.empty(len(target), np.float32)
    for start in range(0, len(hidden), LOGIT_ROWS):
        inside = np.flatnonzero((inverse >= start) & (inverse < start + LOGIT_ROWS))
        logits = shared.engine.logits(hidden[start : start + LOGIT_ROWS])
        norm = logits.logsumexp(-1)
        rows = torch.from_numpy(inverse[inside] - start).to(logits.device)
        columns = torch.from_numpy(target[inside]).to(logits.device)
        out[inside] = (logits[rows, columns] - norm[rows]).cpu().numpy()
    return out
