"""Texts that a language model writes while a vector stands in its residual stream where it read a placeholder.

The prompt is read once, with the placeholder's hidden state after one block exchanged (Patchscopes, arXiv 2401.06102; SelfIE,
arXiv 2403.10949) or added to; what is written behind it is not touched, and sees the vector through the keys and values of the
blocks above. Exchanging it again at each new token is steering, and asks another question.

A direction has no length of its own. The unit is the median length of the prompt's own hidden states there. Their mean would be
that of the first token, which is a hundred times as long as others in most models, and the placeholder's is that of one word.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from latentbench.judges.sequences import finished, shares, too_long
from latentbench.kernel.requests import Outcome, Patched, Reply, Usage
from latentbench.models.engine.decode import Draw, continued
from latentbench.models.engine.engine import Engine, Piece
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.shared import batches, check
from latentbench.models.engine.wording import Wording
from latentbench.subject.hooks import STACK, edit


@dataclass(frozen=True, slots=True)
class PatchedPrompt:
    """A prompt with the places of its placeholder.

    Attributes:
        tokens: of the whole prompt.
        start, stop: those of the placeholder.
    """

    tokens: Tokens
    start: int
    stop: int


@dataclass(frozen=True)
class Patching:
    """A model that answers `Patched` requests.

    Attributes:
        engine: the model.
        wording: its text side.
        ends: tokens that end a text.
        rows: texts written together, at most.
        room: tokens whose keys and values may be held.
    """

    engine: Engine
    wording: Wording
    ends: frozenset[int]
    rows: int
    room: int

    def replies(self, requests: Sequence[Patched], stop: threading.Event) -> list[Reply]:
        """One reply per request: what is written at temperature 0, or why nothing is."""
        prompts = [self.prompt(r) for r in requests]
        replies = [p if isinstance(p, Reply) else Reply(Outcome.SKIPPED) for p in prompts]
        for layer in sorted({r.layer for r in requests}):
            own = [(i, r, p) for i, (r, p) in enumerate(zip(requests, prompts, strict=True)) if r.layer == layer]
            todo = [(i, r, p) for i, r, p in own if not isinstance(p, Reply)]
            sizes = [len(p.tokens) + r.chat.max_tokens for _, r, p in todo]
            for batch in batches(sizes, max(1, self.room), self.rows):
                check(stop)
                chosen = [todo[k] for k in batch]
                written = self._written([r for _, r, _ in chosen], [p for _, _, p in chosen], layer, stop)
                for (i, _, _), reply in zip(chosen, written, strict=True):
                    replies[i] = reply
        return replies

    def prompt(self, request: Patched) -> PatchedPrompt | Reply:
        """The tokens of a prompt, or why the request is skipped. The placeholder is tokenised apart from what is around it, so
        that its places are known."""
        text = self.wording.render(request.chat.messages)
        before, _, behind = text.partition(request.placeholder)
        width, depth, times = self.engine.loaded.d_model, self.engine.n_layers, text.count(request.placeholder)
        if times != 1:
            return Reply(
                Outcome.SKIPPED,
                error=f"the placeholder {request.placeholder!r} stands {times} times in the prompt as the model reads it, not "
                "once; choose a word that is nowhere else (placeholder=)",
            )
        if len(request.direction) != width:
            return Reply(
                Outcome.SKIPPED,
                error=f"a direction of {len(request.direction)} numbers, and the model's residual stream has {width}: ask the "
                "subject's own model, or one trained from it",
            )
        if not any(request.direction):
            return Reply(Outcome.SKIPPED, error="the direction is zero")
        if request.layer >= depth:
            return Reply(
                Outcome.SKIPPED, error=f"the model has {depth} blocks, 0 to {depth - 1}, and no block {request.layer}"
            )
        (head,) = self.wording.prompts([before])
        middle = self.wording.after(before, request.placeholder)
        tail = self.wording.after(before + request.placeholder, behind)
        tokens = head + middle + tail
        if len(tokens) > self.engine.context - request.chat.max_tokens:
            return too_long(len(tokens), request.chat.max_tokens, self.engine.context)
        return PatchedPrompt(tokens, len(head), len(head) + len(middle))

    @torch.inference_mode()
    def _written(
        self, requests: Sequence[Patched], prompts: Sequence[PatchedPrompt], layer: int, stop: threading.Event
    ) -> list[Reply]:
        started = time.perf_counter()
        loaded = self.engine.loaded
        vectors = torch.tensor([r.direction for r in requests], dtype=torch.float32)
        units = vectors / vectors.norm(dim=1, keepdim=True)

        def patch(hidden: torch.Tensor) -> torch.Tensor:
            found = hidden.clone()
            for row, (request, prompt) in enumerate(zip(requests, prompts, strict=True)):
                place = slice(prompt.start, prompt.stop)
                put = request.scale * typical(hidden[row], prompt) * units[row].to(hidden.device)
                found[row, place] = (put + hidden[row, place].float() * request.add).to(hidden.dtype)
            return found

        with edit(loaded, f"{STACK}.{layer}", patch):
            done = self.engine.forward([Piece((), p.tokens) for p in prompts], keep="all")
        draws = [Draw(p.tokens, r.chat.max_tokens, 0.0, 0) for r, p in zip(requests, prompts, strict=True)]
        drawn = continued(self.engine, done, [len(p.tokens) for p in prompts], draws, self.ends, stop)
        seconds = shares(started, [len(d.tokens) + len(new) for d, new in zip(draws, drawn, strict=True)])
        return [
            Reply(
                text=self.wording.decode(new),
                usage=Usage(len(draw.tokens), len(new), 0, s),
                finish=finished(len(new), draw.max_tokens),
            )
            for new, draw, s in zip(drawn, draws, seconds, strict=True)
        ]


def typical(hidden: torch.Tensor, prompt: PatchedPrompt) -> float:
    """Median length of a prompt's hidden states [width, d]: without the first token, the placeholder and padding."""
    places = [i for i in range(1, len(prompt.tokens)) if not prompt.start <= i < prompt.stop]
    return float(hidden[places or [0]].float().norm(dim=1).median())
