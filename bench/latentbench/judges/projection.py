"""How far texts lie along the directions of latents: the subject's mean hidden state where a coder writes, times unit directions.

The mean over the tokens and not the last one: what an explanation is about stands anywhere in it, and its last token is mostly
a full stop. States are read where the direction lives (`writes_at`), which for neurons and transcoders is not where they read.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

import torch

from latentbench.kernel.latent import LatentRef
from latentbench.kernel.requests import Outcome, Projected, Reply, Usage
from latentbench.models.language_model import Loaded
from latentbench.subject.coders.sparse import SparseCoder
from latentbench.subject.hooks import Capture
from latentbench.subject.interventions import writes_at


class Projection:
    """A subject with its coders that answers `Projected` requests.

    Args:
        loaded: the subject.
        coders, origins: by the name of the coder; the origin of its latents.
        batch: texts per forward pass.
    """

    def __init__(
        self, loaded: Loaded, coders: Mapping[str, SparseCoder], origins: Mapping[str, str], batch: int
    ) -> None:
        self._loaded, self._coders, self._origins, self._batch = loaded, coders, origins, batch

    def replies(self, requests: Sequence[Projected]) -> list[Reply]:
        """One reply per request; a text runs once for all requests about a coder."""
        started = time.perf_counter()
        replies = [self._lacking(r) for r in requests]
        todo = [i for i, reply in enumerate(replies) if reply is None]
        for name in dict.fromkeys(requests[i].latents[0].coder for i in todo):
            own = [i for i in todo if requests[i].latents[0].coder == name]
            texts = list(dict.fromkeys(requests[i].text for i in own))
            states = dict(zip(texts, self.states(name, texts), strict=True))
            for i in own:
                state = states[requests[i].text]
                replies[i] = self._projected(name, requests[i], state) if isinstance(state, torch.Tensor) else state
        spent = Usage(seconds=(time.perf_counter() - started) / max(1, len(requests)))
        return [Reply(r.outcome, windows=r.windows, usage=spent, error=r.error) for r in replies if r is not None]

    def _lacking(self, request: Projected) -> Reply | None:
        """Why there is nothing to measure, if so."""
        for latent in request.latents:
            if self._origins.get(latent.coder, None) != latent.origin:
                return Reply(Outcome.SKIPPED, error=self._foreign(latent))
        if len({latent.coder for latent in request.latents}) != 1:
            return Reply(
                Outcome.SKIPPED, error="no latent, or latents of several coders: their directions do not compare"
            )
        return None

    def _foreign(self, latent: LatentRef) -> str:
        return f"{latent.id} is no latent of this judge's subject and coders ({', '.join(self._coders)})"

    def _projected(self, name: str, request: Projected, state: torch.Tensor) -> Reply:
        rows = self._coders[name].direction(torch.tensor([latent.index for latent in request.latents])).float()
        lengths = rows.norm(dim=1)
        if rows.shape[1] != len(state) or not bool((lengths > 0).all()):
            return Reply(
                Outcome.SKIPPED, error=f"a direction of {name} is zero, or of another width than what it writes to"
            )
        return Reply(windows=tuple((rows.to(state.device) @ state / lengths.to(state.device)).tolist()))

    @torch.inference_mode()
    def states(self, name: str, texts: Sequence[str]) -> list[torch.Tensor | Reply]:
        """The mean state of each text where a coder writes, float32 [d], its start token left out; or why it cannot be read."""
        loaded, where = self._loaded, writes_at(self._coders[name])
        start = [] if loaded.bos is None else [loaded.bos]
        limit = (loaded.context or 1 << 30) - len(start)
        encoded = loaded.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        found: list[torch.Tensor | Reply] = [
            Reply(Outcome.SKIPPED, error=f"{len(ids)} tokens; the subject reads 1 to {limit}, nothing was cut")
            for ids in encoded
        ]
        order = sorted((i for i, ids in enumerate(encoded) if 0 < len(ids) <= limit), key=lambda i: -len(encoded[i]))
        with Capture(loaded, [where]) as session:
            for at in range(0, len(order), self._batch):
                chosen = order[at : at + self._batch]
                width = len(encoded[chosen[0]])
                # Padding with 0 is safe whatever token that is: nothing to its left can see it.
                rows = [[*start, *encoded[i], *[0] * (width - len(encoded[i]))] for i in chosen]
                acts = session.run(torch.tensor(rows))[where]
                for i, row in zip(chosen, acts, strict=True):
                    found[i] = row[len(start) : len(start) + len(encoded[i])].float().mean(0)
        return found
