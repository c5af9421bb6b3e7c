"""Low-rank adapters on the linear layers of a frozen base (LoRA, Hu et al. 2021, arXiv 2106.09685): W x + alpha/rank B A x.

Why not peft: it casts the activations to the adapter's dtype before the low-rank products. With float32 adapters (which an
optimizer needs) on a bfloat16 base, every adapted layer then multiplies in float32 and converts twice, which on a CPU loses
what the bfloat16 kernels gain. Here the float32 parameters are cast to the dtype of the activations instead. For inference the
adapter is merged into the base, so a simulator costs what its base costs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import ModelError


class LoraLinear(nn.Module):
    """A frozen linear layer and its low-rank addition.

    Args:
        base: the layer.
        rank: of the addition.
        alpha: the addition is scaled by alpha / rank.
        generator: source of A; B is zero, so that the layer starts unchanged.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        self.base, self.scale = base, alpha / rank
        device = base.weight.device
        a = torch.empty(rank, base.in_features)
        # kaiming_uniform_ with a = sqrt(5), the bound that nn.Linear itself starts from.
        bound = math.sqrt(1 / base.in_features)
        self.A = nn.Parameter(a.uniform_(-bound, bound, generator=generator).to(device))
        self.B = nn.Parameter(torch.zeros(base.out_features, rank, device=device))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out], in the dtype of x."""
        low = nn.functional.linear(x, (self.A * self.scale).to(x.dtype))
        out: Tensor = self.base(x) + nn.functional.linear(low, self.B.to(x.dtype))
        return out


def attach(model: Any, rank: int, alpha: float, generator: torch.Generator, layers: int) -> list[nn.Parameter]:
    """Freeze a causal LM and put adapters on all linear layers of its first decoder layers.

    Args:
        model: a transformers causal LM whose decoder layers are `model.model.layers`.
        rank, alpha: see the module docstring.
        generator: on the CPU; draws every A, in the order of the layers.
        layers: how many decoder layers, from the first, get adapters.

    Returns:
        The float32 parameters to train: A and B of each linear layer, in order.
    """
    model.requires_grad_(False)
    found: list[nn.Parameter] = []
    for name, module in list(_linears(model, layers)):
        adapted = LoraLinear(module, rank, alpha, generator)
        parent, _, child = name.rpartition(".")
        setattr(model.model.get_submodule(parent), child, adapted)
        found += [adapted.A, adapted.B]
    return found


def state(model: Any) -> dict[str, Tensor]:
    """The adapters as float32 CPU copies, named like `layers.3.self_attn.q_proj.A`."""
    out = {}
    for name, module in _adapted(model):
        for part in ("A", "B"):
            out[f"{name}.{part}"] = getattr(module, part).detach().float().cpu().clone()
    return out


def load_state(model: Any, tensors: Mapping[str, Tensor]) -> None:
    """Fill the adapters of an attached model with what `state` gave.

    Raises:
        ModelError: other names or shapes than the model's adapters have.
    """
    adapted = dict(_adapted(model))
    _same_names({f"{n}.{part}" for n in adapted for part in ("A", "B")}, set(tensors))
    with torch.no_grad():
        for name, module in adapted.items():
            for part in ("A", "B"):
                parameter, given = getattr(module, part), tensors[f"{name}.{part}"]
                if parameter.shape != given.shape:
                    raise ModelError(
                        f"adapter {name}.{part} has shape {list(given.shape)}; the model needs {list(parameter.shape)}."
                    )
                parameter.copy_(given)


def merge(model: Any, tensors: Mapping[str, Tensor], rank: int, alpha: float) -> None:
    """W += alpha/rank B A for every adapted layer of a plain model, added in float32 and cast once.

    Raises:
        ModelError: an adapter for a layer that the model has not, with one half missing, or of another shape.
    """
    names = {name.rpartition(".")[0] for name in tensors}
    _same_names({f"{name}.{part}" for name in names for part in ("A", "B")}, set(tensors))
    linears = dict(_linears(model, len(model.model.layers)))
    for name in sorted(names):
        if name not in linears:
            raise ModelError(f"the adapter changes {name!r}, which the base has not; it belongs to another base.")
        weight = linears[name].weight
        a, b = tensors[f"{name}.A"], tensors[f"{name}.B"]
        if a.shape != (rank, weight.shape[1]) or b.shape != (weight.shape[0], rank):
            raise ModelError(
                f"the adapter of {name!r} has shapes {list(a.shape)} and {list(b.shape)}; rank {rank} on a layer of shape "
                f"{list(weight.shape)} needs {[rank, weight.shape[1]]} and {[weight.shape[0], rank]}."
            )
        with torch.no_grad():
            delta = (b.float() @ a.float()) * (alpha / rank)
            weight.copy_(weight.float() + delta.to(weight.device))


def truncate(model: Any, layers: int) -> None:
    """Keep the first decoder layers and drop the final norm: the model's output is then the raw residual stream after them.

    Raises:
        ModelError: the model has fewer layers.
    """
    if not 1 <= layers <= len(model.model.layers):
        raise ModelError(f"{layers} layers are asked for; the base has {len(model.model.layers)}.")
    model.model.layers = model.model.layers[:layers]
    model.model.norm = nn.Identity()
    model.config.num_hidden_layers = layers
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = list(model.config.layer_types[:layers])


def _linears(model: Any, layers: int) -> Iterator[tuple[str, nn.Linear]]:
    """(name below `model.model`, layer) of the linear layers in the first decoder layers, in order."""
    for n, layer in enumerate(model.model.layers[:layers]):
        for name, module in layer.named_modules():
            if isinstance(module, nn.Linear):
                yield f"layers.{n}.{name}", module


def _adapted(model: Any) -> Iterator[tuple[str, LoraLinear]]:
    for name, module in model.model.named_modules():
        if isinstance(module, LoraLinear):
            yield name, module


def _same_names(wanted: set[str], given: set[str]) -> None:
    if wanted != given:
        missing, extra = sorted(wanted - given), sorted(given - wanted)
        raise ModelError(
            f"the adapter does not fit: {len(missing)} tensors are missing ({', '.join(missing[:3])}), "
            f"{len(extra)} are unknown ({', '.join(extra[:3])})."
        )
