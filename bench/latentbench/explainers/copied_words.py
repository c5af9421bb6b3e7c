"""A control: the words of another explainer's text that it took from the latent's own examples, or all its other words.

An explanation can score because it repeats a token on which the latent fires, and say nothing true beside it. So its row is read
against that of its copied words alone and that of the rest. Scoring a list of the latent's strongest tokens instead is tempting
and answers another question: which words the explainer had chosen to repeat is what is asked.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.latent import LatentView, Window
from latentbench.kernel.requests import Reply

WORD = re.compile(r"\w+")


class CopiedWordsParams(Params):
    """Parameters of the control."""

    labels: ClassVar[tuple[str, ...]] = ("of",)

    of: str
    """Label of the explainer whose text is taken apart."""
    keep: Literal["copied", "rest"] = "copied"
    """The copied words, each once and joined by commas; or the text without them."""


class CopiedWordsExplainer(Explainer):
    """Takes another explainer's text apart; asks nobody."""

    params_model = CopiedWordsParams

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """What is kept, which may be the empty text; the outcome of the other text where it has none."""
        told = others[self.params.of][latent.id]
        if told.text is None:
            error = f"{self.params.of} has no text: {told.error or told.outcome.value}"
            return Explanation(latent.id, None, told.outcome, error=error)
        firing = firing_words(latent.explain)
        if self.params.keep == "copied":
            words = dict.fromkeys(word.lower() for word in WORD.findall(told.text) if word.lower() in firing)
            return Explanation(latent.id, ", ".join(words))
        rest = WORD.sub(lambda word: "" if word.group().lower() in firing else word.group(), told.text)
        return Explanation(latent.id, " ".join(rest.split()))


def firing_words(windows: Iterable[Window]) -> set[str]:
    """Words, in lower case, with a token inside on which the latent fires; of a word that a window cuts, what it shows."""
    found: set[str] = set()
    for window in windows:
        ends = 0
        spans = []
        for token, value in zip(window.tokens, window.activations, strict=True):
            if value > 0:
                spans.append((ends, ends + len(token)))
            ends += len(token)
        for word in WORD.finditer(window.text):
            if any(start < word.end() and word.start() < end for start, end in spans):
                found.add(word.group().lower())
    return found
