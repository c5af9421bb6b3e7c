"""The neurons of an MLP as a coder: the k with the largest absolute activation on each token.

The hookpoint is the input of the MLP's last linear map (`layers.9.mlp.down_proj:in`), where one coordinate is one neuron, and
a neuron's direction is the column of that map which it writes with. Values are absolute activations: gated MLPs are nearly
symmetric around zero, and keeping only positive ones would drop half of what the k largest are. The price is that the sign
is gone, so a neuron coder explains when a neuron is strong, and cannot reconstruct.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import CoderError
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sparse import Kind, SparseLatents, chunks, gathered, top
from latentbench.subject.hooks import site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec


@dataclass(frozen=True, eq=False)
class Neurons:
    """Top-k neurons.

    Attributes:
        name, hookpoint, key, evals: as in `SparseCoder`.
        k: neurons per token.
        w_out: [d_model, n_neurons], the map that the neurons feed, in the subject's dtype.
    """

    name: str
    hookpoint: str
    key: str
    k: int
    w_out: Tensor
    kind: Kind = "neurons"
    evals: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def n_latents(self) -> int:
        """Neurons of the MLP."""
        return int(self.w_out.shape[1])

    @property
    def d_in(self) -> int:
        """Width of the input, which is the number of latents: each coordinate is one."""
        return self.n_latents

    @property
    def d_model(self) -> int:
        """Width of what the MLP writes."""
        return int(self.w_out.shape[0])

    @torch.inference_mode()
    def encode(self, acts: Tensor) -> SparseLatents:
        """The k largest absolute activations of each row [n, n_neurons]; zeros are never active."""
        parts = [top(acts[part].float().abs(), self.k, part.start) for part in chunks(len(acts), self.n_latents)]
        return gathered(parts, len(acts), acts.device)

    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Not possible.

        Raises:
            CoderError: always; the values have no sign.
        """
        raise CoderError(f"coder {self.name!r} keeps absolute activations; without signs it cannot reconstruct.")

    def direction(self, latents: Tensor) -> Tensor:
        """What each neuron writes, [m, d_model]."""
        return self.w_out[:, latents.to(self.w_out.device).long()].T.float()


def load(spec: CoderSpec, loaded: Loaded) -> Neurons:
    """Neurons at the spec's hookpoint.

    Raises:
        CoderError: the hookpoint is not the input of a linear map.
    """
    where = site(loaded, spec.hookpoint or "")
    weight = getattr(where.module, "weight", None)
    if not where.reads_input or not isinstance(weight, Tensor) or weight.ndim != 2:
        raise CoderError(
            f"{spec.hookpoint!r} is not the input of a linear map; neurons are read at, for instance, layers.9.mlp.down_proj:in."
        )
    # GPT-2 keeps its maps the other way round (Conv1D: [in, out]).
    w_out = weight if isinstance(where.module, nn.Linear) else weight.T
    k = spec.k or 0
    key = digest({"coder": "neurons", "k": k, "hookpoint": where.name, "subject": loaded.files.identity})
    return Neurons(spec.name, where.name, key, k, w_out.detach())
