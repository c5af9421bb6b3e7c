"""The stored replies behind rows of a run, so that they can be forgotten and asked for again.

What a judge answered stays its answer, until somebody knows better: a server's chat template was mended, other weights stand
behind the name. A row does not know its requests. They are made again as the run made them and followed through the stored
replies, trial by trial; forgetting all replies of a judge is the tempting way, and pays for every row to mend a few.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Sequence

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault
from latentbench.kernel.requests import Outcome, Reply, Request
from latentbench.runs.explaining import explainer_exchange
from latentbench.runs.journal import ExplainedUnit, Journal, JudgedUnit
from latentbench.runs.judging import trial_exchange, trials_of
from latentbench.runs.plan import Plan, explain_seed
from latentbench.runs.rounds import Exchange, converse


def forget(
    plan: Plan,
    explanations: Journal[ExplainedUnit],
    judgements: Journal[JudgedUnit],
    outcomes: Collection[Outcome],
    judge: str | None = None,
    dry_run: bool = False,
) -> int:
    """Forget the stored replies behind explanations and judgements with one of these outcomes.

    Args:
        judge: only replies of this one, by its label in the run or in `bench cache stats`; None for all.
        dry_run: only count.

    Returns:
        How many replies.
    """
    behind = asyncio.run(_behind(plan, explanations, judgements, outcomes))
    return sum(
        asked.forget(behind[label], dry_run)
        for label, asked in plan.judges.items()
        if isinstance(asked, CachedJudge) and judge in (None, label, asked.identity.label)
    )


async def _behind(
    plan: Plan, explanations: Journal[ExplainedUnit], judgements: Journal[JudgedUnit], outcomes: Collection[Outcome]
) -> defaultdict[str, list[Request]]:
    """Label of a judge -> requests behind the rows."""
    found: defaultdict[str, list[Request]] = defaultdict(list)
    latents, cells = {latent: place for place, latent in enumerate(plan.ids)}, {cell.id: cell for cell in plan.cells}
    written = {(unit.explainer, unit.repeat, e.latent): e for unit, e in explanations.units()}
    for (label, repeat, name), explanation in written.items():
        if explanation.outcome in outcomes and label in plan.models and name in latents:
            explainer, model = plan.explainers[label], plan.models[label]
            seed = explain_seed(plan.spec, repeat, explainer, plan.latents[latents[name]])
            found[model] += await _followed(
                explainer_exchange(explainer, plan.latents[latents[name]], seed, plan.judges[model]), plan.judges[model]
            )
    for (cell_id, name), given in {(at.cell, at.latent): given for at, given in judgements.units()}.items():
        asked = {judgement.trial for judgement in given if judgement.outcome in outcomes}
        if not asked or cell_id not in cells or name not in latents:
            continue
        cell = cells[cell_id]
        scorer, judge = plan.asking[cell.scorer, cell.judge], plan.judges[cell.judge]
        text = written[(cell.explainer, cell.repeat, name)].text
        trials = [] if text is None else trials_of(plan.spec, cell.repeat, scorer, plan.latents[latents[name]], text)
        for trial in [] if isinstance(trials, Fault) else trials:
            if trial.id in asked:
                found[cell.judge] += await _followed(trial_exchange(scorer, trial, judge.can), judge)
    return found


async def _followed(exchange: Exchange, judge: Judge) -> list[Request]:
    """What an exchange asks, as far as the replies are stored."""
    asked: list[Request] = []

    async def source(requests: Sequence[Request]) -> list[Reply | None]:
        asked.extend(requests)
        return judge.look_up(requests) if isinstance(judge, CachedJudge) else [None for _ in requests]

    await converse([exchange], source)
    return asked
