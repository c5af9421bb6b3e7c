"""`bench --help` answers at once: target below 0.3 s, of which the interpreter itself takes a part."""

from __future__ import annotations

import subprocess
import sys


def _seconds(benchmark, *words: str) -> None:  # type: ignore[no-untyped-def]
    benchmark.pedantic(
        lambda: subprocess.run([sys.executable, *words], check=True, capture_output=True), rounds=10, warmup_rounds=2
    )


def test_help(benchmark):
    _seconds(benchmark, "-m", "latentbench", "--help")


def test_bare_interpreter(benchmark):
    _seconds(benchmark, "-c", "pass")
