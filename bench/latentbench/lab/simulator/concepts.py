"""All base concepts of a pool: synsets, single words, surface rules, affixes, neighbours of words, vocabularies of registers.

Compositions of them are drawn on the fly (`lab.simulator.compose`), because there are more of them than could be listed.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latentbench.lab.simulator.concept import LEAST_NEAR, Concept, hits_of, outside, split_of
from latentbench.lab.simulator.pool import Hits, TokenPool
from latentbench.lab.simulator.wordnet import WordNet, ing, plural

LEAST = 24
"""A concept must fire this often in the pool, so that four windows of it differ."""
RARE, LEAST_RARE = "rare", 8
"""Family of synsets that fire at least this often and less than `LEAST`, or hold two words and not three."""
MOST = 0.03
"""Largest share of the pool's tokens on which a concept may fire: a window without it must be easy to find."""
MOST_SURFACE = 0.12
"""Largest share for surface rules, many of which are about frequent things."""
KEY_DEPTH = {"n": 6, "v": 3, "a": 1}
"""Depth of the subtrees that are held out whole."""

Wordings = Mapping[str, Any]


def all_concepts(
    pool: TokenPool, wordnet: WordNet | None, surface: Mapping[str, Any], wordings: Wordings
) -> list[Concept]:
    """Every base concept that the pool shows often enough, in a fixed order.

    Args:
        wordnet: with None words stand for themselves only, and nothing is needed but the pool.
        surface: `surface.yaml`.
        wordings: `wordings.yaml`.
    """
    found = [*surface_concepts(pool, surface), *affixes(pool, surface["affixes"])]
    found += neighbours(pool, surface["neighbours"], wordings)
    found += registers(pool, surface["sources"], wordings)
    if wordnet:
        found += [*synsets(pool, wordnet, wordings), *words(pool, wordnet, wordings)]
    else:
        found += literal_words(pool)
    semantic = ("noun", "verb", "adjective", "word", "register")
    most = {c.name: (MOST if c.family in semantic else MOST_SURFACE) * len(pool) for c in found}
    shown = [c for c in found if (c.family == RARE or len(c.hits) >= LEAST) and len(c.hits) <= most[c.name]]
    return [replace(c, contrasts=tuple(h for h in c.contrasts if len(h) >= LEAST_NEAR)) for c in shown]


def surface_concepts(pool: TokenPool, surface: Mapping[str, Any]) -> list[Concept]:
    """The rules of `surface.yaml`; the others of the same section are each one's contrasts."""
    found = []
    for section, rules in surface.items():
        if not isinstance(rules, list) or not rules or not isinstance(rules[0], dict):
            continue
        hits = [hits_of(r["rule"], pool) for r in rules]
        for n, rule in enumerate(rules):
            texts = rule["texts"]
            others = tuple(np.setdiff1d(h, hits[n]) for m, h in enumerate(hits) if m != n)
            name = f"{section}:{texts[0]}"
            found.append(Concept(name, section, name, hits[n], chooser(texts), others))
    return found


def chooser(texts: Sequence[str]) -> Callable[[random.Random], str]:
    """Draws one of several texts, as a noun phrase without the full stop."""
    phrases = [lower_first(t.rstrip(".")) for t in texts]
    return lambda rng: rng.choice(phrases)


def lower_first(text: str) -> str:
    """Lower-case first letter, unless the word is an abbreviation."""
    return text[0].lower() + text[1:] if len(text) > 1 and not text[1].isupper() else text


def affixes(pool: TokenPool, lists: Mapping[str, Sequence[str]]) -> list[Concept]:
    """Words by how they begin or end."""
    made: list[tuple[str, str, Hits]] = []
    made += [("suffix", s, pool.of_pattern(f"[A-Za-z]{{2,}}{s}")) for s in lists["suffixes"]]
    made += [("prefix", p, pool.of_pattern(f"(?i:{p})[a-z]{{3,}}")) for p in lists["prefixes"]]
    found = []
    for n, (kind, affix, hits) in enumerate(made):
        shown = f"-{affix}" if kind == "suffix" else f"{affix}-"
        verb = "end in" if kind == "suffix" else "begin with"
        noun = "ending" if kind == "suffix" else "beginning"
        texts = [f"words that {verb} {shown}", f"words {noun} {'in' if kind == 'suffix' else 'with'} {shown}"]
        texts += [f"the {kind} {shown}", f"words whose {'last' if kind == 'suffix' else 'first'} letters are {affix}"]
        near = tuple(np.setdiff1d(made[m][2], hits) for m in (n - 1, (n + 1) % len(made)))
        found.append(Concept(f"{kind}:{affix}", "affix", f"{kind}:{affix}", hits, chooser(texts), near))
    return found


