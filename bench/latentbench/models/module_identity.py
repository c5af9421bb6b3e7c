"""What identifies a module that is an object in memory: its tensors, the source of its classes and its plain attributes.

The object itself says nothing that another process knows, and neither does its `repr`. A hook changes what a module does and
stands in none of these. What is neither plain nor named is refused,
because a suite whose identity leaves it out would be taken for another one's.
"""

from __future__ import annotations

import dataclasses
import enum
import hashlib
from collections.abc import Mapping, Sequence
from types import BuiltinFunctionType, FunctionType

import torch
from torch import Tensor, nn

from latentbench.kernel.class_source import class_source, function_source
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest, text_digest
from latentbench.kernel.implementation import implementation

Plain = None | bool | int | float | str | Sequence["Plain"] | Mapping[str, "Plain"]
_MODULE = frozenset(vars(nn.Module()))


def tensor_digest(tensor: Tensor) -> str:
    """Hash of a tensor: type, shape and bytes."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)
    data = flat.view(torch.uint8).numpy().tobytes() if flat.numel() else b""
    return hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode() + data).hexdigest()


def tensors_digest(module: nn.Module) -> str:
    """Hash of all parameters and buffers of a module, by name."""
    named = {**dict(module.named_parameters()), **dict(module.named_buffers())}
    return digest([[name, tensor_digest(tensor)] for name, tensor in sorted(named.items())])


def module_identity(module: nn.Module, configured: Sequence[str] = ()) -> list[object]:
    """What is in a module, JSON-able: tensors, sources of its classes, plain attributes, and which class stands where.

    Args:
        module: with all modules inside it.
        configured: top-level packages whose modules do what a configuration says, which the caller identifies: of them the class
            alone is looked at. Of modules of torch it is the class and the attributes.

    Raises:
        SpecError: a class without source, a hook, or an attribute that nothing identifies; says which.
    """
    named = [(path, m, type(m).__module__.partition(".")[0]) for path, m in module.named_modules()]
    for path, m, package in named:
        replaced = package in configured and "forward" in vars(m) and "_hf_hook" not in vars(m)
        # transformers leaves hooks of its own in a model that once gave its hidden states; they record and change nothing.
        hooks = (*m._forward_hooks.values(), *m._forward_pre_hooks.values())
        if replaced or any(str(getattr(h, "__module__", "")).partition(".")[0] not in configured for h in hooks):
            raise SpecError(
                f"{path or type(m).__name__} has a hook or a `forward` of its own, which nothing identifies. Remove it."
            )
    classes: set[type] = {type(m) for _, m, package in named if package not in ("torch", *configured)}
    sources = sorted((dataclasses.astuple(implementation(c)) for c in classes), key=str)
    attributes = {
        path: {key: _plain(value, f"{path}.{key}".lstrip(".")) for key, value in own.items()}
        for path, m, package in named
        if package not in configured and (own := _attributes(m))
    }
    return [
        tensors_digest(module),
        sources,
        attributes,
        {path: f"{type(m).__module__}.{type(m).__qualname__}" for path, m, _ in named},
    ]


def _attributes(m: nn.Module) -> dict[str, object]:
    return {k: v for k, v in vars(m).items() if k not in _MODULE and not isinstance(v, nn.Module | torch.device)}


def _plain(value: object, place: str) -> Plain:
    """An attribute as JSON; what is neither plain nor named cannot be compared with itself in the next process."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        return tensor_digest(value)
    if isinstance(value, torch.dtype | torch.device | torch.Size):
        return str(value)
    if isinstance(value, enum.Enum):
        return f"{type(value).__qualname__}.{value.name}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name), f"{place}.{f.name}") for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): _plain(v, f"{place}.{k}") for k, v in value.items()}
    if isinstance(value, set | frozenset):
        return sorted((_plain(v, place) for v in value), key=str)
    if isinstance(value, list | tuple):
        return [_plain(v, f"{place}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, FunctionType | BuiltinFunctionType | type) and "<" not in value.__qualname__:
        named = f"{value.__module__}.{value.__qualname__}"
        if isinstance(value, BuiltinFunctionType) or named.startswith("torch."):
            return named
        source = class_source(value) if isinstance(value, type) else function_source(value)
        if source is not None:
            return f"{named} {text_digest(source)}"
    raise SpecError(
        f"its attribute {place} is a {type(value).__name__}, which nothing identifies. Make it a number, a text or a buffer."
    )
