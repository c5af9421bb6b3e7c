"""One model behind several judges: are the judgements the same, and how many requests a second does each answer?

Questions about planted latents are asked of every judge in turn, one after the other so that none has to share the cores, and
compared value by value with the first one's. Printed are tables in Markdown.

    python benchmarks/serving.py --latents 4 transformers:MODEL?dtype=float32 vllm:MODEL?dtype=float32 ...
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from latentbench.explainers.planted_truth import text_of
from latentbench.judges.judge import Judge
from latentbench.judges.received import received
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Outcome, Reply
from latentbench.scorers.scorer import Judgement, load_scorer
from latentbench.suites.store import load_suite

FEW = {"positives": 4, "negatives": 4}
SCORERS = {
    "detection": {"use": "detection", "params": FEW},
    "detection, list": {"use": "detection", "preset": "paper", "params": {**FEW, "windows_per_prompt": 4}},
    "fuzzing": {"use": "fuzzing", "params": FEW},
    "intruder": {"use": "intruder", "params": {"groups": 2, "trials": 2}},
    "surprisal": {"use": "surprisal", "params": FEW},
    "simulation": {"use": "simulation", "preset": "paper", "params": {"positives": 2, "negatives": 2}},
}


@dataclass(frozen=True)
class Found:
    """What one judge did with one scorer's questions."""

    judgements: list[Judgement]
    replies: list[Reply]
    seconds: float


async def asked(judge: Judge, scorer_spec: dict[str, object], latents: int) -> Found:
    """Ask one judge everything that one scorer asks about the first latents, all at once."""
    scorer = load_scorer(scorer_spec)
    trials, requests, sizes = [], [], []
    for latent in load_suite("planted-1").latents()[:latents]:
        told = text_of(json.loads(latent.row["truth"]), "truth")
        for trial in scorer.trials(latent, told, 0):
            own = scorer.requests(trial, judge.can)
            trials.append(trial)
            requests += own
            sizes.append(len(own))
    started = time.perf_counter()
    replies = await judge.answer(requests)
    seconds = time.perf_counter() - started
    rest = iter([received(judge, request, reply) for request, reply in zip(requests, replies, strict=True)])
    judgements = [
        j for t, n in zip(trials, sizes, strict=True) for j in scorer.parse(t, [next(rest) for _ in range(n)])
    ]
    return Found(judgements, replies, seconds)


def furthest(pairs: Sequence[tuple[float | None, float | None]]) -> str:
    """Largest difference of two columns, `-` where there is nothing to compare."""
    both = [abs(a - b) for a, b in pairs if a is not None and b is not None]
    return f"{max(both):.1e}" if both else "-"


def row(name: str, reference: Found, found: Found) -> str:
    """One judge beside the first one, under one scorer."""
    pairs = list(zip(reference.judgements, found.judgements, strict=True))
    equal = sum((a.outcome, a.answer) == (b.outcome, b.answer) for a, b in pairs)
    read = [
        pair
        for a, b in zip(reference.replies, found.replies, strict=True)
        for pair in zip(_logs(a), _logs(b), strict=False)
    ]
    texts = [a.text == b.text for a, b in zip(reference.replies, found.replies, strict=True) if a.text is not None]
    tokens = [pair for a, b in pairs for pair in zip(a.token_scores or (), b.token_scores or (), strict=False)]
    answered = sum(j.outcome is Outcome.OK for j in found.judgements)
    same = f"{sum(texts)}/{len(texts)}" if texts else "-"
    cells = [
        name,
        str(len(found.replies)),
        f"{answered}/{len(pairs)}",
        f"{len(found.replies) / found.seconds:.2f}",
        f"{equal}/{len(pairs)}",
        same,
        furthest([(a.score, b.score) for a, b in pairs]),
        furthest(tokens),
        furthest(read),
    ]
    return f"| {' | '.join(cells)} |"


def _logs(reply: Reply) -> list[float]:
    if reply.logprobs is not None:
        return [value for slot in reply.logprobs for value in slot]
    return [reply.loglik] if reply.loglik is not None else []


async def main() -> None:
    """Parse the command line, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("judges", nargs="+", help="references; the first is what the others are compared with")
    parser.add_argument("--latents", type=int, default=4)
    parser.add_argument("--scorers", nargs="+", default=list(SCORERS), choices=list(SCORERS))
    given = parser.parse_args()
    found: dict[str, dict[str, Found]] = {name: {} for name in given.scorers}
    for reference in given.judges:
        started = time.perf_counter()
        judge = load_judge(reference)
        print(f"{reference}: loaded in {time.perf_counter() - started:.0f} s", flush=True)
        for name in given.scorers:
            found[name][reference] = await asked(judge, SCORERS[name], given.latents)
            print(f"  {name}: {found[name][reference].seconds:.1f} s", flush=True)
        await judge.close()
    for name, own in found.items():
        print(f"\n{name}\n")
        print(
            "| judge | requests | answered | requests/s | same answer | same text | score | token score | log-probability |"
        )
        print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
        for reference in given.judges:
            print(row(reference.partition(":")[0], own[given.judges[0]], own[reference]))


if __name__ == "__main__":
    asyncio.run(main())
