"""Stage 2: explanations x test windows -> judgements, batched over latents and explainers.

All cells that share a scorer and a judge are one stage: their questions are put into the same batches, so that a prefix or a
window that several explainers share is computed once. The unit on disk is one latent of one cell.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console

from latentbench.explainers.explainer import Explanation
from latentbench.judges.judge import Judge
from latentbench.judges.price import cost
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply, Request
from latentbench.runs.explaining import RETRIED, Explanations, paid
from latentbench.runs.journal import Journal, finite
from latentbench.runs.plan import Cell, Plan, trials_of
from latentbench.runs.progress import Stage
from latentbench.runs.rounds import replies_to
from latentbench.scorers.scorer import Judgement, Scorer, Trial

BATCH = 512
"""Requests of the first round per batch: a few seconds of an in-process judge, and what a kill can lose."""

Key = tuple[str, str]
"""(cell id, latent id)."""


@dataclass(frozen=True)
class _Unit:
    cell: Cell
    latent: LatentView
    explanation: Explanation
    trials: list[Trial]
    requests: list[list[Request]]


def stored(plan: Plan, explanations: Explanations, journal: Journal) -> set[Key]:
    """Units on disk that are not owed again: no call of theirs failed, and what was judged is the explanation of now.

    The second matters where the call that should have explained failed: the windows were skipped then, and the explanation
    has come since.
    """
    texts = {
        (cell.id, latent): explanation.hash
        for cell in plan.cells
        for latent, explanation in explanations.get((cell.explainer, cell.repeat), {}).items()
    }
    found: set[Key] = set()
    for unit in journal.units():
        key = (unit["cell"], unit["latent"])
        failed = any(Outcome(row["outcome"]) in RETRIED for row in unit["rows"])
        if failed or any(row["explanation"] != texts.get(key) for row in unit["rows"]):
            found.discard(key)
        else:
            found.add(key)
    return found


async def judge(plan: Plan, explanations: Explanations, journal: Journal, done: set[Key], console: Console) -> None:
    """Ask everything that is owed and append it to `journal`.

    Args:
        explanations: all of stage 1.
        done: units that are on disk.
    """
    for scorer_label, judge_label in dict.fromkeys((c.scorer, c.judge) for c in plan.cells):
        cells = [c for c in plan.cells if (c.scorer, c.judge) == (scorer_label, judge_label)]
        total = len(cells) * len(plan.latents)
        owed = [(c, latent) for c in cells for latent in plan.latents if (c.id, latent.id) not in done]
        if not owed:
            continue
        asked = plan.judges[judge_label]
        scorer = plan.scorers[scorer_label]
        with Stage(f"judge {scorer_label} · {judge_label}", total, "latents", console, total - len(owed)) as stage:
            slots = asyncio.Semaphore(getattr(asked, "in_flight", 1))
            async with asyncio.TaskGroup() as group:
                for batch in _batches(plan, scorer, asked, explanations, owed):
                    await slots.acquire()
                    group.create_task(_judge(scorer, asked, batch, journal, stage, slots))


def _batches(
    plan: Plan, scorer: Scorer, judge: Judge, explanations: Explanations, owed: Sequence[tuple[Cell, LatentView]]
) -> Iterator[list[_Unit]]:
    batch: list[_Unit] = []
    size = 0
    for cell, latent in owed:
        explanation = explanations[(cell.explainer, cell.repeat)][latent.id]
        trials = trials_of(plan.spec, cell.repeat, scorer, latent, explanation.text or "")
        # A failed explanation still makes its trials: their windows are recorded as skipped.
        asked = [scorer.requests(t, judge.can) if explanation.text is not None else [] for t in trials]
        batch.append(_Unit(cell, latent, explanation, trials, asked))
        size += sum(map(len, asked))
        if size >= BATCH:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


async def _judge(
    scorer: Scorer, judge: Judge, units: list[_Unit], journal: Journal, stage: Stage, slots: asyncio.Semaphore
) -> None:
    try:
        trials = [trial for unit in units for trial in unit.trials]
        first = [of_trial for unit in units for of_trial in unit.requests]
        replies = iter(await replies_to(scorer, judge, trials, first))
        for unit in units:
            own = [next(replies) for _ in unit.trials]
            rows = _rows(unit, scorer, judge, own)
            journal.append(
                {
                    "cell": unit.cell.id,
                    "latent": unit.latent.id,
                    "rows": rows,
                    "paid": paid([r for of_trial in own for r in of_trial]),
                }
            )
            stage.advance()
    finally:
        slots.release()


def _rows(unit: _Unit, scorer: Scorer, judge: Judge, replies: list[list[Reply]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for i, trial in enumerate(unit.trials):
        if unit.explanation.text is None:
            error = f"no explanation ({unit.explanation.outcome.value})"
            own: list[Reply] = [Reply(Outcome.SKIPPED, error=error)]
            judgements = [
                Judgement(trial.id, w.id, w.kind, label, Outcome.SKIPPED, error=error)
                for w, label in zip(trial.windows, trial.labels, strict=True)
            ]
        else:
            own = replies[i]
            judgements = scorer.read(trial, own)
        for j, judgement in enumerate(judgements):
            rows.append(_row(unit, judgement, judge, own if j == 0 else []))
    return rows


def _row(unit: _Unit, judgement: Judgement, judge: Judge, replies: Sequence[Reply]) -> dict[str, Any]:
    usages = [r.usage for r in replies]
    costs = [cost(u, judge.identity) for u in usages]
    clean = replace(judgement, probability=finite(judgement.probability))
    return {
        "trial": clean.trial,
        "window": clean.window,
        "kind": clean.kind,
        "label": clean.label,
        "outcome": clean.outcome.value,
        "probability": clean.probability,
        "prediction": clean.prediction,
        "predicted": clean.predicted,
        "actual": clean.actual,
        "error": clean.error,
        "explanation": unit.explanation.hash,
        "tokens_in": sum(u.tokens_in for u in usages),
        "tokens_out": sum(u.tokens_out for u in usages),
        "tokens_cached": sum(u.tokens_cached for u in usages),
        "cost": None if any(c is None for c in costs) else sum(c for c in costs if c is not None),
        "seconds": sum(u.seconds for u in usages),
    }
