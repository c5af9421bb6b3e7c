"""WordNet's own files as concepts: which words of a text belong to which synset.

Read from the database files that Debian's `wordnet-base` installs, at training time only: nothing of it is shipped. A word
counts for its most frequent sense and no other, by the tag counts of `cntlist.rev` over all parts of speech; a word in its
rarer senses is noise that no description can explain, so a word counts only if it has one sense, or if at least 60 % of its
tagged uses have that sense.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from latentbench.kernel.errors import DataError
from latentbench.kernel.inputs import read_bytes, understood

PARTS = {"n": "noun", "v": "verb", "a": "adj"}
_KIND = {"1": "n", "2": "v", "3": "a", "5": "a"}
_VOWELS = "aeiou"


@dataclass(frozen=True)
class Synset:
    """One synset.

    Attributes:
        id: part of speech and offset, as `n02084071`.
        lemmas: its words, `_` for spaces.
        gloss: the definition without examples.
        up: ids of hypernyms; of the head synset, for a satellite adjective.
        down: ids of hyponyms; of the satellites, for a head adjective.
    """

    id: str
    lemmas: tuple[str, ...]
    gloss: str
    up: tuple[str, ...]
    down: tuple[str, ...]


AGAIN = "Install WordNet again."


class WordNet:
    """The database in a folder.

    Args:
        folder: with `data.noun`, `index.noun`, `cntlist.rev` and so on.

    Raises:
        DataError: a file is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        wanted = [f"{kind}.{part}" for kind in ("data", "index") for part in PARTS.values()] + ["cntlist.rev"]
        if missing := [name for name in wanted if not (folder / name).is_file()]:
            raise DataError(
                f"no WordNet in {folder}: {', '.join(missing)} missing. Debian: apt-get install wordnet-base."
            )
        with understood(folder, DataError, AGAIN):
            self.synsets = {s.id: s for part in PARTS for s in self._read(part)}
            for synset in self.synsets.values():
                for other in (*synset.up, *synset.down):
                    if other not in self.synsets:
                        raise ValueError(f"{synset.id} names {other}, which is not there")

    def _read(self, part: str) -> list[Synset]:
        found = []
        for line in _text(self.folder / f"data.{PARTS[part]}").splitlines():
            if line.startswith("  "):
                continue
            fields, _, gloss = line.partition(" | ")
            f = fields.split()
            n = int(f[3], 16)
            lemmas = tuple(re.sub(r"\(\w+\)$", "", w) for w in f[4 : 4 + 2 * n : 2])
            links = [(f[i], f[i + 2] + f[i + 1]) for i in range(5 + 2 * n, 5 + 2 * n + 4 * int(f[4 + 2 * n]), 4)]
            # A satellite has one head (&); a head lists its satellites by the same sign.
            similar = [to for sign, to in links if sign == "&"]
            head = f[2] == "a"
            up = [to for sign, to in links if sign in ("@", "@i")] + ([] if head else similar if f[2] == "s" else [])
            down = [to for sign, to in links if sign in ("~", "~i")] + (similar if head else [])
            definition = re.split(r';\s*"', gloss.strip())[0].strip().strip('"')
            fix = tuple(to.replace("s", "a", 1) if to[0] == "s" else to for to in up)
            fix_down = tuple(to.replace("s", "a", 1) if to[0] == "s" else to for to in down)
            found.append(Synset(part + f[0], lemmas, definition, fix, fix_down))
        return found

    @cached_property
    def first_sense(self) -> dict[str, str]:
        """Synset id of the most frequent sense of each single word, lower case.

        Raises:
            DataError: a file of counts or of the index is damaged.
        """
        with understood(self.folder, DataError, AGAIN):
            return self._first_sense()

    def _first_sense(self) -> dict[str, str]:
        first: dict[tuple[str, str], int] = {}
        total: dict[str, int] = {}
        for line in _text(self.folder / "cntlist.rev").splitlines():
            key, sense, tagged = line.split()
            lemma, _, rest = key.partition("%")
            total[lemma] = total.get(lemma, 0) + int(tagged)
            if sense == "1" and rest[0] in _KIND:
                place = lemma, _KIND[rest[0]]
                first[place] = max(first.get(place, 0), int(tagged))
        senses: dict[str, int] = {}
        best: dict[str, tuple[int, str]] = {}
        for part, name in PARTS.items():
            for line in _text(self.folder / f"index.{name}").splitlines():
                f = line.split()
                if line.startswith("  ") or not re.fullmatch(r"[a-z][a-z'-]+", f[0]):
                    continue
                lemma, count = f[0], first.get((f[0], part), 0)
                senses[lemma] = senses.get(lemma, 0) + int(f[2])
                if lemma not in best or count > best[lemma][0]:
                    best[lemma] = (count, part + f[6 + int(f[3])])
        return {
            lemma: sense
            for lemma, (count, sense) in best.items()
            if senses[lemma] == 1 or (count and count >= 0.6 * total[lemma])
        }

    def path(self, synset: str) -> list[str]:
        """Path from the root to the synset along first hypernyms."""
        found = [synset]
        while self.synsets[found[-1]].up and len(found) < 30:
            found.append(self.synsets[found[-1]].up[0])
        return found[::-1]

    @cached_property
    def irregular(self) -> dict[tuple[str, str], list[str]]:
        """Irregular forms by part of speech and lemma."""
        found: dict[tuple[str, str], list[str]] = {}
        for part, name in PARTS.items():
            file = self.folder / f"{name}.exc"
            for line in _text(file).splitlines() if file.is_file() else []:
                form, *lemmas = line.split() or [""]
                for lemma in lemmas:
                    found.setdefault((part, lemma), []).append(form)
        return found

    def forms(self, lemma: str, part: str) -> list[str]:
        """The lemma and its inflected forms, lower case. Forms that are words of their own sense elsewhere are left out."""
        known = self.irregular.get((part, lemma), [])
        if part == "n":
            made = [*known] or [plural(lemma)]
        elif part == "v":
            made = [third(lemma), *known, ing(lemma)] + ([] if known else [past(lemma)])
        else:
            made = known
        own = self.first_sense.get(lemma)
        return [lemma, *(f for f in dict.fromkeys(made) if f != lemma and self.first_sense.get(f, own) == own)]


def _text(path: Path) -> str:
    """A file's text; WordNet's own has a few bytes that are no UTF-8."""
    return read_bytes(path).decode("utf-8", errors="replace")


def plural(noun: str) -> str:
    """Regular plural."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return noun + "es"
    if noun.endswith("y") and noun[-2:-1] not in _VOWELS:
        return noun[:-1] + "ies"
    return noun + "s"


def third(verb: str) -> str:
    """Third person singular; the rule is that of the plural, with -oes."""
    return verb + "es" if verb.endswith("o") else plural(verb)


def _doubles(verb: str) -> bool:
    return bool(re.fullmatch(r"[^aeiou]*[aeiou][bdgklmnprt]", verb))


def past(verb: str) -> str:
    """Regular past."""
    if verb.endswith("e"):
        return verb + "d"
    if verb.endswith("y") and verb[-2:-1] not in _VOWELS:
        return verb[:-1] + "ied"
    return verb + (verb[-1] if _doubles(verb) else "") + "ed"


def ing(verb: str) -> str:
    """Present participle."""
    if verb.endswith("ie"):
        return verb[:-2] + "ying"
    if verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")):
        return verb[:-1] + "ing"
    return verb + (verb[-1] if _doubles(verb) else "") + "ing"
