"""`bench --help` answers at once: target below 0.3 s, of which the interpreter and the import of typer are a part."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import Figure


def _run(*words: str) -> None:
    subprocess.run([sys.executable, *words], check=True, capture_output=True)


def test_help(figure: Figure, tmp_path: Path) -> None:
    figure(
        "`bench --help` against an interpreter that imports typer and stops",
        own=lambda _: _run("-m", "latentbench", "--help"),
        bare=lambda _: _run("-c", "import typer"),
        target="< 0.3 s",
        shown="cost",
        clock="cpu",
        unit="s",
        rounds=8,
    )
