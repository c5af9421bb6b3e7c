"""Sentences with labels by people -> which of their tokens a selector picks. Pure functions on one sentence.

A selector is data (YAML), like a rule of a planted suite, but over labels and not over words: what makes a noun the subject of a
passive verb stands in no list of words. All keys of a selector must hold:

    upos, xpos, deprel, lemma: NAME or [NAMES]   a column of the treebank
    feats: {Tense: Past}                         morphological features, all of them
    entity: PER or [PER, GPE]                    inside a mention of this type, at any depth
    head: SEL, child: SEL                        the token's head, one of its dependents
    previous: SEL, next: SEL                     the neighbour, where it is not itself such a token
    first_of: SEL                                the first word of the subtree below such a token
    any: [SEL ..], not: SEL
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from latentbench.corpora.corpus_files import read_objects
from latentbench.kernel.errors import DataError, SpecError
from latentbench.kernel.inputs import understood
from latentbench.suites.planted.rules import Mask

COLUMNS = ("upos", "xpos", "deprel", "lemma")
NESTED = ("head", "child", "previous", "next", "first_of", "not")
KEYS = (*COLUMNS, "feats", "entity", *NESTED, "any")
CONTRACTED = frozenset(f"{sign}{end}" for sign in "'’" for end in ("s", "ll", "re", "ve", "d", "m")) | {"n't", "n’t"}
"""Ends of words that a treebank cuts off as tokens; a space before them is its own."""
TIGHT = frozenset(",.;:!?)]}'’”")
"""Tokens that follow without a space, where the data do not say."""
OPENING = frozenset("([{“‘")


@dataclass(frozen=True)
class Sentence:
    """A sentence and its labels, a list per column; a column that the data do not have is not there.

    Attributes:
        text: as it was written, or with the usual spaces where the data do not say.
        bounds: first and last character (exclusive) of each token in it.
    """

    text: str
    bounds: tuple[tuple[int, int], ...]
    columns: Mapping[str, Sequence[Any]]

    def spans(self, mask: Mask) -> tuple[tuple[int, int], ...]:
        """Characters of the tokens of a mask."""
        return tuple(self.bounds[i] for i in np.flatnonzero(mask))


def read_records(path: Path) -> list[dict[str, Any]]:
    """Lines of a JSONL file, packed or not.

    Raises:
        DataError: missing or unreadable.
    """
    try:
        return [record for _, record in read_objects(path)]
    except DataError as e:
        raise DataError(f"{path} cannot be read as JSON lines: {e} Name the folder of the labels with --data.") from e


def read_sentences(path: Path) -> list[Sentence]:
    """The sentences of a file, with labels that selectors can ask.

    Raises:
        DataError: missing or unreadable, or a record whose labels are not of its tokens.
    """
    with understood(path, DataError, "Repair the record, or remove it."):
        found = []
        for number, record in enumerate(read_records(path), 1):
            try:
                found.append(sentence(record))
            except DataError as e:
                raise DataError(f"{path}, record {number}: {e}") from e
    return found


def sentence(record: Mapping[str, Any]) -> Sentence:
    """One record of a treebank or of a corpus of entities.

    Raises:
        DataError: no tokens, or a column of another length.
    """
    tokens = record.get("tokens")
    if not tokens:
        raise DataError(f"a record has no tokens: {str(record)[:80]}")
    columns = {name: record[name] for name in (*COLUMNS, "feats", "head", "entities") if name in record}
    if any(len(column) != len(tokens) for column in columns.values()):
        raise DataError(f"a record has columns of different lengths: {' '.join(map(str, tokens))[:80]}")
    texts = [*tokens, *(value for name in (*COLUMNS, "feats") for value in columns.get(name, ()))]
    tags = [tag for own in columns.get("entities", ()) for tag in own]
    if not all(isinstance(value, str) for value in (*texts, *tags)):
        raise DataError(f"a record has a label that is no text: {' '.join(map(str, tokens))[:80]}")
    if not all(0 <= int(head) <= len(tokens) for head in columns.get("head", ())):
        raise DataError(f"a record names a head that is none of its tokens: {' '.join(tokens)[:80]}")
    space = record.get("space") or [
        after not in TIGHT and before not in OPENING for before, after in zip(tokens, [*tokens[1:], "."], strict=True)
    ]
    text, bounds = "", []
    for token, gap, after in zip(tokens, space, [*tokens[1:], ""], strict=True):
        bounds.append((len(text), len(text) + len(token)))
        text += token + (" " if gap and after.lower() not in CONTRACTED else "")
    return Sentence(text.rstrip(), tuple(bounds), columns)


def check(selector: object, where: str) -> None:
    """Refuse what is no selector, before any data are read.

    Raises:
        SpecError: with the part that is wrong.
    """
    if not isinstance(selector, Mapping) or not selector or set(selector) - set(KEYS):
        raise SpecError(f"{where}: {selector!r} is no selector; its keys are {', '.join(KEYS)}.")
    for key in NESTED:
        if key in selector:
            check(selector[key], where)
    for part in selector.get("any", ()):
        check(part, where)


def picks(selector: Mapping[str, Any], s: Sentence) -> Mask:
    """The tokens that a selector picks: bool [tokens]."""
    n = len(s.bounds)
    held = np.ones(n, np.bool_)
    for key, value in selector.items():
        if key in COLUMNS:
            wanted = {value} if isinstance(value, str) else set(value)
            held &= np.fromiter((x in wanted for x in s.columns.get(key, [""] * n)), np.bool_, n)
        elif key == "feats":
            pairs = {f"{k}={v}" for k, v in value.items()}
            held &= np.fromiter((pairs <= set(x.split("|")) for x in s.columns.get(key, [""] * n)), np.bool_, n)
        elif key == "entity":
            wanted = {value} if isinstance(value, str) else set(value)
            tags = s.columns.get("entities", [()] * n)
            held &= np.fromiter((any(t.partition("-")[2] in wanted for t in own) for own in tags), np.bool_, n)
        elif key == "any":
            held &= np.logical_or.reduce([picks(part, s) for part in value])
        else:
            held &= _moved(key, picks(value, s), s)
    return held


def _moved(key: str, inner: Mask, s: Sentence) -> Mask:
    """Tokens that stand in a relation to those of a mask."""
    if key == "not":
        return ~inner
    out = np.zeros(len(inner), np.bool_)
    if key == "previous":
        out[1:] = inner[:-1]
        return out & ~inner
    if key == "next":
        out[:-1] = inner[1:]
        return out & ~inner
    heads = [int(h) - 1 for h in s.columns.get("head", [0] * len(inner))]
    if key == "head":
        return np.fromiter((h >= 0 and inner[h] for h in heads), np.bool_, len(inner))
    if key == "child":
        for i in np.flatnonzero(inner):
            if heads[i] >= 0:
                out[heads[i]] = True
        return out
    word = [tag != "PUNCT" for tag in s.columns.get("upos", [""] * len(inner))]
    for i in np.flatnonzero(inner):  # first_of
        out[next((j for j in range(len(inner)) if word[j] and _below(j, int(i), heads)), i)] = True
    return out


def _below(token: int, top: int, heads: Sequence[int]) -> bool:
    for _ in range(len(heads) + 1):  # a bad tree may have a cycle
        if token == top:
            return True
        if token < 0:
            return False
        token = heads[token]
    return False
