"""Why a run would ask again what was asked before: the first call of each kind that the cache does not hold.

One answer per explainer and per scorer x judge, because the thousand calls behind it miss for the same reason.
"""

from __future__ import annotations

from pathlib import Path

from bench.harness.explain import Explanations, stored
from bench.harness.plan import Plan, explain_seed, judge_seed
from bench.harness.records import Journal
from bench.harness.run import default_cache, prepare
from bench.harness.spec import load_run_spec
from bench.judges.base import Judge, Request, request_key
from bench.judges.replies import ReplyCache


def explain_misses(run: Path, cache_path: Path | None) -> list[str]:
    """One line per explainer and per scorer x judge.

    Args:
        run: a run folder, or a run spec; a spec has no explanations yet, so its scorers are looked up for the explainers that
            ask no model.
        cache_path: the user cache by default.

    Raises:
        BenchError: the spec is wrong, or the cache cannot be read.
    """
    folder = run if run.is_dir() else None
    spec_path = run / "spec.yaml" if folder else run
    base = run.parent if folder is None else _base(run)
    cache = ReplyCache(cache_path or default_cache())
    plan = prepare(load_run_spec(spec_path), base, None)
    done = stored(Journal(folder / "explanations.jsonl")) if folder else {}
    lines = [
        _line(f"explain {label}", plan.judges[plan.models[label]], _explaining(plan, label), cache)
        for label in plan.models
    ]
    _free_explanations(plan, done)
    for scorer, judge in dict.fromkeys((c.scorer, c.judge) for c in plan.cells):
        lines.append(_line(f"judge {scorer} · {judge}", plan.judges[judge], _judging(plan, scorer, judge, done), cache))
    return lines


def _base(folder: Path) -> Path:
    from bench.harness.run import read_run

    return Path(read_run(folder)["base"])


def _line(name: str, judge: Judge, requests: list[Request], cache: ReplyCache) -> str:
    keys = [request_key(judge.identity, r, judge.reads_truth) for r in requests]
    found = cache.get(keys)
    missing = [r for r, k in zip(requests, keys, strict=True) if k not in found]
    counts = f"{name}: {len(keys) - len(missing)} of {len(keys)} calls are stored"
    if not missing:
        return counts
    return f"{counts}; first miss: {cache.explain_miss(judge.identity, missing[0], judge.reads_truth)}"


def _explaining(plan: Plan, label: str) -> list[Request]:
    explainer = plan.explainers[label]
    return [
        request
        for latent in plan.latents
        for request in explainer.requests(latent, explain_seed(plan.spec.seed, 0, explainer, latent))
    ]


def _free_explanations(plan: Plan, done: Explanations) -> None:
    """Add the explanations that cost nothing and are not there yet."""
    for label, explainer in plan.explainers.items():
        if label in plan.models or any((a, 0) not in done for a in explainer.after):
            continue
        others = {a: done[(a, 0)] for a in explainer.after}
        mine = done.setdefault((label, 0), {})
        for latent in plan.latents:
            if latent.id not in mine:
                seed = explain_seed(plan.spec.seed, 0, explainer, latent)
                mine[latent.id] = explainer.read(latent, [], seed, others)


def _judging(plan: Plan, scorer_label: str, judge_label: str, done: Explanations) -> list[Request]:
    scorer, judge = plan.scorers[scorer_label], plan.judges[judge_label]
    requests: list[Request] = []
    for label in plan.explainers:
        for latent in plan.latents:
            explanation = done.get((label, 0), {}).get(latent.id)
            if explanation is None or explanation.text is None:
                continue
            seed = judge_seed(plan.spec.seed, 0, scorer, latent)
            for trial in scorer.trials(latent, explanation.text, seed):
                requests += scorer.requests(trial, judge.can)
    return requests
