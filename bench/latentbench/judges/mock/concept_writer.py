"""`mock:writer`: the oracle that also explains, one concept at a time, and understands texts of several concepts.

It is what an explainer can be measured with where the truth is known: a writer that is never at fault for the words. It reads the
marked examples of a prompt and writes the text of the one concept whose rule fires on the marked tokens best (F1 over the tokens
shown; of equal ones a truth before a near miss). It never writes two concepts in one text. A writer that did would leave an
explainer of several texts nothing to gain, so what is measured with this one is whether the windows were told apart, and not how
often models say both. Above temperature 0 it writes one of the best three, by its seed.

A text of several concepts holds where one of them does. `mock:oracle` knows such a text only if it stands in the file of rules.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

from latentbench.judges.mock.mock_judge import MARKED
from latentbench.judges.mock.oracle import Oracle, Rule
from latentbench.kernel.identity import canonical, share
from latentbench.kernel.requests import Chat, Embed
from latentbench.kernel.trial import Trial
from latentbench.suites.planted.rules import TOKEN

JOINED = " Or: "
"""Between the concepts of one text, as the explainer `multi` writes them."""
EXAMPLE = re.compile(r"^Example \d+: (.*)$", re.MULTILINE)
DRAWN = 3
"""Texts that are written above temperature 0."""


class ConceptWriter(Oracle):
    """The oracle of a file of rules, as a writer of single concepts and a reader of several."""

    def __init__(self, rules: str = "") -> None:
        super().__init__(rules)
        self._texts = [text for text in self._table if JOINED not in text]

    def rule(self, explanation: str) -> Rule | None:
        """The rule of a text, or that one of several holds; None if one of them is no text of the file."""
        parts = [super(ConceptWriter, self).rule(part) for part in explanation.split(JOINED)]
        known = [part for part in parts if part is not None]
        return None if len(known) < len(parts) else known[0] if len(known) == 1 else {"any": known}

    def explain(self, request: Chat) -> str | None:
        """The text of the concept that the marks show best."""
        asked = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
        examples = [unmarked(line) for line in EXAMPLE.findall(asked)]
        scored = sorted(
            ((-self._fit(text, examples), place, text) for place, text in enumerate(self._texts)), key=lambda s: s[:2]
        )
        found = [text for fit, _, text in scored if fit < 0][: DRAWN if request.temperature > 0 else 1]
        return found[int(share(request.seed, "text") * len(found))] if found else None

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """p(active) of every token by the concept that says most of it."""
        parts = [replace(trial, explanation=part) for part in trial.explanation.split(JOINED)]
        each = [super(ConceptWriter, self).tokens(part) for part in parts]
        return tuple(tuple(max(token) for token in zip(*rows, strict=True)) for rows in zip(*each, strict=True))

    def vector(self, request: Embed) -> NDArray[np.float32]:
        """The axes of all concepts of a query."""
        parts = request.text.split(JOINED) if request.query else [request.text]
        axes = [super(ConceptWriter, self).vector(replace(request, text=part)) for part in parts]
        found: NDArray[np.float32] = np.max(axes, axis=0)
        return found / np.float32(np.linalg.norm(found))

    def _fit(self, text: str, examples: Sequence[tuple[tuple[str, ...], tuple[bool, ...]]]) -> float:
        """F1 of the tokens on which a text's rule fires, with the marked ones."""
        number = self._number[canonical(self._table[text])]
        pairs = [(f, m) for tokens, marks in examples for f, m in zip(self._fires(number, tokens), marks, strict=True)]
        both, fires, marked = (
            sum(x) for x in ((f and m for f, m in pairs), (f for f, _ in pairs), (m for _, m in pairs))
        )
        return 2 * both / (fires + marked) if fires + marked else 0.0


def unmarked(line: str) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Tokens of an example without its marks, and which of them were marked."""
    pieces = MARKED.split(line.replace("⏎", "\n"))
    inside = [place % 2 == 1 for place, piece in enumerate(pieces) for _ in piece]
    tokens = tuple(TOKEN.findall("".join(pieces)))
    ends = list(accumulate(map(len, tokens)))
    return tokens, tuple(any(inside[end - len(token.lstrip()) : end]) for token, end in zip(tokens, ends, strict=True))
