"""What a comparison of a study could have found, and how many latents a difference of the paper's size would need.

"Not shown" reads like "not there". So beside every comparison stands the true difference that its test finds in four of five
studies of this size, from the spread that the study itself measured, at the level that Holm's correction leaves to the smallest
p of the table: 5 % over the number of its comparisons. The uncorrected level is the flattering choice, and promises what the
page's own p-values do not keep.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.lab.studies.contrast import ALPHA, PAIRED, LevelContrast
from latentbench.stats import power
from latentbench.stats.bootstrap import FEWEST
from latentbench.views.number import count, number

PAPERS = 0.02
"""The size of most differences between levels in the paper's tables; asked for where it has no number for two levels."""
NONE_BELOW = 0.005
"""Differences of the paper that are no differences: its tables have two digits."""
FLAT = 1e-9
"""Spread below which differences are all the same, and nothing is said of their power."""


@dataclass(frozen=True)
class Reach:
    """What one comparison could have found.

    Attributes:
        n: latents, of the smaller side.
        comparisons: that its p is corrected for.
        wanted: the difference that it should have been able to find.
        papers: whether `wanted` is the paper's difference between these two levels.
        detectable: true difference found with probability 0.8; None below `FEWEST` latents, or without a spread.
        needed: latents (a side, where there are two) with which `wanted` is found with probability 0.8, at least `FEWEST`.
    """

    n: int
    comparisons: int
    wanted: float
    papers: bool
    detectable: float | None = None
    needed: int | None = None

    @property
    def short(self) -> bool:
        """Whether a difference of the wanted size would mostly have been missed."""
        return self.detectable is not None and self.detectable > self.wanted

    @property
    def columns(self) -> dict[str, float | int | None]:
        """Its columns in a table."""
        return {"detectable": self.detectable, "needed": self.needed}

    @property
    def unshown(self) -> str:
        """What a page says of a difference that its p does not show."""
        if self.n < FEWEST:
            return f"not shown, too few latents ({self.n} of at least {FEWEST})"
        if self.detectable is None:
            return "not shown"
        whose = f"the paper's {number(self.wanted)}" if self.papers else f"asked for {number(self.wanted)}"
        bounds = f"detectable {number(self.detectable)}, {whose}"
        return f"not shown; this study could not have shown it ({bounds})" if self.short else f"not shown ({bounds})"


def reaches(contrasts: Sequence[LevelContrast], papers: Sequence[float | None]) -> list[Reach]:
    """The reach of each comparison of a table whose p-values are corrected together.

    Args:
        papers: the paper's difference for each, None where it has none.
    """
    comparisons = max(1, sum(not math.isnan(c.p) for c in contrasts))
    return [reach(c, paper, comparisons) for c, paper in zip(contrasts, papers, strict=True)]


def reach(contrast: LevelContrast, paper: float | None, comparisons: int, wanted: float = PAPERS) -> Reach:
    """The reach of one of several comparisons.

    Args:
        wanted: the difference asked for where the paper has none.
    """
    own = paper is not None and abs(paper) >= NONE_BELOW
    size = abs(paper) if own and paper is not None else wanted
    few = contrast.n < FEWEST or not contrast.sds
    if few or not max(contrast.sds) > FLAT:
        return Reach(contrast.n, comparisons, size, own)
    alpha = ALPHA / comparisons
    sds = [power.paired_spread(sd) for sd in contrast.sds] if contrast.design == PAIRED else contrast.sds
    enough = power.needed(size, sds, alpha)
    return Reach(
        contrast.n, comparisons, size, own,
        power.detectable(sds, contrast.ns, alpha), None if enough is None else max(enough, FEWEST),
    )  # fmt: skip


def sentence(who: str, found: Sequence[tuple[str, Reach]], two_sided: bool = False) -> str:
    """What a page says of all comparisons of one explainer and scorer; empty where no power is known.

    Args:
        found: level -> reach of its comparison.
        two_sided: whether the levels hold other latents, so that their number counts for each.
    """
    known = [(level, r) for level, r in found if r.detectable is not None]
    if not known:
        return ""
    n, comparisons = min(r.n for _, r in known), known[0][1].comparisons
    least = max(r.detectable or 0.0 for _, r in known)
    asked = [pair for pair in known if pair[1].papers] or known
    level, hardest = max(asked, key=lambda pair: math.inf if pair[1].needed is None else pair[1].needed)
    need = f"more than {count(power.MOST)}" if hardest.needed is None else count(hardest.needed)
    whose = f"the paper's {number(hardest.wanted)} ({level})" if hardest.papers else f"one of {number(hardest.wanted)}"
    side = " a level" if two_sided else ""
    corrected = f"corrected for {comparisons} comparisons" if comparisons > 1 else "one comparison"
    return (
        f"{who}: with {count(n)} latents{side}, differences of at least {number(least)} are found in 4 of 5 studies "
        f"({corrected}); {whose} would need {need}{side}."
    )
