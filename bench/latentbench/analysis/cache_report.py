"""Why a run would ask again what was asked before: the first call of each kind that the cache does not hold.

One answer per explainer and per scorer x judge, because the thousand calls behind it miss for the same reason. Explainers and
scorers that ask in rounds are followed through all rounds as far as their replies are stored: what is asked next is a function
of them. Where a reply is missing nobody can know the calls behind it, and the line says so instead of leaving them out of sight.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from latentbench.explainers.explainer import Explainer
from latentbench.judges.cache.replies import ReplyCache
from latentbench.judges.cache.reply_database import open_replies
from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault
from latentbench.kernel.requests import JudgeIdentity, Passed, Reply, Request, request_key
from latentbench.panels.panel_judge import PanelJudge
from latentbench.runs.explaining import Explanations, explainer_exchange, explanation_of, stored
from latentbench.runs.judging import trial_exchange, trials_of
from latentbench.runs.plan import Plan, explain_seed
from latentbench.runs.record import read_record
from latentbench.runs.rounds import Exchange, converse
from latentbench.runs.run import default_cache, prepare
from latentbench.runs.run_journals import explanation_journal
from latentbench.runs.run_spec import load_run_spec
from latentbench.scorers.scorer import Scorer


def explain_misses(run: Path, cache_path: Path | None) -> list[str]:
    """One line per explainer that asks a model and per scorer x judge, over all repeats.

    Args:
        run: a run folder, or a run spec. Explanations that a folder does not have are made from stored replies where all of
            them are there, so a spec of which everything was asked before is looked up to the end.
        cache_path: the user cache by default.

    Raises:
        BenchError: the spec is wrong, or the cache cannot be read.
    """
    folder = run if run.is_dir() else None
    base = Path(read_record(run).base) if folder else run.parent
    cache = open_replies(cache_path or default_cache())
    plan = prepare(load_run_spec(run / "spec.yaml" if folder else run), base, None)
    done = stored(explanation_journal(folder)) if folder else {}
    lines = [line for label in plan.explainers for line in _explaining(plan, label, done, cache)]
    pairs = dict.fromkeys((c.scorer, c.judge) for c in plan.cells)
    return lines + [_judging(plan, scorer, judge, done, cache) for scorer, judge in pairs]


def _look_up(cache: ReplyCache, judge: Judge, exchanges: Sequence[Exchange]) -> None:
    """Carry exchanges on as far as their replies are stored."""

    async def found(requests: Sequence[Request]) -> list[Reply | None]:
        keys = [request_key(*_answering(judge, r)) for r in requests]
        known = cache.get(keys)
        return [known.get(key) for key in keys]

    asyncio.run(converse(exchanges, found))


def _line(name: str, judge: Judge, exchanges: Sequence[Exchange], cache: ReplyCache, *notes: str) -> str:
    missing = [request for exchange in exchanges for request in exchange.missing]
    asked = sum(exchange.asked for exchange in exchanges)
    parts = [f"{name}: {asked - len(missing)} of {asked} calls are stored"]
    if missing:
        parts.append(f"first miss: {cache.explain_miss(*_answering(judge, missing[0]))}")
    return "; ".join([*parts, *(note for note in notes if note)])


def _answering(judge: Judge, request: Request) -> tuple[JudgeIdentity, Request, bool]:
    """Who answers a request, the request, and whether it reads the truth: in a panel all these are a member's."""
    if isinstance(judge, PanelJudge) and isinstance(request, Passed):
        member = next(m.judge for m in judge.members if m.label == request.member)
        return member.identity, request.request, member.reads_truth
    return judge.identity, request, judge.reads_truth


def _behind(exchanges: Sequence[Exchange], asks_more: bool, what: str) -> str:
    """What cannot be known of later rounds."""
    cut = sum(bool(exchange.missing) for exchange in exchanges)
    if not cut or not asks_more:
        return ""
    return f"what {cut} {what} ask after their missing replies is not known yet and not counted."


def _explaining(plan: Plan, label: str, done: Explanations, cache: ReplyCache) -> list[str]:
    """The line of an explainer, none if it asks no model; its explanations, as far as they are known, are added to `done`."""
    explainer = plan.explainers[label]
    judge = plan.judges[plan.models[label]] if label in plan.models else None
    units = [
        (repeat, latent, explain_seed(plan.spec, repeat, explainer, latent))
        for repeat in range(plan.spec.repeats)
        for latent in plan.latents
    ]
    exchanges = [explainer_exchange(explainer, latent, seed, judge) for _, latent, seed in units]
    if judge is not None:
        _look_up(cache, judge, exchanges)
    for (repeat, latent, seed), exchange in zip(units, exchanges, strict=True):
        sources = {a: done.get((a, repeat), {}) for a in explainer.after}
        mine = done.setdefault((label, repeat), {})
        if latent.id in mine or exchange.missing or any(len(s) < len(plan.latents) for s in sources.values()):
            continue
        mine[latent.id] = explanation_of(explainer, latent, exchange, seed, sources)
    if judge is None:
        return []
    again = _behind(exchanges, type(explainer).follow_up is not Explainer.follow_up, "latents")
    return [_line(f"explain {label}", judge, exchanges, cache, again)]


def _judging(plan: Plan, scorer_label: str, judge_label: str, done: Explanations, cache: ReplyCache) -> str:
    scorer, judge = plan.asking[scorer_label, judge_label], plan.judges[judge_label]
    exchanges: list[Exchange] = []
    unknown = 0
    for label in plan.explainers:
        for repeat in range(plan.spec.repeats):
            for latent in plan.latents:
                explanation = done.get((label, repeat), {}).get(latent.id)
                if explanation is None:
                    unknown += 1
                elif explanation.text is not None:
                    trials = trials_of(plan.spec, repeat, scorer, latent, explanation.text)
                    # A scorer that fails on a latent asks nothing about it.
                    asked = [] if isinstance(trials, Fault) else trials
                    exchanges += [trial_exchange(scorer, trial, judge.can) for trial in asked]
    _look_up(cache, judge, exchanges)
    again = _behind(exchanges, type(scorer).follow_up is not Scorer.follow_up, "trials")
    owed = f"{unknown} explanations are not known yet, and the calls about them not counted." if unknown else ""
    return _line(f"judge {scorer_label} · {judge_label}", judge, exchanges, cache, again, owed)
