"""What the subject loses when a coder's reconstruction stands in the place of the activation, document by document.

Sums are kept for each document and not for the sample, because documents are what is drawn from a population: an interval over
tokens would take ten thousand tokens of one text for ten thousand texts. The start token keeps its own activation in every
condition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from latentbench.corpora.contexts import Context
from latentbench.kernel.errors import CoderMismatch
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import INPUT, Capture, edit

Array = NDArray[np.float64]
BATCH = 8
"""Contexts per forward pass: the logits of the whole vocabulary are the largest tensor here."""


@dataclass(frozen=True)
class CoderSums:
    """Sums over the tokens of each document; arrays [documents].

    Attributes:
        tokens: encoded, without the start token.
        active: active latents.
        error: squared error of the reconstruction; empty where there is none to measure.
        spread: squared distance of what is reconstructed from its mean over the sample; empty where `error` is.
        fired: [n_latents], tokens on which each latent was active.
        losses: condition (`clean`, `spliced`, `zero`) -> summed next-token loss in nats; nothing where nothing was spliced.
        predicted: tokens that the losses are over.
    """

    tokens: Array
    active: Array
    error: Array
    spread: Array
    fired: NDArray[np.int64]
    losses: Mapping[str, Array] = field(default_factory=dict)
    predicted: Array = field(default_factory=lambda: np.zeros(0))


def writes_where(coder: SparseCoder) -> str | None:
    """The hookpoint whose activation the coder reconstructs; None where there is none, or it is not known.

    A transcoder that reads a module's input writes that module's output.
    """
    if coder.kind in ("sae", "random"):
        return coder.hookpoint
    if coder.kind == "transcoder" and coder.hookpoint.endswith(INPUT):
        return coder.hookpoint.removesuffix(INPUT)
    return None


@torch.inference_mode()
def coder_sums(loaded: Loaded, coder: SparseCoder, cut: Sequence[Context], splice: bool = True) -> CoderSums:
    """Run contexts through subject and coder.

    Args:
        loaded: the subject.
        coder: fits it.
        cut: contexts; their documents are counted from the first.
        splice: also measure losses, which runs the whole subject three times.

    Raises:
        CoderError: an unknown hookpoint.
        CoderMismatch: the place that it writes has another width than its decoder.
    """
    n = max(c.document for c in cut) + 1
    writes = writes_where(coder)
    tokens, active, error, squares = (np.zeros(n) for _ in range(4))
    width = coder.d_model if writes is not None else 0
    sums = torch.zeros(n, width, dtype=torch.float64)
    fired = torch.zeros(coder.n_latents, dtype=torch.int64)
    wanted = [coder.hookpoint] if writes is None else list(dict.fromkeys((coder.hookpoint, writes)))
    with Capture(loaded, wanted) as session:
        for ids, real, documents in _batches(loaded, cut):
            acts = session.run(ids)
            keep = real.to(loaded.device)
            x = acts[coder.hookpoint][keep]
            found = coder.encode(x)
            owner = documents[:, None].expand(real.shape)[real]
            np.add.at(tokens, owner.numpy(), 1)
            np.add.at(active, owner[found.rows.cpu()].numpy(), 1)
            fired += torch.bincount(found.latents.cpu(), minlength=coder.n_latents)
            if writes is not None:
                target = acts[writes][keep].double().cpu()
                if target.shape[-1] != width:
                    raise CoderMismatch(
                        f"coder {coder.name!r} reconstructs a width of {width}, but {writes} of {loaded.files.reference} has "
                        f"{target.shape[-1]}. It writes somewhere else."
                    )
                gap = (target - coder.decode(found, x).double().cpu()).square().sum(-1)
                np.add.at(error, owner.numpy(), gap.numpy())
                np.add.at(squares, owner.numpy(), target.square().sum(-1).numpy())
                sums.index_add_(0, owner, target)
    if writes is None:
        return CoderSums(tokens, active, np.zeros(0), np.zeros(0), fired.numpy())
    mean = sums.sum(0) / tokens.sum()
    spread = squares - 2 * (sums @ mean).numpy() + tokens * float(mean.square().sum())
    if not splice:
        return CoderSums(tokens, active, error, spread, fired.numpy())
    losses: dict[str, Array] = {}
    predicted = np.zeros(n)
    for condition in ("clean", "spliced", "zero"):
        with _replaced(loaded, coder, writes, condition):
            losses[condition], predicted = _losses(loaded, cut, n)
    return CoderSums(tokens, active, error, spread, fired.numpy(), losses, predicted)


def _batches(loaded: Loaded, cut: Sequence[Context]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(ids, which of them are corpus tokens, document of each row); padded on the right with 0, which nothing before it sees."""
    head = [] if loaded.bos is None else [loaded.bos]
    for first in range(0, len(cut), BATCH):
        group = cut[first : first + BATCH]
        width = max(len(c.ids) for c in group) + len(head)
        ids, real = torch.zeros(len(group), width, dtype=torch.long), torch.zeros(len(group), width, dtype=torch.bool)
        for i, c in enumerate(group):
            end = len(head) + len(c.ids)
            ids[i, :end] = torch.tensor([*head, *c.ids.tolist()])
            real[i, len(head) : end] = True
        yield ids, real, torch.tensor([c.document for c in group])


def _losses(loaded: Loaded, cut: Sequence[Context], n: int) -> tuple[Array, Array]:
    """(summed next-token loss, predicted tokens) of each document."""
    total, predicted = np.zeros(n), np.zeros(n)
    for ids, real, documents in _batches(loaded, cut):
        ids, keep = ids.to(loaded.device), real[:, 1:]
        logits = loaded.model(ids, use_cache=False).logits[:, :-1].float()
        each = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none")
        own = each.reshape(keep.shape).double().cpu() * keep
        np.add.at(total, documents.numpy(), own.sum(1).numpy())
        np.add.at(predicted, documents.numpy(), keep.sum(1).numpy())
    return total, predicted


@contextmanager
def _replaced(loaded: Loaded, coder: SparseCoder, writes: str, condition: str) -> Iterator[None]:
    """While open, passes go on with the reconstruction (`spliced`) or with zeros (`zero`) where the coder writes."""
    skip = 0 if loaded.bos is None else 1
    read: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        read[:] = [x]
        return x

    def change(x: Tensor) -> Tensor:
        source = (read[0] if writes != coder.hookpoint else x)[:, skip:]
        new: Callable[[Tensor], Tensor] = lambda rows: coder.decode(coder.encode(rows), rows)  # noqa: E731
        out = x.clone()
        flat = source.reshape(-1, source.shape[-1])
        out[:, skip:] = 0 if condition == "zero" else new(flat).reshape(out[:, skip:].shape).to(out.dtype)
        return out

    with ExitStack() as stack:
        if condition != "clean":
            if writes != coder.hookpoint:
                stack.enter_context(edit(loaded, coder.hookpoint, keep))
            stack.enter_context(edit(loaded, writes, change))
        yield