def neighbours(pool: TokenPool, listed: Sequence[str], wordings: Wordings) -> list[Concept]:
    """The token after or before a given word; the word itself and the other side are contrasts."""
    found = []
    for word in listed:
        own = pool.of_words([word])
        for step, kind in ((1, "next"), (-1, "previous")):
            hits = pool.shifted(own, step)
            texts = [t.format(a=f"the word {word}") for t in wordings["compose"][kind]]
            texts += [f"the word that {'follows' if step > 0 else 'precedes'} {word}"]
            name = f"{kind}:{word}"
            found.append(Concept(name, "neighbour", name, hits, chooser(texts), (np.setdiff1d(own, hits),)))
    return found


def registers(pool: TokenPool, sources: Mapping[str, Sequence[str]], wordings: Wordings) -> list[Concept]:
    """The vocabulary of each source: words of five letters or more that stand there five times as often as elsewhere."""
    totals: dict[str, Counter[str]] = {}
    for source, start, end in zip(pool.sources, pool.starts[:-1], pool.starts[1:], strict=True):
        own = totals.setdefault(source, Counter())
        own.update(w.lower() for w in (pool.words[i] for i in pool.ids[start:end]) if len(w) >= 5 and w.isalpha())
    everything = sum(totals.values(), Counter())
    found = []
    for source, own in sorted(totals.items()):
        size, rest = own.total(), max(1, everything.total() - own.total())
        typical = [
            (n * (n / size), w) for w, n in own.items() if n >= 8 and n / size > 5 * (everything[w] - n + 1) / rest
        ]
        vocabulary = [w for _, w in sorted(typical, reverse=True)[:150]]
        names = list(sources.get(source, ()))
        if len(vocabulary) < 20 or not names:
            continue

        def word(rng: random.Random, names: list[str] = names, vocabulary: list[str] = vocabulary) -> str:
            e = rng.sample(vocabulary[:40], 3)
            text: str = rng.choice(wordings["compose"]["topic"])
            return text.format(r=rng.choice(names), e1=e[0], e2=e[1], e3=e[2])

        hits = pool.of_words(vocabulary)
        found.append(Concept(f"register:{source}", "register", f"register:{source}", hits, word))
    return found


def present(pool: TokenPool, wordnet: WordNet) -> dict[str, list[str]]:
    """Forms of every first-sense lemma that the pool shows at least three times."""
    found = {}
    for lemma, sense in wordnet.first_sense.items():
        forms = [f for f in wordnet.forms(lemma, sense[0]) if pool.count(f)]
        if len(lemma) > 2 and sum(pool.count(f) for f in forms) >= 3:
            found[lemma] = forms
    return found


def members(wordnet: WordNet, lemmas: Sequence[str]) -> dict[str, list[str]]:
    """Lemmas below each synset, over all hypernyms."""
    found: dict[str, list[str]] = {}
    for lemma in lemmas:
        seen: set[str] = set()
        todo = [wordnet.first_sense[lemma]]
        while todo:
            one = todo.pop()
            if one not in seen and one in wordnet.synsets:
                seen.add(one)
                todo.extend(wordnet.synsets[one].up)
        for synset in seen:
            found.setdefault(synset, []).append(lemma)
    return found


def key_of(wordnet: WordNet, synset: str) -> str:
    """The subtree that a synset is held out with."""
    path = wordnet.path(synset)
    return path[min(len(path) - 1, KEY_DEPTH[synset[0]])]


