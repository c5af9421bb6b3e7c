"""Ranked tables -> the page of a leaderboard: one table per ranking with its floors, bounds and prices, and how to reproduce it.

The terminal shows the numbers that rank and as many others as fit; the Markdown has all, so 80 columns hide nothing for good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.kernel.kinds import HARD_KINDS, RANDOM
from latentbench.leaderboards.bars import axis, bar, ruler
from latentbench.leaderboards.board import Table as Ranking
from latentbench.leaderboards.row import Estimate, Row
from latentbench.views.number import number
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Kind, Table, Tone

FLOOR_NOTE = "Floor: knows nothing of the latent; a real explainer that shares its rank has shown nothing."
BOUNDS_NOTE = "Bounds: the mean if every missing judgement had been the worst or the best possible."
PRICE_NOTE = "Tokens, $ and s are per latent: explaining and judging."
KIND_NOTE = "Each kind of silent windows against the same activating ones. Only random ones enter the score that ranks."
SHOWN_METRICS = 3
PRICES: tuple[tuple[str, Kind], ...] = (("tokens", "short"), ("$", "dollars"), ("s", "short"))


def other_metrics(table: Ranking) -> list[str]:
    """Metrics that tables show beside the headline: the first few that the scorer declares.

    Counts and slices of a metric (`pearson@quantile:3`) are in the CSV, the JSON and MLflow; a table of thirty columns is not
    read. Hard kinds of silent windows have a table of their own (`by_kind`).
    """
    known = list(dict.fromkeys(name for row in table.rows for name in row.metrics))
    return [name for name in known if "@" not in name and name != "n"][:SHOWN_METRICS]


@dataclass(frozen=True)
class ByKind:
    """Scores of a table on each kind of silent windows, against the same activating ones.

    Attributes:
        kinds: `random` first, then the hard ones in a fixed order.
        lines: row, metric, and its estimate on each kind; None where it has none.
    """

    kinds: tuple[str, ...]
    lines: tuple[tuple[Row, str, tuple[Estimate | None, ...]], ...]


def by_kind(table: Ranking) -> ByKind | None:
    """Scores by kind; None where nothing but random windows was judged.

    A kind is never part of another's number and only `random` ranks, so this stands beside the ranking and not in it.
    """
    names = list(dict.fromkeys(name for row in table.rows for name in row.metrics))
    hard = [kind for kind in HARD_KINDS if any(name.endswith(f"@{kind}") for name in names)]
    if not hard:
        return None
    ends = tuple(f"@{kind}" for kind in hard)
    metrics = list(dict.fromkeys(name.partition("@")[0] for name in names if name.endswith(ends)))
    metrics.sort(key=lambda name: name != table.headline)
    lines = []
    for row in table.rows:
        known = {row.headline: row.score, **row.metrics}
        lines += [(row, m, (known.get(m), *(known.get(f"{m}@{kind}") for kind in hard))) for m in metrics]
    return ByKind((RANDOM, *hard), tuple(lines))


def board_page(tables: Sequence[Ranking]) -> Page:
    """All tables, what their columns mean, and the commands behind them."""
    blocks: list[Block] = [block for table in tables for block in board_blocks(table)]
    rows = [row for table in tables for row in table.rows]
    blocks += [Prose(note, soft=True) for note in notes(rows)]
    commands = {row.run: (row.date, row.command) for row in rows}
    runs = [f"{run} ({date[:10]}): `{command}`" for run, (date, command) in sorted(commands.items())]
    return Page("", [*blocks, Prose("Reproduce:", face="page"), Bullets(runs, face="page")])


def notes(rows: Sequence[Row]) -> list[str]:
    """What the columns of these rows mean."""
    said = [FLOOR_NOTE] if any(row.is_floor for row in rows) else []
    said += [BOUNDS_NOTE] if any(row.worst is not None for row in rows) else []
    return [*said, PRICE_NOTE, *([ESTIMATE_NOTE] if any(estimated(row.price.dollars) for row in rows) else [])]


def board_blocks(table: Ranking) -> list[Block]:
    """A ranking, and its grid by kind of silent windows if there are several."""
    return [_ranking(table), *_kinds(table)]


def _ranking(table: Ranking) -> Table:
    scale, others = axis(table.rows), other_metrics(table)
    bounded = any(row.worst is not None for row in table.rows)
    columns = [
        Column("rank", "count"),
        Column("explainer", "text", face="terminal"),
        Column("explainer", "text", face="page"),
        Column(table.headline, "number"),
        Column("95 % interval", "number", brief="95 % CI"),
        Column("scale", "drawing", head=ruler(scale)),
        *([Column("bounds", "number", spare=True)] if bounded else []),
        *(Column(name, "number", spare=True) for name in others),
        Column("coverage", "percent", brief="cover"),
        Column("latents", "count", brief="n"),
        Column("tok", "short", face="terminal"),
        Column("$", "dollars", face="terminal"),
        Column("s", "short", face="terminal"),
        *(Column(f"{what} {part}", kind, face="page") for what, kind in PRICES for part in ("explain", "judge")),
        Column("run", "text", face="page"),
    ]
    rows: list[list[Cell]] = []
    for row, rank, name in zip(table.rows, table.ranks, _names(table), strict=True):
        s, both, parts = row.score, row.price, (row.explaining, row.judging)
        cells: list[Cell] = [str(rank), name, _explainer(row), s.estimate, (s.low, s.high), bar(row, scale)]
        if bounded:
            cells.append("" if row.worst is None else f"{number(row.worst)} to {number(row.best)}")
        cells += [row.metrics[m].estimate if m in row.metrics else None for m in others]
        cells += [row.coverage, s.n, both.tokens_in + both.tokens_out, both.dollars, both.seconds]
        cells += [p.tokens_in + p.tokens_out for p in parts]
        cells += [p.dollars for p in parts]
        cells += [p.seconds for p in parts]
        rows.append([*cells, row.run])
    return Table(table.title, columns, rows, conditions=table.conditions, tones=_tones(table.rows))


def _kinds(table: Ranking) -> list[Block]:
    """Scores by kind of silent windows; the terminal has no room for their intervals."""
    found = by_kind(table)
    if found is None:
        return []
    columns = [Column("explainer", "text"), Column("metric", "text")]
    for kind in found.kinds:
        columns += [Column(kind, "number", face="terminal"), Column(kind, "number", face="page")]
    names = {id(row): name for row, name in zip(table.rows, _names(table), strict=True)}
    rows: list[list[Cell]] = []
    for row, metric, estimates in found.lines:
        cells: list[Cell] = [names[id(row)], metric]
        for e in estimates:
            cells += [None, None] if e is None else [e.estimate, (e.estimate, e.low, e.high)]
        rows.append(cells)
    shown = [row for row, _, _ in found.lines]
    return [Prose("By kind of silent windows:"), Table("", columns, rows, note=KIND_NOTE, tones=_tones(shown))]


def _tones(rows: Sequence[Row]) -> list[Tone]:
    return ["floor" if row.is_floor else "" for row in rows]


def _explainer(row: Row) -> str:
    """Label of the explainer, with its model and whether it is a floor."""
    made = f"{row.explainer.label} by {row.model}" if row.model else row.explainer.label
    return f"{made} (floor)" if row.is_floor else made


def _names(table: Ranking) -> list[str]:
    """Labels; with the run where several runs have the same one."""
    labels = Counter(row.explainer.label for row in table.rows)
    return [
        row.explainer.label
        + (f" [{row.run}]" if labels[row.explainer.label] > 1 else "")
        + (" (floor)" if row.is_floor else "")
        for row in table.rows
    ]
