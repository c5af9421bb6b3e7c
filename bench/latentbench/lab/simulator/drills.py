"""Drills: rules over spelling, casing, signs, lists of words and places, drawn on the fly, for training only.

`surface.yaml` holds a dozen or two concepts of each such family, which a model soon knows by heart: its loss on them falls and
held-out ones gain nothing. There are thousands of suffixes, signs with a condition and words next to words, so they are drawn
here from a small grammar over the pool's own vocabulary. Held-out figures go on measuring the listed concepts: nothing is drawn
that fires on what a held-out concept, or a latent of a planted suite, fires on (`lab.simulator.exam.ReservedConcepts`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.lab.simulator.concept import Concept, outside
from latentbench.lab.simulator.exam import ReservedConcepts
from latentbench.lab.simulator.parts import SPELLING, RuleParts
from latentbench.lab.simulator.pool import Hits, TokenPool

Made = tuple[Hits, Sequence[str], Sequence[Hits]]
"""Hits, noun phrases, and what the rule is easily taken for."""

DRILL = "drill"
"""Family of what is drawn here."""
LEAST, MOST = 60, 0.05
"""Hits of a drill: enough that windows differ, on no larger share of the tokens."""
TRIES = 6
"""Pairs of parts that are drawn until two fit together."""


class Drills:
    """Draws concepts of the family `drill`.

    Args:
        parts: what rules are made of, over a pool.
        compose: `compose` of `wordings.yaml`.
        reserved: what must not be drawn.
    """

    def __init__(self, parts: RuleParts, compose: Mapping[str, Sequence[str]], reserved: ReservedConcepts) -> None:
        self.pool, self.parts, self.compose, self.reserved = parts.pool, parts, compose, reserved

    def draw(self, rng: random.Random) -> Concept | None:
        """One concept, or None where the draw is too rare, too frequent or reserved."""
        kind = rng.choices(list(_MAKERS), _KIND_WEIGHTS)[0]
        made = _MAKERS[kind](self, rng)
        if made is None:
            return None
        hits, texts, near = made
        if not LEAST <= len(hits) <= MOST * len(self.pool) or self.reserved.holds(hits):
            return None
        phrases = tuple(texts)
        name = f"{kind}:{phrases[0]}"
        return Concept(name, DRILL, f"drill:{name}", hits, lambda own: own.choice(phrases), outside(hits, near))

    def _plain(self, rng: random.Random) -> Made | None:
        part = self.parts.draw(rng)
        if not part or not LEAST <= self.parts.size(part.mask) <= MOST * len(self.pool):
            return None
        return self.parts.at(part.mask), part.texts, [self.parts.at(m) for m in part.near]

    def _both(self, rng: random.Random) -> Made | None:
        for _ in range(TRIES):
            a, b = self.parts.draw(rng), self.parts.draw(rng, SPELLING)
            if not a or not b or not b.clauses:
                continue
            both, least = a.mask & b.mask, min(self.parts.size(a.mask), self.parts.size(b.mask))
            if LEAST <= self.parts.size(both) <= 0.85 * least:
                texts = [f"{t} {c}" for t in a.texts[:2] for c in b.clauses]
                texts += [f"{t}, but only those {c}" for t in a.texts[:2] for c in b.clauses]
                return self.parts.at(both), texts, [self.parts.at(a.mask), self.parts.at(b.mask)]
        return None

    def _without(self, rng: random.Random) -> Made | None:
        for _ in range(TRIES):
            a, b = self.parts.draw(rng), self.parts.draw(rng, SPELLING)
            if a and b and 0.1 <= self.parts.size(a.mask & b.mask) / max(1, self.parts.size(a.mask)) <= 0.85:
                texts = [t.format(a=x, b=rng.choice(b.texts)) for t in self.compose["not"] for x in a.texts[:2]]
                return self.parts.at(a.mask & ~b.mask), texts, [self.parts.at(a.mask & b.mask), self.parts.at(b.mask)]
        return None

    def _either(self, rng: random.Random) -> Made | None:
        a, b = self.parts.draw(rng), self.parts.draw(rng)
        if not a or not b or not 0.1 <= self.parts.size(a.mask) / max(1, self.parts.size(b.mask)) <= 10:
            return None
        texts = [t.format(a=x, b=rng.choice(b.texts)) for t in self.compose["or"] for x in a.texts[:2]]
        return self.parts.at(a.mask | b.mask), texts, [self.parts.at(m) for m in (*a.near, *b.near)]

    def _beside(self, rng: random.Random) -> Made | None:
        """Whatever follows or precedes."""
        part = self.parts.word(rng) if rng.random() < 0.5 else self.parts.draw(rng)
        if not part:
            return None
        own, step = self.parts.at(part.mask), rng.choice((1, 1, -1, -1, 2, -2))
        if not len(own) or len(own) > MOST * len(self.pool):
            return None
        what = rng.choice(part.texts)
        if abs(step) == 1:
            texts = [t.format(a=what) for t in self.compose["next" if step > 0 else "previous"]]
            texts.append(f"{'what follows' if step > 0 else 'what precedes'} {what}")
        else:
            side = "after" if step > 0 else "before"
            texts = [f"the second word {side} {what}", f"the word two places {side} {what}"]
        same_side = 2 * step if abs(step) == 1 else step // 2
        shifted = self.pool.shifted
        return shifted(own, step), texts, [own, shifted(own, -step), shifted(own, same_side)]

    def _where(self, rng: random.Random) -> Made | None:
        """A at a place: right after or before B, first of a sentence, near B."""
        a = self.parts.draw(rng)
        if not a:
            return None
        own, x = self.parts.at(a.mask), rng.choice(a.texts)
        kind = rng.choice(("after", "after", "before", "before", "start", "inside", "near"))
        if kind in ("start", "inside"):
            first = np.intersect1d(own, self.pool.sentence_starts, assume_unique=True)
            rest = np.setdiff1d(own, first)
            if kind == "start":
                return first, [f"{x} at the beginning of a sentence", f"{x}, as the first word of a sentence"], [rest]
            if len(first) < 0.1 * len(own):
                return None
            return rest, [f"{x} inside a sentence", f"{x}, but not as the first word of a sentence"], [first]
        b = self.parts.word(rng) if rng.random() < 0.5 else self.parts.draw(rng)
        if not b:
            return None
        other, y = self.parts.at(b.mask), rng.choice(b.texts)
        if kind == "near":
            hits = self.pool.near(own, other, 4, 4)
            texts = [t.format(a=x, b=y) for t in self.compose["near"]]
        else:
            hits = np.intersect1d(own, self.pool.shifted(other, 1 if kind == "after" else -1), assume_unique=True)
            texts = [f"{x} right {kind} {y}", f"{x} directly {kind} {y}"]
            texts += [t.format(a=x, b=y) for t in self.compose["after"]] if kind == "after" else []
        if len(hits) > 0.85 * len(own):
            return None
        return hits, texts, [own, own, other]


_MAKERS: dict[str, Callable[[Drills, random.Random], Made | None]] = {
    "plain": Drills._plain,
    "both": Drills._both,
    "without": Drills._without,
    "either": Drills._either,
    "beside": Drills._beside,
    "where": Drills._where,
}
_KIND_WEIGHTS = (40, 10, 6, 8, 14, 36)


def drills_of(
    pool: TokenPool,
    concepts: Sequence[Concept],
    surface: Mapping[str, Any],
    wordings: Mapping[str, Any],
    exams: Sequence[Path],
) -> Drills:
    """Drills that leave the concepts of other splits, and planted truths, alone.

    Args:
        concepts: of all splits.
        surface, wordings: the two YAML files.
        exams: rules of planted suites.
    """
    others = [c for c in concepts if c.split != "train"]
    # Synsets are too many to compare with, and no drill is about meaning but the lists with a name.
    rules = [c for c in others if c.family not in ("noun", "verb", "adjective", "word")]
    lexical = [pool.words[i].lower() for c in others if c.family == "word" for i in np.unique(pool.ids[c.hits])]
    parts = RuleParts(pool, surface["drills"], frozenset(lexical))
    return Drills(parts, wordings["compose"], ReservedConcepts(rules, pool, exams))
