"""An explanation without a language model: the most activating tokens and the contexts they stand in, in one sentence.

It is the baseline that an explainer with a model must beat. It knows the latent's strongest tokens exactly and says nothing of
what they have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Outcome, Reply
from latentbench.prompts.examples import Sampling, chosen, cropped
from latentbench.prompts.template import Prompts, fill, one_line


class TokensParams(Params):
    """Parameters of the token list."""

    n_tokens: int = Field(default=8, ge=1)
    """Distinct tokens named, by summed activation over the explain windows."""
    n_contexts: int = Field(default=8, ge=0)
    """Distinct contexts quoted, by peak activation."""
    reach: int = Field(default=6, ge=0)
    """Tokens quoted before and after a peak."""
    n_examples: int | None = Field(default=None, ge=1)
    """Explain windows that are read; all by default."""
    sampling: Sampling = "top"
    """Which of them; see `latentbench.prompts.examples.chosen`."""
    n_top: int = Field(default=10, ge=0)
    """With `importance`, how many of the strongest windows are always read."""
    window: int | None = Field(default=None, ge=1)
    """Tokens read of each window, around its strongest one; the whole window by default."""


class TokensExplainer(Explainer):
    """Counts; asks nobody."""

    params_model = TokensParams

    def __init__(self, name: str, version: str, params: Params, prompts: Mapping[str, Any]) -> None:
        super().__init__(name, version, params, prompts)
        section = Prompts(prompts, ("sentence", "contexts"), f"explainer {name!r}")
        self._sentence = section.text("sentence", ("tokens",))
        self._contexts = section.text("contexts", ("contexts",))

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The sentence; a latent without explain windows has none."""
        if not latent.explain:
            return Explanation(latent.id, None, Outcome.SKIPPED, error="the latent has no explain windows")
        p = self.params
        n = len(latent.explain) if p.n_examples is None else p.n_examples
        windows = [cropped(w, p.window) for w in chosen(latent.explain, n, p.sampling, p.n_top, seed)]
        # No quotation marks: to an embedding they are content, and they made all explanations alike.
        tokens = ", ".join(strongest(windows, p.n_tokens))
        text = fill(self._sentence, tokens=tokens)
        quotes = contexts(windows, p.n_contexts, p.reach)
        if quotes:
            text += " " + fill(self._contexts, contexts=" ... ".join(quotes))
        return Explanation(latent.id, text)


def strongest(windows: Sequence[Window], n: int) -> list[str]:
    """The `n` tokens with the largest summed activation; tokens that differ by white space or case are one.

    The spelling shown is that of its strongest occurrence. Ties go to the token seen first.
    """
    total: dict[str, float] = {}
    spelling: dict[str, tuple[float, str]] = {}
    for window in windows:
        for token, value in zip(window.tokens, window.activations, strict=True):
            if value > 0:
                shown = one_line(token.strip()) or one_line(token) or repr(token)
                key = shown.lower()
                total[key] = total.get(key, 0.0) + value
                if key not in spelling or value > spelling[key][0]:
                    spelling[key] = (value, shown)
    ranked = sorted(total, key=lambda key: -total[key])
    return [spelling[key][1] for key in ranked[:n]]


def contexts(windows: Sequence[Window], n: int, reach: int) -> list[str]:
    """Texts around the peaks of the strongest windows, without repeats; windows come strongest first."""
    found: list[str] = []
    for window in windows:
        if len(found) == n:
            break
        peak = max(range(len(window.tokens)), key=window.activations.__getitem__)
        text = one_line("".join(window.tokens[max(0, peak - reach) : peak + reach + 1]))
        if text and text not in found:
            found.append(text)
    return found
