"""Concepts that are composed of other concepts A and B, as descriptions of latents often are.

    A or B              A near B                  A but not B
    A in a register     A negated                 the word after A            A when it comes again

They are drawn on the fly from components of one split, so that a held-out composition holds no component that was trained on. The
contrasts are what a judge that reads only half of the description would accept: A without B, and B alone.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from latentbench.lab.simulator.concept import Concept, again, outside
from latentbench.lab.simulator.pool import Hits, TokenPool

LEAST = 6
NEGATIONS = (
    "not",
    "no",
    "never",
    "nothing",
    "without",
    "cannot",
    "nor",
    "don't",
    "didn't",
    "doesn't",
    "isn't",
    "wasn't",
    "can't",
)
KINDS = ("or", "near", "after", "not", "register", "negated", "next", "previous", "second", "capital")
_WEIGHTS = (5, 2, 1, 4, 3, 1, 4, 3, 1, 1)
_LEXICAL = ("noun", "verb", "adjective", "word")


def composed(
    rng: random.Random,
    concepts: Sequence[Concept],
    pool: TokenPool,
    texts: Mapping[str, Sequence[str]],
    sources: Mapping[str, Sequence[str]],
) -> Concept | None:
    """One composition of concepts, or None where the draw fires too rarely to be shown.

    Args:
        concepts: of one split.
        texts: `compose` of `wordings.yaml`.
        sources: names of registers by source, of `surface.yaml`.
    """
    kind = rng.choices(KINDS, _WEIGHTS)[0]
    lexical = [c for c in concepts if c.family in _LEXICAL] or list(concepts)
    a = rng.choice(lexical)
    near: list[Hits] = []
    named: dict[str, Callable[[random.Random], str]] = {"a": a.word}
    if kind in ("or", "near", "after"):
        b = rng.choice(list(concepts))
        named["b"] = b.word
        if kind == "or":
            hits = np.union1d(a.hits, b.hits)
            # One frequent half would make the other half decoration.
            if not 0.1 <= len(a.hits) / max(1, len(b.hits)) <= 10:
                return None
        elif kind == "near":
            hits = pool.near(a.hits, b.hits, 5, 5)
            near = [np.setdiff1d(a.hits, hits), b.hits]
        else:
            hits = np.intersect1d(a.hits, pool.shifted(b.hits, 1))
            near = [np.setdiff1d(a.hits, hits), b.hits]
    elif kind == "not":
        inside = [c for c in lexical if c is not a and c.family != "word" and len(c.hits) < len(a.hits)]
        part = _inside(rng, a, lexical if a.family == "word" else [*inside, *lexical])
        if part is None:
            return None
        named["b"] = part.word
        hits = np.setdiff1d(a.hits, part.hits)
        near = [part.hits]
    elif kind == "register":
        source = rng.choice(sorted(set(pool.sources)))
        if source not in sources:
            return None
        named["r"] = lambda own: own.choice(list(sources[source]))
        same = [s for s in sources if set(sources[s]) & set(sources[source])]
        hits = pool.within(a.hits, same)
        near = [np.setdiff1d(a.hits, hits)]
    elif kind == "negated":
        hits = pool.near(a.hits, pool.of_words(NEGATIONS), 4, 0)
        near = [np.setdiff1d(a.hits, hits)]
    elif kind in ("next", "previous"):
        hits = pool.shifted(a.hits, 1 if kind == "next" else -1)
    elif kind == "second":
        hits = again(pool, a.hits, 16)
        near = [np.setdiff1d(a.hits, hits)]
    else:
        hits = a.hits[[pool.words[i][:1].isupper() for i in pool.ids[a.hits]]]
        near = [np.setdiff1d(a.hits, hits)]
    if len(hits) < LEAST:
        return None
    text = list(texts[kind])

    def word(own: random.Random) -> str:
        parts = {name: drawn(own) for name, drawn in named.items()}
        made: str = own.choice(text).format(**parts)
        return made

    return Concept(f"{kind}:{a.name}", f"compose:{kind}", a.key, hits, word, outside(hits, near))


def _inside(rng: random.Random, a: Concept, candidates: Sequence[Concept]) -> Concept | None:
    """A concept that holds between 15 and 85 % of the hits of another."""
    for b in rng.sample(list(candidates), min(60, len(candidates))):
        shared = len(np.intersect1d(a.hits, b.hits, assume_unique=True))
        if b is not a and 0.15 * len(a.hits) <= shared <= 0.85 * len(a.hits):
            return b
    return None
