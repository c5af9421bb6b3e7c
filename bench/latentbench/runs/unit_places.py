"""Where the last line of each unit stands in a journal: 8 bytes for each unit of a run.

The tables are in the order of the plan and a journal is in the order of the answers. Holding the units themselves between the two
is the tempting way, and is the whole run as Python objects.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import numpy as np

from latentbench.runs.journal import Journal
from latentbench.runs.record import Paid

U = TypeVar("U", bound=tuple[Any, Any])
"""What has who paid what as its first part (`ExplainedUnit`, `JudgedUnit`)."""


class UnitPlaces(Generic[U]):
    """The units of a journal, by row and latent.

    Args:
        journal: its file is there.
        rows: cells, or explainers and repeats.
        names: a unit -> its row and its latent.

    Attributes:
        paid: what all lines say was paid, those of units that were done again included.
    """

    def __init__(
        self,
        journal: Journal[U],
        rows: Iterable[Hashable],
        latents: Sequence[str],
        names: Callable[[U], tuple[Hashable, str]],
    ) -> None:
        self._journal = journal
        self._rows = {row: number for number, row in enumerate(rows)}
        columns = {latent: number for number, latent in enumerate(latents)}
        self._places = np.full((len(self._rows), len(columns)), -1, np.int64)
        self.paid = Paid()
        for place, unit in journal.placed():
            row, latent = names(unit)
            self.paid += unit[0].paid
            if row in self._rows and latent in columns:
                self._places[self._rows[row], columns[latent]] = place

    def of(self, row: Hashable) -> Iterator[U]:
        """The units of a row, in the order of the latents.

        Raises:
            KeyError: one is not there.
        """
        places = self._places[self._rows[row]]
        if len(places) and places.min() < 0:
            raise KeyError(row)
        return self._journal.at(places.tolist())
