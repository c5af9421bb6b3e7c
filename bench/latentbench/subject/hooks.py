"""Reading and editing a subject's activations at named places.

A hookpoint is a module path relative to the decoder stack, so that one name means the same place in every architecture:

    layers.9                    output of block 9: the residual stream after it
    layers.9.mlp                output of a module inside the block
    layers.9.mlp.down_proj:in   first input of that module (here: the neurons)

The stack's own name (`h.9` in GPT-2) and the full path (`model.layers.9`) work too. Names are looked up exactly. Matching by
prefix or suffix is shorter to write and was a fault of an earlier tool: `layers.1` then also hooks `layers.10`, and the
activations of two layers end up in one file without any error.

The forward pass is cut short by an exception raised in the hook that captures the last tensor asked for. Truncating the
module list costs the same, but changes a model that others may be using, and puts the final norm on the last hidden state.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from latentbench.kernel.errors import CoderError
from latentbench.models.language_model import Loaded

STACK = "layers"
INPUT = ":in"


@dataclass(frozen=True)
class Site:
    """A resolved hookpoint.

    Attributes:
        name: canonical name (`layers.N...`), whatever alias was asked for.
        module: the module to hook.
        reads_input: whether it is the module's first input that is meant, not its output.
    """

    name: str
    module: nn.Module
    reads_input: bool


class _Stop(Exception):
    """Everything asked for is captured; raised through the forward pass."""


def stack_name(loaded: Loaded) -> str:
    """Path of the list of decoder blocks inside the base model, such as `layers` (Llama, Gemma, GPT-NeoX) or `h` (GPT-2).

    Raises:
        CoderError: no module list has one entry per hidden layer.
    """
    depth = int(loaded.model.config.get_text_config().num_hidden_layers)
    base = loaded.model.base_model
    lists: list[str] = [name for name, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    if not lists:
        raise CoderError(
            f"{type(loaded.model).__name__} has no list of {depth} decoder blocks; hookpoints need a decoder-only model."
        )
    return min(lists, key=lambda name: name.count("."))


def site(loaded: Loaded, hookpoint: str) -> Site:
    """Find the module of a hookpoint.

    Raises:
        CoderError: no such module; the message lists near names.
    """
    base = loaded.model.base_model
    stack = stack_name(loaded)
    path, reads_input = hookpoint.removesuffix(INPUT), hookpoint.endswith(INPUT)
    prefix = loaded.model.base_model_prefix
    if prefix and path.startswith(prefix + "."):
        path = path[len(prefix) + 1 :]
    if path.startswith(STACK + ".") and stack != STACK:
        path = f"{stack}.{path[len(STACK) + 1 :]}"
    modules = dict(base.named_modules())
    list_alias = stack.rpartition(".")[2] + "."
    if path not in modules and path.startswith(list_alias):
        path = f"{stack}.{path[len(list_alias) :]}"
    if not path or path not in modules or path == stack:
        raise _unknown(hookpoint, modules, stack)
    canonical = STACK + path[len(stack) :] if path.startswith(stack + ".") else path
    return Site(canonical + (INPUT if reads_input else ""), modules[path], reads_input)


def _unknown(hookpoint: str, modules: dict[str, nn.Module], stack: str) -> CoderError:
    known = [STACK + name[len(stack) :] for name in modules if name.startswith(stack + ".")]
    path = hookpoint.removesuffix(INPUT)
    parts = path.split(".")
    near = difflib.get_close_matches(path, known, n=3, cutoff=0.6)
    depth = len({name.split(".")[1] for name in known})
    if parts[0] == STACK and len(parts) > 1 and parts[1].isdigit() and int(parts[1]) >= depth:
        hint = f"the subject has {depth} blocks, layers.0 to layers.{depth - 1}"
    else:
        hint = (
            f"did you mean {' or '.join(near)}?"
            if near
            else "write `layers.N`, `layers.N.mlp` or `layers.N.mlp.down_proj:in`"
        )
    return CoderError(f"unknown hookpoint {hookpoint!r}: {hint}")


class Capture:
    """Hooks on several hookpoints, registered once and read for many batches.

    Use as a context manager; `run` outside of it raises RuntimeError.

    Args:
        loaded: the subject.
        hookpoints: names; duplicates and aliases of one place are captured once and returned under every name asked.

    Raises:
        CoderError: an unknown hookpoint.
    """

    def __init__(self, loaded: Loaded, hookpoints: Sequence[str]) -> None:
        self.loaded = loaded
        self.sites = {name: site(loaded, name) for name in hookpoints}
        self._wanted = {s.name: s for s in self.sites.values()}
        self._found: dict[str, Tensor] = {}
        self._handles: list[Any] = []
        self._running = False

    def __enter__(self) -> Capture:
        for s in self._wanted.values():
            if s.reads_input:
                handle = s.module.register_forward_pre_hook(self._pre_hook(s.name), with_kwargs=True)
            else:
                handle = s.module.register_forward_hook(self._hook(s.name))
            self._handles.append(handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._found = {}

    def _keep(self, name: str, value: Tensor) -> None:
        if not self._running:  # somebody else's forward pass while this session waits, as in a suspended generator
            return
        self._found[name] = value
        if len(self._found) == len(self._wanted):
            raise _Stop

    def _hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            self._keep(name, _first(output))

        return hook

    def _pre_hook(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._keep(name, args[0] if args else next(iter(kwargs.values())))

        return hook

    @torch.inference_mode()
    def run(self, ids: Tensor, mask: Tensor | None = None) -> dict[str, Tensor]:
        """Run the subject just far enough for every hookpoint.

        Args:
            ids: token ids [batch, length], BOS included where the subject wants one.
            mask: [batch, length], 1 for real tokens; padding on the right. None: no padding.

        Returns:
            name as asked -> activations [batch, length, d] in the subject's dtype; rows of padding are meaningless.

        Raises:
            ValueError: a mask that pads on the left, which would shift the positions.
            RuntimeError: hooks not registered, or a hooked module that the forward pass never reached.
        """
        if not self._handles:
            raise RuntimeError("Capture.run outside of its `with` block: no hook is registered.")
        if mask is not None and not bool(mask[:, 0].all()):
            raise ValueError("the mask pads on the left; activations are read with padding on the right.")
        self._found = {}
        self._running = True
        device = self.loaded.device
        try:
            self.loaded.model.base_model(
                ids.to(device), attention_mask=None if mask is None else mask.to(device), use_cache=False
            )
        except _Stop:
            found, self._found = self._found, {}
            return {name: found[s.name] for name, s in self.sites.items()}
        finally:
            self._running = False
        missing = ", ".join(sorted(set(self._wanted) - set(self._found)))
        raise RuntimeError(f"the forward pass never reached {missing}; the module is not used by this subject.")


def _first(output: Any) -> Tensor:
    found: Tensor = output[0] if isinstance(output, tuple) else output
    return found


def capture(loaded: Loaded, ids: Tensor, mask: Tensor | None, hookpoints: Sequence[str]) -> dict[str, Tensor]:
    """Activations of one batch; see `Capture.run`. For many batches keep one `Capture` open instead."""
    with Capture(loaded, hookpoints) as session:
        return session.run(ids, mask)


def d_in(loaded: Loaded, hookpoint: str) -> int:
    """Width of the activations at a hookpoint, measured on one token (a module's attributes do not say it reliably).

    Raises:
        CoderError: unknown hookpoint.
    """
    return int(capture(loaded, torch.zeros(1, 1, dtype=torch.long), None, [hookpoint])[hookpoint].shape[-1])


@contextmanager
def edit(loaded: Loaded, hookpoint: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, every forward pass of the subject goes on with `change(activations)` at the hookpoint.

    Args:
        loaded: the subject; call `loaded.model(...)` inside the block.
        hookpoint: as in `site`.
        change: [batch, length, d] -> same shape and dtype.

    Raises:
        CoderError: unknown hookpoint.
    """
    where = site(loaded, hookpoint)

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple):
            return (change(output[0]), *output[1:])
        return change(output)

    def before(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (change(args[0]), *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, {**kwargs, name: change(kwargs[name])}

    handle = (
        where.module.register_forward_pre_hook(before, with_kwargs=True)
        if where.reads_input
        else where.module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()
