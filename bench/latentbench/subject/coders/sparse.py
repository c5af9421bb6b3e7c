"""What a coder is to the rest of the project: activations in, (row, latent, value) triples out.

A dense [tokens, latents] tensor would be the natural return type and is what earlier tools kept: for a million tokens and
65,536 latents that is 262 GB of zeros. So `encode` returns only what is active, and whatever a coder computes on the way is
dense for one chunk of rows at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderError

Kind = Literal["sae", "transcoder", "neurons", "random"]

CHUNK_ENTRIES = 1 << 22
"""Rows x latents computed at a time (16 MB in float32): larger chunks fall out of the processor's cache between two steps."""


@dataclass(frozen=True, slots=True)
class SparseLatents:
    """Active latents of some rows, as coordinates.

    Attributes:
        rows: int64 [nnz], indices into the rows given to `encode`; ascending as `encode` returns them.
        latents: int64 [nnz]; within a row in no particular order.
        values: [nnz], > 0.
        n_rows: rows that were encoded, those without an active latent included; None where that is not known.
    """

    rows: Tensor
    latents: Tensor
    values: Tensor
    n_rows: int | None = None


class SparseCoder(Protocol):
    """Anything that turns a subject's activations at a hookpoint into latents."""

    @property
    def name(self) -> str:
        """What the user calls it; the ids of its latents start with it."""

    @property
    def kind(self) -> Kind:
        """What sort of coder it is."""

    @property
    def hookpoint(self) -> str:
        """Where it reads, as in `latentbench.subject.hooks`."""

    @property
    def n_latents(self) -> int:
        """Width."""

    @property
    def d_in(self) -> int:
        """Width of the activations it takes."""

    @property
    def d_model(self) -> int:
        """Width of its decoder rows."""

    @property
    def key(self) -> str:
        """Content hash of everything that decides its output, 16 hex digits."""

    @property
    def evals(self) -> Mapping[str, float]:
        """Measured quality (fvu, l0, dead, recovered, ...) as recorded beside the weights; empty if nothing is."""

    def encode(self, acts: Tensor) -> SparseLatents:
        """Active latents of activations [n, d_in] of any float dtype, on the coder's device."""

    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Reconstruction [n_rows, d_model], float32. `acts` [n_rows, d_in]: the input, which some coders need again."""

    def direction(self, latents: Tensor) -> Tensor:
        """Decoder rows [m, d_model] in float32 of latents [m]."""


def chunks(n_rows: int, n_latents: int) -> Iterator[slice]:
    """Row slices of at most `CHUNK_ENTRIES` entries."""
    step = max(1, CHUNK_ENTRIES // n_latents)
    for start in range(0, n_rows, step):
        yield slice(start, min(start + step, n_rows))


def gathered(parts: list[tuple[Tensor, Tensor, Tensor]], n_rows: int, device: torch.device) -> SparseLatents:
    """Put the (rows, latents, values) of chunks together."""
    if not parts:
        none = torch.zeros(0, dtype=torch.long, device=device)
        return SparseLatents(none, none, torch.zeros(0, device=device), n_rows)
    rows, latents, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return SparseLatents(rows, latents, values, n_rows)


def top(pre: Tensor, k: int, first_row: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The k largest entries of each row that are positive: (rows, latents, values) of pre-activations [n, n_latents]."""
    values, latents = pre.topk(min(k, pre.shape[-1]), dim=-1, sorted=False)
    # Not a number counts as the largest there is, and would be left out by the comparison below.
    _check_numbers(values, latents)
    active = values > 0
    rows = torch.arange(first_row, first_row + len(pre), device=pre.device)[:, None].expand_as(values)
    return rows[active], latents[active], values[active]


def _check_numbers(values: Tensor, latents: Tensor) -> None:
    """Refuse activations that no order has a place for; a comparison would leave them out in silence.

    Raises:
        CoderError: some are not a number, or infinite.
    """
    bad = values.isnan() | (values == torch.inf)
    if bool(bad.any()):
        which = torch.unique(latents[bad]).tolist()
        raise CoderError(
            f"{int(bad.sum())} activations on {int(bad.any(-1).sum())} of {len(values)} tokens are NaN or infinite, those of "
            f"{'latent' if len(which) == 1 else f'{len(which)} latents, the first'} {which[0]}. A weight of that latent may be "
            "NaN, or the subject's number type too narrow; float32 and bfloat16 have the widest range."
        )


def above(pre: Tensor, threshold: Tensor | float, first_row: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """The entries of each row above a threshold and above zero: (rows, latents, values)."""
    if not bool(pre.sum().isfinite()):
        _check_numbers(pre, torch.arange(pre.shape[-1], device=pre.device).expand_as(pre))
    active = (pre > threshold) & (pre > 0)
    rows, latents = active.nonzero(as_tuple=True)
    return rows + first_row, latents, pre[active]


def decoded(found: SparseLatents, directions: Tensor) -> Tensor:
    """Sum of value x direction per row, [n_rows, d] float32.

    Args:
        found: with `n_rows`; rows ascending.
        directions: [n_latents, d].

    Raises:
        ValueError: `n_rows` is not known.
    """
    if found.n_rows is None:
        raise ValueError("these latents do not say how many rows were encoded; decode what `encode` returned.")
    if not len(found.rows):
        return torch.zeros(found.n_rows, directions.shape[1], device=directions.device)
    starts = torch.searchsorted(found.rows, torch.arange(found.n_rows, device=found.rows.device))
    summed: Tensor = torch.nn.functional.embedding_bag(
        found.latents.long(), directions, starts, mode="sum", per_sample_weights=found.values.to(directions.dtype)
    )
    return summed
