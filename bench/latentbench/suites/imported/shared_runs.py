"""Which windows are copies of each other: a whole text again, or a run of consecutive tokens that stands in both.

Activations that others publish come from corpora with copies in them, and the strongest windows of a latent are copies more
often than others. A test window that an explainer has seen half of tests its memory. Comparing whole windows is the tempting
way and finds none of the copies that were cut a few tokens further on.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from latentbench.suites.imported.foreign_latent import Ids
from latentbench.suites.shingles import SHINGLE, Hashes, shingle_hashes


def runs(ids: Ids) -> Hashes:
    """A number for each run of tokens in a window [n - 7]; one for the whole of a window that is shorter than a run."""
    if len(ids) >= SHINGLE:
        return shingle_hashes(ids, SHINGLE)
    # Its length goes in, or a short window would be the beginning of a run.
    return shingle_hashes(ids, len(ids)) ^ np.uint64(len(ids))


def all_runs(windows: Sequence[Ids]) -> Hashes:
    """Runs of several windows, each once and ascending."""
    return np.unique(np.concatenate([runs(w) for w in windows])) if windows else np.zeros(0, np.uint64)


def shares(ids: Ids, others: Hashes) -> bool:
    """Whether a window has a run of `others`, which are ascending."""
    if not len(others):
        return False
    mine = runs(ids)
    place = np.minimum(np.searchsorted(others, mine), len(others) - 1)
    return bool((others[place] == mine).any())


def families(windows: Sequence[Ids], documents: Sequence[str | None]) -> NDArray[np.int64]:
    """Number of the family of each window: windows that share a run or a document, and those that share with these, are one."""
    n = len(windows)
    if not n:
        return np.zeros(0, np.int64)
    found = [runs(w) for w in windows]
    owner = np.repeat(np.arange(n), [len(f) for f in found])
    hashes = np.concatenate(found)
    order = np.argsort(hashes, kind="stable")
    same = np.flatnonzero(hashes[order][1:] == hashes[order][:-1])
    pairs = [np.stack([owner[order][same], owner[order][same + 1]])]
    first: dict[str, int] = {}
    linked = [(first.setdefault(d, i), i) for i, d in enumerate(documents) if d is not None]
    if linked:
        pairs.append(np.array(linked, np.int64).T)
    rows, columns = np.concatenate(pairs, axis=1)
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(n, n))
    labels: NDArray[np.int64] = connected_components(graph, directed=False)[1].astype(np.int64)
    return labels
