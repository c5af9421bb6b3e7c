"""A leaderboard as a DataFrame that shows itself with what must stand beside a score: n, interval, coverage and floor.

pandas shows the first and the last columns of a wide frame, which here are names and settings. What is taken of this frame
(`board[["explainer", "estimate"]]`, `board.head()`) is a DataFrame like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd

from latentbench.views.page import Page, Prose
from latentbench.views.table import Cell, Column, Table

COLUMNS = (
    Column("rank", "text"), Column("explainer", "text"), Column("scorer", "text"), Column("judge", "text"),
    Column("coders", "text"), Column("kind", "text"), Column("metric", "text"), Column("estimate", "number"),
    Column("95 % interval", "number"), Column("floor", "number"), Column("n", "count"), Column("bounds", "number"),
    Column("coverage", "percent"),
)  # fmt: skip
"""What is shown."""
NAMES = ("explainer", "scorer", "judge", "coders", "kind", "metric")


class BoardFrame(pd.DataFrame):
    """Rows of ranked tables, one for each explainer under each scorer, judge and group of latents."""

    @property
    def _constructor(self) -> Callable[..., pd.DataFrame]:
        return pd.DataFrame

    def _repr_html_(self) -> str:
        rows = [_cells(row) for row in self.to_dict("records")]
        tones = ["floor" if floor else "" for floor in self["is_floor"].tolist()]
        shown = {"rank_low", "rank_high", "low", "high", "worst", "best", "is_floor", *(c.name for c in COLUMNS)}
        others = [name for name in map(str, self.columns) if name not in shown]
        note = f"{len(self):,} rows; {len(others)} more columns: {', '.join(others)}." if others else ""
        table = Table("", COLUMNS, rows, tones=tones)  # type: ignore[arg-type]
        return Page("", [table, *([Prose(note, soft=True)] if note else [])]).fragment()


def _cells(row: dict[Any, Any]) -> Sequence[Cell]:
    low, high = row["rank_low"], row["rank_high"]
    rank = "-" if pd.isna(low) else str(low) if low == high else f"{low}-{high}"
    names = ["" if row[name] is None else str(row[name]) for name in NAMES]
    estimate, floor, coverage = (_known(row[name]) for name in ("estimate", "floor", "coverage"))
    bounds = "" if _known(row["worst"]) is None else (_known(row["worst"]), _known(row["best"]))
    interval = (_known(row["low"]), _known(row["high"]))
    return [rank, *names, estimate, interval, floor, int(row["n"]), bounds, coverage]


def _known(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
