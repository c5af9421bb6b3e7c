"""The concepts that are left out of training because they are, or nearly are, latents of a planted suite.

A simulator is judged on planted suites later, so what they hold must not have been a lesson.

A concept is left out if the tokens of a planted truth and its own overlap too much (intersection over union above 0.3), or if
the truth is a list of words and more than half of the concept's own tokens are in that list. The second test is not applied to
truths such as "capitalised words" or "long words": every proper noun and every technical term lies inside those. The
descriptions are not compared: words for the same thing are found by what they fire on, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from latentbench.lab.simulator.concept import Concept
from latentbench.lab.simulator.pool import Hits, Mask, TokenPool
from latentbench.suites.planted.planted_suite import Rules, load_rules
from latentbench.suites.planted.rules import Document, matches

OVERLAP = 0.3
INSIDE = 0.5
SAMPLE = 120_000
LEAST = 8
"""Fewer hits in the sample say nothing about an overlap."""


def forbidden(concepts: Sequence[Concept], pool: TokenPool, rules: Iterable[Path]) -> dict[str, str]:
    """Names of concepts that share most of what they fire on with a planted truth, and which one.

    Args:
        concepts: with hits in `pool`.
        rules: `rules.yaml` files of planted suites.
    """
    reserved = ReservedConcepts((), pool, rules)
    return {c.name: name for c in concepts if (name := reserved.within(c.hits))}


class ReservedConcepts:
    """What must not be trained on, to ask of any concept how much of it is that.

    Args:
        concepts: to reserve beside the planted truths, with hits in `pool`; those that the sample hardly shows are left out.
        pool: the text.
        rules: as in `forbidden`.
    """

    def __init__(self, concepts: Iterable[Concept], pool: TokenPool, rules: Iterable[Path]) -> None:
        self._ids = pool.ids
        stop = int(np.searchsorted(pool.starts, min(SAMPLE, len(pool))))
        self._size = int(pool.starts[stop])
        lists: dict[str, set[str]] = {}
        masks: dict[str, Mask] = {}
        for path in rules:
            suite = load_rules(path)
            lists |= _lists(suite)
            masks |= _truths(pool, suite, stop)
        for c in concepts:
            own = self._sampled(c.hits)
            if len(own) >= LEAST:
                masks[c.name] = np.zeros(self._size, np.bool_)
                masks[c.name][own] = True
        lower = [w.lower() for w in pool.words]
        self._listed = list(lists)
        self._inside = np.asarray([[w in own for w in lower] for own in lists.values()], np.bool_)
        self._names = list(masks)
        self._masks = np.asarray(list(masks.values()), np.bool_)
        self._sizes = self._masks.sum(-1)

    def within(self, hits: Hits) -> str | None:
        """The reserved concept that most of these hits are words of, or that overlaps with them too much."""
        if self._listed:
            share = self._inside[:, self._ids[hits]].mean(1)
            if share.max() > INSIDE:
                return self._listed[int(share.argmax())]
        own = self._sampled(hits)
        if len(own) < LEAST or not self._names:
            return None
        both = self._masks[:, own].sum(1)
        overlap = both / (self._sizes + len(own) - both)
        return self._names[int(overlap.argmax())] if overlap.max() > OVERLAP else None

    def holds(self, hits: Hits) -> bool:
        """Whether they are within a reserved concept, or too few are in the sample to say that they are not."""
        return len(self._sampled(hits)) < LEAST or self.within(hits) is not None

    def _sampled(self, hits: Hits) -> Hits:
        return hits[: np.searchsorted(hits, self._size)]


def _lists(suite: Rules) -> dict[str, set[str]]:
    """Latent whose truth is a list of words -> the words, lower case."""
    found = {}
    for latent in suite.latents:
        words = latent.truth.rule.get("words")
        if words is not None:
            named = suite.lists[words[1:]] if isinstance(words, str) else words
            found[latent.name] = {w.lower() for w in named}
    return found


def _truths(pool: TokenPool, suite: Rules, passages: int) -> dict[str, Mask]:
    """Latent -> bool [tokens] where its truth fires in the first passages."""
    masks = {latent.name: np.zeros(int(pool.starts[passages]), np.bool_) for latent in suite.latents}
    for n in range(passages):
        low, high = int(pool.starts[n]), int(pool.starts[n + 1])
        bare = tuple(pool.words[i] for i in pool.ids[low:high])
        document = Document(tuple(pool.tokens[low:high]), bare, pool.sources[n], "code" in pool.sources[n])
        for latent in suite.latents:
            masks[latent.name][low:high] = matches(latent.truth.rule, document, suite.lists)
    return masks
