"""Stage 3: journals -> tables -> scores -> run.json.

Rows are sorted by the plan's order of cells and latents, never by the order in which answers arrived, so the tables of a run
that was killed and resumed are those of one that was not. `run.json` says what a run *is*; the tables hold the rest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from latentbench.explainers.explainer import Explanation
from latentbench.judges.qualification import qualification
from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.latent import coder_of
from latentbench.kernel.requests import Outcome
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS
from latentbench.panels.panel_table import OPINION_COLUMNS, OPINIONS
from latentbench.runs.journal import Asked, Call, ExplainedUnit, Journal, JudgedUnit, UnitPlaces, Written, note_text
from latentbench.runs.plan import Cell, Plan
from latentbench.runs.record import CellRecord, ExplainerRecord, JudgeRecord, MetricRecord, ScorerRecord, Totals
from latentbench.runs.row_writer import RowWriter
from latentbench.scorers.scorer import Judgement, Metric, Scorer, measured, question_key
from latentbench.views.causes import Causes
from latentbench.views.number import finite

Value = tuple[float | None, float | None, float | None]
"""A metric of a latent: its value, and the least and greatest that it could have been where judgements are missing."""


@dataclass(frozen=True, slots=True)
class _Score:
    """One metric of one latent in one cell."""

    cell: Cell
    latent: str
    coder: str
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
    "latent": lambda s: s.latent,
    "coder": lambda s: s.coder,
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

_SECONDS_COLUMNS: Mapping[str, Callable[[str, int, float], object]] = {
    "table": lambda t, i, s: t,
    "row": lambda t, i, s: i,
    "seconds": lambda t, i, s: s,
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
    pairs = [(label, repeat) for label in plan.explainers for repeat in range(plan.spec.repeats)]
    texts = UnitPlaces(
        explanations, pairs, plan.ids, lambda u: ((u[0].explainer, u[0].repeat), u[1].latent), lambda u: u[0].paid
    )
    units = UnitPlaces(
        judgements, [c.id for c in plan.cells], plan.ids, lambda u: (u[0].cell, u[0].latent), lambda u: u[0].paid
    )
    explained, judged, causes = Counter[Outcome](), Counter[Outcome](), Causes()
    silent: set[tuple[str, int, str]] = set()
    uncalled = 0
    with ExitStack() as stack:

        def table(
            name: str, columns: Mapping[str, Callable[..., object]], schema: pa.Schema, empty: bool = True
        ) -> RowWriter:
            return stack.enter_context(RowWriter(folder / f"{name}.parquet", columns, schema, empty))

        # Files appear in the order in which they are left, the last first.
        tables = {
            "panel": table("panel", OPINION_COLUMNS, OPINIONS, empty=False),
            "seconds": table("seconds", _SECONDS_COLUMNS, SECONDS),
            "scores": table("scores", _SCORE_COLUMNS, SCORES),
            "judgements": table("judgements", _JUDGEMENT_COLUMNS, JUDGEMENTS),
            "explanations": table("explanations", _EXPLANATION_COLUMNS, EXPLANATIONS),
        }

        def row(name: str, seconds: float, *item: object) -> None:
            if seconds:
                tables["seconds"].add(name, tables[name].rows, seconds)
            tables[name].add(*item)

        for pair in pairs:
            for written, explanation in texts.of(pair):
                row("explanations", explanation.usage.seconds, written, explanation)
                explained[explanation.outcome] += 1
                causes.add(explanation.outcome, explanation.error)
                if explanation.text is None:
                    silent.add((*pair, explanation.latent))
                uncalled += explanation.outcome is Outcome.SKIPPED and pair[0] not in plan.models
        for cell in plan.cells:
            for place, given in units.of(cell.id):
                found, values = latent_scores(plan.scorers[cell.scorer], given)
                for judgement, call in zip(found, place.calls, strict=True):
                    row("judgements", call.usage.seconds, cell, place, judgement, call)
                    judged[judgement.outcome] += 1
                    causes.add(judgement.outcome, judgement.error)
                    for member in range(len(judgement.said)):
                        tables["panel"].add((cell.id, cell.scorer, cell.judge, place.latent), judgement, member)
                if (cell.explainer, cell.repeat, place.latent) in silent:
                    uncalled += len(found)
                coder, ok = coder_of(place.latent), sum(judgement.outcome is Outcome.OK for judgement in found)
                for name, value in values.items():
                    tables["scores"].add(_Score(cell, place.latent, coder, name, value, ok, len(found)))
    totals = Totals(
        explanations=_counted(explained),
        judgements=_counted(judged),
        # Of a session that was killed the calls whose batch was not written yet are missing; the ledger of a run has them.
        paid=texts.paid + units.paid,
        uncalled=uncalled,
        causes=causes.counts,
    )
    digests = {name: table.digest for name, table in reversed(tables.items()) if table.digest is not None}
    return totals, digests


def _counted(found: Counter[Outcome]) -> dict[str, int]:
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

    # Each asks through all files of qualifications.
    judged: dict[tuple[str, str], JudgeRecord] = {}
    for scorer, judge in dict.fromkeys((cell.scorer, cell.judge) for cell in plan.cells):
        identity = plan.judges[judge].identity
        known = qualification(identity.key, question_key(plan.scorers[scorer]))
        judged[scorer, judge] = JudgeRecord(label=judge, key=identity.key, identity=identity, qualification=known)

    return tuple(
        CellRecord(
            cell=cell.id,
            repeat=cell.repeat,
            explainer=explainers[cell.explainer],
            scorer=scorers[cell.scorer],
            judge=judged[cell.scorer, cell.judge],
        )
        for cell in plan.cells
    )


def metric_record(scorer: Scorer, metric: Metric) -> MetricRecord:
    """What a metric of a scorer means, for `run.json`."""
    low, high = scorer.range(metric.name)
    return MetricRecord(
        name=metric.name, floor=metric.floor, higher_is_better=metric.higher_is_better, low=low, high=high
    )
