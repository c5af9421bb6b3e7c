"""How numbers of a leaderboard are written, in every format that people read."""

from __future__ import annotations

from bench.leaderboards.row import Estimate, Price, Row
from bench.leaderboards.table import Table

FLOOR_NOTE = "Floor: knows nothing of the latent; a real explainer that shares its rank has shown nothing."
BOUNDS_NOTE = "Bounds: the mean if every missing judgement had been the worst or the best possible."
SHOWN_METRICS = 3


def number(value: float | None, digits: int = 3) -> str:
    """Fixed digits; an en dash where there is no value."""
    return "–" if value is None else f"{value:.{digits}f}"


def short(value: float) -> str:
    """A quantity in at most five characters: 0, 0.5, 12, 1.5k, 2.3M."""
    if value >= 999.5:
        return f"{value / 1e6:.1f}M" if value >= 999_950 else f"{value / 1e3:.1f}k"
    return f"{value:.0f}" if value >= 9.95 or value == round(value) else f"{value:.1f}"


def dollars(value: float) -> str:
    """Dollars with two significant digits; 0 for what costs nothing."""
    return "0" if value == 0 else f"{value:.2g}" if value < 10 else f"{value:.0f}"


def interval(e: Estimate) -> str:
    """`[low, high]`."""
    return f"[{number(e.low)}, {number(e.high)}]"


def percent(share: float | None) -> str:
    """Whole percent, but never 100 % for less than everything."""
    if share is None:
        return "–"
    return f"{share:.1%}" if 0.995 <= share < 1 else f"{share:.0%}"


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
        dollars=a.dollars + b.dollars,
        seconds=a.seconds + b.seconds,
    )


def other_metrics(table: Table) -> list[str]:
    """Metrics that tables show beside the headline: the first few that the scorer declares.

    Counts and metrics of one kind of window (`auroc@random`) are in the CSV, the JSON and MLflow; a table of thirty columns
    is not read.
    """
    known = list(dict.fromkeys(name for row in table.rows for name in row.metrics))
    return [name for name in known if "@" not in name and name != "n"][:SHOWN_METRICS]
