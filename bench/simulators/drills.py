"""Drills: rules over spelling, casing, signs, lists of words and places, drawn on the fly, for training only.

`surface.yaml` holds a dozen or two concepts of each such family, which a model soon knows by heart: its loss on them falls and
held-out ones gain nothing. There are thousands of suffixes, signs with a condition and words next to words, so they are drawn
here from a small grammar over the pool's own vocabulary. Held-out figures go on measuring the listed concepts: nothing is drawn
that fires on what a held-out concept, or a latent of a planted suite, fires on (`bench.simulators.exam.Reserved`).
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.simulators.concept import Concept
from bench.simulators.concepts import lower_first
from bench.simulators.exam import Reserved
from bench.simulators.pool import Hits, Pool

Mask = NDArray[np.bool_]
Made = tuple[Hits, Sequence[str], Sequence[Hits]]
"""Hits, noun phrases, and what the rule is easily taken for."""

LEAST, MOST = 60, 0.05
"""Hits of a drill: enough that windows differ, on no larger share of the tokens."""
LONGEST = 4
"""Letters of an affix."""
TRIES = 6
"""Pairs of parts that are drawn until two fit together."""
TYPES = 6
"""Distinct words that a rule over spelling must hold, without case."""
FREQUENT = 300
"""Words that lists and neighbours are mostly made of."""


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Half of a rule: which distinct words it holds for, and how it is said.

    Attributes:
        mask: over the pool's distinct words.
        texts: noun phrases.
        near: masks of what it is easily taken for.
        clauses: relative clauses ("that end in -er") where the part can qualify another.
    """

    mask: Mask
    texts: tuple[str, ...]
    near: tuple[Mask, ...] = ()
    clauses: tuple[str, ...] = ()


