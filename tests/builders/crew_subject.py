"""A tiny subject with a coder of random directions, as a worker of a cluster loads it: by a function of a module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from latentbench.models.language_model import Loaded, load
from latentbench.subject.coders.sparse import SparseLatents, top


@dataclass(frozen=True)
class Directions:
    """The three strongest of 40 random directions."""

    name: str = "directions"
    hookpoint: str = "layers.2"
    n_latents: int = 40
    d_in: int = 32
    d_model: int = 32
    kind: str = "sae"
    key: str = "directions-40"
    evals: Mapping[str, float] = field(default_factory=dict)

    def encode(self, acts: torch.Tensor) -> SparseLatents:
        weights = torch.randn(self.n_latents, self.d_in, generator=torch.Generator().manual_seed(5))
        return SparseLatents(*top(acts.float() @ weights.T, 3), len(acts))


def subject_of(folder: str) -> tuple[Loaded, list[Directions]]:
    """The subject in a folder, and its coder."""
    return load(folder, dtype="float32", device="cpu"), [Directions()]
