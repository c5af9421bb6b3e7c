"""How much of a demo is spent in its judges, and how much before, between and after their calls.

A judge in this process computes in a thread of its own, and the threads take turns, so the time in their calls is time in models
(and their tokenizers). What is left is loading, trials, journals, tables, the page and MLflow. A sampling profiler from outside
is the tempting way; on two cores it sees a thread mostly when that thread does not compute.

    OMP_NUM_THREADS=2 python benchmarks/demo_share.py --cache new.sqlite
"""

from __future__ import annotations

import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from latentbench.cli import main
from latentbench.judges.judge import Worker

T = TypeVar("T")


@dataclass
class Calls:
    """Seconds since the program began, of the calls of each judge."""

    begun: float = field(default_factory=time.perf_counter)
    spent: dict[str, list[tuple[float, float]]] = field(default_factory=lambda: defaultdict(list))

    def watch(self) -> None:
        """Note the calls of all judges that compute in this process from now on."""
        run = Worker.run

        async def watched(worker: Worker, work: Callable[[threading.Event], T]) -> T:
            def noted(stop: threading.Event) -> T:
                first = time.perf_counter() - self.begun
                try:
                    return work(stop)
                finally:
                    name = threading.current_thread().name.rpartition("_")[0]
                    self.spent[name].append((first, time.perf_counter() - self.begun))

            return await run(worker, noted)

        Worker.run = watched  # type: ignore[method-assign, assignment]

    def table(self) -> str:
        """The shares as text."""
        whole = time.perf_counter() - self.begun
        calls = [call for own in self.spent.values() for call in own]
        computed = sum(last - first for first, last in calls)
        first, last = min(c[0] for c in calls), max(c[1] for c in calls)
        lines = [f"{name}: {sum(b - a for a, b in own):.1f} s in {len(own)} calls" for name, own in self.spent.items()]
        lines.append(f"before the first call {first:.1f} s, after the last {whole - last:.1f} s, whole {whole:.1f} s")
        lines.append(
            f"in judges {computed / whole:.2f} of all, {computed / (last - first):.2f} from first call to last"
        )
        return "\n".join(lines)


if __name__ == "__main__":
    seen = Calls()
    seen.watch()
    sys.argv = ["bench", "demo", *sys.argv[1:]]
    try:
        main()
    finally:
        print(seen.table())
