"""A run at an endpoint against that endpoint alone: what planning, explaining and judging in their order cost beside the calls.

The endpoint is another process on this machine that holds so many calls at once and answers each after a fixed time, every
sixteenth after four times as long: a run that waits for the slowest call of a batch, an explainer or a scorer leaves places
empty. What it can do at most is the sum of its answers' times over its places.

    pytest benchmarks/test_flow_speed.py --benchmark-only -s
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml
from latentbench.runs.run import start
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
