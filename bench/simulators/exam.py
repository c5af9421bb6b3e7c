"""Keeps the exam out of the lessons: training concepts that are, or nearly are, latents of a planted suite.

A concept is left out if the tokens of a planted truth and its own overlap too much (intersection over union above 0.3), or if
the truth is a list of words and more than half of the concept's own tokens are in that list. The second test is not applied to
truths such as "capitalised words" or "long words": every proper noun and every technical term lies inside those. The
descriptions are not compared: words for the same thing are found by what they fire on, whatever they are called.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.simulators.concept import Concept
from bench.simulators.pool import Hits, Pool
from bench.suites.planted import Rules, load_rules
from bench.suites.rules import Document, matches

Masks = NDArray[np.bool_]

OVERLAP = 0.3
INSIDE = 0.5
SAMPLE = 120_000
LEAST = 8
"""Fewer hits in the sample say nothing about an overlap."""


def forbidden(concepts: Sequence[Concept], pool: Pool, rules: Iterable[Path]) -> dict[str, str]:
    """Names of concepts that share most of what they fire on with a planted truth, and which one.

    Args:
        concepts: with hits in `pool`.
        rules: `rules.yaml` files of planted suites.
    """
    found: dict[str, str] = {}
    for path in rules:
        suite = load_rules(path)
        found |= _listed(concepts, pool, suite)
        found |= _overlapping([c for c in concepts if c.name not in found], pool, suite)
    return found


def _listed(concepts: Sequence[Concept], pool: Pool, suite: Rules) -> dict[str, str]:
    """Concepts most of whose tokens are in the word list of a truth, over the whole pool."""
    names, inside = _lists(pool, suite)
    found = {}
    for c in concepts:
        share = inside[:, pool.ids[c.hits]].mean(1)
        if share.max() > INSIDE:
            found[c.name] = names[int(share.argmax())]
    return found


def _lists(pool: Pool, suite: Rules) -> tuple[list[str], Masks]:
    """Latents whose truth is a list of words, and bool [latents, distinct tokens] of what is in each list."""
    lists = {}
    for latent in suite.latents:
        words = latent.truth.rule.get("words")
        if words is not None:
            named = suite.lists[words[1:]] if isinstance(words, str) else words
            lists[latent.name] = {w.lower() for w in named}
    lower = [w.lower() for w in pool.words]
    return list(lists), np.asarray([[w in own for w in lower] for own in lists.values()]).reshape(
        len(lists), len(lower)
    )


def _overlapping(concepts: Sequence[Concept], pool: Pool, suite: Rules) -> dict[str, str]:
    """Concepts whose tokens are a truth's tokens, over the first part of the pool."""
    masks = _truths(pool, suite)
    sizes, found = masks.sum(1), {}
    for c in concepts:
        overlap = _overlap(masks, sizes, c.hits)
        if overlap is not None and overlap.max() > OVERLAP:
            found[c.name] = suite.latents[int(overlap.argmax())].name
    return found


def _truths(pool: Pool, suite: Rules) -> Masks:
    """bool [latents, tokens of the sample]: where each truth fires."""
    stop, size = _sample(pool)
    masks = np.zeros((len(suite.latents), size), np.bool_)
    for n in range(stop):
        low, high = int(pool.starts[n]), int(pool.starts[n + 1])
        bare = tuple(pool.words[i] for i in pool.ids[low:high])
        document = Document(tuple(pool.tokens[low:high]), bare, pool.sources[n], "code" in pool.sources[n])
        for k, latent in enumerate(suite.latents):
            masks[k, low:high] = matches(latent.truth.rule, document, suite.lists)
    return masks


def _sample(pool: Pool) -> tuple[int, int]:
    """Passages of the sample, and their tokens."""
    stop = int(np.searchsorted(pool.starts, min(SAMPLE, len(pool))))
    return stop, int(pool.starts[stop])


def _overlap(masks: Masks, sizes: Hits, hits: Hits) -> NDArray[np.float64] | None:
    """Intersection over union with each mask; None where the sample holds too few of the hits."""
    own = hits[: np.searchsorted(hits, masks.shape[1])]
    if len(own) < LEAST:
        return None
    both = masks[:, own].sum(1)
    found: NDArray[np.float64] = both / (sizes + len(own) - both)
    return found


class Reserved:
    """Concepts that must not be trained on, to ask of any other how much of one it is.

    Args:
        concepts: to reserve, with hits in `pool`; those that the sample hardly shows are left out.
        rules: as in `forbidden`.
    """

    def __init__(self, concepts: Iterable[Concept], pool: Pool, rules: Iterable[Path]) -> None:
        _, size = _sample(pool)
        suites = [load_rules(path) for path in rules]
        masks = [_truths(pool, suite) for suite in suites]
        self._ids = pool.ids
        self._lists = [_lists(pool, suite)[1] for suite in suites]
        for c in concepts:
            own = c.hits[: np.searchsorted(c.hits, size)]
            if len(own) >= LEAST:
                masks.append(np.zeros((1, size), np.bool_))
                masks[-1][0, own] = True
        self._masks = np.concatenate(masks) if masks else np.zeros((0, size), np.bool_)
        self._sizes = self._masks.sum(1)

    def holds(self, hits: Hits) -> bool:
        """Whether the hits overlap too much with a reserved concept, or too few are in the sample to say that they do not, or
        most of them are words of a planted list."""
        overlap = _overlap(self._masks, self._sizes, hits)
        if overlap is None or bool((overlap > OVERLAP).any()):
            return True
        return any(bool((inside[:, self._ids[hits]].mean(1) > INSIDE).any()) for inside in self._lists)
