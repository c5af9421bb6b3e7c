"""A small run, and the same published on a leaderboard, for tests that edit either and give commands."""

from __future__ import annotations

from pathlib import Path

from latentbench.cli import app
from latentbench.kernel.errors import BenchError
from latentbench.runs.run import start
from rich.console import Console
from typer.testing import CliRunner


def bench(*words: object) -> tuple[int, str]:
    """Exit code and message of a command, as `latentbench.cli.main` gives them."""
    done = CliRunner().invoke(app, list(map(str, words)))
    if isinstance(done.exception, BenchError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


def carried_out(spec: str, place: Path) -> Path:
    """The folder of a finished run of a spec, which is YAML."""
    (place / "spec.yaml").write_text(spec, encoding="utf-8")
    folder, _ = start(place / "spec.yaml", place / "run", place / "replies.sqlite", Console(quiet=True))
    return folder


def published(run: Path, place: Path) -> Path:
    """A folder of published results that has this run."""
    root = place / "leaderboards"
    code, said = bench("leaderboard", run, "--out", root.parent, "--submit", root)
    assert code == 0, said
    return root
