"""`mock:guesser` and `mock:blind`: the oracle as a model that guesses, and that can or cannot tell what a guess describes.

An explainer that tests its hypotheses is worth what testing adds. `mock:writer` names the concept that the marks show best, which
is nearly always the right one and leaves nothing to find out. The guesser names any of those that a reader of the marks could
mean: all texts of the file of rules, right ones, near misses and those of other latents, whose rule fires on a marked token or
beside one in at least half of the examples. It does not know which is right, whatever the temperature; the draw depends on prompt
and seed.

    mock:guesser  writes texts in which a guess fires, and tells without fault what a text describes
    mock:blind    the same guesses; it writes any text, and says the same of all: no test of its own can help it

`best-of-k` asks how likely a description makes a text, and is answered as well as can be: the likelihood is that of a text in
which the rule fires, so that of two descriptions that fit all windows the narrower one wins. A likelihood that is the same for
both would leave the broadest to be chosen by chance, and any explainer above that.
"""

from __future__ import annotations

import math

from latentbench.judges.mock import lexical
from latentbench.judges.mock.concept_writer import EXAMPLE, unmarked
from latentbench.judges.mock.oracle import NATS, NO, UNKNOWN, YES, Oracle
from latentbench.kernel.identity import canonical, digest, share
from latentbench.kernel.requests import Chat, Continuation
from latentbench.kernel.trial import Trial
from latentbench.suites.planted.rules import TOKEN

BESIDE = 1
"""Tokens from a marked one that still count as what the marks show."""
SHOWN = 0.5
"""Share of the examples that a guess must fit."""


class Guesser(Oracle):
    """Draws one of the plausible texts."""

    def explain(self, request: Chat) -> str | None:
        """One of the texts that the marks allow, drawn by prompt and seed."""
        asked = next((m.content for m in reversed(request.messages) if m.role == "user"), "")
        found = self.plausible(asked)
        return found[int(share(request.seed, "guess", digest(asked)) * len(found))] if found else None

    def plausible(self, prompt: str) -> list[str]:
        """The texts that at least half of a prompt's examples allow, in the file's order."""
        examples = [unmarked(line) for line in EXAMPLE.findall(prompt)]
        near = [
            (tokens, [any(marks[max(0, i - BESIDE) : i + BESIDE + 1]) for i in range(len(marks))])
            for tokens, marks in examples
        ]
        found = []
        for text, rule in self._table.items():
            number = self._number[canonical(rule)]
            fits = sum(
                any(f and n for f, n in zip(self._fires(number, tokens), there, strict=True)) for tokens, there in near
            )
            if near and fits >= SHOWN * len(near):
                found.append(text)
        return found

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """log p(text | description) without fault: a description makes a text in which its rule fires the likelier, the fewer
        texts that holds for, and one in which it does not all but impossible. -2 nats a token without a description."""
        if request.trial is not None:
            return super().loglik(request)
        tokens = tuple(TOKEN.findall(request.text))
        told = self._told(request.context)
        return -NATS * len(tokens) + (0.0 if told is None else self._gain(told, tokens)), max(1, len(tokens))

    def _gain(self, told: str, tokens: tuple[str, ...]) -> float:
        rule = self._table[told]
        rate = self._quotes.rate(rule)
        fires = any(self._fires(self._number[canonical(rule)], tokens))
        return math.log(YES / rate) if fires else math.log(NO / (1 - rate))

    def _told(self, context: str) -> str | None:
        """The description in the last paragraph of a context; of several the longest."""
        last = context.rpartition("\n\n")[2]
        return max((text for text in self._table if text in last), key=len, default=None)


class Blind(Guesser):
    """The guesses without the understanding."""

    def write(self, trial: Trial, seed: int) -> str:
        """Any text of the suite."""
        return self._quotes.text(None, seed) or lexical.sentence("", seed)

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """One half for everything."""
        return tuple((UNKNOWN,) * len(w.tokens) for w in trial.windows)

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """-2 nats a token, whatever the context."""
        n = len(TOKEN.findall(request.text))
        return -NATS * n, max(1, n)
