"""The activation store on disk: tokens once, and per coder every latent's positions and values, memory-mapped.

    meta.json                  identity, counts, versions; written last, so a store without it is not finished
    identity.json              written first: what the folder is being filled with
    tokens.npy                 int32 [n_tokens], without BOS; an index into it is a corpus position
    contexts.npy               int64 [n_contexts + 1], first position of every context, then n_tokens
    documents.npy              int64 [n_contexts], number of the document
    coders/NAME/indptr.npy     int64 [n_latents + 1]
    coders/NAME/position.npy   uint32 [n], ascending within a latent
    coders/NAME/value.npy      float16 [n]
    coders/NAME/exponent.npy   int16 [n_latents]; only where a latent lies beyond float16: activation = value x 2^exponent

Latent-major, because everything downstream asks "where does this latent fire", never "what fires here".
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import CorruptTable, RunError, UnknownName
from latentbench.kernel.inputs import read_json

EXPONENTS = "exponent.npy"

FORMAT = 1
"""Raised when stores of the older layout can no longer be read."""


@dataclass(frozen=True, slots=True, eq=False)
class CoderTable:
    """The activations of one coder, in CSR form over latents.

    Attributes:
        name: the coder's name.
        key: the coder's identity.
        hookpoint: where the coder reads.
        indptr: int64 [n_latents + 1].
        position: uint32 [n], memory-mapped.
        value: float16 [n], memory-mapped; never 0.
        exponent: int16 [n_latents], or None where all are 0: an activation is its value times 2 to the exponent of its latent.
            The order within a latent is that of its values.
    """

    name: str
    key: str
    hookpoint: str
    indptr: NDArray[np.int64]
    position: NDArray[np.uint32]
    value: NDArray[np.float16]
    exponent: NDArray[np.int16] | None = None

    def power(self, latent: int) -> int:
        """Exponent of the power of two that a latent's values are multiples of."""
        return 0 if self.exponent is None else int(self.exponent[latent])

    @property
    def n_latents(self) -> int:
        """Width of the coder."""
        return len(self.indptr) - 1


class ActivationStore:
    """A finished store; arrays are read-only. Use `open`.

    Attributes:
        path: the folder.
        meta: `meta.json`.
        tokens: int32 [n_tokens].
        contexts: int64 [n_contexts + 1].
        documents: int64 [n_contexts].
        coders: name -> table.
    """

    def __init__(
        self,
        path: Path,
        meta: dict[str, Any],
        tokens: NDArray[np.int32],
        contexts: NDArray[np.int64],
        documents: NDArray[np.int64],
        coders: dict[str, CoderTable],
    ) -> None:
        self.path, self.meta, self.coders = path, meta, coders
        self.tokens, self.contexts, self.documents = tokens, contexts, documents

    @classmethod
    def open(cls, path: Path) -> ActivationStore:
        """Map a store's files and check that they fit each other.

        Raises:
            RunError: no store there, or one that is not finished.
            CorruptTable: a file is missing, truncated, or of another shape than `meta.json` says.
        """
        meta = _read_meta(path)
        try:
            counts, identity, entries = meta["counts"], meta["identity"], meta["entries"]
            if identity["format"] != FORMAT:
                raise RunError(
                    f"{path} has layout {identity['format']}; this version reads {FORMAT}. Collect it again."
                )
            if (bos := identity["bos"]) is not None and type(bos) is not int:
                raise CorruptTable(f"{path / 'meta.json'}: bos is {bos!r}, which is no token. Collect it again.")
            n_tokens, n_contexts = int(counts["tokens"]), int(counts["contexts"])
            expected = {
                name: (int(c["n_latents"]), int(entries[name]), str(c["key"]), str(c["hookpoint"]))
                for name, c in identity["coders"].items()
            }
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            raise CorruptTable(f"{path / 'meta.json'} lacks {e}; it was written by another program.") from e
        coders = {}
        for name, (n_latents, n, key, hookpoint) in expected.items():
            folder = path / "coders" / name
            indptr = _mapped(folder / "indptr.npy", np.int64, n_latents + 1)
            _check_bounds(folder / "indptr.npy", indptr, n)
            position, value = (
                _mapped(folder / "position.npy", np.uint32, n),
                _mapped(folder / "value.npy", np.float16, n),
            )
            scaled = name in meta.get("scaled", ())
            exponent = _mapped(folder / EXPONENTS, np.int16, n_latents) if scaled else None
            coders[name] = CoderTable(name, key, hookpoint, indptr, position, value, exponent)
        contexts = _mapped(path / "contexts.npy", np.int64, n_contexts + 1)
        _check_bounds(path / "contexts.npy", contexts, n_tokens)
        tokens = _mapped(path / "tokens.npy", np.int32, n_tokens)
        return cls(path, meta, tokens, contexts, _mapped(path / "documents.npy", np.int64, n_contexts), coders)

    @property
    def n_tokens(self) -> int:
        """Corpus tokens."""
        return len(self.tokens)

    @property
    def n_contexts(self) -> int:
        """Contexts."""
        return len(self.documents)

    @property
    def bos(self) -> int | None:
        """Token that stood in front of every context in the forward pass."""
        found: int | None = self.meta["identity"]["bos"]
        return found

    def coder(self, name: str) -> CoderTable:
        """The table of a coder.

        Raises:
            UnknownName: the store has none of this name.
        """
        if name not in self.coders:
            raise UnknownName(f"coder of the activation store {self.path}", name, self.coders)
        return self.coders[name]

    def latent(self, coder: str, index: int) -> tuple[NDArray[np.uint32], NDArray[np.float16]]:
        """Where a latent fires and how strongly: (ascending corpus positions, values), views of the files.

        Values are multiples of 2 to `CoderTable.power`.

        Raises:
            UnknownName: no such coder.
            IndexError: no such latent.
        """
        table = self.coder(coder)
        if not 0 <= index < table.n_latents:
            raise IndexError(f"latent {index} of coder {coder!r}, which has {table.n_latents}")
        here = slice(int(table.indptr[index]), int(table.indptr[index + 1]))
        return table.position[here], table.value[here]


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / "meta.json"
    if not file.exists():
        state = "is not finished; run the same command again" if (path / "identity.json").exists() else "does not exist"
        raise RunError(f"the activation store {path} {state}.")
    try:
        meta = read_json(file)
    except (ValueError, OSError) as e:
        raise CorruptTable(f"{file} cannot be read: {e}. Remove {path} and collect it again.") from e
    if not isinstance(meta, dict):
        raise CorruptTable(f"{file} is not a JSON object. Remove {path} and collect it again.")
    return meta


def _mapped(path: Path, dtype: type[np.generic], n: int) -> NDArray[Any]:
    """One array, memory-mapped read-only, as a plain ndarray (slicing a memmap object is several times slower)."""
    try:
        array = np.asarray(np.load(path, mmap_mode="r"))
    except Exception as e:  # the header is a piece of Python that NumPy parses, with all errors that this has
        raise CorruptTable(f"{path} cannot be read: {e}. Remove the store and collect it again.") from e
    if array.dtype != dtype or array.shape != (n,):
        raise CorruptTable(
            f"{path} holds {array.dtype} {list(array.shape)}, meta.json says {np.dtype(dtype)} [{n}]. "
            "Remove the store and collect it again."
        )
    return array


def _check_bounds(path: Path, bounds: NDArray[np.int64], end: int) -> None:
    if bounds[0] != 0 or bounds[-1] != end or bool((np.diff(bounds) < 0).any()):
        raise CorruptTable(f"{path} is not an ascending list from 0 to {end}. Remove the store and collect it again.")
