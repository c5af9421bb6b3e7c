"""Runs -> rows, checked against their judgements -> ranked tables.

The command, a notebook and whoever publishes rank in this one way. Putting the steps together anew in each is the tempting way,
and one of them then forgets that a run which is named twice ties with itself, or to compare names with whoever else says them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentbench.leaderboards.board import Ranking, tables
from latentbench.leaderboards.claims import check_names, confirmed, unknown_names
from latentbench.leaderboards.reruns import Rerun, once, sentences
from latentbench.leaderboards.rescored import Rescored, doubts, rescored
from latentbench.leaderboards.row import Row, checked, rows
from latentbench.runs.finished import Run


@dataclass(frozen=True)
class Ranked:
    """Runs with their ranked tables.

    Attributes:
        runs: each once.
        rows: of all of them.
        tables: the rows, ranked among those that are comparable; what is there twice (`once`) counts once.
        reruns: what is there twice.
        found: run id -> what became of computing its scores again; empty where they were not.
    """

    runs: tuple[Run, ...]
    rows: tuple[Row, ...]
    tables: tuple[Ranking, ...]
    reruns: tuple[Rerun, ...]
    found: Mapping[str, Rescored]

    @property
    def remarks(self) -> list[str]:
        """What has to be said beside the tables: pairs that were not asked, what is taken as it is, and reruns."""
        unasked = [str(pair) for run in self.runs for pair in run.record.unasked]
        said = [*unasked, *doubts(self.runs, self.found), *unknown_names(self.rows), *sentences(self.reruns)]
        return list(dict.fromkeys(said))


def rank(
    runs: Sequence[Run],
    *,
    paired: bool = False,
    by_coder: bool = False,
    any_split: bool = False,
    recompute: bool = True,
) -> Ranked:
    """Rank the explainers of runs.

    Args:
        runs: each once, as `load_runs` reads them.
        paired: rank by paired differences with Holm's correction instead of by intervals.
        by_coder: also one table per coder.
        any_split: also runs on other latents than the held-out ones.
        recompute: compute all scores again from the judgements.

    Raises:
        SpecError: a run on other latents than the held-out ones.
        CorruptTable, DigestMismatch: a run whose tables or scores are not its own.
    """
    found: dict[str, Rescored] = {}
    for run in runs:
        if recompute:
            found[run.id] = rescored(run)
        else:
            check_names(run)
    own = checked(rows(runs, by_kind=True, by_coder=by_coder, any_split=any_split), found)
    shown, reruns = once(confirmed(own))
    ranked = tables(shown, "pairs" if paired else "intervals")
    return Ranked(tuple(runs), tuple(own), tuple(ranked), tuple(reruns), found)
