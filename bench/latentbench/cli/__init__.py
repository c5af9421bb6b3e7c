"""The `bench` command: one file per group of commands, each thin.

Command modules import nothing heavy at the top; torch, transformers and mlflow are imported inside the functions that need
them, so that `bench --help` answers at once. Exit codes: 0 ok; 1 the run has failures above the allowed rate; 2 usage, bad
input or an endpoint that answers no call; 3 and 4 are verdicts of `bench gate`; 130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import sys

import typer

from latentbench.cli import (
    cache_command,
    coder_command,
    comparison_commands,
    endpoint_command,
    gate_command,
    judge_command,
    leaderboard_command,
    list_command,
    models_command,
    run_command,
    scorer_command,
    simulator_command,
    study_command,
    suite_command,
    tune_command,
)
from latentbench.kernel.errors import BenchError
from latentbench.kernel.stopping import stoppable
from latentbench.views.terminal import lenient, say

app = typer.Typer(
    name="bench",
    help="Benchmark explanations of sparse latents.\n\nExplainers, scorers and judges are crossed on frozen suites.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(suite_command.app, name="suite")
app.add_typer(gate_command.app, name="baseline")
app.add_typer(models_command.app, name="models")
app.add_typer(coder_command.app, name="coder")
app.add_typer(cache_command.app, name="cache")
app.add_typer(judge_command.app, name="judge")
app.add_typer(endpoint_command.app, name="endpoint")
app.add_typer(scorer_command.app, name="scorer")
app.add_typer(simulator_command.app, name="simulator")
app.command("run")(run_command.run)
app.command("resume")(run_command.resume)
app.command("track")(run_command.track)
app.command("report")(run_command.report)
app.command("leaderboard")(leaderboard_command.leaderboard)
app.command("gate")(gate_command.gate)
app.command("speed")(gate_command.speed)
app.command("study")(study_command.study)
app.command("compare")(comparison_commands.compare)
app.command("agreement")(comparison_commands.agreement)
app.command("reliability")(comparison_commands.reliability)
app.command("tune")(tune_command.tune)
app.command("list")(list_command.listing)


@stoppable
def main() -> None:
    """Entry point: errors of `latentbench.kernel.errors` become one message and their exit code."""
    lenient()
    try:
        app()
    except BenchError as e:
        say(f"error: {e}", err=True)
        sys.exit(e.exit_code)
    except KeyboardInterrupt:
        say("interrupted", err=True)
        sys.exit(130)
