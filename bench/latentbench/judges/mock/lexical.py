"""Word overlap: the whole understanding of the mock judges, and the variant that has nothing else.

Deterministic, without weights, and better than chance where an explanation names words that stand in the text. That is enough
to show that a pipeline carries information from explanation to score.
"""

from __future__ import annotations

import hashlib
import math
import re
from typing import Any

import numpy as np

from latentbench.kernel.requests import Chat, Continuation, Embed
from latentbench.kernel.trial import Seen, Trial

WORD = re.compile(r"[^\W_]+")

STOP = frozenset(
    re.split(
        r"\s+",
        "a an and are as at be by for from has have in into is it its of on or such text texts that the their these this to "
        "token tokens was where which with word words",
    )
)
"""Words that every explanation uses; they say nothing about the feature."""

FILLER = ("nobody", "there", "said", "anything", "about", "them")

DIMENSIONS = 256


def stem(word: str) -> str:
    """Lower case, without a plural s."""
    word = word.lower()
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def content(text: str) -> frozenset[str]:
    """Stems of the words of a text that are not stop words."""
    return frozenset(stem(w) for w in WORD.findall(text) if w.lower() not in STOP)


def token_words(window: Seen) -> list[frozenset[str]]:
    """Per token the stems of the words of the window's text that the token is part of."""
    found: list[set[str]] = [set() for _ in window.tokens]
    ends = np.cumsum([len(t) for t in window.tokens])
    for match in WORD.finditer(window.text):
        if match.group().lower() in STOP:
            continue
        first = int(np.searchsorted(ends, match.start(), side="right"))
        last = int(np.searchsorted(ends, match.end() - 1, side="right"))
        for t in range(first, last + 1):
            found[t].add(stem(match.group()))
    return [frozenset(f) for f in found]


def token_probabilities(explanation: str, window: Seen) -> tuple[float, ...]:
    """0.9 for tokens of a word that the explanation names, 0.05 for the others."""
    named = content(explanation)
    return tuple(0.9 if words & named else 0.05 for words in token_words(window))


def window_probability(explanation: str, window: Seen) -> float:
    """In (0, 1), rising with the words that the explanation names: among the marked tokens where there are marks (their
    share), in the whole window otherwise (their number)."""
    hits = [p > 0.5 for p in token_probabilities(explanation, window)]
    if window.marks is not None and any(window.marks):
        marked = [h for h, m in zip(hits, window.marks, strict=True) if m]
        return 0.05 + 0.9 * sum(marked) / len(marked)
    named = len(content(explanation) & content(window.text))
    # The share of tokens breaks ties between windows with equally many words.
    return 1 - 0.95 * math.exp(-named) * (1 - 0.1 * sum(hits) / max(1, len(hits)))


def log_likelihood(context: str, text: str) -> tuple[float, int]:
    """A pseudo log-likelihood in nats and its number of words: -2 for a word that the context holds, -6 for another."""
    words = [stem(w) for w in WORD.findall(text)]
    known = frozenset(stem(w) for w in WORD.findall(context))
    return sum(-2.0 if w in known else -6.0 for w in words), max(1, len(words))


def sentence(explanation: str, seed: int) -> str:
    """A text made of the explanation's own words, all of them in a drawn order; a filler where it has none."""
    words = sorted({w for w in WORD.findall(explanation) if w.lower() not in STOP}) or list(FILLER)
    order = sorted(words, key=lambda w: hashlib.sha256(f"{seed}:{w}".encode()).digest())
    return f"{' '.join(order)}."


def vector(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Hashed bag of words, float32 [256], unit norm."""
    found = np.zeros(DIMENSIONS, np.float32)
    for word in sorted(content(text)) or [text]:
        h = hashlib.sha256(word.encode()).digest()
        found[int.from_bytes(h[:4], "little") % DIMENSIONS] += 1 if h[4] & 1 else -1
    norm = float(np.linalg.norm(found))
    if norm == 0:  # two words that cancel
        found[0], norm = 1, 1.0
    return found / np.float32(norm)


class Worded:
    """What variants without an own reading of texts share: word overlap."""

    revision = "1"

    def loglik(self, request: Continuation) -> tuple[float, int]:
        """Log-likelihood by word overlap with the context."""
        return log_likelihood(request.context, request.text)

    def vector(self, request: Embed) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Bag of words as a unit vector."""
        return vector(request.text)

    def write(self, trial: Trial, seed: int) -> str:
        """A sentence of the explanation's words."""
        return sentence(trial.explanation, seed)

    def explain(self, request: Chat) -> str | None:
        """None: it repeats the marked tokens."""
        return None


class Lexical(Worded):
    """Predicts from the words that explanation and window share."""

    reads_truth = False

    def windows(self, trial: Trial) -> tuple[float, ...]:
        """p(active) by the words that explanation and window share."""
        return tuple(window_probability(trial.explanation, w) for w in trial.windows)

    def tokens(self, trial: Trial) -> tuple[tuple[float, ...], ...]:
        """p(active) of every token by the words that it shares with the explanation."""
        return tuple(token_probabilities(trial.explanation, w) for w in trial.windows)
