"""A small language of rules over word-level tokens: concepts whose truth needs no model and no opinion.

A rule is data (YAML), so a planted suite can be read, argued about and extended without code. One rule is one mapping with
one key:

    words: [..]                      the token, without case, is one of these
    regex: "..."                     the whole token matches, with case
    number: {min, max, digits?}      a number in digits within bounds (thousands separators allowed)
    sentence_start: true             the first word of a sentence
    after: RULE / before: RULE       the neighbouring token matches
    near: {rule: RULE, distance: n}  a matching token within n tokens, on either side
    source: "..."                    the document's source contains this; `code` means source code
    all: [RULE ..], any: [RULE ..], not: RULE

Tokens are words, numbers and single signs with their leading white space, cut by one regular expression: a model's tokenizer
would split rare words and make "the whole word" a question of vocabulary.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError

Mask = NDArray[np.bool_]

TOKEN = re.compile(r"\s*(?:[^\W\d_]+(?:_[^\W_]+)*(?:['’](?:s|t|re|ve|ll|d|m))?|\d+(?:[.,]\d+)*|\S)|\s+$")
ENDS = frozenset(".!?")
FARTHEST = 10_000
"""Tokens between two that are near each other, at most."""
CODE = re.compile(r"^\s*(def |import |from \w+ import |class \w+|SELECT |<\w+|return |for \w+ in )", re.MULTILINE)


@dataclass(frozen=True)
class Document:
    """A tokenised document.

    Attributes:
        tokens: with leading white space; joined they are the text.
        bare: the same without white space.
        source: where it came from; None where nobody knows. A `source` clause then holds, because nothing speaks against it.
        code: whether it holds source code.
    """

    tokens: tuple[str, ...]
    bare: tuple[str, ...]
    source: str | None
    code: bool


def tokenise(text: str, source: str = "") -> Document:
    """Cut a text into word-level tokens; nothing is lost: joined, they are the text."""
    tokens = tuple(TOKEN.findall(text))
    # Two signs of code in one document, because one "return" at a line's start also happens in prose.
    return Document(tokens, tuple(t.strip() for t in tokens), source, len(CODE.findall(text)) >= 2)


def fragment(tokens: Sequence[str]) -> Document:
    """A window cut out of an unknown document, with the tokens that it was cut into."""
    return Document(tuple(tokens), tuple(t.strip() for t in tokens), None, True)


def matches(rule: Mapping[str, Any], document: Document, lists: Mapping[str, Sequence[str]]) -> Mask:
    """Mark the tokens of a document for which a rule holds: bool [tokens].

    Args:
        rule: one rule of the language above.
        document: the text.
        lists: named word lists that `words: $name` refers to.

    Raises:
        SpecError: a rule that is not in the language.
    """
    if not isinstance(rule, Mapping) or len(rule) != 1:
        raise SpecError(f"a rule is one mapping with one key, not {rule!r}.")
    kind, value = next(iter(rule.items()))
    n = len(document.bare)
    if kind == "words":
        words = frozenset(_words(value, lists))
        return np.fromiter((t.lower() in words for t in document.bare), np.bool_, n)
    if kind == "regex":
        pattern = _pattern(value)
        return np.fromiter((pattern.fullmatch(t) is not None for t in document.bare), np.bool_, n)
    if kind == "number":
        return np.fromiter((_in_range(t, value) for t in document.bare), np.bool_, n)
    if kind == "sentence_start":
        return _sentence_starts(document)
    if kind in ("after", "before"):
        inner = matches(value, document, lists)
        moved = np.zeros(n, np.bool_)
        if kind == "after":
            moved[1:] = inner[:-1]
        else:
            moved[:-1] = inner[1:]
        # The neighbour of an adjacent pair of matches is itself a match; it is the rule's object, not its neighbour.
        return moved & ~inner
    if kind == "near":
        inner = matches(value["rule"], document, lists)
        distance = int(value["distance"])
        if not 0 <= distance <= FARTHEST:
            raise SpecError(f"the distance of `near` is 0 to {FARTHEST:,} tokens, and not {distance:,}.")
        return np.convolve(inner, np.ones(2 * distance + 1), "full")[distance:][:n] > 0
    if kind == "source":
        known = document.source
        holds = known is None or (document.code if value == "code" else value in known)
        return np.full(n, holds, np.bool_)
    if kind in ("all", "any"):
        held = [matches(r, document, lists) for r in value]
        return reduce(np.logical_and if kind == "all" else np.logical_or, held)
    if kind == "not":
        return ~matches(value, document, lists)
    raise SpecError(
        f"unknown rule {kind!r}; the language has words, regex, number, sentence_start, after, before, near, "
        "source, all, any, not."
    )


def _words(value: Any, lists: Mapping[str, Sequence[str]]) -> list[str]:
    if isinstance(value, str) and value.startswith("$"):
        if value[1:] not in lists:
            raise SpecError(f"no word list named {value!r}; known: {', '.join(sorted(lists))}.")
        value = lists[value[1:]]
    for word in value:
        if not isinstance(word, str):
            # YAML reads a bare `on` or `no` as a truth value; the rule would then silently never match.
            raise SpecError(f"a word list holds {word!r}, which is not text; put the word in quotes.")
    return [w.lower() for w in value]


def _pattern(value: Any) -> re.Pattern[str]:
    try:
        return re.compile(value)
    except (re.error, OverflowError, RecursionError, TypeError) as e:
        raise SpecError(f"{str(value)[:80]!r} is no regular expression: {e}.") from e


def _in_range(token: str, bounds: Mapping[str, float]) -> bool:
    if not token[:1].isdigit():
        return False
    try:
        number = float(token.replace(",", ""))
    except ValueError:
        return False
    return bounds["min"] <= number <= bounds["max"] and ("digits" not in bounds or len(token) == bounds["digits"])


def _sentence_starts(document: Document) -> Mask:
    """A word is first in its sentence at the start, after `.`, `!` or `?` (with closing marks), or after a line break.

    A fragment begins anywhere; its first word counts if it has a capital.
    """
    found = np.zeros(len(document.bare), np.bool_)
    open_ = document.source is not None or "".join(document.bare[:1])[:1].isupper()
    for i, (raw, bare) in enumerate(zip(document.tokens, document.bare, strict=True)):
        open_ = open_ or "\n" in raw
        if bare[:1].isalnum():
            found[i] = open_
            open_ = False
        elif bare in ENDS:
            open_ = True
    return found
