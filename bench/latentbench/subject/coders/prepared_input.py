"""A coder whose input is centred or scaled first, because the model that it was trained on was not quite the subject.

TransformerLens can centre the weights that write into the residual stream: for a model with LayerNorm this changes no
output, and takes its own mean away from every activation in the stream. Subtracting that mean here gives the activations of
training exactly. Folding the subtraction into the encoder would save a pass over the rows, but only for coders whose
encoder is a matrix and whose input is not normalised; this wrapper takes any coder.

The reconstruction gets mean and scale back, so it can be put into the subject in the place of its input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from latentbench.kernel.identity import digest
from latentbench.subject.coders.sparse import Kind, SparseCoder, SparseLatents


@dataclass(frozen=True, eq=False)
class PreparedInput:
    """The coder `inner` on (x - mean of x) * factor.

    Attributes:
        inner: what encodes.
        centred: whether each activation's own mean over its width is subtracted.
        factor: what it is multiplied with then.
    """

    inner: SparseCoder
    centred: bool = False
    factor: float = 1.0

    @property
    def name(self) -> str:
        """What the coder says."""
        return self.inner.name

    @property
    def kind(self) -> Kind:
        """What the coder says."""
        return self.inner.kind

    @property
    def hookpoint(self) -> str:
        """What the coder says."""
        return self.inner.hookpoint

    @property
    def n_latents(self) -> int:
        """Width of the coder."""
        return self.inner.n_latents

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return self.inner.d_in

    @property
    def d_model(self) -> int:
        """Width of decoder rows."""
        return self.inner.d_model

    @property
    def evals(self) -> Mapping[str, float]:
        """What the coder records."""
        return self.inner.evals

    @property
    def key(self) -> str:
        """Key of the coder with what is done to its input."""
        return digest([self.inner.key, "centred" if self.centred else "", self.factor])

    def _prepared(self, acts: Tensor) -> tuple[Tensor, Tensor | float]:
        x = acts.float()
        mean = x.mean(-1, keepdim=True) if self.centred else 0.0
        return (x - mean) * self.factor, mean

    @torch.inference_mode()
    def encode(self, acts: Tensor) -> SparseLatents:
        """Active latents of activations [n, d_in]."""
        return self.inner.encode(self._prepared(acts)[0])

    @torch.inference_mode()
    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Reconstruction [n_rows, d_model] on the scale and around the mean of the input.

        Args:
            found: from `encode`.
            acts: its input [n_rows, d_in].

        Raises:
            ValueError: the input is centred and `acts` is missing, or what the coder raises.
        """
        if acts is None:
            if self.centred:
                raise ValueError(f"coder {self.name!r} centres its input: decode needs the activations too.")
            return self.inner.decode(found) / self.factor
        x, mean = self._prepared(acts)
        out = self.inner.decode(found, x) / self.factor
        return out + mean if self.kind in ("sae", "random") else out

    def direction(self, latents: Tensor) -> Tensor:
        """Decoder rows [m, d_model] on the scale of the input."""
        return self.inner.direction(latents) / self.factor
