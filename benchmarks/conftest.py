"""`figure`: a speed as a ratio to the bare physical work beside it, in turns. README.md beside this file says how to add one.

What a figure means, what it should be and how it is measured again stand in the benchmark itself and travel in
pytest-benchmark's `extra_info`; `report.py` only lays them out and compares them. Both sides run in every round and the order
alternates, because the speed of a shared machine changes from minute to minute, and the unit is a round's ratio. Seconds of one
side are kept to give a size.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Literal, Protocol

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

ROUNDS = 6
"""Rounds of a figure; `bench speed` believes no bound of fewer than five pairs."""

Side = Callable[[int], float | None]
"""The work of a round, by its number; returns its seconds where only a part of it counts."""


class Figure(Protocol):
    """What the fixture `figure` is; see there."""

    def __call__(
        self,
        what: str,
        own: Side,
        bare: Side,
        *,
        target: str = "",
        shown: Literal["speed", "cost"] = "speed",
        clock: Literal["wall", "cpu"] = "wall",
        bare_times: float = 1.0,
        amount: float = 0.0,
        unit: str = "",
        rounds: int = ROUNDS,
    ) -> list[float]: ...


def cpu_seconds() -> float:
    """Processor seconds of this process and of the children that it waited for."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in used)


@pytest.fixture
def figure(benchmark: BenchmarkFixture, request: pytest.FixtureRequest) -> Figure:
    """Measure a figure.

    The function that it gives takes:
        what: the figure in words, as the page's row has it.
        own: the work as this package does it.
        bare: the physical work that cannot be avoided, on the same data.
        target: what it should be, in words; "" for none.
        shown: `speed`, bare time / own time, 1 is as fast as the bare work; or `cost`, own time / bare time.
        clock: of the wall, or of the processor, the steadier one for work of one thread.
        bare_times: how often the bare work would have to be done to match the own one.
        amount, unit: what one round of the own side gets through, for a rate beside the ratio.
        rounds: how many.

    It returns the ratios own / bare of the rounds, one unmeasured round of each side before them.
    """

    def measured(
        what: str,
        own: Side,
        bare: Side,
        *,
        target: str = "",
        shown: Literal["speed", "cost"] = "speed",
        clock: Literal["wall", "cpu"] = "wall",
        bare_times: float = 1.0,
        amount: float = 0.0,
        unit: str = "",
        rounds: int = ROUNDS,
    ) -> list[float]:
        read = time.perf_counter if clock == "wall" else cpu_seconds
        seconds: dict[str, list[float]] = {"own": [], "bare": []}

        def one(side: str, number: int) -> None:
            started = read()
            said = own(number) if side == "own" else bare(number)
            spent = read() - started if said is None else said
            seconds[side].append(spent if side == "own" else spent * bare_times)

        def all_rounds() -> None:
            # Round 0 is not counted: caches, compiled kernels and imports.
            for number in range(rounds + 1):
                for side in ("own", "bare") if number % 2 else ("bare", "own"):
                    one(side, number)

        benchmark.pedantic(all_rounds, rounds=1, iterations=1)
        kept = {side: found[1:] for side, found in seconds.items()}
        ratios = [a / b for a, b in zip(kept["own"], kept["bare"], strict=True)]
        benchmark.extra_info["figure"] = {
            "what": what,
            "target": target,
            "shown": shown,
            "clock": clock,
            "command": f"pytest {request.node.nodeid} --benchmark-only -s",
            "amount": amount,
            "unit": unit,
            **kept,
        }
        print(f"\n{what}: {median(ratios):.3f} of the bare time ({', '.join(f'{r:.3f}' for r in ratios)})")
        return ratios

    return measured
