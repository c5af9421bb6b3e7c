"""Tables -> CSV and JSON for other programs: every number that a row has, floats cut to what is not noise.

A row that stands for reruns names their runs, so that whoever counts rows or looks for a run finds it. Lines of their own are the
tempting way, and whoever takes means of a column would count the same content twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from latentbench.leaderboards.board import Ranking
from latentbench.leaderboards.reruns import Rerun
from latentbench.views.number import rounded
from latentbench.views.table import Table

SCHEMA = 1
"""Version of the JSON layout."""


def flat(table: Ranking, reruns: Iterable[Rerun] = ()) -> list[dict[str, Any]]:
    """One dictionary per row and metric, headline first; only a headline has a rank and bounds under missing judgements.

    Args:
        reruns: what rows of the table stand for.
    """
    others = {rerun.shown.name: [row.run for row in rerun.others] for rerun in reruns}
    found = []
    for row, rank in zip(table.rows, table.ranks, strict=True):
        for name, e in {row.headline: row.score, **row.metrics}.items():
            first = name == row.headline
            line = {
                "suite": row.suite.id, "suite_digest": row.suite.digest, "split": row.split,
                "coders": row.coders, "kind": row.kind,
                "scorer": row.scorer.label, "scorer_key": row.scorer.key, "judge": row.judge.label, "judge_key": row.judge.key,
                "qualification": row.qualification, "rank_low": rank.low if first and rank else None,
                "rank_high": rank.high if first and rank else None, "tie": rank.tie if first and rank else None,
                "explainer": row.explainer.label, "explainer_id": row.explainer.id, "explainer_key": row.explainer.key,
                "model": row.model, "is_floor": row.is_floor, "metric": name, "estimate": e.estimate, "low": e.low,
                "high": e.high, "floor": e.floor, "n": e.n, "worst": row.worst if first else None,
                "best": row.best if first else None, "coverage": row.coverage, "n_judged": row.n_judged,
                "n_attempted": row.n_attempted, "n_latents": row.n_latents, "repeats": row.repeats,
            }  # fmt: skip
            for what, price in (("explain", row.explaining), ("judge", row.judging)):
                line |= {f"{what}_{part}": value for part, value in price.model_dump().items()}
            found.append({**line, "run": row.run, "date": row.date, "command": row.command})
            found[-1]["again_in"] = "; ".join(others.get(row.name, ())) or None
    return found


def to_csv(tables: Iterable[Ranking], reruns: Sequence[Rerun] = ()) -> str:
    """One line per row and metric."""
    return Table.of_records(line for table in tables for line in flat(table, reruns)).csv()


def to_json(tables: Iterable[Ranking], reruns: Sequence[Rerun] = ()) -> str:
    """The rows in full with their ranks, table by table; without their evidence, which is for publishing."""
    others = {
        rerun.shown.name: [{"run": row.run, "date": row.date, "estimate": row.score.estimate} for row in rerun.others]
        for rerun in reruns
    }
    data = {
        "schema": SCHEMA,
        "tables": [
            {
                "title": table.title,
                "conditions": table.conditions,
                "for_leaderboard": table.for_leaderboard,
                "rows": [
                    {
                        "rank": [k.low, k.high] if k else None,
                        "tie": k.tie if k else None,
                        "coverage": row.coverage,
                        **row.model_dump(exclude={"evidence"}),
                        "again_in": others.get(row.name, []),
                    }
                    for row, k in zip(table.rows, table.ranks, strict=True)
                ],
            }
            for table in tables
        ],
    }
    return json.dumps(rounded(data), indent=2, ensure_ascii=False) + "\n"
