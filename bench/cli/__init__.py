"""The `bench` command: one file per group of commands, each thin.

Command modules import nothing heavy at the top; torch, transformers and mlflow are imported inside the functions that need
them, so that `bench --help` answers at once. Exit codes: 0 ok; 1 the run has failures above the allowed rate; 2 usage or bad
input; 3 and 4 are verdicts of `bench gate`; 130 interrupted.
"""

from __future__ import annotations

import sys

import typer

from bench.cli import (
    agreement,
    baseline,
    cache,
    coder,
    compare,
    gate,
    judge,
    leaderboard,
    listing,
    models,
    reliability,
    run,
    scorer,
    simulator,
    study,
    suite,
    tune,
)
from bench.errors import BenchError

app = typer.Typer(
    name="bench",
    help="Benchmark explanations of sparse latents: explainers x scorers x judges on frozen suites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(suite.app, name="suite")
app.add_typer(baseline.app, name="baseline")
app.add_typer(models.app, name="models")
app.add_typer(coder.app, name="coder")
app.add_typer(cache.app, name="cache")
app.add_typer(judge.app, name="judge")
app.add_typer(scorer.app, name="scorer")
app.add_typer(simulator.app, name="simulator")
app.command("run")(run.run)
app.command("resume")(run.resume)
app.command("track")(run.track)
app.command("report")(run.report)
app.command("leaderboard")(leaderboard.leaderboard)
app.command("gate")(gate.gate)
app.command("speed")(gate.speed)
app.command("study")(study.study)
app.command("compare")(compare.compare)
app.command("agreement")(agreement.agreement)
app.command("reliability")(reliability.reliability)
app.command("tune")(tune.tune)
app.command("list")(listing.listing)


def main() -> None:
    """Entry point: errors of `bench.errors` become one message and their exit code."""
    try:
        app()
    except BenchError as e:
        print(f"error: {e}", file=sys.stderr)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
