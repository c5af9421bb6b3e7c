"""A run that people have rated: what they said, text by text, and how far its scorers agree with them; for pages and trackers.

A run that nobody has rated has none of it, and pages and trackers then show nothing, not an empty table. Explainers are named
here again: raters did not see them, and whoever reads the table wants to know them.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from functools import cached_property

from latentbench.analysis.agreement import scores_of
from latentbench.analysis.people.given_rating import PAIR, SCALE, GivenRating
from latentbench.analysis.people.people_agreement import PeopleAgreement, agreement_with
from latentbench.analysis.people.rating_store import read_ratings
from latentbench.runs.finished import Run
from latentbench.views.table import Cell, Table


@dataclass(frozen=True)
class RatedRun:
    """Ratings of a run.

    Attributes:
        ratings: all of them.
        agreement: of its scorers with people, over explainers that are no floors; None where only floors were rated.
    """

    run: Run
    ratings: tuple[GivenRating, ...]
    agreement: PeopleAgreement | None

    @cached_property
    def raters(self) -> dict[str, str]:
        """Name of a rater -> what other people read in its place: a page and a server have more readers than a run."""
        return {name: f"rater {i}" for i, name in enumerate(sorted({r.rater for r in self.ratings}), 1)}

    def means(self) -> Iterator[tuple[str, str, float, int]]:
        """Explainer, latent, mean rating on the scale, and ratings; over the different texts of its repeats."""
        by_text: dict[tuple[str, str], list[int]] = {}
        for rating in self.ratings:
            if rating.task == SCALE:
                by_text.setdefault((rating.latent, rating.first), []).append(rating.value)
        told = self.run.explanations[["explainer", "latent", "hash"]].drop_duplicates()
        found: dict[tuple[str, str], list[int]] = {}
        for explainer, latent, text in told.itertuples(index=False, name=None):
            if (latent, text) in by_text:
                found.setdefault((explainer, latent), []).extend(by_text[latent, text])
        for (explainer, latent), values in found.items():
            yield explainer, latent, sum(values) / len(values), len(values)

    def csv(self) -> str:
        """The ratings as `bench rate import` takes them, raters by number."""
        told = self.run.explanations[["latent", "hash", "explainer", "repeat"]].drop_duplicates(["latent", "hash"])
        names = {(z, h): (e, int(r)) for z, h, e, r in told.itertuples(index=False, name=None)}

        def record(rating: GivenRating) -> dict[str, Cell]:
            first = names[rating.latent, rating.first]
            other = names[rating.latent, rating.second] if rating.task == PAIR else ("", "")
            return {
                "rater": self.raters[rating.rater], "latent": rating.latent, "explainer": first[0], "repeat": first[1],
                "other_explainer": other[0], "other_repeat": other[1], "value": rating.value, "seconds": rating.seconds,
                "source": rating.source,
            }  # fmt: skip

        return Table.of_records(record(r) for r in self.ratings if _known(r, names)).csv()


def rated_run(run: Run) -> RatedRun | None:
    """What people said of a run; None where nobody has said anything of its explanations.

    Raises:
        CorruptTable: the ratings cannot be read.
    """
    own = set(zip(run.explanations["latent"], run.explanations["hash"], strict=True))
    ratings = tuple(r for r in read_ratings(run.folder) if _known(r, own))
    if not ratings:
        return None
    scores = scores_of(run, fewest=1)
    told = run.explanations[run.explanations["explainer"].isin(scores.explainers)]
    return RatedRun(run, ratings, agreement_with(told, scores, ratings))


def _known(rating: GivenRating, texts: Container[tuple[str, str]]) -> bool:
    """Whether the run has the texts that were rated."""
    second = rating.second or rating.first
    return (rating.latent, rating.first) in texts and (rating.latent, second) in texts
