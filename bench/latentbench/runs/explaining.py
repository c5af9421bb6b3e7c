"""Explain windows -> explanations, batched over latents.

An explanation that failed is kept as a row with its outcome: the latent stays in every table, with less coverage, instead of
vanishing from the average.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from latentbench.explainers.explainer import Explainer, Explanation, Others, explains, total_usage
from latentbench.judges.judge import Judge, guarded
from latentbench.judges.price import cost
from latentbench.kernel.boundary import Fault, attempt, coded, one_line
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply
from latentbench.runs.journal import ExplainedUnit, Journal, Written
from latentbench.runs.keeping import Keeper
from latentbench.runs.plan import Plan, explain_seed
from latentbench.runs.record import Paid
from latentbench.runs.rounds import Exchange, converse
from latentbench.runs.tally import RunTally
from latentbench.views.progress import Stage

CHUNK = 64
"""Latents per batch: enough to fill a GPU, little enough that a kill loses seconds."""

RETRIED = frozenset({Outcome.API, Outcome.TIMEOUT})
"""Outcomes that are asked again on resume; a refusal or an unreadable answer is the judge's answer and stays."""

Explanations = dict[tuple[str, int], dict[str, Explanation]]
"""(explainer label, repeat) -> latent id -> explanation."""


def stored(journal: Journal[ExplainedUnit], again: Collection[Outcome] = RETRIED) -> Explanations:
    """Explanations on disk, without those that are owed again because of their outcome."""
    found: Explanations = {}
    for written, explanation in journal.units():
        latents = found.setdefault((written.explainer, written.repeat), {})
        if explanation.outcome in again:
            latents.pop(explanation.latent, None)
        else:
            latents[explanation.latent] = explanation
    return found


async def explain(
    plan: Plan,
    label: str,
    repeat: int,
    latents: Sequence[LatentView],
    done: Explanations,
    journal: Journal[ExplainedUnit],
    keeper: Keeper,
    stage: Stage,
    tally: RunTally,
) -> None:
    """Explain some latents, all asked together, and append what came to `journal` and to `done`.

    Those that the explainer reads from are finished (`latentbench.runs.flow`).
    """
    others = _read_only({a: done[(a, repeat)] for a in plan.explainers[label].after})
    mine = done[(label, repeat)]
    for explanation, exchange in await _explain(plan, label, latents, repeat, others, tally):
        mine[explanation.latent] = explanation
        keeper.explained(label, repeat, explanation, exchange)
        stage.causes.add(explanation.outcome, explanation.error)
        journal.append((_written(plan, label, repeat, explanation, paid(exchange.replies)), explanation))
    stage.advance(len(latents))


async def _explain(
    plan: Plan, label: str, latents: Sequence[LatentView], repeat: int, others: Others, tally: RunTally
) -> list[tuple[Explanation, Exchange]]:
    explainer, judge = plan.explainers[label], plan.judges[plan.models[label]] if label in plan.models else None
    seeds = [explain_seed(plan.spec, repeat, explainer, latent) for latent in latents]
    exchanges = [
        explainer_exchange(explainer, latent, seed, judge) for latent, seed in zip(latents, seeds, strict=True)
    ]
    if judge is not None:
        with tally.asking(plan.models[label]):
            tally.begun((label,), len(latents), sum(len(exchange.asking) for exchange in exchanges))
            await converse(exchanges, partial(guarded, judge))
            tally.ended((label,), len(latents), sum(exchange.asked for exchange in exchanges))
    return [
        (explanation_of(explainer, latent, exchange, seed, others), exchange)
        for latent, exchange, seed in zip(latents, exchanges, seeds, strict=True)
    ]


def _read_only(others: Mapping[str, Mapping[str, Explanation]]) -> Others:
    """Finished explanations for an explainer to read, and not to change."""
    return MappingProxyType({label: MappingProxyType(own) for label, own in others.items()})


def explainer_exchange(explainer: Explainer, latent: LatentView, seed: int, judge: Judge | None = None) -> Exchange:
    """What an explainer asks its model about a latent."""
    return Exchange.begin(
        explainer,
        lambda: explainer.requests(latent, seed),
        lambda replies: explainer.follow_up(latent, replies, seed),
        judge.can if judge is not None else None,
    )


def explanation_of(
    explainer: Explainer, latent: LatentView, exchange: Exchange, seed: int, others: Others
) -> Explanation:
    """The explanation that an explainer reads from its replies; one without a text where its code fails."""
    if exchange.fault is not None:
        outcome, usage = exchange.fault_outcome, total_usage(exchange.replies)
        return Explanation(latent.id, None, outcome, usage, exchange.fault.line)
    found = attempt(
        explainer,
        "parse",
        lambda: explainer.parse(latent, list(exchange.replies), seed, others),
        Explanation,
        explains(latent),
    )
    if isinstance(found, Fault):
        return Explanation(latent.id, None, Outcome.PARSE, total_usage(exchange.replies), found.line)
    # Whoever wrote it: a control character is shown as its code in tables and pages, so it is kept and judged as that.
    text = None if found.text is None else coded(found.text)
    return replace(found, text=text, error=None if found.error is None else one_line(found.error))


def paid(replies: Sequence[Reply]) -> Paid:
    """What this process paid for: calls and tokens that did not come from the cache."""
    return Paid.of([r.usage for r in replies if not r.cached])


def chunks(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive slices; the last may be shorter and is not dropped."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def _written(plan: Plan, label: str, repeat: int, explanation: Explanation, paid: Paid) -> Written:
    explainer = plan.explainers[label]
    identity = plan.judges[plan.models[label]].identity if label in plan.models else None
    price = cost(explanation.usage, identity) if identity else 0.0
    return Written(label, explainer.id, plan.explainer_keys[label], repeat, price, paid)
