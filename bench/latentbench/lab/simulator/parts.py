"""Parts of drills: which words of a pool's vocabulary something holds for, and how it is said.

A part is a mask over the distinct words, not over the text: a pool has thirty times as many tokens as words, so parts are
combined before anything is looked up in the text.
"""

from __future__ import annotations

import math
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from string import ascii_lowercase
from typing import Any

import numpy as np

from latentbench.lab.simulator.concepts import lower_first
from latentbench.lab.simulator.pool import Hits, Mask, TokenPool

LONGEST = 4
"""Largest number of letters of an affix."""
TYPES = 6
"""Distinct words that a rule over spelling must hold, without case."""
FREQUENT = 300
"""Number of frequent words that lists and neighbours are mostly made of."""


@dataclass(frozen=True, slots=True, eq=False)
class RulePart:
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


class RuleParts:
    """Draws parts over the words of a pool.

    Args:
        pool: the text.
        rules: `drills` of `surface.yaml`: `signs` (one, many, characters) and `lists` (words, texts).
        blocked: words of held-out concepts, lower case; no list or neighbour is made of them.
    """

    def __init__(self, pool: TokenPool, rules: Mapping[str, Any], blocked: frozenset[str] = frozenset()) -> None:
        self.pool, self.lists = pool, rules["lists"]
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
        self._single = {c: self._holding(c) for c in ascii_lowercase}
        self._affixes: dict[tuple[str, bool], list[int]] = {}
        for i in np.flatnonzero(self.alpha).tolist():
            word = self.lower[i]
            for size in range(1, 1 + min(LONGEST, len(word))):
                self._affixes.setdefault((word[:size], False), []).append(i)
                self._affixes.setdefault((word[-size:], True), []).append(i)
        order = np.argsort(-self.count, kind="stable")
        fit = self.form["lower"] & (self.count >= 3) & (self.length > 1)
        self.usable = [words[i] for i in order if fit[i] and words[i] not in blocked]
        self.frequent = self.usable[:FREQUENT]
        self.signs: list[tuple[str, str, Mask]] = [(one, many, self._of(signs)) for one, many, signs in rules["signs"]]

    def draw(self, rng: random.Random, kinds: Mapping[str, int] | None = None) -> RulePart | None:
        """One part, or None where the draw holds for too few words.

        Args:
            kinds: kind -> how often; `SPELLING` are those that can qualify others.
        """
        weights = kinds or _KINDS
        return _MAKERS[rng.choices(list(weights), list(weights.values()))[0]](self, rng)

    def _affix(self, rng: random.Random) -> RulePart | None:
        """The first or last letters of some word."""
        word, size, last = rng.choice(self.usable), rng.choice((1, 2, 2, 3, 3, 3, LONGEST)), rng.random() < 0.55
        if len(word) < size + 2:
            return None
        affix = word[-size:] if last else word[:size]
        part = affix[1:] if last else affix[:-1]
        long = self.alpha & (self.length >= size + 2)
        inside = long & self._holding(affix)
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
        return RulePart(mask, texts, (like, inside & ~mask), (f"that {verb} {shown}", f"{noun} {shown}"))

    def _letters(self, rng: random.Random) -> RulePart | None:
        """Letters anywhere in a word."""
        word, size = rng.choice(self.usable), rng.choice((1, 2, 2, 3))
        if len(word) < size + 1:
            return None
        at = rng.randrange(len(word) - size + 1)
        some = word[at : at + size]
        mask = self.alpha & self._holding(some)
        if self._types(mask) < TYPES:
            return None
        apart = self.alpha & np.logical_and.reduce([self._single[c] for c in some]) & ~mask
        what = f"the letter {some}" if size == 1 else f"the letters {some}"
        texts = (
            f"words with {what}",
            f"words that contain {what}",
            f'words in which "{some}" stands',
            f"words spelled with {some}",
        )
        return RulePart(mask, texts, (apart,), (f"that contain {what}", f"with {what}"))

    def _size_of(self, rng: random.Random) -> RulePart | None:
        """How many letters."""
        n, kind = rng.randint(1, 14), rng.choice(("exactly", "least", "most", "between"))
        m = n + rng.randint(1, 2)
        name = _COUNTS[n]
        if kind == "exactly":
            mask = self.length == n
            said = [f"of exactly {name} letters", f"of {name} letters", f"that are {n} letters long"]
        elif kind == "least":
            mask = self.length >= n
            said = [f"of {name} or more letters", f"of at least {n} letters", f"with at least {name} letters"]
        elif kind == "most":
            mask, said = self.length <= n, [f"of at most {name} letters", f"with no more than {n} letters"]
        else:
            mask = (self.length >= n) & (self.length <= m)
            said = [f"of {name} to {_COUNTS[m]} letters", f"with {n} to {m} letters"]
        mask = mask & self.alpha
        around = self.alpha & (np.abs(self.length - n) <= 2) & ~mask
        return RulePart(mask, tuple(f"words {s}" for s in said), (around,), tuple(said))

    def _sign(self, rng: random.Random) -> RulePart | None:
        """One to three punctuation marks."""
        picked = rng.sample(self.signs, rng.choice((1, 1, 2, 2, 3)))
        mask = np.logical_or.reduce([m for _, _, m in picked])
        many = _listed([p for _, p, _ in picked], rng)
        texts = [many, many, _listed([one for one, _, _ in picked], rng, "or"), f"{many} as punctuation"]
        others = np.logical_or.reduce([m for _, _, m in self.signs]) & ~mask
        return RulePart(mask, tuple(texts), (others,))

    def _number(self, rng: random.Random) -> RulePart | None:
        """Numbers in digits by size, digits and ends."""
        kind, n = rng.choice(("digits", "end", "start", "above", "below", "between")), rng.randint(0, 9)
        if kind == "digits":
            k = rng.randint(2, 6)
            mask, said = self.digits == k, [f"of {_COUNTS[k]} digits", f"with exactly {k} digits"]
        elif kind == "end":
            mask, said = self._are(str.endswith, str(n)), [f"that end in {n}", f"whose last digit is {n}"]
        elif kind == "start":
            mask = self._are(str.startswith, str(n))
            said = [f"that begin with {n}", f"whose first digit is {n}"]
        else:
            low = rng.choice((5, 10, 12, 20, 25, 30, 50, 60, 75, 100, 200, 300, 500, 1000, 5000))
            high = low * rng.choice((2, 3, 5, 10))
            if kind == "above":
                mask, said = self.value > low, [f"above {low}", f"larger than {low}", f"greater than {low}"]
            elif kind == "below":
                mask, said = self.value < low, [f"below {low}", f"smaller than {low}", f"less than {low}"]
            else:
                mask = (self.value >= low) & (self.value <= high)
                said = [f"from {low} to {high}", f"between {low} and {high}"]
        texts = [*(f"numbers {s}" for s in said), f"numbers in digits {said[0]}", f"figures {said[0]}"]
        mask = mask & self.number
        return RulePart(mask, tuple(texts), (self.number & ~mask,))

    def _case(self, rng: random.Random) -> RulePart | None:
        """Capitals and small letters, by first letter or by length."""
        kind = rng.choice(("initial", "initial", "title-length", "capitals-length", "lower-length"))
        n = rng.randint(2, 10)
        if kind == "initial":
            letter, upper = rng.choice("abcdefghiklmnoprstuvw"), rng.random() < 0.7
            shown, size = (letter.upper(), "a capital") if upper else (letter, "a small")
            mask = self.alpha & self._are(str.startswith, shown)
            texts = [f"words that begin with {size} {shown}", f"words whose first letter is {size} {shown}"]
            near = self.alpha & self._are(str.startswith, letter if upper else letter.upper())
            return RulePart(mask, tuple(texts), (near,), (f"that begin with {size} {shown}",))
        name = kind.split("-")[0]
        mask = self.form[name] & (self.length == n)
        said = {"title": "capitalised words", "capitals": "words in capital letters", "lower": "words in small letters"}
        texts = [f"{said[name]} of {_COUNTS[n]} letters", f"{said[name]} with exactly {n} letters"]
        return RulePart(mask, tuple(texts), (self.form[name] & ~mask, self.alpha & (self.length == n) & ~mask))

    def word(self, rng: random.Random) -> RulePart:
        """One word, mostly a frequent one."""
        word = rng.choice(self.frequent if rng.random() < 0.8 else self.usable[:4000])
        return RulePart(self._of([word]), (f"the word {word}", f'"{word}"', f"the token {word}"), (self._some(rng),))

    def _words(self, rng: random.Random) -> RulePart:
        """A list of words that need have nothing in common."""
        source = self.frequent if rng.random() < 0.75 else self.usable[:6000]
        picked = rng.sample(source, rng.choice((1, 2, 2, 3, 3, 4, 5, 6)))
        plain, quoted = _listed(picked, rng), _listed([f'"{w}"' for w in picked], rng)
        many = "words" if len(picked) > 1 else "word"
        texts = [f"the {many} {plain}", f"the {many} {quoted}", quoted, _listed(picked, rng, "or")]
        texts += [f"mentions of {_listed(picked, rng, 'or')}", f"common words: {', '.join(picked)}"]
        return RulePart(self._of(picked), tuple(texts), (self._some(rng),))

    def _list(self, rng: random.Random) -> RulePart:
        """A list that has a name."""
        n = rng.randrange(len(self.lists))
        own, other = self.lists[n], self.lists[(n + rng.choice((-1, 1))) % len(self.lists)]
        texts = tuple(lower_first(t.rstrip(".")) for t in own["texts"])
        return RulePart(self._of(own["words"]), texts, (self._of(other["words"]), self._some(rng)))

    # --- over the vocabulary

    def at(self, mask: Mask) -> Hits:
        """Positions in the pool."""
        return np.flatnonzero(mask[self.pool.ids])

    def size(self, mask: Mask) -> int:
        """How many positions."""
        return int(self.count[mask].sum())

    def _types(self, mask: Mask) -> int:
        return len({self.lower[i] for i in np.flatnonzero(mask)})

    def _mask(self, ids: Sequence[int]) -> Mask:
        mask = np.zeros(len(self.words), np.bool_)
        mask[np.asarray(ids, np.int64)] = True
        return mask

    def _of(self, words: Sequence[str]) -> Mask:
        return self._mask([i for w in words for i in self.pool.types(w)])

    def _some(self, rng: random.Random) -> Mask:
        """A dozen frequent words, for a list to be taken for."""
        return self._of(rng.sample(self.frequent, 12))

    def _with(self, affix: str, last: bool) -> Mask:
        return self._mask(self._affixes.get((affix, last), []))

    def _holding(self, letters: str) -> Mask:
        return np.asarray([letters in w for w in self.lower])

    def _are(self, holds: Callable[[str, str], bool], some: str) -> Mask:
        """Mark the words that begin or end with `some`, case and all, and are longer than it.

        Args:
            holds: `str.startswith` or `str.endswith`.
            some: the affix.
        """
        return np.asarray([holds(w, some) and w != some for w in self.words])


