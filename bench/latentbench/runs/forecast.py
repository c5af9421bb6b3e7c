"""How many calls each stage of a run will take, before any was made: what a few latents are asked first, times all of them.

No explanation has to be there: a stand-in takes its place, because how many questions there are seldom depends on the words.
Where it does, and for methods that ask in several rounds, the estimate is wrong until the first units of the stage have ended
(`runs.tally`).
"""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial

from latentbench.kernel.boundary import Fault
from latentbench.kernel.latent import LatentView
from latentbench.runs.explaining import Explanations, explainer_exchange
from latentbench.runs.judging import trial_exchange, trials_of
from latentbench.runs.plan import Plan, explain_seed
from latentbench.runs.probing import OWED
from latentbench.runs.stock import Key
from latentbench.runs.tally import Part, Work

SAMPLE = 3
"""Latents that are tried, at equal steps through the plan's: they may differ in how many windows they have."""


def forecast(plan: Plan, done: Explanations, judged: Container[Key]) -> dict[Work, Part]:
    """The stages of a plan, in their order, each with an estimate of the calls of a unit.

    Args:
        done, judged: what is on disk.
    """
    found: dict[Work, Part] = {}
    for label in plan.explainers:
        have = sum(latent in done.get((label, r), {}) for r in range(plan.spec.repeats) for latent in plan.ids)
        guess = _mean(plan, partial(_explaining, plan, label))
        found[(label,)] = Part(plan.models.get(label, ""), len(plan.ids) * plan.spec.repeats, have, guess)
    for scorer, judge in dict.fromkeys((c.scorer, c.judge) for c in plan.cells):
        cells = [c.id for c in plan.cells if (c.scorer, c.judge) == (scorer, judge)]
        have = sum((cell, latent) in judged for cell in cells for latent in plan.ids)
        guess = _mean(plan, partial(_judging, plan, scorer, judge))
        found[scorer, judge] = Part(judge, len(plan.ids) * len(cells), have, guess)
    return found


def _mean(plan: Plan, calls: Callable[[LatentView], int]) -> float:
    n = min(SAMPLE, len(plan.latents))
    return sum(calls(plan.latents[int((i + 0.5) * len(plan.latents) / n)]) for i in range(n)) / n


def _explaining(plan: Plan, label: str, latent: LatentView) -> int:
    if label not in plan.models:
        return 0
    explainer = plan.explainers[label]
    seed = explain_seed(plan.spec, 0, explainer, latent)
    return len(explainer_exchange(explainer, latent, seed, plan.judges[plan.models[label]]).asking)


def _judging(plan: Plan, scorer: str, judge: str, latent: LatentView) -> int:
    own, can = plan.asking[scorer, judge], plan.judges[judge].can
    trials = trials_of(plan.spec, 0, own, latent, OWED)
    return 0 if isinstance(trials, Fault) else sum(len(trial_exchange(own, trial, can).asking) for trial in trials)
