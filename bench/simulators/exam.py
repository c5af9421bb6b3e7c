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

from bench.simulators.concept import Concept
from bench.simulators.pool import Pool
from bench.suites.planted import Rules, load_rules
from bench.suites.rules import Document, matches

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
    lists = {}
    for latent in suite.latents:
        words = latent.truth.rule.get("words")
        if words is not None:
            named = suite.lists[words[1:]] if isinstance(words, str) else words
            lists[latent.name] = {w.lower() for w in named}
    lower = [w.lower() for w in pool.words]
    names = list(lists)
    inside = np.asarray([[w in lists[n] for w in lower] for n in names])
    found = {}
    for c in concepts:
        share = inside[:, pool.ids[c.hits]].mean(1)
        if share.max() > INSIDE:
            found[c.name] = names[int(share.argmax())]
    return found


def _overlapping(concepts: Sequence[Concept], pool: Pool, suite: Rules) -> dict[str, str]:
    """Concepts whose tokens are a truth's tokens, over the first part of the pool."""
    stop = int(np.searchsorted(pool.starts, min(SAMPLE, len(pool))))
    size = int(pool.starts[stop])
    masks = np.zeros((len(suite.latents), size), np.bool_)
    for n in range(stop):
        low, high = int(pool.starts[n]), int(pool.starts[n + 1])
        bare = tuple(pool.words[i] for i in pool.ids[low:high])
        document = Document(tuple(pool.tokens[low:high]), bare, pool.sources[n], "code" in pool.sources[n])
        for k, latent in enumerate(suite.latents):
            masks[k, low:high] = matches(latent.truth.rule, document, suite.lists)
    sizes = masks.sum(1)
    found = {}
    for c in concepts:
        own = c.hits[c.hits < size]
        if len(own) < LEAST:
            continue
        both = masks[:, own].sum(1)
        overlap = both / (sizes + len(own) - both)
        if overlap.max() > OVERLAP:
            found[c.name] = suite.latents[int(overlap.argmax())].name
    return found
