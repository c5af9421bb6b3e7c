"""Shards: what is on disk while a corpus is being run.

An entry (latent, position, value) is packed into one 64-bit integer, so that bringing a shard into latent-major order is one
sort of plain integers, some ten times faster than an argsort and two gathers. A shard is written under another name and then
renamed: a file that exists is complete.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from latentbench.corpora.contexts import Context
from latentbench.kernel.errors import CoderError, CorruptTable
from latentbench.kernel.files import replacing
from latentbench.subject.coders.sparse import SparseLatents

POSITION_BITS, VALUE_BITS = 24, 16
MAX_LATENTS = 1 << (63 - POSITION_BITS - VALUE_BITS)
MAX_SHARD_TOKENS = 1 << POSITION_BITS

Packed = NDArray[np.int64]
Table = dict[str, NDArray[Any]]


def pack(found: SparseLatents, coder: str) -> Packed:
    """Entries as integers whose order is (latent, position): latent << 40 | row << 16 | bits of the value in float16.

    A value too small for float16 becomes its smallest subnormal (6e-8), so that an active latent stays active; zeros are
    left out.

    Args:
        found: active latents of one shard; rows count from its first token.
        coder: name, for the message.

    Raises:
        CoderError: a value beyond float16 (65,504), or not a number.
    """
    values = found.values.float()
    half = values.half()
    if not bool(half.isfinite().all()):
        worst = values[~half.isfinite()][0].item()
        raise CoderError(
            f"coder {coder!r} gives the activation {worst:g}, which float16 cannot hold (largest: 65504). "
            "Scale the coder's encoder down, or check the subject's dtype."
        )
    half = torch.where((half == 0) & (values != 0), torch.copysign(torch.full_like(half, 2.0**-24), half), half)
    bits = half.view(torch.int16).long() & 0xFFFF
    packed = (found.latents.long() << (POSITION_BITS + VALUE_BITS)) | (found.rows.long() << VALUE_BITS) | bits
    array: Packed = packed[half != 0].cpu().numpy()
    return array


def unpack(packed: Packed, n_latents: int) -> Table:
    """Latent-major CSR: `indptr` uint32 [n_latents + 1], `position` uint32 [n] ascending per latent, `value` float16 [n]."""
    packed = np.sort(packed)
    latents = packed >> (POSITION_BITS + VALUE_BITS)
    return {
        "indptr": np.searchsorted(latents, np.arange(n_latents + 1)).astype(np.uint32),
        "position": (packed >> VALUE_BITS & (MAX_SHARD_TOKENS - 1)).astype(np.uint32),
        "value": packed.astype(np.uint16).view(np.float16),
    }


def write_shard(path: Path, contexts: Sequence[Context], tables: Mapping[str, Table]) -> None:
    """Write a shard: its tokens and one table per coder, positions counted from the shard's first token."""
    arrays = _corpus_part(contexts)
    for coder, table in tables.items():
        arrays |= {f"{coder}/{name}": array for name, array in table.items()}
    with replacing(path) as part:
        save_file(arrays, part)


def _corpus_part(contexts: Sequence[Context]) -> Table:
    return {
        "tokens": np.concatenate([c.ids for c in contexts]).astype(np.int32),
        "lengths": np.array([len(c.ids) for c in contexts], dtype=np.int64),
        "documents": np.array([c.document for c in contexts], dtype=np.int64),
    }


def holds(path: Path, contexts: Sequence[Context]) -> bool:
    """Whether a shard is on disk, readable, and of exactly these contexts; anything else is computed again."""
    if not path.exists():
        return False
    try:
        with safe_open(path, framework="np") as f:
            return all(np.array_equal(f.get_tensor(name), array) for name, array in _corpus_part(contexts).items())
    except (SafetensorError, OSError):
        return False


def read_corpus_part(path: Path) -> Table:
    """`tokens`, `lengths` and `documents` of a shard.

    Raises:
        CorruptTable: it cannot be read.
    """
    try:
        with safe_open(path, framework="np") as f:
            return {name: f.get_tensor(name) for name in ("tokens", "lengths", "documents")}
    except (SafetensorError, OSError) as e:
        raise CorruptTable(f"{path} cannot be read: {e}. Delete it and run again.") from e
