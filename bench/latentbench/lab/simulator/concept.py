"""What a training concept is, and the small rule language of `surface.yaml` over a pool."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.lab.simulator.pool import Hits, TokenPool

Split = Literal["train", "calibrate", "held-out"]
LEAST_NEAR = 4
"""Hits that a neighbour of a concept must have, so that windows of it differ."""


@dataclass(frozen=True, eq=False)
class Concept:
    """A rule over text that can be worded in many ways.

    Attributes:
        name: unique.
        family: kind of concept; results are reported by it.
        key: what is held out as a whole: a synset subtree, a suffix, a word.
        hits: positions of the pool that it fires on.
        word: draws one noun phrase for it.
        contrasts: positions of neighbouring concepts (siblings, the parent, one component without the other), own hits left out.
    """

    name: str
    family: str
    key: str
    hits: Hits
    word: Callable[[random.Random], str]
    contrasts: tuple[Hits, ...] = field(default=())

    @property
    def split(self) -> Split:
        """Split that the hash of the key decides: 10 % are held out, 6 % are to calibrate on."""
        return split_of(self.key)


def split_of(key: str) -> Split:
    """Split to which everything with this key belongs."""
    share = int(digest(["simulator split", key])[:8], 16) / 0x100000000
    return "held-out" if share < 0.10 else "calibrate" if share < 0.16 else "train"


def hits_of(rule: Mapping[str, Any], pool: TokenPool) -> Hits:
    """Positions that a rule holds at; the keys of one mapping are all required, except that `near`, `not` and `again` narrow.

    Raises:
        SpecError: a key outside the language.
    """
    known = {"words", "regex", "sentence_start", "after", "before", "near", "all", "any", "not", "again"}
    if unknown := sorted(set(rule) - known):
        raise SpecError(f"unknown rule {unknown[0]!r}; the language has {', '.join(sorted(known))}.")
    parts: list[Hits] = []
    if "words" in rule:
        parts.append(pool.of_words(rule["words"]))
    if "regex" in rule:
        parts.append(pool.of_pattern(rule["regex"]))
    if rule.get("sentence_start"):
        parts.append(pool.sentence_starts)
    if "after" in rule:
        parts.append(pool.shifted(hits_of(rule["after"], pool), 1))
    if "before" in rule:
        parts.append(pool.shifted(hits_of(rule["before"], pool), -1))
    parts.extend(hits_of(r, pool) for r in rule.get("all", ()))
    if "any" in rule:
        parts.append(np.unique(np.concatenate([hits_of(r, pool) for r in rule["any"]])))
    if not parts:
        raise SpecError(f"the rule {dict(rule)!r} says what is excluded but not what it fires on.")
    hits = parts[0]
    for part in parts[1:]:
        hits = np.intersect1d(hits, part)
    if "not" in rule:
        hits = np.setdiff1d(hits, hits_of(rule["not"], pool))
    if "near" in rule:
        near = rule["near"]
        hits = pool.near(hits, hits_of(near["rule"], pool), near.get("before", 5), near.get("after", 5))
    if "again" in rule:
        hits = again(pool, hits, rule["again"])
    return hits


def outside(hits: Hits, near: Iterable[Hits]) -> tuple[Hits, ...]:
    """Neighbours of a concept without its own hits, where enough of one is left to draw windows from."""
    # Words that share a form repeat its positions; all are sorted, so this is `setdiff1d` without its sorting.
    once = (n[np.diff(n, prepend=-1) > 0] for n in near)
    found = (n[np.isin(n, hits, invert=True)] for n in once)
    return tuple(n for n in found if len(n) >= LEAST_NEAR)


def again(pool: TokenPool, hits: Hits, within: int) -> Hits:
    """Hits whose word, without case, was already a hit at most `within` tokens before."""
    if not len(hits):
        return hits
    lower = pool.lower_ids[hits]
    order = np.lexsort((hits, lower))
    place, word = hits[order], lower[order]
    close = np.zeros(len(hits), np.bool_)
    close[1:] = (word[1:] == word[:-1]) & (place[1:] - place[:-1] <= within)
    return np.sort(place[close])
