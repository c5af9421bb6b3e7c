"""Shards -> the final arrays: one latent-major table per coder, and the corpus' tokens once.

A latent whose largest activation float16 does not hold in full precision is stored as a multiple of the power of two that brings
it to [2^14, 2^15): its order is that of its activations, and `exponent.npy` says the power. All others are stored as they are.

Merging goes through blocks of latents and not through shards. Scattering each shard into the final arrays is simpler, but
touches every page of files of many gigabytes once per shard. A block reads one slice of every shard and is written in one go.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import safe_open

from latentbench.kernel.errors import RunError
from latentbench.subject.activations.activation_store import EXPONENTS
from latentbench.subject.activations.shards import LARGEST, SMALLEST, read_corpus_part
from latentbench.subject.coders.sparse import SparseCoder

BLOCK_ENTRIES = 1 << 23
"""Entries merged at a time: 48 MB of output, and about three times as much while it is put together."""


def merge(out: Path, shards: Sequence[Path], coders: Sequence[SparseCoder]) -> dict[str, int]:
    """Write the tokens, contexts and tables of a store from its shards.

    Args:
        out: the store's folder.
        shards: all of them, in corpus order.
        coders: whose tables the shards hold.

    Returns:
        coder name -> number of entries.

    Raises:
        RunError: more tokens than positions of 32 bits can name.
        CorruptTable: a shard cannot be read.
    """
    out.mkdir(exist_ok=True)
    offsets = _merge_corpus(out, shards)
    entries: dict[str, int] = {}
    for coder in coders:
        folder = out / "coders" / coder.name
        folder.mkdir(parents=True, exist_ok=True)
        indptr = merged_indptr(shards, coder.name, coder.n_latents)
        exponents: list[NDArray[np.int16]] = []
        entries[coder.name] = int(indptr[-1])
        np.save(folder / "indptr.npy", indptr)
        with (
            _Column(folder / "position.npy", np.uint32, entries[coder.name]) as position,
            _Column(folder / "value.npy", np.float16, entries[coder.name]) as value,
        ):
            for positions, values, exponent in merged(shards, offsets, coder.name, indptr):
                position.append(positions)
                value.append(values)
                exponents.append(exponent)
        powers = np.concatenate([*exponents, np.zeros(0, np.int16)])
        if powers.any():
            np.save(folder / EXPONENTS, powers)
        else:
            (folder / EXPONENTS).unlink(missing_ok=True)
    return entries


def _merge_corpus(out: Path, shards: Sequence[Path]) -> list[int]:
    """Write `tokens.npy`, `contexts.npy` and `documents.npy`; the corpus position of each shard's first token."""
    lengths: list[NDArray[np.int64]] = []
    numbers: list[NDArray[np.int64]] = []
    for path in shards:
        part = read_corpus_part(path)
        lengths.append(part["lengths"])
        numbers.append(part["documents"])
    bounds = np.concatenate([[0], np.cumsum(np.concatenate(lengths))])
    if bounds[-1] > np.iinfo(np.uint32).max:
        raise RunError(
            f"{bounds[-1]} tokens are more than positions of 32 bits can name; set max_tokens or split the corpus."
        )
    np.save(out / "contexts.npy", bounds)
    np.save(out / "documents.npy", np.concatenate(numbers))
    with _Column(out / "tokens.npy", np.int32, int(bounds[-1])) as tokens:
        for path in shards:
            tokens.append(read_corpus_part(path)["tokens"])
    firsts = np.cumsum([0, *(len(part) for part in lengths)])[:-1]
    return [int(bounds[first]) for first in firsts]


class _Column:
    """A one-dimensional .npy file of known length, written from front to back."""

    def __init__(self, path: Path, dtype: type[np.generic], n: int) -> None:
        self._file = path.open("wb")
        header = {"descr": np.lib.format.dtype_to_descr(np.dtype(dtype)), "fortran_order": False, "shape": (n,)}
        np.lib.format.write_array_header_1_0(self._file, header)

    def __enter__(self) -> _Column:
        return self

    def __exit__(self, *error: object) -> None:
        self._file.close()

    def append(self, values: NDArray[Any]) -> None:
        """Write the next values."""
        self._file.write(values.data)


