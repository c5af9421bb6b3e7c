"""Tables -> Markdown, with everything that the terminal has no room for."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from latentbench.judges.price import ESTIMATE_NOTE, as_text, estimated
from latentbench.leaderboards.board import Table
from latentbench.leaderboards.format import (
    BOUNDS_NOTE,
    FLOOR_NOTE,
    KIND_NOTE,
    by_kind,
    explainer,
    interval,
    other_metrics,
    total,
)
from latentbench.leaderboards.row import Row
from latentbench.views.number import number, percent, short


def markdown(tables: Sequence[Table], level: int = 2) -> str:
    """All tables as Markdown.

    Args:
        level: of the tables' headings.
    """
    parts = []
    for table in tables:
        others = other_metrics(table)
        head = ["rank", "explainer", table.headline, "95 % interval", "bounds", *others, "coverage", "latents"]
        head += ["tokens explain", "tokens judge", "$ explain", "$ judge", "s explain", "s judge", "run"]
        lines = [f"{'#' * level} {table.title}", "", f"{table.conditions}.", "", _line(head)]
        lines.append(_line(["---:" if i != 1 else "---" for i in range(len(head))]))
        lines += [
            _line(_markdown_cells(row, str(rank), others)) for row, rank in zip(table.rows, table.ranks, strict=True)
        ]
        parts.append("\n".join(lines))
        parts += _kinds(table)
    commands = {row.run: (row.date, row.command) for table in tables for row in table.rows}
    runs = [f"- {run} ({date[:10]}): `{command}`" for run, (date, command) in sorted(commands.items())]
    notes = f"{FLOOR_NOTE} {BOUNDS_NOTE} Tokens, dollars and seconds are per latent."
    if any(estimated(total(row).dollars) for table in tables for row in table.rows):
        notes += f" {ESTIMATE_NOTE}"
    return "\n\n".join([*parts, notes, "Reproduce:\n\n" + "\n".join(runs)]) + "\n"


def _markdown_cells(row: Row, rank: str, others: Iterable[str]) -> list[str]:
    bounds = "" if row.worst is None else f"{number(row.worst)} to {number(row.best)}"
    cells = [rank, explainer(row), number(row.score.estimate), interval(row.score), bounds]
    cells += [number(row.metrics[name].estimate) if name in row.metrics else "–" for name in others]
    cells += [percent(row.coverage), str(row.score.n)]
    parts = (row.explaining, row.judging)
    cells += [short(p.tokens_in + p.tokens_out) for p in parts]
    cells += [as_text(p.dollars) for p in parts] + [short(p.seconds) for p in parts]
    return [*cells, row.run]


def _kinds(table: Table) -> list[str]:
    """The table by kind of silent windows, if there are several."""
    found = by_kind(table)
    if found is None:
        return []
    lines = [_line(["explainer", "metric", *found.kinds]), _line(["---", "---", *["---:"] * len(found.kinds)])]
    for row, metric, estimates in found.lines:
        cells = ["–" if e is None else f"{number(e.estimate)} {interval(e)}" for e in estimates]
        lines.append(_line([explainer(row), metric, *cells]))
    return [f"By kind of silent windows. {KIND_NOTE}", "\n".join(lines)]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|") for c in cells) + " |"
