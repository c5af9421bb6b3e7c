"""Contexts -> sparse latents: one pass of the subject, every coder, BOS in and out again.

BOS stands in front of every context in the forward pass, because a subject trained with it behaves differently without it,
and its own activations are dropped, because they are those of an attention sink and would be the top example of many latents.

Contexts are batched by length and padded on the right without an attention mask. Under causal attention no real token can see
what stands to its right, so a mask would change nothing but switch the attention to a slower kernel.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from latentbench.corpora.rows import Tokens
from latentbench.kernel.errors import CoderError, ModelError
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sparse import SparseCoder, SparseLatents, gathered
from latentbench.subject.hooks import Capture

BATCH = 16
"""Contexts per forward pass, unless the caller says otherwise."""


def encode_contexts(
    loaded: Loaded, coders: Sequence[SparseCoder], contexts: Sequence[Tokens], batch: int = BATCH
) -> dict[str, SparseLatents]:
    """Run the subject and the coders on contexts.

    Args:
        loaded: the subject.
        coders: what encodes; all their hookpoints are read in one pass.
        contexts: token ids without BOS, each int [n >= 1].
        batch: contexts per forward pass. Floats depend on it in the last digits.

    Returns:
        coder name -> active latents, sorted by row, then latent. Rows count the tokens of the contexts laid end to end.

    Raises:
        CoderError: an unknown hookpoint, or latents that are NaN or infinite.
        ModelError: the subject's own activations are.
    """
    parts: dict[str, list[SparseLatents]] = {c.name: [] for c in coders}
    with Capture(loaded, hookpoints(coders)) as session:
        for name, found in encoded(session, coders, contexts, batch):
            parts[name].append(found)
    n_rows = sum(len(c) for c in contexts)
    return {c.name: _sorted(parts[c.name], c.n_latents, n_rows, loaded.device) for c in coders}


def hookpoints(coders: Sequence[SparseCoder]) -> list[str]:
    """Each hookpoint once, in the order of the coders."""
    return list(dict.fromkeys(c.hookpoint for c in coders))


def _sorted(parts: list[SparseLatents], n_latents: int, n_rows: int, device: torch.device) -> SparseLatents:
    found = gathered([(p.rows, p.latents, p.values) for p in parts], n_rows, device)
    order = (found.rows * n_latents + found.latents).argsort()
    return SparseLatents(found.rows[order], found.latents[order], found.values[order], n_rows)


def encoded(
    session: Capture, coders: Sequence[SparseCoder], contexts: Sequence[Tokens], batch: int
) -> Iterator[tuple[str, SparseLatents]]:
    """The stream behind `encode_contexts`: parts of one coder at a time, longest contexts first.

    Args:
        session: open, on the hookpoints of the coders.
        coders, contexts, batch: see `encode_contexts`.

    Yields:
        (coder name, active latents), on the subject's device; rows as in `encode_contexts`, in no order.
    """
    lengths = np.array([len(c) for c in contexts], dtype=np.int64)
    starts = np.concatenate([[0], np.cumsum(lengths)])
    order = np.argsort(-lengths, kind="stable")
    for first in range(0, len(order), batch):
        chosen = order[first : first + batch]
        acts, rows = _forward(session, [contexts[i] for i in chosen], starts[chosen])
        for coder in coders:
            yield coder.name, _encode(coder, acts[coder.hookpoint], rows, session.loaded)


def _forward(
    session: Capture, contexts: list[Tokens], starts: NDArray[np.int64]
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """hookpoint -> activations [n, d] of the contexts' tokens, BOS and padding left out; and the row of each, int64 [n]."""
    loaded = session.loaded
    head = 0 if loaded.bos is None else 1
    lengths = np.array([len(c) for c in contexts])
    real = np.arange(lengths.max())[None, :] < lengths[:, None]
    # Padding with 0 is safe whatever token that is: nothing to its left can see it.
    ids = np.zeros((len(contexts), head + lengths.max()), dtype=np.int64)
    if loaded.bos is not None:
        ids[:, 0] = loaded.bos
    ids[:, head:][real] = np.concatenate(contexts)
    found = session.run(torch.from_numpy(ids).to(loaded.device))
    rows = torch.from_numpy((starts[:, None] + np.arange(lengths.max())[None, :])[real]).to(loaded.device)
    if real.all():
        return {name: a[:, head:].flatten(0, 1) for name, a in found.items()}, rows
    keep = torch.from_numpy(real).to(loaded.device)
    return {name: a[:, head:][keep] for name, a in found.items()}, rows


@torch.inference_mode()
def _encode(coder: SparseCoder, acts: torch.Tensor, rows: torch.Tensor, loaded: Loaded) -> SparseLatents:
    if not bool(acts.isfinite().all()):
        tokens = int((~acts.isfinite()).any(-1).sum())
        raise ModelError(
            f"{loaded.files.reference} in {loaded.dtype} gives NaN or infinite activations at {coder.hookpoint} on {tokens} of "
            f"{len(acts)} tokens; no latent can be read there. Load the subject in float32 or bfloat16, or check its weights."
        )
    try:
        found = coder.encode(acts)
    except CoderError as e:
        raise CoderError(f"coder {coder.name!r}: {e}") from e
    return SparseLatents(rows[found.rows], found.latents, found.values)
