"""The tokens that a decoder direction promotes and suppresses through the unembedding: the logit lens on a direction.

    effect(d) = W_U (norm(d) - norm(0))

`norm` is the subject's own final norm, so its weight is folded in whatever its form (Llama's w, Gemma's 1 + w, a LayerNorm's
centring), and subtracting norm(0) removes a LayerNorm's bias, which is no effect of d. The norm's scale is a positive factor
that does not change the order. Writing `W_U @ d` is shorter and ranks other tokens: the final norm's weights of small models
vary by an order of magnitude between coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from latentbench.kernel.errors import ModelError
from latentbench.models.language_model import Loaded

# Where the families of transformers keep their final norm, relative to the base model.
FINAL_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "language_model.norm")
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


def final_norm(model: Any) -> torch.nn.Module:
    """The norm between the last block and the unembedding.

    Raises:
        ModelError: a family that keeps it under a name not known here.
    """
    base = model.base_model
    for path in FINAL_NORMS:
        module = base
        for part in path.split("."):
            module = getattr(module, part, None)
        if isinstance(module, torch.nn.Module):
            return module
    raise ModelError(f"{type(model).__name__} has its final norm under none of {', '.join(FINAL_NORMS)}.")


@torch.inference_mode()
def promoted(loaded: Loaded, directions: torch.Tensor, k: int = 10) -> Effects:
    """Top tokens of each direction, computed in float32 over blocks of the vocabulary.

    Args:
        loaded: the subject.
        directions: decoder rows [m, d]; their length does not matter.
        k: tokens on each side.

    Returns:
        Lists of k ids each; empty ones for directions of another width than the residual stream, which write elsewhere.

    Raises:
        ModelError: the subject has no unembedding, or no final norm that is known.
    """
    if directions.shape[-1] != loaded.d_model:
        return Effects([[] for _ in directions], [[] for _ in directions])
    head = loaded.model.get_output_embeddings()
    if head is None:
        raise ModelError(f"{type(loaded.model).__name__} has no unembedding.")
    # Rows beyond the tokenizer are padding of the matrix and name no token.
    weight = head.weight[: len(loaded.tokenizer)]
    rows = directions.to(weight.device, torch.float32)
    rows = rows / rows.norm(dim=-1, keepdim=True).clamp_min(1e-12) * rows.shape[-1] ** 0.5
    lens = _normed(final_norm(loaded.model), rows) - _normed(final_norm(loaded.model), torch.zeros_like(rows[:1]))
    k = min(k, len(weight))
    best: list[tuple[torch.Tensor, torch.Tensor]] = []
    for sign in (1.0, -1.0):
        values, ids = [], []
        for at in range(0, len(weight), ROWS):
            block = sign * (lens @ weight[at : at + ROWS].float().T)
            top = block.topk(min(k, block.shape[-1]), dim=-1)
            values.append(top.values)
            ids.append(top.indices + at)
        best.append((torch.cat(values, -1), torch.cat(ids, -1)))
    promoted_ids, suppressed_ids = (ids.gather(-1, v.topk(k, dim=-1).indices).tolist() for v, ids in best)
    return Effects(promoted_ids, suppressed_ids)


def _normed(norm: torch.nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """Apply a norm in float32 without changing the module that others use."""
    parameters = {name: p.float() for name, p in norm.named_parameters()}
    out: torch.Tensor = torch.func.functional_call(norm, parameters, (rows,))
    return out.float()
