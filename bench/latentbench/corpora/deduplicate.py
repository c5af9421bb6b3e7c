"""Documents that say what an earlier one said are left out before the subject reads them.

    exact   the same text, or the same token ids
    near    also those whose estimated Jaccard similarity of five-word runs with an earlier document is at least 0.8

This saves the subject's time and evens the text out. It is not what keeps explain and test windows apart: a page that quotes half
of another is no near copy of it, and its windows are still compared one by one (`latentbench.suites.build.copies`).

Comparing every pair of documents exactly is the tempting way and grows with their square. MinHash with locality-sensitive hashing
comes from `datasketch`, which is pure Python over NumPy and SciPy; hashes, bands and thresholds of our own would be some 150
lines that nobody has measured. It holds some 2 KB a document.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from latentbench.corpora.left_out import LeftOut
from latentbench.corpora.rows import Dialogue, Document, Placed
from latentbench.kernel.errors import DataError

Deduplicate = Literal["none", "exact", "near"]

WORDS = 5
SIMILAR = 0.8
PERMUTATIONS = 128
SEED = 1


def distinct(documents: Iterable[Placed], how: Deduplicate, left_out: LeftOut) -> Iterator[Placed]:
    """The documents without those that repeat an earlier one.

    Raises:
        DataError: `near` without the library.
    """
    if how == "none":
        yield from documents
        return
    near = _Near() if how == "near" else None
    seen: set[bytes] = set()
    for place, document in documents:
        key = hashlib.blake2b(_content(document), digest_size=16).digest()
        if key in seen:
            left_out.add("copy", place)
            continue
        seen.add(key)
        if near is not None and near.known(document):
            left_out.add("near copy", place)
            continue
        yield place, document


def _content(document: Document) -> bytes:
    match document:
        case str():
            return document.encode()
        case Dialogue():
            return repr([(m.role, m.content) for m in document.messages]).encode()
    return document.tobytes()


class _Near:
    """Documents so far, by their MinHash.

    Raises:
        DataError: the library is not there.
    """

    def __init__(self) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as e:
            raise DataError(
                "deduplicate: near needs the datasketch library: pip install 'latentbench[near]'. `exact` needs nothing."
            ) from e
        self._minhash = MinHash(num_perm=PERMUTATIONS, seed=SEED)
        self._index = MinHashLSH(threshold=SIMILAR, num_perm=PERMUTATIONS)
        self._kept: list[Any] = []

    def known(self, document: Document) -> bool:
        """Whether an earlier document is similar; if not, this one is kept."""
        sketch = self._minhash.copy()
        sketch.update_batch(sorted(_runs(document)))
        # The index names candidates by bands; whether they are similar is estimated from all permutations.
        if any(self._kept[i].jaccard(sketch) >= SIMILAR for i in self._index.query(sketch)):
            return True
        self._index.insert(len(self._kept), sketch)
        self._kept.append(sketch)
        return False


def _runs(document: Document) -> set[bytes]:
    """Runs of five words or token ids; the whole of a shorter document. Of a chat what is said."""
    match document:
        case str():
            words = document.split()
        case Dialogue():
            words = [word for m in document.messages for word in m.content.split()]
        case _:
            words = [str(i) for i in document.tolist()]
    return {" ".join(words[i : i + WORDS]).encode() for i in range(max(1, len(words) - WORDS + 1))}
