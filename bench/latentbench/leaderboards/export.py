"""Tables -> CSV and JSON for other programs: every number that a row has, floats cut to what is not noise."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from latentbench.leaderboards.board import Table
from latentbench.views.number import rounded
from latentbench.views.table import Table as View

SCHEMA = 1
"""Version of the JSON layout."""

COLUMNS = (
    "suite",
    "suite_digest",
    "split",
    "coders",
    "scorer",
    "scorer_key",
    "judge",
    "judge_key",
    "qualification",
    "rank_low",
    "rank_high",
    "tie",
    "explainer",
    "explainer_id",
    "explainer_key",
    "model",
    "is_floor",
    "metric",
    "estimate",
    "low",
    "high",
    "floor",
    "n",
    "worst",
    "best",
    "coverage",
    "n_judged",
    "n_attempted",
    "n_latents",
    "repeats",
    "explain_tokens_in",
    "explain_tokens_out",
    "explain_dollars",
    "explain_seconds",
    "judge_tokens_in",
    "judge_tokens_out",
    "judge_dollars",
    "judge_seconds",
    "run",
    "date",
    "command",
)


def flat(table: Table) -> list[dict[str, Any]]:
    """One dictionary per row and metric (headline first), with the columns `COLUMNS`; ranks stand on the headline only."""
    found = []
    for row, rank in zip(table.rows, table.ranks, strict=True):
        same = {
            "suite": row.suite.id, "suite_digest": row.suite.digest, "split": row.split, "coders": row.coders,
            "scorer": row.scorer.label, "scorer_key": row.scorer.key, "judge": row.judge.label, "judge_key": row.judge.key,
            "qualification": row.qualification, "explainer": row.explainer.label, "explainer_id": row.explainer.id,
            "explainer_key": row.explainer.key, "model": row.model, "is_floor": row.is_floor, "coverage": row.coverage,
            "n_judged": row.n_judged, "n_attempted": row.n_attempted, "n_latents": row.n_latents, "repeats": row.repeats,
            "run": row.run, "date": row.date, "command": row.command,
        }  # fmt: skip
        for what, price in (("explain", row.explaining), ("judge", row.judging)):
            same |= {f"{what}_{name}": value for name, value in price.model_dump().items()}
        for name, e in {row.headline: row.score, **row.metrics}.items():
            first = name == row.headline
            own = {"metric": name, "estimate": e.estimate, "low": e.low, "high": e.high, "floor": e.floor, "n": e.n}
            if first:
                own |= {"worst": row.worst, "best": row.best}
                own |= {"rank_low": rank.low, "rank_high": rank.high, "tie": rank.tie}
            found.append({**same, **own})
    return found


def to_csv(tables: Iterable[Table]) -> str:
    """One line per row and metric."""
    return View.of_records((line for table in tables for line in flat(table)), COLUMNS).csv()


def to_json(tables: Iterable[Table]) -> str:
    """The rows in full with their ranks, table by table."""
    data = {
        "schema": SCHEMA,
        "tables": [
            {
                "title": table.title,
                "conditions": table.conditions,
                "for_leaderboard": table.for_leaderboard,
                "rows": [
                    {"rank": [k.low, k.high], "tie": k.tie, "coverage": row.coverage, **row.model_dump()}
                    for row, k in zip(table.rows, table.ranks, strict=True)
                ],
            }
            for table in tables
        ],
    }
    return json.dumps(rounded(data), indent=2, ensure_ascii=False) + "\n"
