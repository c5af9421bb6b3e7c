"""One class for the sparse autoencoders and transcoders that the loaders read: f = activation((x - b_pre) W_enc + b_enc).

TopK, BatchTopK, ReLU, JumpReLU and gated coders differ in one line, the selection, so they are one class with a field, not five
classes. What a format says beyond that (inputs on another scale, a norm's gain in front) is linear and folded into the weights
by its loader: a field for each would have to be kept right in `encode`, `decode` and `direction` at once.
BatchTopK is a threshold here: selecting the top k x n entries of a batch is how it was trained, and as inference it makes a
token's latents depend on which other tokens happen to be in the batch, so no frozen window could be verified
(Bussmann et al. 2024, 2412.06410, section 3.1 uses a threshold for the same reason).

Weights are kept in float32 whatever the file holds. bfloat16 products are three times as fast, but move a pre-activation by
up to 1 part in 256, which changes which latent is the 32nd; next to the subject's forward pass the float32 product is small.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor

from latentbench.subject.coders.sparse import Kind, SparseLatents, above, chunks, decoded, gathered, top

Activation = Literal["topk", "groupmax", "batchtopk", "relu", "jumprelu", "gated"]
Normalise = Literal["none", "layer_norm", "constant_norm_rescale"]
EPS = 1e-5


@dataclass(frozen=True, eq=False)
class Gate:
    """What decides in a gated coder which latents are active: f = 1[u + bias > 0] relu(scale u + b_enc), u = (x - b_pre) W_enc.

    Attributes:
        bias: [n_latents].
        scale: [n_latents], > 0; files hold its logarithm.
    """

    bias: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class Glu:
    """A second encoder whose sigmoid multiplies the pre-activations of the first.

    Attributes:
        weight: [n_latents, d_in].
        bias: [n_latents].
    """

    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, eq=False)
class Sae:
    """A sparse autoencoder, or a transcoder when it reads one place and writes another.

    Attributes:
        name, kind, hookpoint, key, evals: as in `SparseCoder`.
        activation: how active latents are selected. `topk`: the k largest of a token, if positive; `groupmax`: the largest of
            each of k equal groups, if positive; `relu`: the positive ones; `jumprelu`, `batchtopk`: those above `threshold`;
            `gated`: those that `gate` lets through, if positive.
        w_enc: [n_latents, d_in] float32.
        b_enc: [n_latents].
        w_dec: [n_latents, d_model].
        b_dec: [d_model].
        k: active latents per token, where the kind is `topk` or `groupmax`.
        threshold: [n_latents] or [1], for `jumprelu` and `batchtopk`.
        b_pre: [d_in], subtracted from the input; None if nothing is.
        normalise: per-token scaling of the input before `b_pre`, undone after decoding. `layer_norm`: centred, divided by
            the standard deviation (n - 1) + 1e-5; `constant_norm_rescale`: scaled to norm sqrt(d_in).
        w_skip: [d_model, d_in], a linear path from input to output (skip transcoders); None if there is none.
        gate: for `gated`.
        glu: a second encoder, where there is one.
        gain: [n_latents], > 0; active latents are selected by pre-activation x gain, and values are without it. None: by the
            pre-activation itself.
    """

    name: str
    kind: Kind
    hookpoint: str
    key: str
    activation: Activation
    w_enc: Tensor
    b_enc: Tensor
    w_dec: Tensor
    b_dec: Tensor
    k: int | None = None
    threshold: Tensor | None = None
    b_pre: Tensor | None = None
    normalise: Normalise = "none"
    w_skip: Tensor | None = None
    gate: Gate | None = None
    glu: Glu | None = None
    gain: Tensor | None = None
    evals: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def n_latents(self) -> int:
        """Width."""
        return int(self.w_enc.shape[0])

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return int(self.w_enc.shape[1])

    @property
    def d_model(self) -> int:
        """Width of decoder rows."""
        return int(self.w_dec.shape[1])

    @torch.inference_mode()
    def encode(self, acts: Tensor) -> SparseLatents:
        """Active latents of activations [n, d_in]."""
        parts = [self._active(acts[part], part.start) for part in chunks(len(acts), self.n_latents)]
        return gathered(parts, len(acts), self.w_enc.device)

    def _active(self, acts: Tensor, first_row: int) -> tuple[Tensor, Tensor, Tensor]:
        x, _, _ = self._normalised(acts.to(self.w_enc))
        if self.b_pre is not None:
            x = x - self.b_pre
        if self.gate is not None:
            u = torch.nn.functional.linear(x, self.w_enc)
            return above((u * self.gate.scale + self.b_enc).masked_fill(u + self.gate.bias <= 0, 0.0), 0.0, first_row)
        pre = torch.nn.functional.linear(x, self.w_enc, self.b_enc)
        if self.glu is not None:
            pre = pre * torch.nn.functional.linear(x, self.glu.weight, self.glu.bias).sigmoid()
        if self.gain is None:
            return self._selected(pre, first_row)
        rows, latents, values = self._selected(pre * self.gain, first_row)
        return rows, latents, values / self.gain[latents]

    def _selected(self, pre: Tensor, first_row: int) -> tuple[Tensor, Tensor, Tensor]:
        if self.activation == "relu":
            return above(pre, 0.0, first_row)
        if self.threshold is not None:
            return above(pre, self.threshold, first_row)
        assert self.k is not None
        if self.activation == "groupmax":
            values, offsets = pre.reshape(len(pre), self.k, -1).max(dim=-1)
            group = torch.arange(self.k, device=pre.device) * (self.n_latents // self.k)
            active = values > 0
            rows = torch.arange(first_row, first_row + len(pre), device=pre.device)[:, None].expand_as(values)
            return rows[active], (offsets + group)[active], values[active]
        return top(pre, self.k, first_row)

    def _normalised(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """(scaled input, scale per row, centre per row); scale and centre undo it."""
        if self.normalise == "layer_norm":
            centre = x.mean(-1, keepdim=True)
            scale = (x - centre).std(-1, keepdim=True)
            return (x - centre) / (scale + EPS), scale, centre
        if self.normalise == "constant_norm_rescale":
            scale = x.norm(dim=-1, keepdim=True) / x.shape[-1] ** 0.5
            return x / scale, scale, None
        return x, None, None

    @torch.inference_mode()
    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Reconstruction [n_rows, d_model], float32.

        Args:
            found: from `encode`.
            acts: its input [n_rows, d_in]; needed by a coder that normalises each token or has a skip path.

        Raises:
            ValueError: `acts` is needed and missing, or `found` does not know its number of rows.
        """
        out = decoded(found, self.w_dec) + self.b_dec
        if self.normalise == "none" and self.w_skip is None:
            return out
        if acts is None:
            raise ValueError(
                f"coder {self.name!r} scales each token or has a skip path: decode needs the activations too."
            )
        x = acts.to(self.w_enc)
        _, scale, centre = self._normalised(x)
        if self.w_skip is not None:
            out = out + x @ self.w_skip.T
        if scale is not None:
            out = out * scale
        return out if centre is None else out + centre

    def direction(self, latents: Tensor) -> Tensor:
        """Decoder rows [m, d_model]."""
        return self.w_dec[latents.to(self.w_dec.device).long()]