def synsets(pool: TokenPool, wordnet: WordNet, wordings: Wordings) -> list[Concept]:
    """Synsets with three or more words in the pool, and lesser ones for training only. Train concepts hold at most a tenth of
    words of held-out subtrees."""
    forms = present(pool, wordnet)
    below = members(wordnet, sorted(forms))
    splits = {lemma: split_of(key_of(wordnet, wordnet.first_sense[lemma])) for lemma in forms}
    hits, rare = {}, set()
    for synset, lemmas in below.items():
        if len(lemmas) >= 2:
            found = pool.of_words(f for lemma in lemmas for f in forms[lemma])
            if LEAST_RARE <= len(found) <= MOST * len(pool):
                hits[synset] = found
                if len(lemmas) < 3 or len(found) < LEAST:
                    rare.add(synset)
    made = []
    for synset in sorted(hits):
        key, lemmas = key_of(wordnet, synset), below[synset]
        foreign = sum(pool.count(f) for lm in lemmas if splits[lm] != split_of(key) for f in forms[lm])
        if foreign > 0.1 * len(hits[synset]) or (synset in rare and split_of(key) != "train"):
            continue
        parents = wordnet.synsets[synset].up
        kin = [s for p in parents for s in wordnet.synsets[p].down if s != synset] + list(parents)
        near = [hits[s] for s in kin if s in hits and s not in rare]
        by_count = sorted(lemmas, key=lambda lm: -sum(pool.count(f) for f in forms[lm]))
        word = synset_word(wordnet, synset, by_count, wordings)
        family = RARE if synset in rare else {"n": "noun", "v": "verb", "a": "adjective"}[synset[0]]
        made.append(Concept(synset, family, key, hits[synset], word, outside(hits[synset], near)))
    return made


def synset_word(
    wordnet: WordNet, synset: str, lemmas: Sequence[str], wordings: Wordings
) -> Callable[[random.Random], str]:
    """Words a synset by lemma, gloss and examples; examples come from its commoner words."""
    one, part = wordnet.synsets[synset], synset[0]
    names = [lm.replace("_", " ") for lm in one.lemmas[:3]]
    kind = {"n": "noun", "v": "verb", "a": "adj"}[part]

    def word(rng: random.Random) -> str:
        s = rng.choice(names) if rng.random() < 0.3 else names[0]
        e = rng.sample(list(lemmas[: max(8, len(lemmas) // 2)]), min(3, len(lemmas)))
        e += e[:1] * (3 - len(e))
        head, _, rest = s.rpartition(" ") if part == "n" else ("", "", s)
        p = f"{head} {plural(rest)}".strip()
        first, _, tail = s.partition(" ")
        i = f"{ing(first)} {tail}".strip() if part == "v" else s
        text: str = rng.choice(wordings[kind])
        text = text.replace("a {s}", article(s))
        return text.format(s=s, p=p, i=i, g=short(one.gloss), e1=e[0], e2=e[1], e3=e[2])

    return word


def short(gloss: str) -> str:
    """The first clause of a dictionary's gloss, without remarks in brackets."""
    return re.sub(r"\s*\([^)]*\)\s*", " ", gloss).strip().split(";")[0].strip() or gloss


def article(noun: str) -> str:
    """The noun with its indefinite article, by its first letter."""
    return f"{'an' if noun[:1].lower() in 'aeiou' else 'a'} {noun}"


def words(pool: TokenPool, wordnet: WordNet, wordings: Wordings) -> list[Concept]:
    """Single words with their forms; the rest of the synset above is the contrast."""
    forms = present(pool, wordnet)
    below = members(wordnet, sorted(forms))
    found = []
    for lemma in sorted(forms):
        hits = pool.of_words(forms[lemma])
        sense = wordnet.first_sense[lemma]
        if len(hits) < LEAST:
            continue
        kin = [lm for up in wordnet.synsets[sense].up for lm in below.get(up, ()) if lm != lemma][:200]
        near = np.setdiff1d(pool.of_words(f for lm in kin for f in forms[lm]), hits)
        contrasts = (near,) if 4 <= len(near) <= MOST * len(pool) else ()
        word = lemma_word(lemma, wordnet.synsets[sense].gloss, sense[0], wordings)
        found.append(Concept(f"word:{lemma}", "word", key_of(wordnet, sense), hits, word, contrasts))
    return found


def literal_words(pool: TokenPool) -> list[Concept]:
    """Words of four letters or more as themselves."""
    found = []
    for word in sorted({w.lower() for w in pool.words if len(w) >= 4 and w.isalpha() and w.isascii()}):
        if pool.count(word) >= LEAST:
            texts = (f"the word {word}", f"mentions of {word}", f'the token "{word}"', word)
            found.append(Concept(f"word:{word}", "word", f"word:{word}", pool.of_words([word]), chooser(texts)))
    return found


def lemma_word(lemma: str, gloss: str, part: str, wordings: Wordings) -> Callable[[random.Random], str]:
    """Words a single word by itself or by its gloss."""
    kind = {"n": "word-noun", "v": "word-verb", "a": "word-adj"}[part]

    def word(rng: random.Random) -> str:
        text: str = rng.choice(wordings[kind])
        return text.format(s=lemma, p=plural(lemma), i=ing(lemma), g=short(gloss))

    return word
