"""How well a coder reconstructs: fraction of variance unexplained, active latents per token, dead latents.

Sums are kept in float64 over a whole sample, so the variance is around the sample's mean. Averaging the FVU of batches is
shorter and gives a number that depends on the batch size, because each batch then has a mean of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.subject.coders.sparse import SparseLatents


def fvu(x: Tensor, reconstruction: Tensor) -> float:
    """Fraction of variance unexplained of one batch: sum |x - x'|^2 / sum |x - mean(x)|^2 over rows [n, d]."""
    x, reconstruction = x.detach().double(), reconstruction.detach().double()
    return float((x - reconstruction).square().sum() / (x - x.mean(0)).square().sum())


@dataclass
class Quality:
    """Running sums over batches.

    Args:
        d: width of the activations.
        n_latents: width of the coder.
    """

    d: int
    n_latents: int

    def __post_init__(self) -> None:
        self.rows = 0
        self._sum = torch.zeros(self.d, dtype=torch.float64)
        self._squares = 0.0
        self._error = 0.0
        self._fired = torch.zeros(self.n_latents, dtype=torch.int64)

    def add(self, x: Tensor, found: SparseLatents, reconstruction: Tensor | None) -> None:
        """Count a batch.

        Args:
            x: activations [n, d].
            found: the latents that the coder found on them.
            reconstruction: [n, d]; None for a coder that cannot reconstruct.
        """
        wide = x.double().cpu()
        self.rows += len(wide)
        self._sum += wide.sum(0)
        self._squares += float(wide.square().sum())
        if reconstruction is not None:
            self._error += float((wide - reconstruction.double().cpu()).square().sum())
        self._fired += torch.bincount(found.latents.cpu(), minlength=self.n_latents)

    @property
    def mean(self) -> Tensor:
        """Mean activation, float64 [d]."""
        return self._sum / self.rows

    @property
    def fvu(self) -> float:
        """sum |x - x'|^2 / sum |x - mean|^2 over all rows."""
        return self._error / (self._squares - float(self._sum.square().sum()) / self.rows)

    @property
    def l0(self) -> float:
        """Mean active latents per row."""
        return int(self._fired.sum()) / self.rows

    @property
    def dead(self) -> float:
        """Share of the latents that fired on no row."""
        return float((self._fired == 0).double().mean())
