"""A pool of text with an inverted index: a concept is the sorted positions of the tokens that it fires on.

Positions, not masks: most concepts fire on one token in thousands, thousands of concepts are built, and "after", "near" and
"but not" are arithmetic on sorted integers. Tokens are the word-level tokens of planted suites, so rules mean the same there.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentbench.corpora.corpus_files import read_rows
from latentbench.kernel.errors import DataError
from latentbench.suites.planted.rules import ENDS, tokenise

Hits = NDArray[np.int64]
Mask = NDArray[np.bool_]
EMPTY: Hits = np.zeros(0, np.int64)


class TokenPool:
    """Tokenised passages behind each other.

    Attributes:
        tokens: strings with leading white space; a token of a passage's end and the next one's begin never share a window.
        words: the distinct bare tokens; `ids` indexes them.
        starts: int64, first token of each passage, and the end of the last.
        sources: of each passage.
    """

    def __init__(self, passages: Iterable[tuple[str, str]]) -> None:
        self.tokens: list[str] = []
        self.sources: list[str] = []
        starts = [0]
        table: dict[str, int] = {}
        ids: list[int] = []
        for text, source in passages:
            document = tokenise(text, source)
            self.tokens.extend(document.tokens)
            ids.extend(table.setdefault(b, len(table)) for b in document.bare)
            starts.append(len(self.tokens))
            self.sources.append(source)
        if not ids:
            raise DataError("the pool of text is empty; nothing can be sampled from it.")
        self.words = list(table)
        self.ids = np.asarray(ids, np.int64)
        self.starts = np.asarray(starts, np.int64)
        order = np.argsort(self.ids, kind="stable")
        self._sorted = order.astype(np.int64)
        self._edge = np.searchsorted(self.ids[order], np.arange(len(self.words) + 1))
        self._lower: dict[str, list[int]] = {}
        for n, word in enumerate(self.words):
            self._lower.setdefault(word.lower(), []).append(n)

    def __len__(self) -> int:
        return len(self.tokens)

    @cached_property
    def lower_ids(self) -> NDArray[np.int64]:
        """Like `ids`, with the cases of a word made equal."""
        first = np.empty(len(self.words), np.int64)
        for members in self._lower.values():
            first[members] = members[0]
        return first[self.ids]

    def at(self, ids: Iterable[int]) -> Hits:
        """Positions of these distinct tokens."""
        found = [self._sorted[self._edge[i] : self._edge[i + 1]] for i in ids]
        return np.sort(np.concatenate(found)) if found else EMPTY

    def of_words(self, words: Iterable[str]) -> Hits:
        """Positions of words, without case."""
        return self.at(i for w in words for i in self.types(w))

    def types(self, word: str) -> Sequence[int]:
        """The distinct tokens that are a word, in any case."""
        return self._lower.get(word.lower(), ())

    def count(self, word: str) -> int:
        """How often a word stands in the pool, without case."""
        return int(sum(self._edge[i + 1] - self._edge[i] for i in self.types(word)))

    def of_pattern(self, pattern: str) -> Hits:
        """Positions of tokens that match a regular expression as a whole, with case."""
        compiled = re.compile(pattern)
        return self.at(i for i, w in enumerate(self.words) if compiled.fullmatch(w))

    def document(self, positions: Hits) -> Hits:
        """Passage of each position."""
        found: Hits = np.searchsorted(self.starts, positions, side="right") - 1
        return found

    def passage(self, at: int) -> tuple[int, int]:
        """First token of the passage that a position is in, and the first behind it."""
        n = int(np.searchsorted(self.starts, at, side="right"))
        return int(self.starts[n - 1]), int(self.starts[n])

    def shifted(self, hits: Hits, by: int) -> Hits:
        """Neighbouring positions in the same passage that are not hits themselves."""
        moved = hits + by
        inside = (moved >= 0) & (moved < len(self))
        moved, origin = moved[inside], hits[inside]
        moved = moved[self.document(moved) == self.document(origin)]
        return np.setdiff1d(moved, hits)

    def near(self, hits: Hits, others: Hits, before: int, after: int) -> Hits:
        """Hits with one of `others` (not itself) at most `before` tokens before or `after` tokens behind it."""
        lo = np.searchsorted(others, hits - before)
        hi = np.searchsorted(others, hits + after, side="right")
        own = np.isin(hits, others)
        return hits[(hi - lo - own) > 0]

    def within(self, hits: Hits, sources: Sequence[str]) -> Hits:
        """Hits in passages of these sources."""
        keep = np.asarray([s in sources for s in self.sources])
        found: Hits = hits[keep[self.document(hits)]]
        return found

    @cached_property
    def sentence_starts(self) -> Hits:
        """First words of sentences."""
        ends = self.at(i for i, w in enumerate(self.words) if w in ENDS)
        first = np.union1d(self.starts[:-1], ends[ends + 1 < len(self)] + 1)
        found: Hits = first[np.array([self.words[self.ids[p]][:1].isalpha() for p in first], np.bool_)]
        return found


def read_pool(path: Path, tokens: int, seed: int, share: float = 1.0) -> TokenPool:
    """A pool of about so many tokens, from whole passages of a JSONL corpus in a seeded order.

    Args:
        path: `.jsonl` or `.jsonl.gz` with `text` and `source`.
        tokens: stops at the passage that reaches it.
        seed: of the order.
        share: keep at most this many characters of a passage, as a share of 12,000.

    Raises:
        DataError: no such file, a broken one, or a line without text.
    """
    rows = list(read_rows(path, "text"))
    random.Random(seed).shuffle(rows)
    taken: list[tuple[str, str]] = []
    size = 0
    for row in rows:
        text = row["text"][: int(12000 * share)]
        taken.append((text, str(row.get("source", ""))))
        size += len(text) // 5
        if size >= tokens:
            break
    return TokenPool(taken)
