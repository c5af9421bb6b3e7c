"""From a subject's last block to its logits: the final norm and the unembedding, found by watching one pass over a few tokens.

A list of the names under which families keep their final norm is shorter, has to grow with every family, and was asked only
after the corpus had been run. What runs between the last block and the unembedding says it for any family: one norm whose
output the unembedding reads, or nothing at all (OpenAI GPT). Where a matrix stands between them (a projection to another width,
the transform of an encoder's head) no norm makes a direction into an effect on the logits, and that is said and not guessed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import ModelError
from latentbench.models.language_model import Loaded
from latentbench.subject.hooks import STACK, site, stack_name

_SAME = 1e-2
"""Largest difference of two states that are one and the same up to a factor, as a share of their norm."""


class SubjectWarning(UserWarning):
    """Something about a subject that a suite will lack, known before its corpus is run."""


@dataclass(frozen=True, eq=False)
class Unembedding:
    """What stands behind the residual stream.

    Attributes:
        norm: the module between the last block and the unembedding; `nn.Identity` where the family has none.
        weight: [vocabulary, d_model], rows beyond the tokenizer included.
    """

    norm: nn.Module
    weight: Tensor


@torch.inference_mode()
def unembedding(loaded: Loaded) -> Unembedding:
    """Find the final norm and the unembedding of a subject; costs a forward pass of three tokens.

    Raises:
        ModelError: it has no unembedding, or none that a direction of the residual stream reaches through a norm alone.
        CoderError: it has no list of decoder blocks.
    """
    model, name = loaded.model, type(loaded.model).__name__
    head = model.get_output_embeddings()
    weight = getattr(head, "weight", None)
    if not isinstance(weight, Tensor):
        raise ModelError(f"{name} has no unembedding.")
    if weight.ndim != 2 or not weight.is_floating_point() or weight.is_meta:
        raise ModelError(f"{name} keeps its unembedding quantised or not in memory, so its rows cannot be read.")
    if weight.shape[1] != loaded.d_model:
        raise ModelError(
            f"{name} has an unembedding of width {weight.shape[1]} and a residual stream of width {loaded.d_model}."
        )
    last, ran, read = _watched(loaded, head)
    if read is None or last is None:
        raise ModelError(f"{name} does not run its last block or its unembedding in a forward pass.")
    between = [type(m).__name__ for m, _ in ran if any(p.ndim > 1 for p in m.parameters(recurse=False))]
    if between:
        raise ModelError(f"{name} has {' and '.join(between)} between its last block and its unembedding.")
    norms = [m for m, out in ran if _same(out, read)]
    if norms:
        if any(p.is_meta for p in norms[0].parameters()):
            raise ModelError(f"{name} keeps its final norm not in memory.")
        return Unembedding(norms[0], weight)
    if _same(last, read):
        return Unembedding(nn.Identity(), weight)
    raise ModelError(f"{name} has no module whose output its unembedding reads.")


def _watched(loaded: Loaded, head: nn.Module) -> tuple[Tensor | None, list[tuple[nn.Module, Any]], Tensor | None]:
    """The last block's output, the modules without parts that ran after it with their outputs, and what the head read."""
    depth = len(loaded.model.base_model.get_submodule(stack_name(loaded)))
    block = site(loaded, f"{STACK}.{depth - 1}").module
    last: list[Tensor] = []
    read: list[Tensor] = []
    ran: list[tuple[nn.Module, Any]] = []

    def after(module: nn.Module, args: Any, output: Any) -> None:
        found = output[0] if isinstance(output, tuple | list) else output
        if module is block:
            last[:] = [found]
            ran.clear()
        elif last and not read:
            ran.append((module, found))

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        read[:] = [args[0]]

    watched = [m for m in loaded.model.modules() if m is not head and (m is block or not any(m.children()))]
    handles = [m.register_forward_hook(after) for m in watched]
    handles.append(head.register_forward_pre_hook(before))
    try:
        loaded.model(input_ids=torch.arange(3, 6, device=loaded.device)[None], use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    return (last[0] if last else None), ran, (read[0] if read else None)


def _same(state: Any, read: Tensor) -> bool:
    """Whether two states [..., d] are one up to a positive factor, which changes no order of logits.

    The last position is compared, since a head may be given no other.
    """
    if not isinstance(state, Tensor) or not state.is_floating_point() or state.shape[-1] != read.shape[-1]:
        return False
    ours, theirs = (t.reshape(-1, t.shape[-1])[-1].float().cpu() for t in (state, read))
    units = [t / t.norm().clamp_min(1e-12) for t in (ours, theirs)]
    return bool((units[0] - units[1]).norm() < _SAME)
