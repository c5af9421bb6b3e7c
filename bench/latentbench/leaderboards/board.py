"""Rows -> ranked tables. Only rows that were measured in the same way on the same latents stand in one table.

Rows without evidence, of runs and files of before there were digests, stand in tables of their own and have no rank: whoever
takes the evidence out of a row would else choose its place. Leaving them out would hide what was once published.

Floors are ranked like everything else: a method that shares a rank with the wrong latent's explanation has shown nothing, and
a table that leaves the floor out cannot say so.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from latentbench.leaderboards.row import LEADERBOARD_SPLIT, POOLED, Row
from latentbench.stats.bootstrap import FEWEST, Interval
from latentbench.stats.ranks import Rank, ranks_from_intervals, ranks_from_pairs

RankBy = Literal["intervals", "pairs"]
SELF_REPORTED = " (self-reported: not recomputable, not ranked)"
"""In the title of a table of rows without evidence."""


@dataclass(frozen=True)
class Ranking:
    """Comparable rows, best first, with their ranks.

    Attributes:
        rows: at least one; all have the same `Row.table`.
        ranks: one per row; none of rows without evidence, whose numbers are only said (`Table.is_shown_only`).
    """

    rows: tuple[Row, ...]
    ranks: tuple[Rank | None, ...]

    @property
    def is_shown_only(self) -> bool:
        """Whether nobody can compute these rows again: they are shown, apart from others, and not ranked."""
        return self.rows[0].evidence is None

    @property
    def for_leaderboard(self) -> bool:
        """Whether the latents were held out."""
        return self.rows[0].split == LEADERBOARD_SPLIT

    @property
    def headline(self) -> str:
        """Metric that ranks."""
        return self.rows[0].headline

    @property
    def title(self) -> str:
        """Scorer and judge."""
        r = self.rows[0]
        name = r.scorer.id if r.scorer.id.split("@")[0] == r.scorer.label else f"{r.scorer.label} ({r.scorer.id})"
        return f"{name}, judged by {r.judge.label}{SELF_REPORTED if self.is_shown_only else ''}"

    @property
    def conditions(self) -> str:
        """What all rows have in common."""
        r = self.rows[0]
        kind = f" of kind {r.kind}" if r.kind else ""
        coders = f"all coders{kind}" if r.coders == POOLED else f"coder {r.coders}"
        held = "" if self.for_leaderboard else ", NOT FOR THE LEADERBOARD"
        floor = "" if r.score.floor is None else f"; floor of {r.headline} {r.score.floor:g}"
        few = f", too few to rank (at least {FEWEST})" if r.n_latents < FEWEST else ""
        latents = f"{r.n_latents} {'' if r.split == 'all' else f'{r.split} '}latents{few}{held}"
        # The same judge may have been qualified on more latents since the first of these runs.
        judge = max(self.rows, key=lambda row: row.date).qualification
        return f"{r.suite.id} ({r.suite.digest}), {coders}, {latents}; judge {judge}{floor}"


def tables(rows: Iterable[Row], rank_by: RankBy = "intervals", seed: int = 0) -> list[Ranking]:
    """Group rows that are comparable, rank and sort them.

    Args:
        rank_by: `intervals` of the rows, or paired differences (`pairs`), which need rows that still have their values.
        seed: of the paired bootstraps.

    Returns:
        Tables sorted by whether they are ranked, suite, split (`test` first), scorer, judge and coders (`all` first).
    """
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.table, row.evidence is None), []).append(row)
    return sorted((_ranked(group, rank_by, seed) for group in groups.values()), key=_place)


def _place(table: Ranking) -> tuple[object, ...]:
    r = table.rows[0]
    return (
        table.is_shown_only,
        r.suite.id,
        not table.for_leaderboard,
        r.scorer.label,
        r.judge.label,
        r.coders != POOLED,
        r.coders,
        r.kind or "",
        r.table,
    )


def _ranked(rows: Sequence[Row], rank_by: RankBy, seed: int) -> Ranking:
    better = rows[0].score.higher_is_better

    def order(row: Row) -> tuple[object, ...]:
        estimate = row.score.estimate
        value = math.inf if estimate is None else -estimate if better else estimate
        return (value, row.is_floor, row.explainer.label, row.run)

    ordered = sorted(rows, key=order)
    if rows[0].evidence is None:
        return Ranking(tuple(ordered), (None,) * len(ordered))
    if rank_by == "pairs":
        ids = sorted({latent for row in ordered for latent in row.values})
        scores = np.array([[row.values.get(latent, math.nan) for latent in ids] for row in ordered])
        ranks = ranks_from_pairs(scores, ids, seed=seed, higher_is_better=better)
    else:
        ranks = ranks_from_intervals([interval_of(row) for row in ordered], higher_is_better=better)
    return Ranking(tuple(ordered), tuple(ranks))


def interval_of(row: Row) -> Interval:
    """The score of a row as an interval; NaN where it has none."""
    estimate, low, high = (math.nan if x is None else x for x in (row.score.estimate, row.score.low, row.score.high))
    return Interval(estimate, low, high, row.score.n)