_MAKERS: dict[str, Callable[[RuleParts, random.Random], RulePart | None]] = {
    "affix": RuleParts._affix,
    "letters": RuleParts._letters,
    "size": RuleParts._size_of,
    "sign": RuleParts._sign,
    "number": RuleParts._number,
    "case": RuleParts._case,
    "words": RuleParts._words,
    "list": RuleParts._list,
}
_KINDS = {"affix": 22, "letters": 6, "size": 6, "sign": 16, "number": 7, "case": 6, "words": 15, "list": 22}
SPELLING = {"affix": 4, "letters": 2, "size": 3, "case": 2}
_NUMBER = re.compile(r"([0-9]+|[0-9]{1,3}(,[0-9]{3})+)(\.[0-9]+)?")
_COUNTS = (
    *("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen"),
)


def _value(word: str) -> float:
    """A number in digits, with or without thousands separators; NaN for anything else."""
    return float(word.replace(",", "")) if _NUMBER.fullmatch(word) else math.nan


def _listed(parts: Sequence[str], rng: random.Random, joint: str = "and") -> str:
    """`a, b and c`, or now and then `a, b, c`."""
    if len(parts) == 1:
        return parts[0]
    if joint == "and" and rng.random() < 0.3:
        return ", ".join(parts)
    return f"{', '.join(parts[:-1])} {joint} {parts[-1]}"
