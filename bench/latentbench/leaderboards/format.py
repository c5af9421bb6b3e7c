"""How numbers of a leaderboard are written, in every format that people read."""

from __future__ import annotations

from dataclasses import dataclass

from latentbench.kernel.kinds import HARD_KINDS, RANDOM
from latentbench.leaderboards.board import Table
from latentbench.leaderboards.row import Estimate, Price, Row
from latentbench.views.number import number

FLOOR_NOTE = "Floor: knows nothing of the latent; a real explainer that shares its rank has shown nothing."
BOUNDS_NOTE = "Bounds: the mean if every missing judgement had been the worst or the best possible."
KIND_NOTE = "Each kind of silent windows against the same activating ones. Only random ones enter the score that ranks."
SHOWN_METRICS = 3


def interval(e: Estimate) -> str:
    """`[low, high]`."""
    return f"[{number(e.low)}, {number(e.high)}]"


def explainer(row: Row) -> str:
    """Label of the explainer, with its model and whether it is a floor."""
    made = f"{row.explainer.label} by {row.model}" if row.model else row.explainer.label
    return f"{made} (floor)" if row.is_floor else made


def total(row: Row) -> Price:
    """Explaining and judging one latent."""
    a, b = row.explaining, row.judging
    return Price(
        tokens_in=a.tokens_in + b.tokens_in,
        tokens_out=a.tokens_out + b.tokens_out,
        dollars=None if a.dollars is None or b.dollars is None else a.dollars + b.dollars,
        seconds=a.seconds + b.seconds,
    )


def other_metrics(table: Table) -> list[str]:
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


def by_kind(table: Table) -> ByKind | None:
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
