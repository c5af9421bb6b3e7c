"""What a run does not show, said from its own numbers, so that the page cannot forget it."""

from __future__ import annotations

from collections.abc import Sequence

from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.leaderboards.board import Table
from latentbench.leaderboards.board_page import total
from latentbench.runs.finished import Run
from latentbench.runs.record import UNQUALIFIED
from latentbench.views.number import percent

FEW_LATENTS = 30
"""Below this a percentile bootstrap is noticeably too narrow."""


def limits(run: Run, tables: Sequence[Table]) -> list[str]:
    """One sentence per limit that applies to these tables; never empty.

    Args:
        tables: of this run, over all coders.
    """
    found = [line for table in tables for line in _of_table(table)]
    if run.record.split != "test":
        found.insert(0, f"Measured on {run.record.split} latents: these scores are not for the leaderboard.")
    git = run.record.git
    if git is not None and git.dirty:
        found.append("The code had local changes that the recorded revision does not contain.")
    if max((row.repeats for table in tables for row in table.rows), default=1) == 1:
        found.append(
            "One repeat: the spread of explainer and judge sampling is inside the interval over latents, not separated."
        )
    if any(estimated(total(row).dollars) for table in tables for row in table.rows):
        found.append(ESTIMATE_NOTE)
    found.append("Intervals are over latents of this suite; they say nothing about other subjects, coders or judges.")
    return list(dict.fromkeys(found))


def _of_table(table: Table) -> list[str]:
    found = []
    real = [(row, rank) for row, rank in zip(table.rows, table.ranks, strict=True) if not row.is_floor]
    floors = [(row, rank) for row, rank in zip(table.rows, table.ranks, strict=True) if row.is_floor]
    if not floors:
        found.append(f"{table.title}: no floor was measured; add a null explainer such as `shuffled` to the spec.")
    elif real:
        best_floor = min(rank.low for _, rank in floors)
        lost = [row.explainer.label for row, rank in real if rank.high >= best_floor]
        if lost:
            found.append(
                f"{table.title}: {', '.join(lost)} cannot be told from a floor; the judge or the method may be too weak."
            )
    holes = [row for row in table.rows if row.coverage is not None and row.coverage < 1]
    if holes:
        worst = min(holes, key=lambda row: row.coverage or 0.0)
        bounded = any(row.worst is not None for row in holes)
        found.append(
            f"{table.title}: judgements are missing (coverage down to {percent(worst.coverage)} for {worst.explainer.label}); "
            + ("compare the bounds before the scores." if bounded else f"{table.headline} has no range, so no bounds.")
        )
    few = min(row.score.n for row in table.rows)
    if few < FEW_LATENTS:
        found.append(f"{table.title}: an interval rests on {few} latents only.")
    if any(row.qualification == UNQUALIFIED for row in table.rows):
        found.append(
            f"Judge {table.rows[0].judge.label} is unqualified: nobody has measured how well it does this task."
        )
    return found
