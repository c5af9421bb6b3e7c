"""Where a run disagrees with itself: latents on which scorers, judges or explainers differ most, the largest difference first.

Scorers have different units, so what they say is compared by places: the share of all explanations of the run that a scorer puts
below this one. Judges of one scorer and explainers under one judge share a unit and are compared by their values. Floors are left
out of the comparison of explainers, because everybody differs from them, and that is what they are for. That a scorer is fooled
by a floor is worth seeing: scorers and judges are compared on floors too, but marked, and within a limit of their own. A run has
more floors than explainers, and one list of the largest would be theirs alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from latentbench.runs.finished import Run

MOST = 200
"""Differences of each sort that are shown, and as many again on floors."""

Sort = Literal["scorers", "judges", "explainers"]


@dataclass(frozen=True, slots=True)
class DifferenceSide:
    """One side of a difference: its name, and its value with the unit of its scorer."""

    name: str
    value: float
    place: float
    """Share of the explanations of the run that this scorer and judge put below, half of the equal ones included."""


@dataclass(frozen=True, slots=True)
class LatentDifference:
    """Two sides that say different things about one latent."""

    latent: str
    about: str
    """What both have in common."""
    is_floor: bool
    """Whether they have in common that the text is a floor."""
    metric: str
    size: float
    more: DifferenceSide
    less: DifferenceSide


@dataclass(frozen=True, slots=True)
class DifferenceList:
    """The largest differences of one sort, on floors and on the rest, and how many there are of both."""

    sort: Sort
    unit: str
    n: int
    shown: tuple[LatentDifference, ...]


def differences(run: Run) -> tuple[DifferenceList, ...]:
    """Everything that can differ in a run, sort by sort; sorts with one side only are empty."""
    held = run.per_latent().dropna(subset=["value"])
    better = {label: scorer.ranking.higher_is_better for label, scorer in run.record.scorers.items()}
    headline = {label: scorer.headline for label, scorer in run.record.scorers.items()}
    floors = {label for label, explainer in run.record.explainers.items() if explainer.is_floor}
    signed = held["value"].where(held["scorer"].map(better).astype(bool), -held["value"])
    grouped = signed.groupby([held["scorer"], held["judge"]])
    ranks, sizes = grouped.rank(method="average"), grouped.transform("size")
    held = held.assign(
        place=(ranks - 0.5) / sizes,
        grading=held["scorer"] + " · " + held["judge"],
        metric=held["scorer"].map(headline),
        is_floor=held["explainer"].isin(floors),
    )
    real = held[~held["is_floor"]]
    return (
        _sorted("scorers", "places", _pairs(held, ["latent", "explainer"], "grading", "place", apart="scorer")),
        _sorted("judges", "values", _pairs(held, ["latent", "explainer", "scorer"], "judge", "value")),
        _sorted("explainers", "values", _pairs(real, ["latent", "scorer", "judge"], "explainer", "value")),
    )


def _sorted(sort: Sort, unit: str, found: Iterator[LatentDifference]) -> DifferenceList:
    ordered = sorted(found, key=lambda d: (-round(d.size, 9), d.latent, d.about, d.more.name))
    largest = {id(d) for is_floor in (False, True) for d in [d for d in ordered if d.is_floor is is_floor][:MOST]}
    return DifferenceList(sort, unit, len(ordered), tuple(d for d in ordered if id(d) in largest))


def _pairs(
    held: pd.DataFrame, common: Sequence[str], side: str, by: str, apart: str | None = None
) -> Iterator[LatentDifference]:
    """For each group the two sides that are furthest apart.

    Args:
        common: columns that both sides share; the latent is the first.
        side: column with the names of the sides.
        by: column that is compared.
        apart: column in which the sides must differ.
    """
    keys, differ = list(common), apart or side
    ordered = held.sort_values([by, side], kind="stable")
    many = ordered.groupby(keys, sort=False)[differ].transform("nunique") > 1
    columns = [differ, side, by, "metric", "value", "place"]
    for names, group in ordered[many].groupby(keys, sort=False):
        lines = list(group[columns].itertuples(index=False, name=None))
        # The furthest two may be of one scorer; then one of the two meets the furthest of another.
        low = next(line for line in lines if line[0] != lines[-1][0])
        high = next(line for line in reversed(lines) if line[0] != lines[0][0])
        less, more = max(((low, lines[-1]), (lines[0], high)), key=lambda pair: pair[1][2] - pair[0][2])
        size = float(more[2] - less[2])
        if size <= 0:
            continue
        yield LatentDifference(
            latent=str(names[0]),
            about=" · ".join(map(str, names[1:])),
            is_floor=bool(group["is_floor"].all()),
            metric=" and ".join(dict.fromkeys((str(more[3]), str(less[3])))),
            size=size,
            more=DifferenceSide(str(more[1]), float(more[4]), float(more[5])),
            less=DifferenceSide(str(less[1]), float(less[4]), float(less[5])),
        )
