"""The output-side explainer (arXiv 2410.13928, appendix G): what does steering along the latent make the subject say?

It sees no activation. Per explain prompt it gets the end of the text and the tokens whose probability rises and falls most when
the direction is added; these come from the suite's intervention table, whose explain prompts share no text with the prompts
that scorers use. The tokens that the direction promotes through the unembedding alone are cheaper to list, and leave out
what the layers above make of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params, chat, first_paragraph, total_usage
from latentbench.kernel.latent import LatentView, Steered
from latentbench.kernel.requests import Capability, Outcome, Reply, Request
from latentbench.prompts.answers import AROUND, unwrapped
from latentbench.prompts.template import Prompts, one_line


class OutputParams(Params):
    """Parameters of the output-side explainer."""

    kl: float = Field(default=1.0, gt=0)
    """Strength of the interventions that are shown."""
    n_prompts: int = Field(default=10, ge=1)
    """Explain prompts shown; fewer where the table has fewer."""
    n_tokens: int = Field(default=5, ge=1)
    """Tokens by increase and by decrease per prompt; the table lists at most as many as it was built with."""
    characters: int = Field(default=60, ge=0)
    """Characters of the end of each prompt that are shown."""
    max_tokens: int = Field(default=48, ge=1)
    """Length of the reply."""
    temperature: float = Field(default=0.0, ge=0)
    """Temperature of the sampling; 0 is greedy."""


class OutputExplainer(Explainer):
    """Asks one chat request per latent."""

    params_model = OutputParams
    needs = frozenset({Capability.CHAT})
    uses_interventions = True

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = Prompts(prompts, ("marker", "ask"), f"explainer {name!r}")
        self._template = section.messages("ask", ("examples", "marker"))
        self._marker = section.text("marker")

    def shown(self, latent: LatentView) -> list[Steered]:
        """The rows of the table that the prompt is made of."""
        p = self.params
        rows = [s for s in latent.interventions if s.role == "explain" and s.mode == "add" and s.reached]
        return [s for s in rows if s.target is not None and abs(s.target - p.kl) < 1e-9][: p.n_prompts]

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """One request; none for a latent without rows at this strength."""
        rows = self.shown(latent)
        if not rows:
            return []
        examples = "\n".join(self._example(i, s) for i, s in enumerate(rows, 1))
        messages = self._template.render(examples=examples, marker=self._marker)
        return [chat(messages, self.params.max_tokens, self.params.temperature, seed)]

    def _example(self, number: int, s: Steered) -> str:
        n = self.params.n_tokens
        end = one_line(s.prompt)[-self.params.characters :] if self.params.characters else ""
        up, down = (", ".join(f'"{_quoted(t)}"' for t in tokens[:n]) for tokens in (s.promoted, s.suppressed))
        return f"Text {number}: ...{end}\nMore likely: {up}\nLess likely: {down}"

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text after the marker, or the whole reply without one."""
        if not replies:
            error = f"the suite has no prompts to explain from, steered to KL {self.params.kl:g}"
            error += " (not reached)" if latent.interventions else ": bench suite intervene"
            return Explanation(latent.id, None, Outcome.SKIPPED, error=error)
        (reply,) = replies
        usage = total_usage(replies)
        if not reply.ok:
            return Explanation(latent.id, None, reply.outcome, usage, reply.error)
        cut = reply.finish == "length"
        before, marker, after = unwrapped(reply.text or "", cut, AROUND).partition(self._marker)
        return first_paragraph(latent, after if marker else before, usage, cut=cut)


def _quoted(token: str) -> str:
    return one_line(token) or repr(token)[1:-1]