class Drills:
    """Draws concepts of the family `drill`.

    Args:
        pool: the text.
        rules: `drills` of `surface.yaml`: `signs` (name, plural, regex) and `lists` (words, texts).
        compose: `compose` of `wordings.yaml`.
        reserved: what must not be drawn.
        blocked: words of held-out concepts, lower case; no list or neighbour is made of them.
    """

    def __init__(
        self,
        pool: Pool,
        rules: Mapping[str, Any],
        compose: Mapping[str, Sequence[str]],
        reserved: Reserved,
        blocked: frozenset[str] = frozenset(),
    ) -> None:
        self.pool, self.rules, self.compose, self.reserved = pool, rules, compose, reserved
        words = pool.words
        self.words, self.lower = words, [w.lower() for w in words]
        self.count = np.bincount(pool.ids, minlength=len(words))
        self.length = np.asarray([len(w) for w in words])
        self.alpha = np.asarray([w.isalpha() and w.isascii() for w in words])
        self.value = np.asarray([_value(w) for w in words])
        self.number = ~np.isnan(self.value)
        self.digits = np.asarray([len(w.replace(",", "")) if "." not in w else 0 for w in words])
        self.form = {
            "title": self.alpha & np.asarray([w.istitle() for w in words]) & (self.length > 1),
            "capitals": self.alpha & np.asarray([w.isupper() for w in words]) & (self.length > 1),
            "lower": self.alpha & np.asarray([w.islower() for w in words]),
        }
        self._holding = {c: np.asarray([c in w for w in self.lower]) for c in ascii_lowercase}
        self._affixes: dict[tuple[str, bool], list[int]] = {}
        for i in np.flatnonzero(self.alpha).tolist():
            word = self.lower[i]
            for size in range(1, 1 + min(LONGEST, len(word))):
                self._affixes.setdefault((word[:size], False), []).append(i)
                self._affixes.setdefault((word[-size:], True), []).append(i)
        self._flags = np.zeros(len(pool), np.bool_)
        order = np.argsort(-self.count, kind="stable")
        fit = self.form["lower"] & (self.count >= 3) & (self.length > 1)
        self.usable = [words[i] for i in order if fit[i] and words[i] not in blocked]
        self.frequent = self.usable[:FREQUENT]
        self.signs: list[tuple[str, str, Mask]] = [
            (one, many, self._where_word(set(signs).__contains__)) for one, many, signs in rules["signs"]
        ]

    def draw(self, rng: random.Random) -> Concept | None:
        """One concept, or None where the draw is too rare, too frequent or reserved."""
        kind = rng.choices(list(_MAKERS), _KIND_WEIGHTS)[0]
        made = _MAKERS[kind](self, rng)
        if made is None:
            return None
        hits, texts, near = made
        if not LEAST <= len(hits) <= MOST * len(self.pool) or self.reserved.holds(hits):
            return None
        phrases = list(texts)
        self._flags[hits] = True
        others = [n[~self._flags[n]] for n in near]
        self._flags[hits] = False
        contrasts = tuple(c for c in others if len(c) >= 4)
        name = f"{kind}:{phrases[0]}"
        return Concept(name, "drill", f"drill:{name}", hits, partial(_choice, phrases), contrasts)

    # --- how parts are put together

    def _plain(self, rng: random.Random) -> Made | None:
        part = self._part(rng)
        if not part or not LEAST <= self._size(part.mask) <= MOST * len(self.pool):
            return None
        return self._at(part.mask), part.texts, [self._at(m) for m in part.near]

    def _both(self, rng: random.Random) -> Made | None:
        for _ in range(TRIES):
            a, b = self._part(rng), self._part(rng, _SPELLING)
            if not a or not b or not b.clauses:
                continue
            both, least = a.mask & b.mask, min(self._size(a.mask), self._size(b.mask))
            if LEAST <= self._size(both) <= 0.85 * least:
                texts = [f"{t} {c}" for t in a.texts[:2] for c in b.clauses]
                texts += [f"{t}, but only those {c}" for t in a.texts[:2] for c in b.clauses]
                return self._at(both), texts, [self._at(a.mask), self._at(b.mask)]
        return None

    def _without(self, rng: random.Random) -> Made | None:
        for _ in range(TRIES):
            a, b = self._part(rng), self._part(rng, _SPELLING)
            if a and b and 0.1 <= self._size(a.mask & b.mask) / max(1, self._size(a.mask)) <= 0.85:
                texts = [t.format(a=x, b=rng.choice(b.texts)) for t in self.compose["not"] for x in a.texts[:2]]
                return self._at(a.mask & ~b.mask), texts, [self._at(a.mask & b.mask), self._at(b.mask)]
        return None

    def _either(self, rng: random.Random) -> Made | None:
        a, b = self._part(rng), self._part(rng)
        if not a or not b or not 0.1 <= self._size(a.mask) / max(1, self._size(b.mask)) <= 10:
            return None
        texts = [t.format(a=x, b=rng.choice(b.texts)) for t in self.compose["or"] for x in a.texts[:2]]
        return self._at(a.mask | b.mask), texts, [self._at(m) for m in (*a.near, *b.near)]

    def _beside(self, rng: random.Random) -> Made | None:
        """Whatever follows or precedes."""
        part = self._word(rng) if rng.random() < 0.5 else self._part(rng)
        if not part:
            return None
        own, step = self._at(part.mask), rng.choice((1, 1, -1, -1, 2, -2))
        if not len(own) or len(own) > MOST * len(self.pool):
            return None
        what = rng.choice(part.texts)
        if abs(step) == 1:
            texts = [t.format(a=what) for t in self.compose["next" if step > 0 else "previous"]]
            texts.append(f"{'what follows' if step > 0 else 'what precedes'} {what}")
        else:
            side = "after" if step > 0 else "before"
            texts = [f"the second word {side} {what}", f"the word two places {side} {what}"]
        hits = self.pool.shifted(own, step)
        return (
            hits,
            texts,
            [own, self.pool.shifted(own, -step), self.pool.shifted(own, step // abs(step) * (3 - abs(step)))],
        )

    def _where(self, rng: random.Random) -> Made | None:
        """A at a place: right after or before B, first of a sentence, near B."""
        a = self._part(rng)
        if not a:
            return None
        own, x = self._at(a.mask), rng.choice(a.texts)
        kind = rng.choice(("after", "after", "before", "before", "start", "inside", "near"))
        if kind in ("start", "inside"):
            first = np.intersect1d(own, self.pool.sentence_starts, assume_unique=True)
            rest = np.setdiff1d(own, first)
            if kind == "start":
                return first, [f"{x} at the beginning of a sentence", f"{x}, as the first word of a sentence"], [rest]
            if len(first) < 0.1 * len(own):
                return None
            return rest, [f"{x} inside a sentence", f"{x}, but not as the first word of a sentence"], [first]
        b = self._word(rng) if rng.random() < 0.5 else self._part(rng)
        if not b:
            return None
        other, y = self._at(b.mask), rng.choice(b.texts)
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

    # --- parts

    def _part(self, rng: random.Random, kinds: Mapping[str, int] | None = None) -> Part | None:
        weights = kinds or _PARTS
        return _PART_MAKERS[rng.choices(list(weights), list(weights.values()))[0]](self, rng)

    def _affix(self, rng: random.Random) -> Part | None:
        """The first or last letters of some word."""
        word, size, last = rng.choice(self.usable), rng.choice((1, 2, 2, 3, 3, 3, LONGEST)), rng.random() < 0.55
        if len(word) < size + 2:
            return None
        affix = word[-size:] if last else word[:size]
        part = affix[1:] if last else affix[:-1]
        long = self.alpha & (self.length >= size + 2)
        inside = long & self._where_word(lambda w: affix in w)
        mask = long & self._with(affix, last)
        like = long & (self._with(part, last) if part else self._with(affix, not last)) & ~mask
        if self._types(mask) < TYPES:
            return None
        other = self.lower[int(rng.choice(np.flatnonzero(mask)))]
        shown, verb = (f"-{affix}", "end in") if last else (f"{affix}-", "begin with")
        noun, place = ("ending in", "last") if last else ("beginning with", "first")
        letters = f"letter is {affix}" if size == 1 else f"letters are {affix}"
        texts = (
            f"words that {verb} {shown}",
            f"words {noun} {shown}",
            f"the {'suffix' if last else 'prefix'} {shown}",
            f"words whose {place} {letters}",
            f'words {noun} the letters "{affix}", such as {other} and {word}',
            f"words with {shown} at the {'end' if last else 'beginning'}, like {other}",
        )
        return Part(mask, texts, (like, inside & ~mask), (f"that {verb} {shown}", f"{noun} {shown}"))

    def _letters(self, rng: random.Random) -> Part | None:
        """Letters anywhere in a word."""
        word, size = rng.choice(self.usable), rng.choice((1, 2, 2, 3))
        if len(word) < size + 1:
            return None
        at = rng.randrange(len(word) - size + 1)
        some = word[at : at + size]
        mask = self.alpha & self._where_word(lambda w: some in w)
        if self._types(mask) < TYPES:
            return None
        apart = self.alpha & np.logical_and.reduce([self._holding[c] for c in some]) & ~mask
        what = f"the letter {some}" if size == 1 else f"the letters {some}"
        texts = (
            f"words with {what}",
            f"words that contain {what}",
            f'words in which "{some}" stands',
            f"words spelled with {some}",
        )
        return Part(mask, texts, (apart,), (f"that contain {what}", f"with {what}"))

    def _size_of(self, rng: random.Random) -> Part | None:
        """How many letters."""
        n, kind = rng.randint(1, 14), rng.choice(("exactly", "least", "most", "between"))
        m = n + rng.randint(1, 2)
        name = _COUNTS[n]
        if kind == "exactly":
            mask, said = (
                self.length == n,
                [f"of exactly {name} letters", f"of {name} letters", f"that are {n} letters long"],
            )
        elif kind == "least":
            mask, said = (
                self.length >= n,
                [f"of {name} or more letters", f"of at least {n} letters", f"with at least {name} letters"],
            )
        elif kind == "most":
            mask, said = self.length <= n, [f"of at most {name} letters", f"with no more than {n} letters"]
        else:
            mask = (self.length >= n) & (self.length <= m)
            said = [f"of {name} to {_COUNTS[m]} letters", f"with {n} to {m} letters"]
        mask = mask & self.alpha
        around = self.alpha & (np.abs(self.length - n) <= 2) & ~mask
        return Part(mask, tuple(f"words {s}" for s in said), (around,), tuple(said))

    def _sign(self, rng: random.Random) -> Part | None:
        """One to three punctuation marks."""
        picked = rng.sample(self.signs, rng.choice((1, 1, 2, 2, 3)))
        mask = np.logical_or.reduce([m for _, _, m in picked])
        many = _listed([p for _, p, _ in picked], rng)
        texts = [many, many, _listed([one for one, _, _ in picked], rng, "or"), f"{many} as punctuation"]
        others = np.logical_or.reduce([m for _, _, m in self.signs]) & ~mask
        return Part(mask, tuple(texts), (others,))

    def _number(self, rng: random.Random) -> Part | None:
        """Numbers in digits by size, digits and ends."""
        kind, n = rng.choice(("digits", "end", "start", "above", "below", "between")), rng.randint(0, 9)
        if kind == "digits":
            k = rng.randint(2, 6)
            mask, said = self.digits == k, [f"of {_COUNTS[k]} digits", f"with exactly {k} digits"]
        elif kind == "end":
            mask, said = self._ends(str(n)), [f"that end in {n}", f"whose last digit is {n}"]
        elif kind == "start":
            mask = self._starts(str(n))
            said = [f"that begin with {n}", f"whose first digit is {n}"]
        else:
            low = rng.choice((5, 10, 12, 20, 25, 30, 50, 60, 75, 100, 200, 300, 500, 1000, 5000))
            high = low * rng.choice((2, 3, 5, 10))
            if kind == "above":
                mask, said = self.value > low, [f"above {low}", f"larger than {low}", f"greater than {low}"]
            elif kind == "below":
                mask, said = (
                    self.value < low,
                    [f"below {low}", f"smaller than {low}", f"less than {low}"],
                )
            else:
                mask = (self.value >= low) & (self.value <= high)
                said = [f"from {low} to {high}", f"between {low} and {high}"]
        texts = (
            [f"numbers {s}" for s in said]
            + [f"numbers in digits {s}" for s in said[:1]]
            + [f"figures {s}" for s in said[:1]]
        )
        mask = mask & self.number
        return Part(mask, tuple(texts), (self.number & ~mask,))

    def _case(self, rng: random.Random) -> Part | None:
        """Capitals and small letters, by first letter or by length."""
        kind = rng.choice(("initial", "initial", "title-length", "capitals-length", "lower-length"))
        n = rng.randint(2, 10)
        if kind == "initial":
            letter, upper = rng.choice("abcdefghiklmnoprstuvw"), rng.random() < 0.7
            shown, size = (letter.upper(), "a capital") if upper else (letter, "a small")
            mask = self.alpha & self._starts(shown)
            texts = [f"words that begin with {size} {shown}", f"words whose first letter is {size} {shown}"]
            near = self.alpha & self._starts(letter if upper else letter.upper())
            return Part(mask, tuple(texts), (near,), (f"that begin with {size} {shown}",))
        name = kind.split("-")[0]
        mask = self.form[name] & (self.length == n)
        said = {"title": "capitalised words", "capitals": "words in capital letters", "lower": "words in small letters"}
        texts = [f"{said[name]} of {_COUNTS[n]} letters", f"{said[name]} with exactly {n} letters"]
        return Part(mask, tuple(texts), (self.form[name] & ~mask, self.alpha & (self.length == n) & ~mask))

    def _word(self, rng: random.Random) -> Part:
        """One word, mostly a frequent one."""
        word = rng.choice(self.frequent if rng.random() < 0.8 else self.usable[:4000])
        return Part(self._of([word]), (f"the word {word}", f'"{word}"', f"the token {word}"), (self._some(rng),))

    def _words(self, rng: random.Random) -> Part:
        """A list of words that need have nothing in common."""
        source = self.frequent if rng.random() < 0.75 else self.usable[:6000]
        picked = rng.sample(source, rng.choice((1, 2, 2, 3, 3, 4, 5, 6)))
        plain, quoted = _listed(picked, rng), _listed([f'"{w}"' for w in picked], rng)
        many = "words" if len(picked) > 1 else "word"
        texts = [f"the {many} {plain}", f"the {many} {quoted}", quoted, _listed(picked, rng, "or")]
        texts += [f"mentions of {_listed(picked, rng, 'or')}", f"common words: {', '.join(picked)}"]
        return Part(self._of(picked), tuple(texts), (self._some(rng),))

    def _list(self, rng: random.Random) -> Part:
        """A list that has a name."""
        lists = self.rules["lists"]
        n = rng.randrange(len(lists))
        other = lists[(n + rng.choice((-1, 1))) % len(lists)]["words"]
        texts = tuple(lower_first(t.rstrip(".")) for t in lists[n]["texts"])
        return Part(self._of(lists[n]["words"]), texts, (self._of(other), self._some(rng)))

    # --- over the vocabulary

    def _at(self, mask: Mask) -> Hits:
        return np.flatnonzero(mask[self.pool.ids])

    def _size(self, mask: Mask) -> int:
        return int(self.count[mask].sum())

    def _types(self, mask: Mask) -> int:
        return len({self.lower[i] for i in np.flatnonzero(mask)})

    def _of(self, words: Sequence[str]) -> Mask:
        mask = np.zeros(len(self.words), np.bool_)
        mask[np.asarray([i for w in words for i in self.pool.types(w)], np.int64)] = True
        return mask

    def _some(self, rng: random.Random) -> Mask:
        """A dozen frequent words, for a list to be taken for."""
        return self._of(rng.sample(self.frequent, 12))

    def _with(self, affix: str, last: bool) -> Mask:
        mask = np.zeros(len(self.words), np.bool_)
        mask[np.asarray(self._affixes.get((affix, last), []), np.int64)] = True
        return mask

    def _where_word(self, holds: Callable[[str], bool]) -> Mask:
        return np.fromiter(map(holds, self.lower), np.bool_, len(self.lower))

    def _starts(self, some: str) -> Mask:
        """With case; longer than it."""
        return np.fromiter((w.startswith(some) and w != some for w in self.words), np.bool_, len(self.words))

    def _ends(self, some: str) -> Mask:
        return np.fromiter((w.endswith(some) and w != some for w in self.words), np.bool_, len(self.words))


_MAKERS: dict[str, Callable[[Drills, random.Random], Made | None]] = {
    "plain": Drills._plain,
    "both": Drills._both,
    "without": Drills._without,
    "either": Drills._either,
    "beside": Drills._beside,
    "where": Drills._where,
}
_KIND_WEIGHTS = (40, 10, 6, 8, 14, 36)
_PART_MAKERS: dict[str, Callable[[Drills, random.Random], Part | None]] = {
    "affix": Drills._affix,
    "letters": Drills._letters,
    "size": Drills._size_of,
    "sign": Drills._sign,
    "number": Drills._number,
    "case": Drills._case,
    "words": Drills._words,
    "list": Drills._list,
}
_PARTS = {"affix": 22, "letters": 6, "size": 6, "sign": 16, "number": 7, "case": 6, "words": 15, "list": 22}
_SPELLING = {"affix": 4, "letters": 2, "size": 3, "case": 2}
_NUMBER = re.compile(r"([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")
_COUNTS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen"),
)


def _value(word: str) -> float:
    """A number in digits, with or without thousands separators; NaN for anything else."""
    return float(word.replace(",", "")) if _NUMBER.fullmatch(word) else math.nan


def _choice(phrases: Sequence[str], rng: random.Random) -> str:
    return rng.choice(phrases)


def _listed(parts: Sequence[str], rng: random.Random, joint: str = "and") -> str:
    """`a, b and c`, or now and then `a, b, c`."""
    if len(parts) == 1:
        return parts[0]
    if joint == "and" and rng.random() < 0.3:
        return ", ".join(parts)
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}"


def drills_of(
    pool: Pool,
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
    return Drills(pool, surface["drills"], wordings["compose"], Reserved(rules, pool, exams), frozenset(lexical))
