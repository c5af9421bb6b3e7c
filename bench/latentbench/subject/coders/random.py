"""Random directions as a coder: what an explanation pipeline makes of latents that mean nothing.

Unit-norm Gaussian directions; a token's latents are the k largest positive projections, so firing is as sparse as a TopK
coder's. Projecting raw activations is the obvious way and a poor floor: most of an activation is the mean of all of them, so
the same few directions, those that happen to point along it, would fire on nearly every token and the others never. A
`centre` (the decoder bias of a coder trained at the same hookpoint, which is close to that mean) is subtracted first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from latentbench.kernel.errors import CoderMismatch
from latentbench.kernel.identity import digest
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.folder import weights_file
from latentbench.subject.coders.sparse import Kind, SparseLatents, chunks, decoded, gathered, top
from latentbench.subject.coders.weights import read_weights
from latentbench.subject.hooks import d_in, site

if TYPE_CHECKING:
    from latentbench.subject.coders.coder_spec import CoderSpec


@dataclass(frozen=True, eq=False)
class RandomDirections:
    """Random unit directions.

    Attributes:
        name, hookpoint, key, evals: as in `SparseCoder`.
        k: active latents per token at most.
        directions: [n_latents, d] float32, rows of norm 1.
        centre: [d] float32, subtracted first; zeros if none was given.
    """

    name: str
    hookpoint: str
    key: str
    k: int
    directions: Tensor
    centre: Tensor
    kind: Kind = "random"
    evals: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def n_latents(self) -> int:
        """Width."""
        return int(self.directions.shape[0])

    @property
    def d_in(self) -> int:
        """Width of the input."""
        return int(self.directions.shape[1])

    @property
    def d_model(self) -> int:
        """Width of what it writes, which is that of the input."""
        return self.d_in

    @torch.inference_mode()
    def encode(self, acts: Tensor) -> SparseLatents:
        """The k largest positive projections of each row [n, d]."""
        parts = []
        for part in chunks(len(acts), self.n_latents):
            centred = acts[part].to(self.directions) - self.centre
            parts.append(top(centred @ self.directions.T, self.k, part.start))
        return gathered(parts, len(acts), self.directions.device)

    @torch.inference_mode()
    def decode(self, found: SparseLatents, acts: Tensor | None = None) -> Tensor:
        """Sum of projections along their directions, plus the centre, [n_rows, d]; a poor reconstruction by design."""
        return decoded(found, self.directions) + self.centre

    def direction(self, latents: Tensor) -> Tensor:
        """The directions themselves, [m, d]."""
        return self.directions[latents.to(self.directions.device).long()]


def load(spec: CoderSpec, loaded: Loaded) -> RandomDirections:
    """Directions drawn from the spec's seed, on the CPU whatever the subject's device, so that a seed means one thing.

    Raises:
        CoderError: an unknown hookpoint, or a centre that cannot be read.
        CoderMismatch: a centre of another width.
    """
    from latentbench.subject.coders.coder_files import located
    from latentbench.subject.coders.saelens import WEIGHTS

    where = site(loaded, spec.hookpoint or "").name
    width = d_in(loaded, where)
    n, k = spec.n_latents or 0, spec.k or 0
    drawn = torch.randn(n, width, generator=torch.Generator().manual_seed(spec.seed))
    directions = drawn / drawn.norm(dim=-1, keepdim=True)
    centre = torch.zeros(width)
    if spec.centre is not None:
        path = weights_file(located(spec.centre, "saelens")[0], (WEIGHTS,))
        centre = read_weights(path, ("b_dec",))["b_dec"]
        if len(centre) != width:
            raise CoderMismatch(
                f"coder {spec.name!r}: the centre has width {len(centre)}, but {where} has width {width}."
            )
    key = digest(
        {
            "coder": "random",
            "k": k,
            "n": n,
            "d": width,
            "seed": spec.seed,
            "hookpoint": where,
            "centre": centre.tolist(),
        }
    )
    return RandomDirections(spec.name, where, key, k, directions.to(loaded.device), centre.to(loaded.device))
