"""The latents of a plan, each a view with its windows when it is asked for.

A view of 40 windows takes some hundred kilobytes, so a tuple of all of a large suite is more than a machine has, and a run looks
at one latent after another. Only the last few are held; whoever needs the names alone asks for `ids` and makes no view.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import overload

from latentbench.kernel.latent import LatentView
from latentbench.suites.store import Suite

HELD = 1024
"""Views that are held, so that those of a small suite are made once."""


class LatentViews(Sequence[LatentView]):
    """Some latents of a suite, in an order.

    Args:
        ids: which ones.

    Attributes:
        ids: the same.
    """

    def __init__(self, suite: Suite, ids: Sequence[str]) -> None:
        self.ids, self._suite = tuple(ids), suite
        self._held: OrderedDict[str, LatentView] = OrderedDict()

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, place: int) -> LatentView: ...
    @overload
    def __getitem__(self, place: slice) -> LatentViews: ...
    def __getitem__(self, place: int | slice) -> LatentView | LatentViews:
        if isinstance(place, slice):
            return LatentViews(self._suite, self.ids[place])
        latent = self.ids[place]
        found = self._held.get(latent)
        if found is None:
            found = self._held[latent] = self._suite.latent(latent)
            while len(self._held) > HELD:
                self._held.popitem(last=False)
        return found

    def __iter__(self) -> Iterator[LatentView]:
        return (self[place] for place in range(len(self)))
