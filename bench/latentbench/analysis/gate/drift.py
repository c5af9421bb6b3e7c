"""Is the judge still the judge? The same requests, asked live when the baseline is frozen and when it is compared.

A served model changes behind its name, a quantised one with its kernels, a local one with a default of its library. Then scores
move though nothing under test did. The requests are kept whole in the baseline, so a changed prompt does not look like a changed
judge, and they never go through the reply cache, which would answer for a judge that is gone.

The distance of two answers is in [0, 1]: total variation for choices, probabilities for simulators, 1 - cosine for vectors, nats
per token for likelihoods, equal or not for texts. A judge that samples differs from itself; how much is measured when the
baseline is frozen, by asking twice.
"""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from latentbench.analysis.gate.baseline import Probe
from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault
from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import Chat, Choice, Continuation, Embed, Reply, Request, Simulate
from latentbench.kernel.trial import untold
from latentbench.runs.finished import Run
from latentbench.runs.judging import trial_exchange, trials_of
from latentbench.runs.plan import Plan
from latentbench.views.number import rounded

PER_MEASURE = 6
"""Latents asked about, per scorer and judge."""
ROUNDS = 2
"""Times that every probe is asked when a baseline is frozen."""

KINDS: dict[str, type] = {kind.__name__: kind for kind in (Chat, Choice, Continuation, Embed, Simulate)}

Answer = Mapping[str, Any]


def probes(run: Run, plan: Plan) -> list[tuple[str, Request]]:
    """(judge label, request) of a few questions of the run, spread over its latents; each request once per judge.

    Args:
        plan: of the run, with its judges loaded.
    """
    table = run.explanations
    first = table[(table["repeat"] == 0) & table["text"].notna()]
    texts: dict[tuple[str, str], str] = {
        (e, latent): text for e, latent, text in zip(first["explainer"], first["latent"], first["text"], strict=True)
    }
    labels = [label for label, e in plan.explainers.items() if not e.is_floor] or list(plan.explainers)
    found: dict[tuple[str, str], tuple[str, Request]] = {}
    for scorer_label, judge_label in dict.fromkeys((c.scorer, c.judge) for c in plan.cells):
        scorer, judge = plan.asking[scorer_label, judge_label], plan.judges[judge_label]
        explained = [x for x in plan.latents if (labels[0], x.id) in texts]
        places = (
            {round(i * (len(explained) - 1) / (PER_MEASURE - 1)) for i in range(PER_MEASURE)} if explained else set()
        )
        for latent in (explained[i] for i in sorted(places)):
            trials = trials_of(plan.spec, 0, scorer, latent, texts[(labels[0], latent.id)])
            first_trial = [] if isinstance(trials, Fault) else trials[:1]
            for request in (r for trial in first_trial for r in trial_exchange(scorer, trial, judge.can).asking[:2]):
                if type(request).__name__ in KINDS:
                    found.setdefault((judge_label, digest(request)), (judge_label, _bare(request, judge)))
    return list(found.values())


def ask_probes(
    asked: Sequence[tuple[str, Request]], judges: Mapping[str, Judge]
) -> tuple[list[Probe], dict[str, float]]:
    """Probes with the judges' answers, and for each judge how far its own answers lie apart."""
    answers: dict[str, list[list[Answer]]] = {}
    for label in dict.fromkeys(label for label, _ in asked):
        own = [r for name, r in asked if name == label]
        answers[label] = asyncio.run(_answers(judges[label], own, ROUNDS))
    noise = {
        label: round(max(mean_distance(rounds[0], other) for other in rounds[1:]), 4)
        for label, rounds in answers.items()
    }
    queue = {label: iter(rounds[0]) for label, rounds in answers.items()}
    stored: dict[str, Probe] = {}
    for label, request in asked:
        kept = stored.setdefault(
            digest(request), Probe(kind=type(request).__name__, request=json.loads(canonical(request)), answers={})
        )
        kept.answers[label] = dict(next(queue[label]))
    return list(stored.values()), noise


def distances(frozen: Sequence[Probe], judges: Mapping[str, Judge]) -> dict[str, float]:
    """Mean distance of each judge's answers now to those in the baseline; judges that are not given are left out."""
    found = {}
    for label, judge in judges.items():
        own = [p for p in frozen if label in p.answers]
        if own:
            (now,) = asyncio.run(_answers(judge, [request_of(p) for p in own], 1))
            found[label] = mean_distance([p.answers[label] for p in own], now)
    return found


def mean_distance(a: Sequence[Answer], b: Sequence[Answer]) -> float:
    """Mean of `distance` over pairs of answers."""
    return sum(map(distance, a, b)) / len(a) if a else 0.0


def distance(a: Answer, b: Answer) -> float:
    """How far two answers to one request lie apart, in [0, 1]; see the module docstring. Different outcomes are 1 apart."""
    if a["outcome"] != b["outcome"]:
        return 1.0
    if "logprobs" in a:
        slots = [_variation(x, y) for x, y in zip(a["logprobs"], b["logprobs"], strict=True)]
        return sum(slots) / len(slots)
    if "windows" in a:
        x, y = (np.concatenate([np.ravel(v["windows"]), *map(np.ravel, v["tokens"])]) for v in (a, b))
        return float(np.abs(x - y).mean())
    if "vector" in a:
        x, y = np.asarray(a["vector"], np.float64), np.asarray(b["vector"], np.float64)
        norm = float(np.linalg.norm(x) * np.linalg.norm(y)) if x.shape == y.shape else 0.0
        return min(1.0, max(0.0, 1 - float(x @ y) / norm)) if norm else 1.0
    if "loglik" in a:
        return min(1.0, abs(float(a["loglik"]) - float(b["loglik"])) / max(1, int(a["n_tokens"])))
    return float(a.get("text") != b.get("text"))


def request_of(probe: Probe) -> Request:
    """The request of a stored probe.

    Raises:
        KeyError: of a kind that probes never have.
    """
    request: Request = TypeAdapter(KINDS[probe.kind]).validate_python(probe.request)
    return request


def answer_of(reply: Reply) -> Answer:
    """What is kept of a reply, floats cut to six digits."""
    fields = {
        "text": reply.text,
        "logprobs": reply.logprobs,
        "loglik": reply.loglik,
        "n_tokens": reply.n_tokens,
        "tokens": reply.tokens,
        "windows": reply.windows,
        "vector": None if reply.vector is None else [round(v, 4) for v in reply.vector.astype(float).tolist()],
    }
    kept: dict[str, Any] = rounded({k: v for k, v in fields.items() if v is not None})
    return {"outcome": reply.outcome.value, **kept}


async def _answers(judge: Judge, requests: Sequence[Request], rounds: int) -> list[list[Answer]]:
    return [[answer_of(r) for r in await judge.answer(requests)] for _ in range(rounds)]


def _variation(x: Sequence[float], y: Sequence[float]) -> float:
    """Total variation of two sets of answers' probabilities, renormalised over the answers."""
    p, q = (np.exp(np.asarray(v, np.float64) - max(v)) for v in (x, y))
    found = float(np.abs(p / p.sum() - q / q.sum()).sum() / 2)
    return found if math.isfinite(found) else 1.0


def _bare(request: Request, judge: Judge) -> Request:
    """Without the right answers, unless the judge is a mock that reads them."""
    if judge.reads_truth or isinstance(request, Embed):
        return request
    if isinstance(request, Simulate):
        return Simulate(untold(request.trial))
    if isinstance(request, Chat | Choice | Continuation) and request.trial is not None:
        return replace(request, trial=untold(request.trial))
    return request
