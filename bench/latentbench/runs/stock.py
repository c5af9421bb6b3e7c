"""Which units of a run are judged already, as one number for each: the digest of the text that was judged.

A set of pairs of names is the tempting way, takes some 300 bytes for each unit, and does not know of which text it speaks: where
an explanation is asked for again while the run goes on, its units are owed if another text comes and are not if the same one
does. So whether a unit is done is asked of the texts as they are now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from latentbench.kernel.identity import text_digest
from latentbench.runs.plan import Plan

Key = tuple[str, str]
"""(cell id, latent id)."""
_OWED, _EMPTY = 0, 1
"""A unit that is not there, and one without judgements, which is of any text."""


class _Hashed(Protocol):
    """What has the digest of a text."""

    @property
    def hash(self) -> str:
        """The digest."""


class UnitStock:
    """Units on disk; `in` says of a (cell id, latent id) whether it is done.

    Args:
        texts: (explainer label, repeat) -> latent id -> what was explained, by its `hash`; it may grow.
    """

    def __init__(self, plan: Plan, texts: Mapping[tuple[str, int], Mapping[str, _Hashed]]) -> None:
        self._texts = texts
        self._cells = {cell.id: (row, (cell.explainer, cell.repeat)) for row, cell in enumerate(plan.cells)}
        self._columns = {latent: column for column, latent in enumerate(plan.ids)}
        self._held = np.zeros((len(self._cells), len(self._columns)), np.uint64)

    def note(self, key: Key, explanation: str | None) -> None:
        """A unit is on disk.

        Args:
            explanation: hash of the text that was judged; "" for a unit without judgements, None for one that is owed again.
        """
        row, column = self._cells.get(key[0]), self._columns.get(key[1])
        if row is not None and column is not None:
            known = _OWED if explanation is None else _EMPTY if not explanation else _number(explanation)
            self._held[row[0], column] = known

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, tuple):
            return False
        row, pair = self._cells[key[0]]
        held = int(self._held[row, self._columns[key[1]]])
        if held in (_OWED, _EMPTY):
            return held == _EMPTY
        told = self._texts.get(pair, {}).get(key[1])
        return told is not None and _number(told.hash) == held

    def __len__(self) -> int:
        """How many units are on disk, of whatever texts."""
        return int(np.count_nonzero(self._held))


def _number(explanation: str) -> int:
    """A digest as a number that says nothing else."""
    return max(2, int(text_digest(explanation)[:16], 16))
