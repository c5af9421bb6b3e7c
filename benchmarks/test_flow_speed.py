"""A run at an endpoint against that endpoint alone: what planning, explaining and judging in their order cost beside the calls.
And one call in processor time, which another job on the machine does not change: through judge and reply cache against httpx.

The endpoint is another process on this machine that holds so many calls at once and answers each after a fixed time, every
sixteenth after four times as long: a run that waits for the slowest call of a batch, an explainer or a scorer leaves places
empty. What it can do at most is the sum of its answers' times over its places.

    pytest benchmarks/test_flow_speed.py --benchmark-only -s
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.cache.replies import ReplyCache
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Capability, Chat
from latentbench.runs.run import start
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite
from pytest_benchmark.fixture import BenchmarkFixture
from rich.console import Console

from benchmarks.slow_endpoint import Pace, slow_endpoint

PACE = Pace(places=8, seconds=0.4)
FEW = {"positives": 2, "negatives": 2}
SPEC = {
    "name": "flow",
    "suite": "planted-1",
    "limit": 32,
    "keep": "none",
    "scorers": [{"use": name, "preset": "single", "params": FEW} for name in ("detection", "fuzzing")],
}


def share_of_the_endpoint(folder: Path) -> float:
    """Time of the endpoint's calls, as many under way as there are places, over the time from the first call to the last."""
    with slow_endpoint(PACE) as server:
        served = f"openai:m?base_url={server.url}&concurrency={PACE.places}"
        explainers: list[dict[str, Any]] = [
            {"use": "llm", "label": f"llm{n}", "params": {"n_examples": n}, "model": served} for n in (5, 9)
        ]
        explainers.append({"use": "shuffled", "params": {"of": "llm5"}})
        spec = SPEC | {"explainers": explainers, "judges": [{"use": served, "label": "served"}]}
        (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
        start(folder / "spec.yaml", folder / "run", folder / "cache.sqlite", Console(quiet=True))
        ended = time.monotonic()
    # The first call tries the endpoint, before the run.
    seconds = ended - server.times[1]
    alone = sum(server.waits) / PACE.places
    print(f"{len(server.waits):,} calls in {seconds:.1f} s, tables included; the endpoint alone takes {alone:.1f} s")
    return alone / seconds


def test_a_run_keeps_its_endpoint_busy(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    share = benchmark.pedantic(lambda: share_of_the_endpoint(tmp_path), rounds=1, iterations=1)
    benchmark.extra_info.update(ratio=round(share, 2), target=">= 0.9 of the endpoint's own throughput")
    print(benchmark.extra_info)


def questions() -> list[Chat]:
    """Some 120 different questions of detection, with their examples."""
    scorer = load_scorer({"use": "detection", "preset": "single", "params": {"positives": 8, "negatives": 8}})
    trials = [trial for view in load_suite("planted-1").latents()[:8] for trial in scorer.trials(view, "names", 0)]
    asked = [r for trial in trials for r in scorer.requests(trial, frozenset([Capability.CHAT]))]
    return list({r.messages: r for r in asked if isinstance(r, Chat)}.values())


async def through_the_judge(url: str, places: int, asked: Sequence[Chat], cache: Path) -> None:
    """Ask as a run does, all at once."""
    judge = CachedJudge(load_judge(f"openai:m?base_url={url}&concurrency={places}"), ReplyCache(cache))
    replies = await judge.answer(asked)
    assert all(reply.ok and not reply.cached for reply in replies)
    await judge.close()
    judge.cache.close()


async def bare(url: str, places: int, asked: Sequence[Chat]) -> None:
    """Post the same messages, as many at once."""
    left = [[{"role": m.role, "content": m.content} for m in request.messages] for request in asked]
    async with httpx.AsyncClient() as client:

        async def post() -> None:
            while left:
                body = {"model": "m", "messages": left.pop(), "max_tokens": 1, "temperature": 0.0}
                response = await client.post(f"{url}/chat/completions", json=body)
                assert response.json()["choices"]

        await asyncio.gather(*(post() for _ in range(places)))


def cost_of_a_call(folder: Path, places: int) -> float:
    """Processor time of calls through the judge over that of bare ones, after one round of each that is not counted."""
    asked = questions()
    spent = {"judge": 0.0, "bare": 0.0}
    with slow_endpoint(Pace(places, 0.02)) as server:
        for turn in range(4):
            started = time.process_time()
            asyncio.run(through_the_judge(server.url, places, asked, folder / f"{turn}.sqlite"))
            between = time.process_time()
            asyncio.run(bare(server.url, places, asked))
            if turn:
                spent["judge"] += between - started
                spent["bare"] += time.process_time() - between
    each = {name: 1000 * seconds / (3 * len(asked)) for name, seconds in spent.items()}
    print(f"{places} places: {each['judge']:.2f} ms of processor time a call, httpx alone {each['bare']:.2f}")
    return spent["judge"] / spent["bare"]


@pytest.mark.parametrize("places", [8, 64])
def test_a_call_through_the_judge_beside_a_bare_one(benchmark: BenchmarkFixture, tmp_path: Path, places: int) -> None:
    cost = benchmark.pedantic(lambda: cost_of_a_call(tmp_path, places), rounds=1, iterations=1)
    benchmark.extra_info.update(ratio=round(cost, 2), places=places)
    print(benchmark.extra_info)
