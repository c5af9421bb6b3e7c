"""Why a run would ask again what was asked before: the first call of each kind that the cache does not hold.

One answer per explainer and per scorer x judge, because the thousand calls behind it miss for the same reason. Explainers and
scorers that ask in rounds are followed through all rounds as far as their replies are stored: what is asked next is a function
of them. Where a reply is missing nobody can know the calls behind it, and the line says so instead of leaving them out of sight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from latentbench.explainers.explainer import Explainer
from latentbench.judges.cache.replies import ReplyCache
from latentbench.judges.judge import Judge
from latentbench.kernel.requests import Reply, Request, request_key
from latentbench.runs.explaining import Explanations, stored
from latentbench.runs.journal import Journal
from latentbench.runs.plan import Plan, explain_seed, trials_of
from latentbench.runs.run import default_cache, prepare, read_run
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
    base = Path(read_run(run)["base"]) if folder else run.parent
    cache = ReplyCache(cache_path or default_cache())
    plan = prepare(load_run_spec(run / "spec.yaml" if folder else run), base, None)
    done = stored(Journal(folder / "explanations.jsonl")) if folder else {}
    lines = [line for label in plan.explainers for line in _explaining(plan, label, done, cache)]
    pairs = dict.fromkeys((c.scorer, c.judge) for c in plan.cells)
    return lines + [_judging(plan, scorer, judge, done, cache) for scorer, judge in pairs]


@dataclass(frozen=True)
class _Looked:
    """What a cache knows of some questions.

    Attributes:
        replies: to all rounds of each question; None where one is missing.
        asked: calls that are known to be asked.
        missing: those of them that are not stored.
    """

    replies: list[list[Reply] | None]
    asked: int
    missing: list[Request]


def _look(
    cache: ReplyCache,
    judge: Judge,
    first: Sequence[list[Request]],
    more: Callable[[int, list[Reply]], list[Request]],
) -> _Looked:
    """Follow questions through their rounds.

    Args:
        first: requests of the first round by question.
        more: number of a question and its replies so far -> its requests of the next round.
    """
    replies: list[list[Reply] | None] = [[] for _ in first]
    asked, missing = 0, []
    rounds = {i: requests for i, requests in enumerate(first) if requests}
    while rounds:
        keys = {i: [request_key(judge.identity, r, judge.reads_truth) for r in own] for i, own in rounds.items()}
        found = cache.get([key for own in keys.values() for key in own])
        following = {}
        for i, requests in rounds.items():
            asked += len(requests)
            missing += [r for r, key in zip(requests, keys[i], strict=True) if key not in found]
            known = [found[key] for key in keys[i] if key in found]
            so_far = [*(replies[i] or []), *known]
            replies[i] = so_far if len(known) == len(requests) else None
            if replies[i] is not None and (requested := more(i, so_far)):
                following[i] = requested
        rounds = following
    return _Looked(replies, asked, missing)


def _line(name: str, judge: Judge, looked: _Looked, cache: ReplyCache, *notes: str) -> str:
    parts = [f"{name}: {looked.asked - len(looked.missing)} of {looked.asked} calls are stored"]
    if looked.missing:
        parts.append(f"first miss: {cache.explain_miss(judge.identity, looked.missing[0], judge.reads_truth)}")
    return "; ".join([*parts, *(note for note in notes if note)])


def _behind(looked: _Looked, asks_more: bool, what: str) -> str:
    """What cannot be known of later rounds."""
    cut = sum(own is None for own in looked.replies)
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

    def more(i: int, replies: list[Reply]) -> list[Request]:
        _, latent, seed = units[i]
        return explainer.more(latent, replies, seed)

    looked = _Looked([[] for _ in units], 0, [])
    if judge is not None:
        looked = _look(cache, judge, [explainer.requests(latent, seed) for _, latent, seed in units], more)
    for (repeat, latent, seed), replies in zip(units, looked.replies, strict=True):
        sources = {a: done.get((a, repeat), {}) for a in explainer.after}
        mine = done.setdefault((label, repeat), {})
        if latent.id in mine or replies is None or any(len(s) < len(plan.latents) for s in sources.values()):
            continue
        mine[latent.id] = explainer.read(latent, replies, seed, sources)
    if judge is None:
        return []
    again = _behind(looked, type(explainer).more is not Explainer.more, "latents")
    return [_line(f"explain {label}", judge, looked, cache, again)]


def _judging(plan: Plan, scorer_label: str, judge_label: str, done: Explanations, cache: ReplyCache) -> str:
    scorer, judge = plan.scorers[scorer_label], plan.judges[judge_label]
    trials, unknown = [], 0
    for label in plan.explainers:
        for repeat in range(plan.spec.repeats):
            for latent in plan.latents:
                explanation = done.get((label, repeat), {}).get(latent.id)
                if explanation is None:
                    unknown += 1
                elif explanation.text is not None:
                    trials += trials_of(plan.spec, repeat, scorer, latent, explanation.text)

    def more(i: int, replies: list[Reply]) -> list[Request]:
        return scorer.more(trials[i], judge.can, replies)

    looked = _look(cache, judge, [scorer.requests(trial, judge.can) for trial in trials], more)
    again = _behind(looked, type(scorer).more is not Scorer.more, "questions")
    owed = f"{unknown} explanations are not known yet, and the calls about them not counted." if unknown else ""
    return _line(f"judge {scorer_label} · {judge_label}", judge, looked, cache, again, owed)
