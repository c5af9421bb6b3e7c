"""Ranked tables -> the page of a leaderboard: one table per ranking with its floors, bounds and prices, and how to reproduce it.

The terminal shows the numbers that rank and as many others as fit; the Markdown has all, so 80 columns hide nothing for good.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from latentbench.judges.price import ESTIMATE_NOTE, estimated
from latentbench.kernel.kinds import HARD_KINDS, RANDOM
from latentbench.leaderboards.board import Ranking
from latentbench.leaderboards.row import Estimate, Row
from latentbench.views.escape import Html
from latentbench.views.number import number
from latentbench.views.page import Block, Bullets, Page, Prose
from latentbench.views.table import Cell, Column, Kind, Table, Tone

FLOOR_NOTE = "Floor: knows nothing of the latent; a real explainer that shares its rank has shown nothing."
RANK_NOTE = (
    "A rank is a range of places: at 2-6 one row is surely better, at most five are (5 % error a table; docs/ranks.md)."
)
"""Under every ranked table, because whoever quotes one table sees neither the page's head nor its end."""
BOUNDS_NOTE = "Bounds: the mean if every missing judgement had been the worst or the best possible."
PRICE_NOTE = "Tokens, $ and s are per latent: explaining and judging."
KIND_NOTE = "Each kind of silent windows against the same activating ones. Only random ones enter the score that ranks."
SHOWN_METRICS = 3
UNRANKED = "-"
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


def board_page(tables: Sequence[Ranking], unasked: Sequence[str] = (), status: Mapping[str, str] | None = None) -> Page:
    """All tables, what their columns mean, and the commands behind them.

    Args:
        unasked: sentences on pairs of scorer and judge that have no table, because they cannot meet.
        status: run -> how far its rows were checked, on pages that say it.
    """
    blocks: list[Block] = [block for table in tables for block in board_blocks(table, status)]
    rows = [row for table in tables for row in table.rows]
    blocks += [Prose(note, soft=True) for note in [*unasked, *notes(rows)]]
    commands = {row.run: (row.date, row.command) for row in rows}
    runs = [f"{run} ({date[:10]}): `{command}`" for run, (date, command) in sorted(commands.items())]
    return Page("", [*blocks, Prose("Reproduce:", face="page"), Bullets(runs, face="page")])


def notes(rows: Sequence[Row]) -> list[str]:
    """What the columns of these rows mean."""
    said = [FLOOR_NOTE] if any(row.is_floor for row in rows) else []
    said += [BOUNDS_NOTE] if any(row.worst is not None for row in rows) else []
    return [*said, PRICE_NOTE, *([ESTIMATE_NOTE] if any(estimated(row.price.dollars) for row in rows) else [])]


def board_blocks(table: Ranking, status: Mapping[str, str] | None = None) -> list[Block]:
    """A ranking, and its grid by kind of silent windows if there are several."""
    return [_ranking(table, status), *_kinds(table)]


def _ranking(table: Ranking, status: Mapping[str, str] | None) -> Table:
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
        *([Column("status", "text", face="page")] if status else []),
    ]
    rows: list[list[Cell]] = []
    for row, rank, name in zip(table.rows, table.ranks, _names(table), strict=True):
        s, both, parts = row.score, row.price, (row.explaining, row.judging)
        cells: list[Cell] = [
            UNRANKED if rank is None else str(rank),
            name,
            _explainer(row),
            s.estimate,
            (s.low, s.high),
            bar(row, scale),
        ]
        if bounded:
            cells.append("" if row.worst is None else f"{number(row.worst)} to {number(row.best)}")
        cells += [_other(row, m) for m in others]
        cells += [row.coverage, s.n, both.tokens_in + both.tokens_out, both.dollars, both.seconds]
        cells += [p.tokens_in + p.tokens_out for p in parts]
        cells += [p.dollars for p in parts]
        cells += [p.seconds for p in parts]
        rows.append([*cells, row.run, *([status.get(row.run, "")] if status else [])])
    note = "" if table.is_shown_only else RANK_NOTE
    return Table(table.title, columns, rows, note, table.conditions, _tones(table.rows))


