"""One call per endpoint before anything is paid, so that a wrong key, name or address is a message and not a run of failures.

Who is tried is who will be asked: of each explainer and each cell the last latent that is owed, as far as its questions can be
known; what is stored of a run that was stopped is its beginning. Where their replies are stored nothing is tried, so a run that
was paid for can be repeated without a network. Looking every question up is the tempting way, and takes as long as such a
repetition; an endpoint that is missed here is stopped by its own count of failures (`latentbench.judges.remote.endpoint`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial

from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.kernel.boundary import Fault, attempt_async
from latentbench.kernel.errors import JudgeError
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Reply, Request, addressed
from latentbench.runs.explaining import Explanations, explainer_exchange, explanation_of
from latentbench.runs.judging import trial_exchange, trials_of
from latentbench.runs.plan import Plan, explain_seed
from latentbench.runs.rounds import converse
from latentbench.runs.stock import Key

OWED = "(an explanation that is still to be written)"
"""Stands for an explanation whose calls are still owed: every question about it is new."""


async def probe(plan: Plan, done: Explanations, judged: Container[Key], fresh: bool = False) -> None:
    """Try each judge that is reached over a network and is owed an answer.

    Args:
        done, judged: what is on disk.
        fresh: try a judge also where its replies are stored, because they are going to be forgotten.

    Raises:
        JudgeError: a call to one of them failed, with the reason.
    """
    asked = _Asked(plan, done, fresh)
    for label, model in plan.models.items():
        for repeat in range(plan.spec.repeats):
            owed = _last(plan, (x not in done.get((label, repeat), {}) for x in reversed(plan.ids)))
            if owed is not None and plan.judges[model].identity.dtype == "remote":
                await asked.text(label, repeat, owed)
    for cell in plan.cells:
        owed = _last(plan, ((cell.id, x) not in judged for x in reversed(plan.ids)))
        if owed is None or plan.judges[cell.judge].identity.dtype != "remote":
            continue
        text = await asked.text(cell.explainer, cell.repeat, owed)
        scorer, can = plan.asking[cell.scorer, cell.judge], plan.judges[cell.judge].can
        trials = trials_of(plan.spec, cell.repeat, scorer, owed, text) if text is not None else []
        exchanges = [] if isinstance(trials, Fault) else [trial_exchange(scorer, trial, can) for trial in trials]
        await asked.ask(cell.judge, [request for exchange in exchanges for request in exchange.asking])


def _last(plan: Plan, owed: Iterable[bool]) -> LatentView | None:
    """The last latent of which something is owed, if there is one; `owed` says it of each, from the last to the first."""
    place = next((number for number, true in enumerate(owed, 1) if true), None)
    return None if place is None else plan.latents[-place]


@dataclass
class _Asked:
    plan: Plan
    done: Explanations
    fresh: bool = False
    tried: set[tuple[str, tuple[str, type]]] = field(default_factory=set)

    async def ask(self, label: str, requests: Sequence[Request]) -> list[Reply | None]:
        """Stored replies to requests; a judge that lacks one is tried with a request like it, once per kind."""
        judge = self.plan.judges[label]
        known: list[Reply | None] = [None] * len(requests)
        if isinstance(judge, CachedJudge):
            known = judge.look_up(requests)
        for request, reply in zip(requests, known, strict=True):
            if (reply is None or self.fresh) and (label, addressed(request)) not in self.tried:
                self.tried.add((label, addressed(request)))
                why = await attempt_async(judge, "probe", partial(judge.probe, request), object)
                if isinstance(why, str):
                    raise JudgeError(f"{self.plan.called(label)} ({judge.identity.label}) cannot be asked: {why}")
        return known

    async def text(self, label: str, repeat: int, latent: LatentView) -> str | None:
        """An explanation as far as it is known; None where there is none, or where it depends on those of other latents."""
        explanation = self.done.get((label, repeat), {}).get(latent.id)
        if explanation is None:
            explainer = self.plan.explainers[label]
            seed = explain_seed(self.plan.spec, repeat, explainer, latent)
            model = self.plan.models.get(label)
            exchange = explainer_exchange(explainer, latent, seed, self.plan.judges[model] if model else None)
            if label in self.plan.models:
                await converse([exchange], partial(self.ask, self.plan.models[label]))
            if exchange.missing:
                return OWED
            if explainer.after:
                return None
            explanation = explanation_of(explainer, latent, exchange, seed, {})
        return explanation.text
