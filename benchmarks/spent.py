"""What a piece of work cost this process: seconds of the wall, seconds of the processor, and memory at its highest.

Read by both sides of `beside_delphi`, so it imports nothing but the standard library. Memory is the high-water mark of this
process' own address space: `getrusage` would give a child that of the parent that started it, where the parent was larger.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


class Spent:
    """Seconds of some work.

    Attributes:
        wall, cpu: seconds; the processor's are those of all threads of this process.
    """

    wall = cpu = 0.0


@contextmanager
def timed() -> Iterator[Spent]:
    """Count what happens inside."""
    spent = Spent()
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield spent
    finally:
        spent.wall, spent.cpu = time.perf_counter() - wall, time.process_time() - cpu


def peak_mb(what: str = "VmHWM") -> float:
    """Largest resident memory of this process so far, in MB; with `VmRSS` that of now."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"), re.MULTILINE)
    return int(found[1]) / 1000 if found else float("nan")


def tell(**numbers: object) -> None:
    """The last line that a process prints, for the one that started it."""
    print(json.dumps(numbers), flush=True)
