"""Whether a judge reads explanations at all: real ones against the same ones, each given to another latent.

It says "not shown" where the difference is not clear and never "cannot": an interval around 0 is what a judge that reads nothing
gives, and also what too few latents give. All judges, scorers and explainers of a study are one family of tests, because a
study with twelve of them would otherwise find one that reads where none does. A difference between levels counts only if each
judge that answered for it was shown to read: one of four is not a judgement of the other three.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

from latentbench.lab.studies.contrast import ALPHA, LevelContrast, difference
from latentbench.lab.studies.reach import reach
from latentbench.stats.bootstrap import FEWEST, holm
from latentbench.views.number import estimate, number, p_is, signed

if TYPE_CHECKING:
    import pandas as pd

K = TypeVar("K")

Reads = Literal["yes", "not shown", "opposite", "too few latents", "no control"]
VERDICTS: Mapping[Reads, str] = {
    "yes": "the judge reads the explanations",
    "not shown": "not shown that this judge reads explanations",
    "opposite": "the judge prefers explanations of other latents",
    "too few latents": f"too few latents to say whether this judge reads explanations (at least {FEWEST})",
    "no control": "there is no control, so nobody can say whether the judge reads explanations",
}
"""How a page says it."""


@dataclass(frozen=True)
class Control:
    """Real minus shuffled explanations under one judge.

    Attributes:
        gap: mean over latents of real minus shuffled; None where there were no shuffled ones.
        p_holm: corrected over the controls of the study; NaN where nothing was tested.
        detectable: true gap found in four of five such studies; None where that is not known.
    """

    gap: LevelContrast | None
    p_holm: float
    detectable: float | None = None

    @property
    def reads(self) -> Reads:
        """What the corrected test says."""
        return "no control" if self.gap is None else reads(self.gap.estimate, self.p_holm)

    def sentence(self, who: str) -> str:
        """What a page says; `who` names scorer, judge and explainer."""
        verdict = f"{who}: {VERDICTS[self.reads]}"
        if self.gap is None:
            return f"{verdict}."
        numbers = estimate(self.gap.estimate, self.gap.low, self.gap.high, write=signed)
        tested = "" if math.isnan(self.p_holm) else f", {p_is(self.p_holm)} after Holm"
        missed = self.reads == "not shown" and self.detectable is not None
        power = f"; a gap of {number(self.detectable)} is found in 4 of 5 studies" if missed else ""
        return f"{verdict}: real minus shuffled {numbers}, {self.gap.n} latents{tested}{power}."


def reads(gap: float, p_holm: float) -> Reads:
    """What a corrected test of real minus shuffled says. `opposite`: explanations of other latents score higher."""
    if math.isnan(p_holm):
        return "too few latents"
    if p_holm >= ALPHA:
        return "not shown"
    return "yes" if gap > 0 else "opposite"


def controls(gaps: Mapping[K, LevelContrast | None]) -> dict[K, Control]:
    """The controls of a study, tested as one family."""
    p = [float("nan") if gap is None else gap.p for gap in gaps.values()]
    comparisons = max(1, sum(not math.isnan(own) for own in p))
    could = [None if gap is None else reach(gap, None, comparisons).detectable for gap in gaps.values()]
    parts = zip(gaps.items(), holm(p), could, strict=True)
    return {key: Control(gap, float(adjusted), least) for (key, gap), adjusted, least in parts}


def gap_of(scores: pd.DataFrame, explainer: str, scorer: str, judge: str, seed: int) -> LevelContrast | None:
    """Mean over latents of real minus shuffled, each latent averaged over the levels that have both; None without a control."""
    own = scores[(scores["explainer"] == explainer) & (scores["scorer"] == scorer) & (scores["judge"] == judge)]
    table = own.pivot_table(index=["level", "latent"], columns="real", values="value")
    if True not in table or False not in table:
        return None
    gap = (table[True] - table[False]).groupby("latent").mean().dropna()
    return difference(gap, gap * 0.0, seed)


def doubt(found: Sequence[Control]) -> str:
    """What is added to a difference whose judges are not all shown to read; empty where they are."""
    unclear = sum(control.reads != "yes" for control in found)
    if not unclear:
        return ""
    if len(found) == 1:
        return " It is not shown that the judge reads explanations."
    return f" It is not shown that {unclear} of its {len(found)} judges read explanations."
