"""Run -> one headline score per latent for every explainer x scorer x judge, the currency of this room.

Leaderboard rows hold the same means, but with their intervals, prices and bounds; what compares runs needs the latents and the
identities, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from latentbench.runs.finished import Run
from latentbench.runs.record import CellRecord


@dataclass(frozen=True)
class ComparedEntry:
    """One explainer under one scorer and judge.

    Attributes:
        cell: its first repeat, which says what took part.
        values: latent -> headline, averaged over the repeats that have one; latents without any are left out.
        latents: latents of the run.
        n_judged, n_attempted: judgements behind the headline.
    """

    cell: CellRecord
    values: Mapping[str, float] = field(repr=False)
    latents: int
    n_judged: int
    n_attempted: int

    @property
    def higher_is_better(self) -> bool:
        """Direction of the headline."""
        return self.cell.scorer.ranking.higher_is_better

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
        scored = rows.set_index("latent")["value"].dropna()
        values = {str(latent): float(value) for latent, value in scored.items()}
        judged, attempted = int(rows["judged"].sum()), int(rows["attempted"].sum())
        found.append(ComparedEntry(cell, values, len(run.record.latents), judged, attempted))
    return found
