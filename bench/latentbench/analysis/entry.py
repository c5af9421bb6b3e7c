"""Run -> one headline score per latent for every explainer x scorer x judge, the currency of this room.

Leaderboard rows hold the same means, but with their intervals, prices and bounds; what compares runs needs the latents and the
identities, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from latentbench.runs.finished import Run


@dataclass(frozen=True)
class EntryPart:
    """Label, id (`name@N-X`, or the provider and model of a judge) and content key of what took part."""

    label: str
    id: str
    key: str


@dataclass(frozen=True)
class ComparedEntry:
    """One explainer under one scorer and judge.

    Attributes:
        headline: metric that `values` holds.
        higher_is_better: its direction.
        is_floor: the explainer knows nothing of the latent.
        values: latent -> score, averaged over the repeats that have one; latents without any are left out.
        latents: latents of the run.
        n_judged, n_attempted: judgements behind the headline.
        steered: digest of the suite's intervention table; None for scorers that do not read it.
    """

    explainer: EntryPart
    scorer: EntryPart
    judge: EntryPart
    headline: str
    higher_is_better: bool
    is_floor: bool
    values: Mapping[str, float] = field(repr=False)
    latents: int
    n_judged: int
    n_attempted: int
    steered: str | None = None

    @property
    def labels(self) -> tuple[str, str, str]:
        """(explainer, scorer, judge)."""
        return (self.explainer.label, self.scorer.label, self.judge.label)

    @property
    def coverage(self) -> float:
        """Judged / attempted; 0 if nothing was attempted."""
        return self.n_judged / self.n_attempted if self.n_attempted else 0.0


def entries(run: Run) -> list[ComparedEntry]:
    """Entries of a run in the order of its cells."""
    table = run.per_latent()
    groups = dict(iter(table.groupby(["explainer", "scorer", "judge"], sort=False)))
    found = []
    for labels, (cell, *_) in run.record.grid.items():
        rows = groups.get(labels, table.iloc[:0])
        explainer, scorer, judge = cell.explainer, cell.scorer, cell.judge
        values = rows.set_index("latent")["value"].dropna()
        found.append(
            ComparedEntry(
                EntryPart(explainer.label, explainer.id, explainer.key),
                EntryPart(scorer.label, scorer.id, scorer.key),
                EntryPart(judge.label, judge.identity.label, judge.key),
                scorer.headline,
                scorer.ranking.higher_is_better,
                explainer.is_floor,
                {str(latent): float(value) for latent, value in values.items()},
                len(run.record.latents),
                int(rows["judged"].sum()),
                int(rows["attempted"].sum()),
                scorer.steered,
            )
        )
    return found
