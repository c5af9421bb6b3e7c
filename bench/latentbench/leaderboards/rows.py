"""Runs -> leaderboard rows.

The mean of a row is over latents, each averaged over its repeats first, with a cluster bootstrap over latents; judgements of all
latents are never pooled into one average. Failed judgements lower the coverage beside the score and widen the bounds; they never
enter the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.leaderboards.row import POOLED, UNQUALIFIED, Estimate, Named, Price, Row, Suite
from latentbench.runs.record import Run, load_runs
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.stats.bounds import missing_bounds

if TYPE_CHECKING:
    import pandas as pd

LEADERBOARD_SPLIT = "test"


def read_rows(folders: Iterable[Path], *, by_coder: bool = False, any_split: bool = False, seed: int = 0) -> list[Row]:
    """Rows of run folders; `rows` after reading them."""
    return rows(load_runs(folders), by_coder=by_coder, any_split=any_split, seed=seed)


def rows(runs: Iterable[Run], *, by_coder: bool = False, any_split: bool = False, seed: int = 0) -> list[Row]:
    """One row per run x explainer x scorer x judge, over all coders.

    Args:
        by_coder: also one row per coder, where a run has several.
        any_split: let runs on other latents than `test` through; their tables are headed "not for the leaderboard".
        seed: of the bootstrap. All rows share it, so explainers on the same latents see the same resamples.

    Raises:
        SpecError: a run on another split than `test`.
    """
    found: list[Row] = []
    for run in runs:
        split = run.record["split"]
        if split != LEADERBOARD_SPLIT and not any_split:
            raise SpecError(
                f"{run.folder} ran on the {split!r} latents; leaderboards take {LEADERBOARD_SPLIT!r} only, because prompts are "
                f"tuned on the others. Run the spec with `split: {LEADERBOARD_SPLIT}`, or show it with --tune, "
                "marked as not for the leaderboard."
            )
        coders = list(dict.fromkeys(run.scores["coder"]))
        groups = [POOLED, *coders] if by_coder and len(coders) > 1 else [POOLED]
        cells: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
        for cell in run.record["cells"]:
            key = (cell["explainer"]["label"], cell["scorer"]["label"], cell["judge"]["label"])
            cells.setdefault(key, []).append(cell)
        for group in groups:
            found += _group(run, cells, group, seed)
    return found


def _group(run: Run, cells: Mapping[tuple[str, str, str], list[Mapping[str, Any]]], group: str, seed: int) -> list[Row]:
    """Rows over one group of coders."""
    scores, judgements, explanations = run.scores, run.judgements, run.explanations
    if group != POOLED:
        scores = scores[scores["coder"] == group]
        inside = set(scores["latent"])
        judgements = judgements[judgements["latent"].isin(inside)]
        explanations = explanations[explanations["latent"].isin(inside)]
    latents = sorted(set(scores["latent"]))
    score_cells = dict(iter(scores.groupby("cell", sort=False)))
    spent, written = _sums(judgements, "cell"), _sums(explanations, "explainer")
    return [
        _row(
            run,
            group,
            latents,
            same,
            [score_cells[c["cell"]] for c in same if c["cell"] in score_cells],
            spent,
            written,
            seed,
        )
        for same in cells.values()
    ]


_SPENT = ["tokens_in", "tokens_out", "cost", "seconds"]


def _row(
    run: Run,
    group: str,
    latents: list[str],
    cells: list[Mapping[str, Any]],
    scores: list[pd.DataFrame],
    spent: pd.DataFrame,
    written: pd.DataFrame,
    seed: int,
) -> Row:
    import pandas as pd

    first, record = cells[0], run.record
    explainer, scorer, judge = first["explainer"], first["scorer"], first["judge"]
    table = pd.concat(scores) if scores else run.scores.iloc[:0]
    # mean() skips missing values: a latent counts with the repeats that it has.
    per_latent = table.groupby(["latent", "metric"])["value"].mean().unstack("metric").reindex(latents)
    asked = table[table["metric"] == scorer["headline"]]
    units = max(1, len(latents) * len(cells))

    declared = {m["name"]: m for m in scorer["metrics"]}
    others = {
        name: _estimate(per_latent[name], metric, seed)
        for name, metric in declared.items()
        if name != scorer["headline"] and name in per_latent and per_latent[name].notna().any()
    }
    headline = per_latent.get(scorer["headline"], pd.Series(index=latents, dtype=float))
    worst, best = _bounds(asked, declared[scorer["headline"]])
    return Row(
        run=run.id,
        date=record["started"],
        command=record["command"],
        suite=Suite(**record["suite"]),
        split=record["split"],
        coders=group,
        latents=digest([latents, scorer["steered"]] if "steered" in scorer else latents),
        explainer=_named(explainer),
        model=explainer.get("model"),
        is_floor=bool(explainer["null"]),
        scorer=_named(scorer),
        headline=scorer["headline"],
        judge=Named(label=judge["label"], id=_judge_id(judge), key=judge["key"]),
        qualification=judge.get("qualification") or UNQUALIFIED,
        score=_estimate(headline, declared[scorer["headline"]], seed),
        worst=worst,
        best=best,
        n_latents=len(latents),
        repeats=len(cells),
        n_judged=int(asked["n_judged"].sum()),
        n_attempted=int(asked["n_attempted"].sum()),
        metrics=others,
        explaining=_price(written, [explainer["label"]], units),
        judging=_price(spent, [c["cell"] for c in cells], units),
        values={str(latent): float(v) for latent, v in headline.dropna().items()},
    )


def _estimate(values: pd.Series[float], metric: Mapping[str, Any], seed: int) -> Estimate:
    i = bootstrap_mean(values.to_numpy(dtype=np.float64), seed=seed)
    return Estimate(
        estimate=i.estimate,
        low=i.low,
        high=i.high,
        n=i.n,
        floor=metric["floor"],
        higher_is_better=metric["higher_is_better"],
    )


def _bounds(asked: pd.DataFrame, metric: Mapping[str, Any]) -> tuple[float | None, float | None]:
    """Bounds under missing judgements, over latents and repeats; none when nothing is missing or the metric has no range."""
    span = _range(asked["value"].to_numpy(np.float64), metric)
    if span is None:
        return None, None
    values = asked["value"].to_numpy(np.float64)
    judged, attempted = asked["n_judged"].to_numpy(np.float64), asked["n_attempted"].to_numpy(np.float64)
    if (judged == attempted).all() and not np.isnan(values).any():
        return None, None
    coverage = np.divide(judged, attempted, out=np.zeros_like(judged), where=attempted > 0)
    return missing_bounds(values, coverage, *span)


def _range(values: NDArray[np.float64], metric: Mapping[str, Any]) -> tuple[float, float] | None:
    """Range of a metric as its scorer declared it; None where it is open at an end, because a guess would bound nothing.

    Runs of the first version recorded no ranges: there [-1, 1] if the floor is 0 or a value is negative, else [0, 1].
    """
    if "low" in metric and "high" in metric:
        low, high = metric["low"], metric["high"]
        return None if low is None or high is None else (float(low), float(high))
    signed = metric["floor"] == 0 or bool((values < 0).any())
    return (-1.0, 1.0) if signed else (0.0, 1.0)


def _sums(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Tokens, cost and seconds of each group. One call without a known price makes the cost of its group unknown (NaN)."""
    groups = table.groupby(by, sort=False)
    sums = groups[_SPENT].sum()
    unpriced = table["cost"].isna().groupby(table[by], sort=False).any()
    sums["cost"] = sums["cost"].mask(unpriced)
    return sums


def _price(sums: pd.DataFrame, names: list[str], units: int) -> Price:
    total = sums.reindex(names, fill_value=0).sum(skipna=False) / units
    return Price(
        tokens_in=total["tokens_in"], tokens_out=total["tokens_out"], dollars=total["cost"], seconds=total["seconds"]
    )


def _named(entry: Mapping[str, Any]) -> Named:
    return Named(label=entry["label"], id=entry["id"], key=entry["key"])


def _judge_id(judge: Mapping[str, Any]) -> str:
    identity = judge["identity"]
    return f"{identity['provider']}:{identity['model']}"
