"""Ranked tables of a run -> what its parent in MLflow shows: which is best, and the rankings in words, data and a figure. Pure.

MLflow shows the beginning of a run's description before anything else, four lines of it, so the question that people open the
page with is answered there: a line per scorer and judge, then the rankings. The one with the highest mean is the tempting answer,
and is named; beside it stands who else may be first, because over few latents that is everybody. What does not fit into a
description is in the artifacts, and the description says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from latentbench.leaderboards.board import Ranking
from latentbench.leaderboards.board_page import RANK_NOTE
from latentbench.leaderboards.row import Row
from latentbench.tracking.entries import part
from latentbench.views.escape import drawn, line, markdown, markdown_prose
from latentbench.views.figure import CONTROL, PAPER, REAL, panels, styled
from latentbench.views.number import estimate, number, percent
from latentbench.views.table import Cell, Column, Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NOTE_CHARS = 7_800
"""Characters of a description, below MLflow's limit for a tag."""
BOARD, SCORES, FIGURE = "leaderboard.md", "scores.json", "scores.png"
"""Artifacts: the rankings as a page, as MLflow's table, and drawn."""


def leader(table: Ranking) -> int:
    """Place of the best row that is no floor; of the first row where all are floors."""
    return next((i for i, row in enumerate(table.rows) if not row.is_floor), 0)


def may_be_first(table: Ranking) -> list[str]:
    """Explainers that the intervals allow the first place, floors among them."""
    named = zip(table.rows, table.ranks, strict=True)
    return [_named(row) for row, rank in named if rank is not None and rank.low == 1]


def best_tags(tables: Sequence[Ranking]) -> dict[str, str]:
    """Tag of the parent -> its best explainer under a scorer and judge, in words that a column of the runs' list has room for.

    Args:
        tables: rankings; of several for one scorer and judge the first counts.
    """
    found: dict[str, str] = {}
    for table in tables:
        row, rank = table.rows[leader(table)], table.ranks[leader(table)]
        s = row.score
        said = f"{_named(row)}: {row.headline} {estimate(s.estimate, s.low, s.high)}, n {s.n}"
        said += f", place {rank} of {len(table.rows)}" if rank is not None else ", not ranked"
        found.setdefault(f"latentbench.best.{part(row.scorer.label)}.{part(row.judge.label)}", line(said))
    return found


def description(tables: Sequence[Ranking], most: int = NOTE_CHARS) -> str:
    """Markdown of the parent's description: the best under each scorer, and as many rankings as there is room for."""
    if not tables:
        return ""
    lines = [f"- {_said(table)}" for table in tables]
    parts = ["\n".join(lines), "\n\n### Best explainer under each scorer\n\n", _best(tables).markdown()]
    parts.append(f"\n{markdown_prose(RANK_NOTE)}\n")
    rest = f"\nMore in `{BOARD}`, `{SCORES}` and `{FIGURE}` among the artifacts.\n"
    used, left = sum(map(len, parts)) + len(rest), 0
    if used > most:
        return f"{len(tables)} rankings are too many for a description.\n{rest}"
    for table in tables:
        text = f"\n{_ranked(table).markdown(3)}"
        if used + len(text) + 60 > most:
            left += 1
            continue
        parts.append(text)
        used += len(text)
    if left:
        parts.append(f"\n{left} of {len(tables)} rankings have no room here.\n")
    return "".join([*parts, rest])


def _said(table: Ranking) -> str:
    row, rank = table.rows[leader(table)], table.ranks[leader(table)]
    s, kind = row.score, f", {row.kind}" if row.kind else ""
    place = "not ranked" if rank is None else f"place {rank} of {len(table.rows)}"
    floor = "" if s.floor is None else f", floor {number(s.floor)}"
    said = f"{row.headline} {estimate(s.estimate, s.low, s.high)}{floor}, n {s.n}, coverage {percent(row.coverage)}, {place}"
    return (
        f"{markdown(row.scorer.label)}, {markdown(row.judge.label)}{kind}: **{markdown(_named(row))}** {markdown(said)}"
    )


