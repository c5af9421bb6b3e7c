"""Stage 3: journals -> tables -> scores -> run.json.

Rows are sorted by the plan's order of cells and latents, never by the order in which answers arrived, so the tables of a run
that was killed and resumed are those of one that was not. `run.json` says what a run *is*; the tables hold the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from latentbench.judges.qualification import qualification
from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.requests import Outcome
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, table_of, write_table
from latentbench.runs.journal import Journal, finite
from latentbench.runs.judging import Key
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.record import CellRecord, ExplainerRecord, JudgeRecord, MetricRecord, Paid, ScorerRecord, Totals
from latentbench.runs.stored_rows import judgement_of_row, judgement_row
from latentbench.scorers.scorer import Judgement, Metric, Scorer, question_key


def write_tables(
    plan: Plan, folder: Path, explanations: Journal, units: Mapping[Key, Sequence[dict[str, Any]]]
) -> dict[Key, list[dict[str, Any]]]:
    """Write `explanations.parquet`, `judgements.parquet` and `scores.parquet` into the run folder.

    Returns:
        The judgements as written. They are those of `units`, but where a scorer's metrics fail: no number stands for what was
        answered there, so the answers are recorded as unreadable, with the fault, and coverage falls.
    """
    latest = {(u["explainer"], u["repeat"], u["latent"]): u for u in explanations.units()}
    explained = [
        latest[(label, repeat, latent.id)]
        for label in plan.explainers
        for repeat in range(plan.spec.repeats)
        for latent in plan.latents
    ]
    judged, scores = [], []
    written: dict[Key, list[dict[str, Any]]] = {}
    for cell in plan.cells:
        for latent in plan.latents:
            scorer = plan.scorers[cell.scorer]
            rows, metrics = _measured(scorer, units[(cell.id, latent.id)])
            written[(cell.id, latent.id)] = rows
            judged += [_identified(row, cell, latent.id) for row in rows]
            scores += _scores(scorer, cell, latent.id, latent.coder, rows, metrics)
    write_table(table_of(explained, EXPLANATIONS), folder / "explanations.parquet")
    write_table(table_of(judged, JUDGEMENTS), folder / "judgements.parquet")
    write_table(table_of(scores, SCORES), folder / "scores.parquet")
    return written


def _measured(scorer: Scorer, rows: Sequence[dict[str, Any]]) -> tuple[list[dict[str, Any]], Mapping[str, float]]:
    """Judgements of one latent in one cell and the metrics over those that are ok."""
    ok = [judgement_of_row(row) for row in rows if row["outcome"] == Outcome.OK.value]
    metrics = attempt(scorer, lambda: dict(scorer.metrics(ok))) if ok else {}
    if isinstance(metrics, Fault):
        return [_unreadable(row, metrics) for row in rows], {}
    return list(rows), metrics


def _unreadable(row: dict[str, Any], fault: Fault) -> dict[str, Any]:
    if row["outcome"] != Outcome.OK.value:
        return row
    found = judgement_of_row(row)
    bare = Judgement(found.trial, found.part, found.item, found.kind, found.truth, Outcome.PARSE, error=fault.line)
    return row | judgement_row(bare)


def _identified(row: dict[str, Any], cell: Cell, latent: str) -> dict[str, Any]:
    return row | {
        "cell": cell.id,
        "latent": latent,
        "explainer": cell.explainer,
        "scorer": cell.scorer,
        "judge": cell.judge,
        "repeat": cell.repeat,
    }


def _scores(
    scorer: Scorer, cell: Cell, latent: str, coder: str, rows: Sequence[Mapping[str, Any]], metrics: Mapping[str, float]
) -> list[dict[str, Any]]:
    """Score rows of one latent in one cell; the headline always has a row, so that coverage is never lost."""
    values: dict[str, float | None] = {scorer.headline: None, **metrics}
    base = {
        "cell": cell.id,
        "latent": latent,
        "coder": coder,
        "explainer": cell.explainer,
        "scorer": cell.scorer,
        "judge": cell.judge,
        "repeat": cell.repeat,
        "n_judged": sum(row["outcome"] == Outcome.OK.value for row in rows),
        "n_attempted": len(rows),
    }
    return [base | {"metric": name, "value": finite(value)} for name, value in values.items()]


def totals(explanations: Journal, judgements: Journal, units: Mapping[Key, Sequence[Mapping[str, Any]]]) -> Totals:
    """Counts of outcomes, and what was paid over all sessions of the run, units that were done again included.

    Of a session that was killed the calls whose batch was not written yet are missing: their replies came from the cache in the
    next one.
    """
    outcomes = {outcome.value: 0 for outcome in Outcome}
    for rows in units.values():
        for row in rows:
            outcomes[row["outcome"]] += 1
    latest = {(u["explainer"], u["repeat"], u["latent"]): u["outcome"] for u in explanations.units()}
    explained = {outcome.value: 0 for outcome in Outcome}
    for outcome in latest.values():
        explained[outcome] += 1
    paid: dict[str, int] = {"calls": 0, "tokens_in": 0, "tokens_out": 0, "tokens_cached": 0}
    for journal in (explanations, judgements):
        for unit in journal.units():
            for name, n in unit["paid"].items():
                paid[name] += n
    return Totals(explanations=explained, judgements=outcomes, paid=Paid(**paid))


def describe(plan: Plan) -> tuple[CellRecord, ...]:
    """What met what, for `run.json`."""
    steered = plan.suite.interventions
    explainers = {
        label: ExplainerRecord(
            label=label,
            id=explainer.id,
            key=plan.explainer_keys[label],
            is_floor=explainer.is_floor,
            model=plan.models.get(label),
            prompts=dict(explainer.prompts),
        )
        for label, explainer in plan.explainers.items()
    }
    scorers = {
        label: ScorerRecord(
            label=label,
            id=scorer.id,
            key=scorer.key,
            headline=scorer.headline,
            metrics=tuple(_metric(scorer, m) for m in scorer.metric_table()),
            prompts=dict(scorer.prompts),
            # The table of steered texts is no part of a suite's digest, and such a scorer's windows are its rows.
            steered=steered.digest if scorer.uses_interventions and steered else None,
        )
        for label, scorer in plan.scorers.items()
    }

    def judged(cell: Cell) -> JudgeRecord:
        identity = plan.judges[cell.judge].identity
        known = qualification(identity.key, question_key(plan.scorers[cell.scorer]))
        return JudgeRecord(label=cell.judge, key=identity.key, identity=identity, qualification=known)

    return tuple(
        CellRecord(
            cell=cell.id,
            repeat=cell.repeat,
            explainer=explainers[cell.explainer],
            scorer=scorers[cell.scorer],
            judge=judged(cell),
        )
        for cell in plan.cells
    )


def _metric(scorer: Scorer, metric: Metric) -> MetricRecord:
    low, high = scorer.range(metric.name)
    return MetricRecord(
        name=metric.name, floor=metric.floor, higher_is_better=metric.higher_is_better, low=low, high=high
    )
