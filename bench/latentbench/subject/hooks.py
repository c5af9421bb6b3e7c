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

Families differ in how a module gets its activations: OPT lays batch and positions end to end before its MLP, experts get the
tokens that were sent to them, a convolution has positions last. What can be brought back to [batch, length, d] is; the rest is
found by `d_in` on a few tokens, before any corpus is run, because rows that belong to other tokens raise no error later.
"""

from __future__ import annotations

import difflib
import re
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

PROBE_ROWS, PROBE_LENGTH, PROBE_SHARED = 3, 7, 4
"""Tokens of the probe of `d_in`: rows whose first tokens are the same. The numbers differ: no axis passes for another."""

_PROBE_OFF = 0.05
"""Share of an activation's norm by which the same token after the same tokens may differ; rounding in 4 bits stays below."""

_OTHER_SENSES = re.compile(r"(^|[._])(vision|visual|image|audio|speech)([._]|$)")


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
    config = loaded.model.config
    # `decoder=True` keeps the text part of a model that also has an encoder of images or sound.
    depth = int(config.get_text_config(decoder=True).num_hidden_layers)
    base = loaded.model.base_model
    lists: list[str] = [name for name, m in base.named_modules() if isinstance(m, nn.ModuleList) and len(m) == depth]
    lists = [name for name in lists if not _OTHER_SENSES.search(name)] or lists
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
            RuntimeError: hooks not registered.
            CoderError: a hooked module that the forward pass never reached, or whose activations are not one row per token.
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
            found = {name: _by_token(value, ids.shape, name).to(device) for name, value in self._found.items()}
            return {name: found[s.name] for name, s in self.sites.items()}
        finally:
            self._running = False
            missing = ", ".join(sorted(set(self._wanted) - set(self._found)))
            self._found = {}
        raise CoderError(f"the forward pass never reached {missing}; the module is not used by this subject.")


def _first(output: Any) -> Any:
    return output[0] if isinstance(output, tuple | list) else output


def _by_token(value: Any, tokens: Sequence[int], name: str) -> Tensor:
    """Activations as [batch, length, d], whichever way the family lays them.

    Raises:
        CoderError: they are not one row per token.
    """
    batch, length = tokens
    if isinstance(value, Tensor):
        if value.ndim == 3 and tuple(value.shape[:2]) == (batch, length):
            return value
        if value.ndim == 2 and len(value) == batch * length:
            return value.reshape(batch, length, -1)
    shape = list(value.shape) if isinstance(value, Tensor) else type(value).__name__
    raise CoderError(
        f"{name} gives {shape} for {batch} x {length} tokens, which is not one row of activations per token (as at experts, "
        "routers and convolutions). Name a module that runs once on every token, such as layers.0 or layers.0.mlp."
    )


def capture(loaded: Loaded, ids: Tensor, mask: Tensor | None, hookpoints: Sequence[str]) -> dict[str, Tensor]:
    """Activations of one batch; see `Capture.run`. For many batches keep one `Capture` open instead."""
    with Capture(loaded, hookpoints) as session:
        return session.run(ids, mask)


def d_in(loaded: Loaded, hookpoint: str) -> int:
    """Width of the activations at a hookpoint, measured on a few tokens (a module's attributes do not say it reliably).

    Everything that would spoil a pass over a corpus is found here: a module that is never run, activations that are not one row
    per token, rows in another order than the tokens, and a subject whose tokens see what stands to their right.

    Raises:
        CoderError: unknown hookpoint, or one that cannot be read token by token.
    """
    vocabulary = int(loaded.model.get_input_embeddings().weight.shape[0])
    own = PROBE_LENGTH - PROBE_SHARED
    ids = torch.arange(PROBE_LENGTH).expand(PROBE_ROWS, PROBE_LENGTH).clone()
    ids[:, PROBE_SHARED:] = PROBE_SHARED + torch.arange(PROBE_ROWS * own).view(PROBE_ROWS, own)
    # 3 is past the start, end and padding tokens of most tokenizers; it matters little.
    found = capture(loaded, (3 + ids) % vocabulary, None, [hookpoint])[hookpoint].float()
    shared = found[:, :PROBE_SHARED]
    off = (shared[1:] - shared[:1]).norm(dim=-1) > _PROBE_OFF * shared.norm(dim=-1).amax().clamp_min(1e-12)
    if bool(found.isfinite().all()) and bool(off.any()):
        raise CoderError(
            f"{hookpoint} of {loaded.files.reference} gives other activations for the same tokens after the same tokens, so they "
            "cannot be told apart by token: its rows are in another order than the text, or the subject is no decoder (its "
            "tokens see what stands to their right)."
        )
    return int(found.shape[-1])


@contextmanager
def edit(loaded: Loaded, hookpoint: str, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, every forward pass of the subject goes on with `change(activations)` at the hookpoint.

    Args:
        loaded: the subject; call `loaded.model(...)` inside the block.
        hookpoint: as in `site`.
        change: [batch, length, d] -> same shape and dtype.

    Raises:
        CoderError: unknown hookpoint; inside the block, activations that are not one row per token.
    """
    where = site(loaded, hookpoint)
    tokens: list[Sequence[int]] = [()]

    def begins(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        given = args[0] if args else kwargs.get("input_ids", kwargs.get("inputs_embeds"))
        tokens[0] = given.shape[:2] if isinstance(given, Tensor) else ()

    def changed(value: Any) -> Any:
        here = _by_token(value, tokens[0], where.name) if tokens[0] else value
        return change(here.to(loaded.device)).to(here.device).reshape(value.shape)

    def after(module: nn.Module, args: Any, output: Any) -> Any:
        if isinstance(output, tuple | list):
            return type(output)((changed(output[0]), *output[1:]))
        return changed(output)

    def before(
        module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if args:
            return (changed(args[0]), *args[1:]), kwargs
        name = next(iter(kwargs))
        return args, {**kwargs, name: changed(kwargs[name])}

    start = loaded.model.base_model.register_forward_pre_hook(begins, with_kwargs=True)
    handle = (
        where.module.register_forward_pre_hook(before, with_kwargs=True)
        if where.reads_input
        else where.module.register_forward_hook(after)
    )
    try:
        yield
    finally:
        handle.remove()
        start.remove()
