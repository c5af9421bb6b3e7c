"""What the test windows of a suite repeat: text that explainers have read, and each other.

Measured on the tables as they are, whoever made them and by whatever rule, so the numbers of a suite that promises nothing stand
beside those of one that does. Corpus positions say nothing here: a text that stands twice in a corpus has two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from latentbench.suites.shingles import SHINGLE, Hashes, plain_runs, shingle_hashes
from latentbench.suites.stored_columns import flat_list

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Repeats:
    """Test windows of a suite that are not new to their latent, as numbers of rows of its windows table.

    Attributes:
        tests: test windows in all.
        shared: those that have a run of `SHINGLE` tokens in common with an explain window of their latent.
        whole: those whose tokens are those of an explain window of their latent.
        again: those whose tokens are those of an earlier test window of their latent.
        latent: row number in the latents table, of every window.
    """

    tests: int
    shared: Ints
    whole: Ints
    again: Ints
    latent: Ints

    def said(self) -> str:
        """The three shares, with their numbers."""

        def share(found: Ints) -> str:
            return f"{len(found):,} ({len(found) / max(self.tests, 1):.1%})"

        return (
            f"of {self.tests:,} test windows {share(self.shared)} share {SHINGLE} tokens in a row with an explain window of "
            f"their latent, {share(self.whole)} are one word for word, {share(self.again)} repeat a test window"
        )

    def problems(self, names: Sequence[str]) -> list[str]:
        """Sentences on what a suite that keeps copies apart must not have.

        Args:
            names: of the latents.
        """
        told = [
            (self.whole, "is an explain window word for word"),
            (self.again, "is an earlier test window word for word"),
        ]
        shared = np.setdiff1d(self.shared, self.whole)
        told.append((shared, f"shares {SHINGLE} tokens in a row with an explain window"))
        return [f"{names[self.latent[i]]}: test window {i} {what}" for found, what in told for i in found.tolist()]


def promised_apart(manifest: Mapping[str, Any]) -> bool:
    """Whether a suite's recipe keeps copies apart; older ones do not say."""
    recipe = manifest.get("recipe")
    return isinstance(recipe, Mapping) and recipe.get("copies") == "apart"


def repeats(windows: pa.Table, latent: Ints, explain: Bools) -> Repeats:
    """Compare the windows of each latent by their token ids.

    Args:
        windows: table of windows; they may differ in length.
        latent: row of each window's latent, -1 for none [m].
        explain: whether explainers see it [m].
    """
    flat, cuts = flat_list(windows.column("ids"))
    ids = flat.to_numpy(zero_copy_only=False).astype(np.int64)
    content = np.array([hash(ids[a:b].tobytes()) for a, b in pairwise(cuts.tolist())], np.int64)
    bounds, run = _runs(ids, cuts)
    shared, whole, again = (np.zeros(len(latent), np.bool_) for _ in range(3))
    order = np.argsort(latent, kind="stable")
    for mine in np.split(order, np.flatnonzero(np.diff(latent[order])) + 1):
        if not len(mine) or latent[mine[0]] < 0:
            continue
        seen, tests = mine[explain[mine]], mine[~explain[mine]]
        read = np.unique(np.concatenate([run[bounds[w] : bounds[w + 1]] for w in seen] or [run[:0]]))
        asked = np.concatenate([run[bounds[w] : bounds[w + 1]] for w in tests] or [run[:0]])
        owner = np.repeat(tests, bounds[tests + 1] - bounds[tests])
        shared[owner[np.isin(asked, read)]] = True
        whole[tests] = np.isin(content[tests], content[seen])
        first = np.unique(content[tests], return_index=True)[1]
        again[np.delete(tests, first)] = True
    tests_in_all = int((~explain & (latent >= 0)).sum())
    return Repeats(tests_in_all, np.flatnonzero(shared | whole), np.flatnonzero(whole), np.flatnonzero(again), latent)


def _runs(ids: Ints, cuts: Ints) -> tuple[Ints, Hashes]:
    """Hashes of the runs of all windows one after another, and where those of each window begin.

    Plain runs are left out, except of a window that holds nothing else.
    """
    count = np.maximum(np.diff(cuts) - SHINGLE + 1, 0)
    before = np.cumsum(count) - count
    row = np.repeat(np.arange(len(count)), count)
    start = np.repeat(cuts[:-1] - before, count) + np.arange(len(row))
    plain = plain_runs(ids, start, SHINGLE)
    nothing_else = np.bincount(row[plain], minlength=len(count)) == count
    counts = ~plain | nothing_else[row]
    bounds = np.concatenate([[0], np.cumsum(np.bincount(row[counts], minlength=len(count)))])
    return bounds, shingle_hashes(ids, SHINGLE)[start[counts]]
