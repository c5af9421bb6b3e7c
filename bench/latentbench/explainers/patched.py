"""An explanation read from the direction alone: a model says what a placeholder means while the direction stands in its place.

No window is shown, so it cannot repeat what fires, and what it says is about the output side of the latent: its decoder row.
After Patchscopes (arXiv 2401.06102), SelfIE (arXiv 2403.10949) and models that are trained for it, LatentQA (arXiv 2412.08686)
and activation oracles (arXiv 2512.15674): fine-tuned copies of the subject, which have its basis and are asked as they are.

The direction is part of the request, and not the latent's name: any model in this process can be asked, with no coder beside it.
Which model has the same basis nobody can see from its weights; the width is checked, the rest is for whoever names the model.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params, chat, first_paragraph, total_usage
from latentbench.explainers.matched import Matched
from latentbench.kernel.errors import SpecError
from latentbench.kernel.foreign_ids import KnownCoder
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Capability, Outcome, Patched, Reply, Request
from latentbench.prompts.template import Prompts

BLOCK = re.compile(r"(?:^|\.)(\d+)(?:\.|:|$)")
"""The number of a block in a hookpoint."""


class PatchedParams(Params):
    """Parameters of the explainer that reads a direction."""

    prompt: Literal["ask", "list"] = "ask"
    """Which prompt of the task file: a question about the placeholder, or a list of words that are each repeated."""
    layer: int | None = Field(default=None, ge=0)
    """Block after which the direction stands there, counted from 0; by default the block of the latent's own hookpoint."""
    scale: float = Field(default=1.0, gt=0)
    """Length of what is put there, in median lengths of the prompt's own hidden states after that block."""
    add: bool = False
    """Add it to the hidden state of the placeholder instead of exchanging that."""
    placeholder: str = Field(default="X", min_length=1)
    """The word of the prompt in whose place the direction stands."""
    max_tokens: int = Field(default=48, ge=1)
    """Length of the reply, which is greedy."""


class PatchedExplainer(Explainer):
    """Asks one request per latent."""

    params_model = PatchedParams
    needs = frozenset({Capability.PATCH})

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = Prompts(prompts, ("ask", "list"), f"explainer {name!r}")
        self._messages = section.messages(self.params.prompt, ("placeholder",)).render(
            placeholder=self.params.placeholder
        )
        times = sum(m.content.count(self.params.placeholder) for m in self._messages)
        if times != 1:
            raise SpecError(
                f"explainer {name!r}, prompts.{self.params.prompt}: the placeholder {self.params.placeholder!r} must stand in it "
                f"once, not {times} times; write the field {{{{placeholder}}}} once, and choose a word that is nowhere else."
            )

    def meet(self, coders: Sequence[KnownCoder], latents: Collection[str], asked: Collection[str]) -> Matched | None:
        """Refuse a suite whose latents have no place in a subject, and so no direction."""
        if coders and not any(coder.hookpoint for coder in coders):
            raise SpecError(
                f"explainer {self.name!r} reads the decoder direction of a latent, and no latent of this suite has one: it "
                "has no subject and no coder (planted latents are rules). Take a suite that was built from both."
            )
        return super().meet(coders, latents, asked)

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """One request; none for a latent without a direction or a block."""
        layer, direction = self.layer(latent), latent.row.get("direction")
        if layer is None or direction is None or not len(direction):
            return []
        asked = chat(self._messages, self.params.max_tokens, 0.0, seed)
        p = self.params
        return [Patched(asked, p.placeholder, tuple(float(x) for x in direction), layer, p.scale, p.add)]

    def layer(self, latent: LatentView) -> int | None:
        """The block after which the direction is put in place; None where neither the parameters nor the latent say it."""
        found = BLOCK.search(latent.row.get("hookpoint") or "")
        own = int(found[1]) if found else None
        return own if self.params.layer is None else int(self.params.layer)

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """What was written, up to the first blank line; in a list, up to the end of the line."""
        if not replies:
            error = "the suite has no direction of this latent in the residual stream, or no block where it stands"
            return Explanation(latent.id, None, Outcome.SKIPPED, error=error)
        (reply,) = replies
        usage = total_usage(replies)
        if not reply.ok:
            return Explanation(latent.id, None, reply.outcome, usage, reply.error)
        text, cut = reply.text or "", reply.finish == "length"
        if self.params.prompt == "list":
            # The next line is the next word of the list, and a word that was cut off is what it was going to be.
            text, cut = text.strip().partition("\n")[0], False
        return first_paragraph(latent, text, usage, cut=cut)
