"""The paper's explainer (section 3.2): a language model reads highlighted windows and says what they have in common.

Only explain windows are shown; nothing of a test window can reach the prompt, because `LatentView.explain` is all that this
module reads. Activations are scaled to 0-10 by the latent's maximum over its explain windows, rounded up from anything that
fires to at least 1, so that "0" in a prompt always means silence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params, chat, first_paragraph, total_usage
from latentbench.explainers.top_tokens import strongest
from latentbench.kernel.errors import SpecError
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Capability, Outcome, Reply, Request
from latentbench.prompts.answers import AROUND, unwrapped
from latentbench.prompts.examples import Sampling, chosen, cropped
from latentbench.prompts.template import FIELD, Prompts, active_marks, marked, one_line

PROMPTS = ("direct", "bare", "cot")
"""With activations, without them, and with reasoning."""


class LlmParams(Params):
    """Parameters of the LLM explainer."""

    n_examples: int = Field(default=10, ge=1)
    """Explain windows in the prompt; fewer where the suite has fewer."""
    sampling: Sampling = "quantile"
    """Which of the suite's explain windows: one drawn from each of `n_examples` equal parts of their ranking by strength, the
    strongest, any, or the `n_top` strongest and others with a probability that grows with the square of their maximum. What is
    drawn differs per latent and repeat."""
    n_top: int = Field(default=10, ge=0)
    """With `importance`, how many of the strongest windows are always shown."""
    window: int | None = Field(default=None, ge=1)
    """Tokens shown of each window, around its strongest one; the whole window by default."""
    threshold: float = Field(default=0.3, gt=0, le=1)
    """Share of the window's maximum from which a token is highlighted."""
    show_activations: bool = True
    """List (token, activation 0-10) below each window."""
    cot: bool = False
    """Let the model reason before it answers."""
    n_words: int = Field(default=12, ge=1)
    """Most activating tokens of the examples, for prompts with the field `words`."""
    max_tokens: int = Field(default=48, ge=1)
    """Length of the reply."""
    temperature: float = Field(default=0.0, ge=0)
    """Temperature of the sampling; 0 is greedy."""


class LlmExplainer(Explainer):
    """Asks one chat request per latent.

    Attributes:
        more: prompts of a kind of this explainer, besides those that ask for a text.
    """

    more: ClassVar[tuple[str, ...]] = ()
    params_model = LlmParams
    needs = frozenset({Capability.CHAT})

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        self._section = section = Prompts(prompts, ("marker", *PROMPTS, *self.more), f"explainer {name!r}")
        # Those that are written are read, so that a fault in any of them is found; the one that is used must be there.
        written = {key: section.messages(key, ("examples", "words", "marker")) for key in PROMPTS if key in prompts}
        wanted = "cot" if self.params.cot else "direct" if self.params.show_activations else "bare"
        self._template = written.get(wanted) or section.messages(wanted, ())
        self._marker = section.text("marker")
        self._lead = self._template.lead
        if FIELD.search(self._lead):
            raise SpecError(
                f"explainer {name!r}, prompts.{wanted}: the beginning of the reply, {self._lead!r}, must be plain text."
            )

    def requests(self, latent: LatentView, seed: int) -> list[Request]:
        """One request; none for a latent without explain windows."""
        if not latent.explain:
            return []
        windows = self.chosen(latent.explain, seed)
        examples = "\n".join(self._example(i, w, latent.max) for i, w in enumerate(windows, 1))
        words = ", ".join(strongest(windows, self.params.n_words))
        messages = self._template.render(examples=examples, words=words, marker=self._marker)
        return [chat(messages, self.params.max_tokens, self.params.temperature, seed)]

    def chosen(self, windows: Sequence[Window], seed: int) -> list[Window]:
        """The windows of the prompt, strongest first."""
        p = self.params
        drawn = chosen(windows, p.n_examples, p.sampling, p.n_top, seed)
        return [cropped(w, p.window) for w in drawn]

    def _example(self, number: int, window: Window, scale: float) -> str:
        text = one_line(marked(window.tokens, active_marks(window.activations, self.params.threshold)))
        line = f"Example {number}: {text}"
        if not self.params.show_activations:
            return line
        pairs = [
            f'("{one_line(token)}", {scaled(value, scale)})'
            for token, value in zip(window.tokens, window.activations, strict=True)
            if value > 0
        ]
        return f"{line}\nActivations: {', '.join(pairs)}"

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The text after the marker; without it a reasoning reply has no answer, and a direct one is the answer."""
        if not replies:
            return Explanation(latent.id, None, Outcome.SKIPPED, error="the latent has no explain windows")
        (reply,) = replies
        usage = total_usage(replies)
        if not reply.ok:
            return Explanation(latent.id, None, reply.outcome, usage, reply.error)
        text, cut = (reply.text or "").strip(), reply.finish == "length"
        lead = self._lead
        inside = unwrapped(text, cut, AROUND)
        if self._marker in inside:
            # Reasoning may name the marker before it uses it; after a direct answer a model may go on with examples of its own.
            text = (inside.rsplit if self.params.cot else inside.split)(self._marker, 1)[1]
            lead = ""
        elif self.params.cot:
            return Explanation(latent.id, None, Outcome.PARSE, usage, f"no {self._marker!r} in {text[:80]!r}")
        return first_paragraph(latent, text, usage, lead, cut)


def scaled(value: float, scale: float) -> int:
    """Activation as 0-10 of the latent's maximum; anything that fires is at least 1."""
    return max(1, min(10, math.ceil(10 * value / scale - 0.5))) if value > 0 else 0