def _other(row: Row, metric: str) -> Cell:
    """Another metric's mean; with its own number of latents where that is not the row's, as after failed judgements."""
    found = row.metrics.get(metric)
    if found is None or found.n == row.score.n:
        return None if found is None else found.estimate
    return f"{number(found.estimate)} (n={found.n})"


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


WIDTH, HEIGHT = 190, 22
PAD = 6


@dataclass(frozen=True, slots=True)
class Axis:
    """Linear scale shared by the rows of a table, between round numbers."""

    low: float
    high: float
    step: float

    def x(self, value: float) -> float:
        """Pixel of a value."""
        return PAD + (value - self.low) / (self.high - self.low) * (WIDTH - 2 * PAD)

    @property
    def ticks(self) -> list[float]:
        """Round values, ends included."""
        return [self.low + i * self.step for i in range(round((self.high - self.low) / self.step) + 1)]


def axis(rows: Sequence[Row]) -> Axis:
    """Smallest round range that holds every interval, bound and declared floor."""
    values = [
        v
        for row in rows
        for v in (row.score.estimate, row.score.low, row.score.high, row.score.floor, row.worst, row.best)
        if v is not None
    ] or [0.0, 1.0]
    low, high = min(values), max(values)
    span = max(high - low, 0.02)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, math.inf) if span / s <= 5)
    step = span if math.isinf(step) else step
    bottom = math.floor(low / step + 1e-9) * step
    top = math.ceil(high / step - 1e-9) * step
    return Axis(bottom, top if top > bottom else bottom + step, step)


def bar(row: Row, scale: Axis) -> Html:
    """SVG of one row: bounds as a thin line, the interval as a bar, the mean as a dot."""
    s, middle = row.score, HEIGHT / 2
    colour = "#8a939c" if row.is_floor else "#1f5f99"
    parts = [_floor(s, scale)]
    if row.worst is not None and row.best is not None:
        parts.append(_line(scale.x(row.worst), scale.x(row.best), middle, colour, 1, 0.55))
    if s.low is not None and s.high is not None:
        parts.append(_line(scale.x(s.low), scale.x(s.high), middle, colour, 6, 0.35))
    if s.estimate is not None:
        parts.append(f'<circle cx="{scale.x(s.estimate):.1f}" cy="{middle}" r="3.5" fill="{colour}"/>')
    label = "no score" if s.estimate is None else number(s.estimate)
    return _svg("".join(parts), HEIGHT, label)


def ruler(scale: Axis) -> Html:
    """SVG of the axis, for the head of the column."""
    digits = 2 if scale.step < 0.1 else 1
    parts = []
    for i, tick in enumerate(scale.ticks):
        x = scale.x(tick)
        anchor = "start" if i == 0 else "end" if i == len(scale.ticks) - 1 else "middle"
        at = x - PAD if i == 0 else x + PAD if anchor == "end" else x
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="18" stroke="#5b6570"/>')
        parts.append(
            f'<text x="{at:.1f}" y="11" font-size="10" fill="#5b6570" text-anchor="{anchor}">{tick + 0.0:.{digits}f}</text>'
        )
    return _svg("".join(parts), 18, "axis")


def _floor(s: Estimate, scale: Axis) -> str:
    if s.floor is None:
        return ""
    x = scale.x(s.floor)
    return f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{HEIGHT}" stroke="#8a4b00" stroke-dasharray="2 2"/>'


def _line(x1: float, x2: float, y: float, colour: str, width: float, opacity: float) -> str:
    # An interval of width 0 still shows as a hair line.
    x2 = max(x2, x1 + 1)
    return (
        f'<line x1="{x1:.1f}" x2="{x2:.1f}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}"/>'
    )


def _svg(body: str, height: int, label: str) -> Html:
    size = f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}"'
    return Html(f'<svg {size} role="img" aria-label="{label}">{body}</svg>')
