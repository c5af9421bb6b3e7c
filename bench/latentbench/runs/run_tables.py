"""Stage 3: journals -> tables -> scores -> run.json.

Rows are sorted by the plan's order of cells and latents, never by the order in which answers arrived, so the tables of a run
that was killed and resumed are those of one that was not. `run.json` says what a run *is*; the tables hold the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentbench.explainers.explainer import Explanation
from latentbench.judges.qualification import qualification
from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS, table_from, table_of, write_table
from latentbench.panels.panel_table import write_opinions
from latentbench.runs.journal import Asked, Call, ExplainedUnit, Journal, JudgedUnit, Written, note_text
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.record import CellRecord, ExplainerRecord, JudgeRecord, MetricRecord, Paid, ScorerRecord, Totals
from latentbench.scorers.scorer import Judgement, Metric, Scorer, measured, question_key
from latentbench.views.causes import Causes
from latentbench.views.number import finite

Value = tuple[float | None, float | None, float | None]
"""A metric of a latent: its value, and the least and greatest that it could have been where judgements are missing."""


@dataclass(frozen=True, slots=True)
class _Score:
    """One metric of one latent in one cell."""

    cell: Cell
    latent: LatentView
    metric: str
    value: Value
    judged: int
    attempted: int


_EXPLANATION_COLUMNS: Mapping[str, Callable[[Written, Explanation], object]] = {
    "latent": lambda w, e: e.latent,
    "explainer": lambda w, e: w.explainer,
    "explainer_id": lambda w, e: w.id,
    "explainer_key": lambda w, e: w.key,
    "repeat": lambda w, e: w.repeat,
    "text": lambda w, e: e.text,
    "hash": lambda w, e: e.hash,
    "outcome": lambda w, e: e.outcome.value,
    "error": lambda w, e: e.error,
    "note": lambda w, e: note_text(e),
    "tokens_in": lambda w, e: e.usage.tokens_in,
    "tokens_out": lambda w, e: e.usage.tokens_out,
    "tokens_cached": lambda w, e: e.usage.tokens_cached,
    "cost": lambda w, e: w.cost,
}
_JUDGEMENT_COLUMNS: Mapping[str, Callable[[Cell, Asked, Judgement, Call], object]] = {
    "cell": lambda c, p, j, u: c.id,
    "latent": lambda c, p, j, u: p.latent,
    "explainer": lambda c, p, j, u: c.explainer,
    "explanation": lambda c, p, j, u: p.explanation,
    "scorer": lambda c, p, j, u: c.scorer,
    "judge": lambda c, p, j, u: c.judge,
    "repeat": lambda c, p, j, u: c.repeat,
    "trial": lambda c, p, j, u: j.trial,
    "part": lambda c, p, j, u: j.part,
    "item": lambda c, p, j, u: j.item,
    "kind": lambda c, p, j, u: j.kind,
    "truth": lambda c, p, j, u: j.truth,
    "outcome": lambda c, p, j, u: j.outcome.value,
    "score": lambda c, p, j, u: finite(j.score),
    "answer": lambda c, p, j, u: j.answer,
    "token_scores": lambda c, p, j, u: j.token_scores,
    "token_truth": lambda c, p, j, u: j.token_truth,
    "error": lambda c, p, j, u: j.error,
    "tokens_in": lambda c, p, j, u: u.usage.tokens_in,
    "tokens_out": lambda c, p, j, u: u.usage.tokens_out,
    "tokens_cached": lambda c, p, j, u: u.usage.tokens_cached,
    "cost": lambda c, p, j, u: u.cost,
}
_SCORE_COLUMNS: Mapping[str, Callable[[_Score], object]] = {
    "cell": lambda s: s.cell.id,
    "latent": lambda s: s.latent.id,
    "coder": lambda s: s.latent.coder,
    "explainer": lambda s: s.cell.explainer,
    "scorer": lambda s: s.cell.scorer,
    "judge": lambda s: s.cell.judge,
    "repeat": lambda s: s.cell.repeat,
    "metric": lambda s: s.metric,
    "value": lambda s: finite(s.value[0]),
    "n_judged": lambda s: s.judged,
    "n_attempted": lambda s: s.attempted,
    "lowest": lambda s: finite(s.value[1]),
    "highest": lambda s: finite(s.value[2]),
}


def write_tables(
    plan: Plan, folder: Path, explanations: Journal[ExplainedUnit], judgements: Journal[JudgedUnit]
) -> tuple[Totals, dict[str, str]]:
    """Write `explanations.parquet`, `judgements.parquet`, `scores.parquet` and `seconds.parquet` into the run folder, and
    `panel.parquet` where a panel was asked.

    Where a scorer's metrics fail, no number stands for what was answered, so the answers are written as unreadable, with the
    fault, and coverage falls; in the journal they stay.

    Returns:
        Counts of what was written and what was paid; name -> digest of each table.
    """
    latest = {(written.explainer, written.repeat, e.latent): (written, e) for written, e in explanations.units()}
    units = {(place.cell, place.latent): (place, found) for place, found in judgements.units()}
    explained = [
        latest[(label, repeat, latent.id)]
        for label in plan.explainers
        for repeat in range(plan.spec.repeats)
        for latent in plan.latents
    ]
    judged: list[tuple[Cell, Asked, Judgement, Call]] = []
    scores: list[_Score] = []
    for cell in plan.cells:
        for latent in plan.latents:
            scorer = plan.scorers[cell.scorer]
            place, given = units[(cell.id, latent.id)]
            found, values = latent_scores(scorer, given)
            judged += [(cell, place, j, call) for j, call in zip(found, place.calls, strict=True)]
            ok = sum(judgement.outcome is Outcome.OK for judgement in found)
            scores += [_Score(cell, latent, name, value, ok, len(found)) for name, value in values.items()]
    tables = {
        "explanations": table_from(explained, _EXPLANATION_COLUMNS, EXPLANATIONS),
        "judgements": table_from(judged, _JUDGEMENT_COLUMNS, JUDGEMENTS),
        "scores": table_from([(s,) for s in scores], _SCORE_COLUMNS, SCORES),
    }
    spans = {
        "explanations": [e.usage.seconds for _, e in explained],
        "judgements": [u.usage.seconds for *_, u in judged],
    }
    times = [{"table": t, "row": i, "seconds": s} for t, own in spans.items() for i, s in enumerate(own) if s]
    tables["seconds"] = table_of(times, SECONDS)
    digests = {name: write_table(table, folder / f"{name}.parquet") for name, table in tables.items()}
    opinions = write_opinions((((c.id, c.scorer, c.judge, p.latent), j) for c, p, j, _ in judged), folder)
    if opinions is not None:
        digests["panel"] = opinions
    causes = Causes()
    for _, explanation in explained:
        causes.add(explanation.outcome, explanation.error)
    for _, _, judgement, _ in judged:
        causes.add(judgement.outcome, judgement.error)
    silent = {key for key, (_, e) in latest.items() if e.text is None}
    without = [1 for c, p, _, _ in judged if (c.explainer, c.repeat, p.latent) in silent]
    skipped = [1 for w, e in latest.values() if e.outcome is Outcome.SKIPPED and w.explainer not in plan.models]
    # Of a session that was killed the calls whose batch was not written yet are missing; the ledger of a run has them.
    spent = [*(w.paid for w, _ in explanations.units()), *(p.paid for p, _ in judgements.units())]
    totals = Totals(
        explanations=_counted(latest[key][1].outcome for key in latest),
        judgements=_counted(j.outcome for _, _, j, _ in judged),
        paid=sum(spent, Paid()),
        uncalled=len(without) + len(skipped),
        causes=causes.counts,
    )
    return totals, digests


def _counted(outcomes: Iterable[Outcome]) -> dict[str, int]:
    found = Counter(outcomes)
    return {outcome.value: found[outcome] for outcome in Outcome}


def latent_scores(scorer: Scorer, given: Sequence[Judgement]) -> tuple[Sequence[Judgement], dict[str, Value]]:
    """Judgements of one latent in one cell, as they are written, and metric -> its value and ends.

    The headline is always there, so that coverage is never lost. Given what it returns, it returns the same: scores can be
    computed again from the table of judgements.
    """
    found, metrics = _measured(scorer, given)
    values: dict[str, float | None] = {scorer.headline: None, **metrics}
    ends = (
        attempt(scorer, "extremes", lambda: scorer.extremes(found), dict[str, tuple[float, float]])
        if _open(found)
        else {}
    )
    known = {} if isinstance(ends, Fault) else ends
    return found, {name: (value, *known.get(name, (None, None))) for name, value in values.items()}


def _measured(scorer: Scorer, found: Sequence[Judgement]) -> tuple[Sequence[Judgement], Mapping[str, float]]:
    """Judgements of one latent in one cell and the metrics over those that are ok."""
    ok = [judgement for judgement in found if judgement.outcome is Outcome.OK]
    if not ok:
        return found, {}
    metrics = attempt(scorer, "metrics", lambda: scorer.metrics(ok), dict[str, float], measured(scorer))
    if isinstance(metrics, Fault):
        return tuple(_unreadable(judgement, metrics) for judgement in found), {}
    return found, metrics


def _unreadable(found: Judgement, fault: Fault) -> Judgement:
    if found.outcome is not Outcome.OK:
        return found
    return Judgement(found.trial, found.part, found.item, found.kind, found.truth, Outcome.PARSE, error=fault.line)


def _open(found: Sequence[Judgement]) -> bool:
    """Whether judgements are missing, of trials that are known: those that could not be made might have been others."""
    return any(j.outcome is not Outcome.OK for j in found) and not any(not j.trial and j.error for j in found)


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
            metrics=tuple(metric_record(scorer, m) for m in scorer.metric_table()),
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


def metric_record(scorer: Scorer, metric: Metric) -> MetricRecord:
    """What a metric of a scorer means, for `run.json`."""
    low, high = scorer.range(metric.name)
    return MetricRecord(
        name=metric.name, floor=metric.floor, higher_is_better=metric.higher_is_better, low=low, high=high
    )