def merged_indptr(shards: Sequence[Path], coder: str, n_latents: int) -> NDArray[np.int64]:
    """Start of every latent in the merged table, int64 [n_latents + 1]."""
    counts = np.zeros(n_latents, dtype=np.int64)
    for path in shards:
        with safe_open(path, framework="np") as f:
            counts += np.diff(f.get_tensor(f"{coder}/indptr").astype(np.int64))
    return np.concatenate([[0], np.cumsum(counts)])


def merged(
    shards: Sequence[Path], offsets: Sequence[int], coder: str, indptr: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.uint32], NDArray[np.float16], NDArray[np.int16]]]:
    """The merged table of one coder, in consecutive blocks of whole latents.

    Args:
        shards: in corpus order.
        offsets: corpus position of each shard's first token.
        coder: name.
        indptr: what `merged_indptr` returned.

    Yields:
        (corpus positions, values, exponents): positions ascend within each latent; an activation is its value times 2 to the
        exponent of its latent.
    """
    first, n_latents = 0, len(indptr) - 1
    while first < n_latents:
        last = max(first + 1, int(np.searchsorted(indptr, indptr[first] + BLOCK_ENTRIES, side="right")) - 1)
        size = int(indptr[last] - indptr[first])
        position, value = np.empty(size, np.uint32), np.empty(size, np.float16)
        free = indptr[first:last] - indptr[first]
        wide: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        for path, offset in zip(shards, offsets, strict=True):
            with safe_open(path, framework="np") as f:
                bounds = f.get_slice(f"{coder}/indptr")[first : last + 1].astype(np.int64)
                a, b = int(bounds[0]), int(bounds[-1])
                if a == b:
                    continue
                counts = np.diff(bounds)
                target = np.repeat(free - (bounds[:-1] - a), counts) + np.arange(b - a)
                position[target] = f.get_slice(f"{coder}/position")[a:b] + np.uint32(offset)
                value[target] = f.get_slice(f"{coder}/value")[a:b]
                free = free + counts
                if f"{coder}/wide_entry" in f.keys():  # noqa: SIM118 - no mapping
                    entry = f.get_tensor(f"{coder}/wide_entry").astype(np.int64)
                    here = (entry >= a) & (entry < b)
                    wide.append((target[entry[here] - a], f.get_tensor(f"{coder}/wide_value")[here]))
        yield position, *_scaled(value, wide, indptr[first : last + 1] - indptr[first])
        first = last


def _scaled(
    value: NDArray[np.float16], wide: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]], bounds: NDArray[np.int64]
) -> tuple[NDArray[np.float16], NDArray[np.int16]]:
    """The values of whole latents as they are stored, and the power of two of each latent.

    Args:
        value: [n]
        wide: places in `value` that are something else, and what they are.
        bounds: first place of each latent, and n.
    """
    exponent = np.zeros(len(bounds) - 1, np.int16)
    if not any(len(places) for places, _ in wide):
        return value, exponent
    exact = value.astype(np.float64)
    for places, values in wide:
        exact[places] = values
    held = np.flatnonzero(np.diff(bounds))
    largest = np.maximum.reduceat(np.abs(exact), bounds[held])
    far = (largest < SMALLEST) | (largest > LARGEST)
    exponent[held[far]] = np.frexp(largest[far])[1] - 15
    exact = np.ldexp(exact, -np.repeat(exponent, np.diff(bounds)).astype(np.int32))
    stored = exact.clip(-LARGEST, LARGEST).astype(np.float16)
    lost = stored == 0
    stored[lost] = np.copysign(np.float16(2.0**-24), exact[lost])
    return stored, exponent
