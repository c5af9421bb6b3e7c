"""`mock:oracle`: a judge without noise that understands exactly the explanations of a planted suite.

It never sees a label. It looks an explanation up among the texts of a file of rules and evaluates that text's rule on the tokens
that it is shown, so a scorer's path from question to score is tested as a whole: if the truth does not win with this judge, the
scorer is at fault. `mock:label` cannot show that, because it is right whatever the explanation says.

A window does not say where it was cut from: `source` clauses count as true, and a rule that looks at a neighbour is blind at the
window's edge. So the oracle is free of noise, but not always right.

    a text without a rule     the same answer to everything: p = 1/2, no gain in likelihood, a vector at right angles to all
    a window with marks       mean over the marked tokens (is what is marked right?), the largest token otherwise
    a text to be written      a piece of the suite's text in which the rule fires; any piece for a text without a rule
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.judges.mock import lexical
from latentbench.judges.mock.planted_subject import Quotes
from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import Chat, Continuation, Embed
from latentbench.kernel.tasks import find
from latentbench.kernel.trial import Seen, Trial
from latentbench.suites.planted.planted_suite import NEAR, Rules, load_rules
from latentbench.suites.planted.rules import TOKEN, Mask, fragment, matches

SUITE = "planted-1"
YES, NO, UNKNOWN = 0.98, 0.02, 0.5
NATS = 2.0
"""What a token costs; half as much if the context says that something in the text will fire."""
REMEMBERED = 20_000

Rule = Mapping[str, Any]


def table(rules: Rules) -> dict[str, Rule]:
    """Normalised text -> rule: truths and their paraphrases first, then near misses; the first of equal texts counts."""
    found: dict[str, Rule] = {}
    for latent in rules.latents:
        for text in (latent.truth.text, latent.paraphrase):
            found.setdefault(normalised(text), latent.truth.rule)
    for latent in rules.latents:
        for which in NEAR:
            found.setdefault(normalised(latent.near(which).text), latent.near(which).rule)
    return found


def normalised(text: str) -> str:
    """A text with single spaces."""
    return " ".join(text.split())


class Oracle:
    """The variant that understands what a planted explanation says.

    Args:
        rules: file of rules; those of `planted-1` if empty.

    Raises:
        UnknownName, SpecError: no such file, or one that is not a file of rules.
    """

    reads_truth = False

    def __init__(self, rules: str = "") -> None:
        path = Path(rules) if rules else find("suites", SUITE) / "rules.yaml"
        self._rules = load_rules(path)
        self._table = table(self._rules)
        distinct = {canonical(rule): rule for rule in self._table.values()}
        self._number = {text: i for i, text in enumerate(distinct)}
        self._distinct = list(distinct.values())
        self.revision = digest([self._rules, YES, NO, NATS])
        # Asked again for every explanation of a latent and every latent that shares a window.
        self._fires = lru_cache(REMEMBERED)(self._evaluate)
        self._document = lru_cache(REMEMBERED)(self._indicators)
        self._quotes = Quotes(self._rules, path.parent)

    def rule(self, explanation: str) -> Rule | None:
        """The rule of an explanation, or None if no text of the file is this one."""
        return self._table.get(normalised(explanation))

    def windows(self, trial: Trial) -> tuple[float, ...]:
        """p(active) per window."""
        return tuple(_window(w, p) if p else NO for w, p in zip(trial.windows, self.tokens(trial), strict=True))

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """p(active) per window and token: 0.98 where the rule fires, 0.02 where not."""
        rule = self.rule(trial.explanation)
        if rule is None:
            return tuple((UNKNOWN,) * len(w.tokens) for w in trial.windows)
        number = self._number[canonical(rule)]
        return tuple(tuple(YES if f else NO for f in self._fires(number, w.tokens)) for w in trial.windows)

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """-2 nats a token, -1 if the context holds the question's explanation and its rule fires in the window."""
        t = request.trial
        n = len(t.windows[0].tokens) if t and t.windows else len(TOKEN.findall(request.text))
        told = t is not None and t.explanation.strip() != "" and t.explanation in request.context
        fires = told and t is not None and any(p == YES for row in self.tokens(t)[:1] for p in row)
        return -NATS * n * (0.5 if fires else 1), max(1, n)

    def vector(self, request: Embed) -> np.ndarray[Any, np.dtype[np.float32]]:
        """One axis per rule, one for documents in which none fires, one for queries without a rule; unit norm."""
        if not request.query:
            return self._document(request.text)
        rule = self.rule(request.text)
        found = np.zeros(len(self._distinct) + 2, np.float32)
        found[-1 if rule is None else self._number[canonical(rule)]] = 1
        return found

    def write(self, trial: Trial, seed: int) -> str:
        """A quotation, see `judges.mock.planted_subject.Quotes`; the explanation's words where no suite lies beside the rules."""
        return self._quotes.text(self.rule(trial.explanation), seed) or lexical.sentence(trial.explanation, seed)

    def explain(self, request: Chat) -> str | None:
        """None: it understands explanations and writes none."""
        return None

    def _evaluate(self, number: int, tokens: tuple[str, ...]) -> tuple[bool, ...]:
        mask: Mask = matches(self._distinct[number], fragment(tokens), self._rules.lists)
        return tuple(mask.tolist())

    def _indicators(self, text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
        document = fragment(TOKEN.findall(text))
        found = np.zeros(len(self._distinct) + 2, np.float32)
        for number, rule in enumerate(self._distinct):
            found[number] = matches(rule, document, self._rules.lists).any()
        if not found.any():
            found[-2] = 1
        unit: np.ndarray[Any, np.dtype[np.float32]] = found / np.float32(np.linalg.norm(found))
        return unit


def _window(window: Seen, tokens: tuple[float, ...]) -> float:
    marks = window.marks
    if marks is None or not any(marks):
        return max(tokens)
    own = [p for p, m in zip(tokens, marks, strict=True) if m]
    if UNKNOWN in own:
        return UNKNOWN
    return NO + (YES - NO) * (own.count(YES) / len(own))
