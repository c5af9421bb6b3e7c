"""What people said of a run as the data of a page: scorers against people, raters against each other, the mean rating of a text.

The file is there only where people have rated, and the run says so in the list of runs; a page without ratings is what it was.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from latentbench.analysis.people.people_agreement import PeopleAgreement
from latentbench.analysis.people.rated_run import RatedRun
from latentbench.site.board_data import Measure


@dataclass(frozen=True, slots=True)
class RaterCount:
    """What one rater has done; raters are numbered, and their names are not on the page."""

    rater: str
    ratings: int
    choices: int


@dataclass(frozen=True, slots=True)
class PeopleData:
    """Ratings of a run."""

    raters: tuple[RaterCount, ...]
    sources: tuple[str, ...]
    """Where the ratings come from: `page`, or a file."""
    explanations: int
    each: float | None
    """Ratings per explanation."""
    scorers: tuple[Measure, ...]
    """Spearman with the mean rating."""
    ceiling: Measure | None
    between: tuple[Measure, ...]
    """Agreement of raters with each other."""
    choices: tuple[Measure, ...]
    """Agreed choices between two explanations; two raters last."""
    explainers: tuple[str, ...]
    mean: tuple[tuple[float | None, ...], ...]
    """Explainer and latent -> mean rating."""
    ratings: tuple[tuple[int, ...], ...]
    """Explainer and latent -> ratings behind it."""


def people_data(rated: RatedRun) -> PeopleData:
    """The ratings of a run as data."""
    record, found = rated.run.record, rated.agreement
    labels, places = list(record.explainers), {z: i for i, z in enumerate(record.latents)}
    mean = np.full((len(labels), len(places)), np.nan)
    n = np.zeros(mean.shape, dtype=np.int64)
    for explainer, latent, value, ratings in rated.means():
        at = labels.index(explainer), places[latent]
        mean[at], n[at] = value, ratings
    tasks = {name: [r.task for r in rated.ratings if r.rater == name] for name in rated.raters}
    return PeopleData(
        raters=tuple(
            RaterCount(shown, tasks[name].count("scale"), tasks[name].count("pair"))
            for name, shown in rated.raters.items()
        ),
        sources=tuple(sorted({r.source for r in rated.ratings})),
        explanations=0 if found is None else found.explanations,
        each=None if found is None else found.ratings_each,
        scorers=() if found is None else _scorers(found),
        ceiling=None if found is None else Measure("ceiling", *found.ceiling, found.rater.n, 0.0),
        between=() if found is None else _between(found),
        choices=() if found is None else _choices(found),
        explainers=tuple(labels),
        mean=tuple(tuple(line) for line in mean.tolist()),
        ratings=tuple(tuple(line) for line in n.tolist()),
    )


def _scorers(found: PeopleAgreement) -> tuple[Measure, ...]:
    if not found.explanations:
        return ()
    return tuple(Measure(name, c.estimate, c.low, c.high, c.n, 0.0) for name, c in found.scorers.items())


def _between(found: PeopleAgreement) -> tuple[Measure, ...]:
    named = {
        "alpha, ordinal": found.ordinal, "alpha, interval": found.interval, "alpha of choices, nominal": found.nominal,
        "Spearman of two raters": found.rater,
    }  # fmt: skip
    return tuple(Measure(name, c.estimate, c.low, c.high, c.n, 0.0) for name, c in named.items() if c.n)


def _choices(found: PeopleAgreement) -> tuple[Measure, ...]:
    if not any(chosen for _, chosen in found.raters.values()):
        return ()
    named = {**found.choices, "two raters": found.rater_choices}
    return tuple(Measure(name, c.estimate, c.low, c.high, c.n, 0.5) for name, c in named.items())
