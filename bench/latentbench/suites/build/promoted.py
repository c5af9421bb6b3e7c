"""The tokens that a decoder direction promotes and suppresses through the unembedding: the logit lens on a direction.

    effect(d) = W_U (norm(d) - norm(0))

`norm` is the subject's own final norm, so its weight is folded in whatever its form (Llama's w, Gemma's 1 + w, a LayerNorm's
centring), and subtracting norm(0) removes a LayerNorm's bias, which is no effect of d. The norm's scale is a positive factor
that does not change the order. Writing `W_U @ d` is shorter and ranks other tokens: the final norm's weights of small models
vary by an order of magnitude between coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from latentbench.models.language_model import Loaded
from latentbench.subject.unembedding import Unembedding, unembedding

ROWS = 1 << 14


@dataclass(frozen=True)
class Effects:
    """Token ids by effect on the logits.

    Attributes:
        promoted: largest first [m, k].
        suppressed: most negative first [m, k].
    """

    promoted: list[list[int]]
    suppressed: list[list[int]]

    @classmethod
    def none(cls, n: int) -> Effects:
        """Empty lists for `n` directions whose effect is not known."""
        return cls([[] for _ in range(n)], [[] for _ in range(n)])


@torch.inference_mode()
def promoted(loaded: Loaded, directions: torch.Tensor, k: int = 10, lens: Unembedding | None = None) -> Effects:
    """Top tokens of each direction, computed in float32 over blocks of the vocabulary.

    Args:
        loaded: the subject.
        directions: decoder rows [m, d]; their length does not matter.
        k: tokens on each side.
        lens: the subject's, as `unembedding` finds it; found here if None and k > 0.

    Returns:
        Lists of k ids each; empty ones for directions of another width than the residual stream, which write elsewhere.

    Raises:
        ModelError: as in `unembedding`.
    """
    if directions.shape[-1] != loaded.d_model or not k:
        return Effects.none(len(directions))
    lens = lens or unembedding(loaded)
    # Rows beyond the tokenizer are padding of the matrix and name no token.
    weight = lens.weight[: len(loaded.tokenizer)]
    rows = directions.to(weight.device, torch.float32)
    rows = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) * rows.shape[-1] ** 0.5
    seen = _normed(lens.norm, rows) - _normed(lens.norm, torch.zeros_like(rows[:1]))
    k = min(k, len(weight))
    best: list[tuple[torch.Tensor, torch.Tensor]] = []
    for sign in (1.0, -1.0):
        values, ids = [], []
        for at in range(0, len(weight), ROWS):
            block = sign * (seen @ weight[at : at + ROWS].float().T)
            top = block.topk(min(k, block.shape[-1]), dim=-1)
            values.append(top.values)
            ids.append(top.indices + at)
        best.append((torch.cat(values, -1), torch.cat(ids, -1)))
    promoted_ids, suppressed_ids = (ids.gather(-1, v.topk(k, dim=-1).indices).tolist() for v, ids in best)
    return Effects(promoted_ids, suppressed_ids)


def _normed(norm: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Apply a norm in float32, where it lies, without changing the module that others use."""
    parameters = {name: p.float() for name, p in norm.named_parameters()}
    where = next(iter(parameters.values()), rows).device
    out: torch.Tensor = torch.func.functional_call(norm, parameters, (rows.to(where),))
    return out.to(rows.device, torch.float32)