def _best(tables: Sequence[Ranking]) -> Table:
    kinds = len({table.rows[0].kind for table in tables}) > 1
    columns = [
        Column("scorer", "text"),
        Column("judge", "text"),
        *([Column("coders of kind", "text")] if kinds else []),
        Column("metric", "text"),
        Column("highest mean", "text"),
        Column("mean and 95 % interval", "number"),
        Column("may be first", "text"),
        Column("best measured floor", "text"),
        Column("declared floor", "number"),
        Column("latents", "count"),
        Column("coverage", "percent"),
    ]
    rows: list[list[Cell]] = []
    for table in tables:
        row, s = table.rows[leader(table)], table.rows[leader(table)].score
        floor = next((r for r in table.rows if r.is_floor), None)
        first = may_be_first(table)
        everybody = len(first) == len(table.rows) > 1
        rows.append(
            [
                row.scorer.label,
                row.judge.label,
                *([row.kind or "all"] if kinds else []),
                row.headline,
                _named(row),
                (s.estimate, s.low, s.high),
                f"all {len(first)}" if everybody else ", ".join(first) or "not ranked",
                "" if floor is None else f"{floor.explainer.label} {number(floor.score.estimate)} (n {floor.score.n})",
                s.floor,
                s.n,
                row.coverage,
            ]
        )
    return Table("", columns, rows)


def _ranked(table: Ranking) -> Table:
    bounded = any(row.worst is not None for row in table.rows)
    columns = [
        Column("rank", "count"),
        Column("explainer", "text"),
        Column(table.headline, "number"),
        *([Column("bounds", "number")] if bounded else []),
        Column("latents", "count"),
        Column("coverage", "percent"),
    ]
    rows: list[list[Cell]] = []
    for row, rank in zip(table.rows, table.ranks, strict=True):
        s = row.score
        cells: list[Cell] = ["-" if rank is None else str(rank), _named(row), (s.estimate, s.low, s.high)]
        cells += [(row.worst, row.best)] if bounded else []
        rows.append([*cells, s.n, row.coverage])
    return Table(table.title, columns, rows, conditions=table.conditions)


def _named(row: Row) -> str:
    return f"{row.explainer.label} (floor)" if row.is_floor else row.explainer.label


def scores_table(tables: Sequence[Ranking]) -> dict[str, Any]:
    """Every row of the rankings as the table that MLflow's views read: columns, and rows without those that have no name."""
    columns = [
        "scorer", "judge", "coders", "kind", "rank", "explainer", "is floor", "metric", "score", "low", "high", "latents",
        "declared floor", "worst", "best", "coverage", "judged", "attempted", "tokens", "dollars", "seconds",
    ]  # fmt: skip
    data: list[list[Cell]] = []
    for table in tables:
        for row, rank in zip(table.rows, table.ranks, strict=True):
            s, price = row.score, row.price
            words = (row.scorer.label, row.judge.label, row.coders, row.kind or "")
            place = "" if rank is None else str(rank)
            numbers = (s.estimate, s.low, s.high, s.n, s.floor, row.worst, row.best, row.coverage)
            data.append(
                [
                    *map(line, words), place, line(row.explainer.label), row.is_floor, line(row.headline), *numbers,
                    row.n_judged, row.n_attempted, price.tokens_in + price.tokens_out, price.dollars, price.seconds,
                ]
            )  # fmt: skip
    return {"columns": columns, "data": data}


def scores_figure(tables: Sequence[Ranking]) -> Figure:
    """A panel per ranking: explainers from the best down, with intervals, measured floors in grey, the declared one dotted."""
    longest = max(len(table.rows) for table in tables)
    with styled():
        figure, axes = panels(len(tables), width=5.0, height=max(2.0, 0.28 * longest + 1.5), columns=2)
        for axis, table in zip(axes, tables, strict=True):
            for i, row in enumerate(table.rows):
                s, colour = row.score, CONTROL if row.is_floor else REAL
                if s.estimate is None:
                    continue
                if s.low is not None and s.high is not None:
                    axis.plot([s.low, s.high], [i, i], color=colour, linewidth=4, alpha=0.35, solid_capstyle="butt")
                axis.plot([s.estimate], [i], "o", color=colour, markersize=4.5)
            floor = table.rows[0].score.floor
            if floor is not None:
                axis.axvline(floor, color=PAPER, linestyle=":", linewidth=0.9)
            named = [
                f"{row.explainer.label[:24]}, n {row.score.n}, {percent(row.coverage)}{' floor' if row.is_floor else ''}"
                for row in table.rows
            ]
            axis.set_yticks(range(len(named)), [*map(drawn, named)], fontsize=7)
            axis.set_ylim(len(named) - 0.5, -0.5)
            axis.set_xlabel(drawn(f"{table.headline}, mean and 95 % interval over latents", 80), fontsize=7)
            kind = f", {table.rows[0].kind}" if table.rows[0].kind else ""
            axis.set_title(drawn(f"{table.rows[0].scorer.label}, judged by {table.rows[0].judge.label}{kind}", 70))
    return figure
