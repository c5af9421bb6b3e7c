"""Training examples: one description and a few windows, each with a label per token.

A description is drawn first, then windows in which it holds and windows in which it does not. Half of the silent ones are hard:
a neighbouring concept fires there, or they come from the passage of a window in which the concept fires. Were all of them
random, a judge would learn that any sign of the topic is enough, which is the fault that near misses are made of.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import seed_for
from latentbench.lab.simulator.compose import composed
from latentbench.lab.simulator.concept import Concept, Split
from latentbench.lab.simulator.concepts import RARE
from latentbench.lab.simulator.drills import DRILL, Drills
from latentbench.lab.simulator.pool import Hits, TokenPool

ACTIVE, HARD, SAME, RANDOM = "active", "neighbour", "passage", "random"
FAMILIES = {
    "noun": 30,
    "word": 14,
    "verb": 7,
    "adjective": 5,
    "neighbour": 5,
    "affix": 4,
    "function-words": 5,
    "punctuation": 3,
}
FAMILIES |= {"numbers": 1, "casing": 2, "letters": 1, "position": 2, "register": 4, "compose": 17}
EXTRA = (DRILL, RARE)
"""Families for training only, which a recipe has to give a weight: what `lab.simulator.drills` draws, and synsets that are
too rare to be asked about. Held-out figures do not change with them."""
LISTED = 0.22
"""Share of descriptions that list tokens, as explainers without a language model write them."""


@dataclass(frozen=True, slots=True, eq=False)
class TextWindow:
    """A window of a pool.

    Attributes:
        tokens: word-level strings; joined they are the text.
        labels: bool [tokens], where the concept fires.
        kind: `active`, or how a silent window was found.
    """

    tokens: tuple[str, ...]
    labels: NDArray[np.bool_]
    kind: str

    @property
    def active(self) -> bool:
        """Whether the concept fires anywhere in it."""
        return bool(self.labels.any())


@dataclass(frozen=True, slots=True)
class Example:
    """One description and its windows."""

    family: str
    concept: str
    description: str
    windows: tuple[TextWindow, ...]


class Examples:
    """A stream of examples of one split.

    Args:
        pool: the text.
        concepts: of all splits.
        split: which of them to use.
        surface, wordings: the two YAML files.
        windows: per description.
        families: family -> how often, in place of its weight in `FAMILIES`; those of `EXTRA` too.
        drills: draws the concepts of that family.

    Raises:
        SpecError: a family that does not exist.
    """

    def __init__(
        self,
        pool: TokenPool,
        concepts: Sequence[Concept],
        split: Split,
        surface: Mapping[str, Any],
        wordings: Mapping[str, Any],
        windows: int = 4,
        families: Mapping[str, int] | None = None,
        drills: Drills | None = None,
    ) -> None:
        self.weights = FAMILIES | dict.fromkeys(EXTRA, 0) | dict(families or {})
        if unknown := set(self.weights) - {*FAMILIES, *EXTRA}:
            raise SpecError(f"no family {', '.join(sorted(unknown))}; there are {', '.join((*FAMILIES, *EXTRA))}.")
        self.pool, self.windows, self.split = pool, windows, split
        self.surface, self.wordings, self.drills = surface, wordings, drills
        self.concepts = [c for c in concepts if c.split == split]
        self.by_family: dict[str, list[Concept]] = {}
        for c in self.concepts:
            self.by_family.setdefault(c.family, []).append(c)
        self.components = [c for c in self.concepts if c.family != RARE]
        shown = {*self.by_family, "compose"} | ({DRILL} if drills else set())
        self.families = [f for f in (*FAMILIES, *EXTRA) if f in shown]

    def weighted(self, families: Mapping[str, int]) -> Examples:
        """Return examples of these concepts with other weights of their families."""
        own = self.pool, self.concepts, self.split, self.surface, self.wordings, self.windows
        return Examples(*own, families, self.drills)

    def draw(self, seed: int) -> Iterator[Example]:
        """Endless; the n-th example depends on the seed and n alone, so a stream can be entered anywhere."""
        n = 0
        while True:
            yield self.at(seed, n)
            n += 1

    def at(self, seed: int, n: int) -> Example:
        """The n-th example of a seed."""
        rng = random.Random(seed_for(seed, "example", n))
        while True:
            concept = self._concept(rng)
            made = self._example(concept, rng) if concept else None
            if made:
                return made

    def _concept(self, rng: random.Random) -> Concept | None:
        family = rng.choices(self.families, [self.weights[f] for f in self.families])[0]
        if family == "compose":
            return composed(rng, self.components, self.pool, self.wordings["compose"], self.surface["sources"])
        if family == DRILL and self.drills:
            return self.drills.draw(rng)
        return rng.choice(self.by_family[family])

    def _example(self, concept: Concept, rng: random.Random) -> Example | None:
        # Mostly half and half; sometimes all or none, so that windows of one description say nothing about each other.
        active = rng.choices(range(self.windows + 1), _shares(self.windows))[0]
        anchors = [int(h) for h in rng.sample(range(len(concept.hits)), min(active + 1, len(concept.hits)))]
        shown = [self._active(concept, int(concept.hits[h]), rng) for h in anchors[:active]]
        found = [w for w in shown if w is not None]
        while len(found) < self.windows:
            silent = self._silent(concept, int(concept.hits[anchors[-1]]), rng)
            if silent is None:
                return None
            found.append(silent)
        rng.shuffle(found)
        return Example(concept.family, concept.name, self._describe(concept, rng), tuple(found))

    def _active(self, concept: Concept, at: int, rng: random.Random) -> TextWindow | None:
        window = self._around(at, rng)
        return self._cut(concept.hits, *window, ACTIVE) if window else None

    def _silent(self, concept: Concept, anchor: int, rng: random.Random) -> TextWindow | None:
        for _ in range(20):
            kind = rng.choices((HARD, SAME, RANDOM), (4 if concept.contrasts else 0, 2, 4))[0]
            if kind == HARD:
                at = int(rng.choice(rng.choice(concept.contrasts)))
            elif kind == SAME:
                at = rng.randrange(*self.pool.passage(anchor))
            else:
                at = rng.randrange(len(self.pool))
            window = self._around(at, rng)
            if window:
                made = self._cut(concept.hits, *window, kind)
                if not made.active:
                    return made
        return None

    def _around(self, at: int, rng: random.Random) -> tuple[int, int] | None:
        """A window of 14 to 36 tokens of one passage around a position, which stands anywhere but at its very edges."""
        size = rng.choice((14, 18, 22, 26, 26, 28, 28, 32, 36))
        low, high = self.pool.passage(at)
        if high - low < 8:
            return None
        start = max(low, min(at - rng.randint(2, size - 2), high - size))
        return start, min(start + size, high)

    def _cut(self, hits: Hits, start: int, end: int, kind: str) -> TextWindow:
        labels = np.zeros(end - start, np.bool_)
        labels[hits[np.searchsorted(hits, start) : np.searchsorted(hits, end)] - start] = True
        return TextWindow(tuple(self.pool.tokens[start:end]), labels, kind)

    def _describe(self, concept: Concept, rng: random.Random) -> str:
        if rng.random() < LISTED:
            return self._listed(concept, rng)
        text = rng.choice(self.wordings["wrappers"]).format(x=concept.word(rng))
        if rng.random() < 0.75:
            text = text[0].upper() + text[1:]
        return str(text) + ("." if rng.random() < 0.75 else "")

    def _listed(self, concept: Concept, rng: random.Random) -> str:
        """`Tokens such as "a", "b". As in "... a ..."`, from places other than those of most windows."""
        picked = [int(concept.hits[i]) for i in rng.sample(range(len(concept.hits)), min(24, len(concept.hits)))]
        words = list(dict.fromkeys(self.pool.words[self.pool.ids[p]] for p in picked))[: rng.randint(3, 8)]
        text = "Tokens such as " + ", ".join(f'"{w}"' for w in words) + "."
        if rng.random() < 0.6:
            quotes = []
            for p in picked[-rng.randint(1, 3) :]:
                first, end = self.pool.passage(p)
                low, high = max(p - rng.randint(2, 4), first), min(p + rng.randint(2, 4), end)
                quote = "".join(self.pool.tokens[low:high]).strip().replace("\n", "⏎")
                quotes.append(f'"{quote}"')
            text += " As in " + "; ".join(quotes) + "."
        return text


def _shares(windows: int) -> list[float]:
    """Chances of 0..n active windows: 6 % none, 6 % all, the rest around one half."""
    middle = [1.0 + (2.0 if abs(k - windows / 2) < 1 else 0.0) for k in range(1, windows)]
    total = sum(middle) or 1.0
    return [0.06, *(0.88 * m / total for m in middle), 0.06]
