"""Shards: what is on disk while a corpus is being run.

An entry (latent, position, value) is packed into one 64-bit integer, so that bringing a shard into latent-major order is one
sort of plain integers, some ten times faster than an argsort and two gathers. A shard is written under another name and then
renamed: a file that exists is complete.

float16 has 40 powers of two. Latents whose largest activation lies beyond them, or so low that their values would fall together,
keep their numbers in float32 beside the table (`wide`) until all shards are there: the largest activation of a latent, and with
it the power of two that it is stored under, is known at the end only. float32 for every entry would be simpler and twice as much.
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

SMALLEST, LARGEST = 2.0**-14, 65504.0
"""Bounds of the numbers that float16 holds in full precision."""

Packed = NDArray[np.int64]
Wide = tuple[NDArray[np.int64], NDArray[np.float32]]
Table = dict[str, NDArray[Any]]


def pack(found: SparseLatents, coder: str) -> tuple[Packed, Wide]:
    """Entries as integers whose order is (latent, position): latent << 40 | row << 16 | bits of the value in float16.

    A value too small for float16 becomes its smallest subnormal (6e-8), so that an active latent stays active, and one too large
    its largest number; what they were is in the second result. Zeros are left out.

    Args:
        found: active latents of one shard; rows count from its first token.
        coder: name, for the message.

    Returns:
        The entries, and latent << 24 | row with the value in float32 of those that float16 does not hold in full precision.

    Raises:
        CoderError: values that are not a number, or infinite.
    """
    values = found.values.float()
    if not bool(values.isfinite().all()):
        bad = ~values.isfinite()
        which = torch.unique(found.latents[bad]).tolist()
        raise CoderError(
            f"coder {coder!r} gives {int(bad.sum())} activations that are NaN or infinite, those of "
            f"{'latent' if len(which) == 1 else f'{len(which)} latents, the first'} {which[0]}. Check its weights, or the "
            "subject's dtype."
        )
    half = values.clamp(-LARGEST, LARGEST).half()
    half = torch.where(
        (half == 0) & (values != 0), torch.copysign(torch.full_like(half, 2.0**-24), values.half()), half
    )
    bits = half.view(torch.int16).long() & 0xFFFF
    place = (found.latents.long() << POSITION_BITS) | found.rows.long()
    outside = (values != 0) & ((values.abs() < SMALLEST) | (values.abs() > LARGEST))
    array: Packed = ((place << VALUE_BITS) | bits)[half != 0].cpu().numpy()
    return array, (place[outside].cpu().numpy(), values[outside].cpu().numpy())


def unpack(packed: Packed, n_latents: int, wide: Wide | None = None) -> Table:
    """Latent-major CSR: `indptr` uint32 [n_latents + 1], `position` uint32 [n] ascending per latent, `value` float16 [n].

    Of latents whose largest value float16 does not hold in full precision, `wide_entry` uint32 and `wide_value` float32 say the
    entries that are something else than `value` says; both are missing where there is none.
    """
    packed = np.sort(packed)
    latents = packed >> (POSITION_BITS + VALUE_BITS)
    table: Table = {
        "indptr": np.searchsorted(latents, np.arange(n_latents + 1)).astype(np.uint32),
        "position": (packed >> VALUE_BITS & (MAX_SHARD_TOKENS - 1)).astype(np.uint32),
        "value": packed.astype(np.uint16).view(np.float16),
    }
    if wide is not None and len(wide[0]):
        place, value = wide
        latent = place >> POSITION_BITS
        largest = np.zeros(n_latents, np.float32)
        np.maximum.at(largest, latents, np.abs(table["value"]).astype(np.float32))
        np.maximum.at(largest, latent, np.abs(value))
        # A latent with an entry in the middle of the range has a largest value there, unless one lies beyond.
        kept = ((largest < SMALLEST) | (largest > LARGEST))[latent]
        if kept.any():
            order = np.argsort(place[kept])
            table["wide_entry"] = np.searchsorted(packed >> VALUE_BITS, place[kept][order]).astype(np.uint32)
            table["wide_value"] = value[kept][order].astype(np.float32)
    return table


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
