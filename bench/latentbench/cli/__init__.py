"""The `bench` command: one file per group of commands, each thin.

Command modules import nothing heavy at the top; torch, transformers and mlflow are imported inside the functions that need
them, so that `bench --help` answers at once. Exit codes: 0 ok; 1 the run has failures above the allowed rate; 2 usage, bad
input, a full disk or an endpoint that answers no call; 3 and 4 are verdicts of `bench gate`; 70 an error that nobody foresaw,
with a report in a file; 130 stopped by Ctrl-C, 143 by SIGTERM; 141 nobody reads the output any more.
"""

from __future__ import annotations

import sys
import traceback
from asyncio import CancelledError
from typing import Annotated

import typer

from latentbench import __version__
from latentbench.cli import (
    cache_command,
    coder_command,
    comparison_commands,
    demo_command,
    describe_command,
    endpoint_command,
    export_command,
    gate_command,
    init_command,
    judge_command,
    leaderboard_command,
    list_command,
    models_command,
    power_command,
    rate_command,
    run_command,
    score_command,
    scorer_command,
    show_command,
    simulator_command,
    study_command,
    submit_command,
    suite_command,
    tune_command,
    view_command,
    walkthrough_command,
)
from latentbench.cli.failure import (
    DEBUG,
    FLAG,
    NOBODY_READS,
    failure_of,
    nobody_reads,
    silence,
    wants_debug,
    write_report,
)
from latentbench.cli.given_command import Remembering
from latentbench.cli.help_examples import PROGRAM, with_examples
from latentbench.kernel import stopping
from latentbench.views.terminal import lenient, say

app = typer.Typer(
    name="bench",
    cls=Remembering,
    help="Benchmark explanations of sparse latents.\n\nExplainers, scorers and judges are crossed on frozen suites.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=PROGRAM,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(suite_command.app, name="suite")
app.add_typer(gate_command.app, name="baseline")
app.add_typer(models_command.app, name="models")
app.add_typer(coder_command.app, name="coder")
app.add_typer(cache_command.app, name="cache")
app.add_typer(judge_command.app, name="judge")
app.add_typer(endpoint_command.app, name="endpoint")
app.add_typer(rate_command.app, name="rate")
app.add_typer(scorer_command.app, name="scorer")
app.add_typer(simulator_command.app, name="simulator")
app.command("demo")(demo_command.demo)
app.command("init")(init_command.init)
app.add_typer(submit_command.app, name="submit")
app.command("run")(run_command.run)
app.command("score")(score_command.score)
app.command("resume")(run_command.resume)
app.command("show")(show_command.show)
app.command("export")(export_command.export)
app.command("track")(run_command.track)
app.command("report")(run_command.report)
app.command("view")(view_command.view)
app.command("leaderboard")(leaderboard_command.leaderboard)
app.command("gate")(gate_command.gate)
app.command("speed")(gate_command.speed)
app.command("study")(study_command.study)
app.command("compare")(comparison_commands.compare)
app.command("agreement")(comparison_commands.agreement)
app.command("reliability")(comparison_commands.reliability)
app.command("walkthrough")(walkthrough_command.walkthrough)
app.command("power")(power_command.power)
app.command("tune")(tune_command.tune)
app.command("list")(list_command.listing)
app.command("describe")(describe_command.describe)
with_examples(app)


def _version(asked: bool) -> None:
    if asked:
        say(f"latentbench {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and stop.")
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            FLAG, help=f"Print tracebacks of errors; may stand behind a command, too. {DEBUG}=1 does the same."
        ),
    ] = False,
) -> None:
    """Take the options of every command; `main` has read them before."""


@stopping.stoppable
def main() -> None:
    """Entry point: whatever ends a command becomes one message and its exit code (`latentbench.cli.failure`)."""
    words = sys.argv[:]
    debug = wants_debug(sys.argv)
    lenient()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except typer.Abort:
        code = _stopped()
    except BaseException as e:
        code = _ended(e, words, debug)
    sys.exit(code if isinstance(code, int) else 0)


def _ended(error: BaseException, words: list[str], debug: bool) -> int:
    """Say why a command ended; returns its exit code."""
    if nobody_reads(error):
        silence()
        return NOBODY_READS
    if isinstance(error, SystemExit):
        raise error
    if isinstance(error, KeyboardInterrupt | CancelledError):
        return _stopped()
    if hasattr(error, "show") and hasattr(
        error, "exit_code"
    ):  # a usage error of Click, of which Typer has its own copy
        error.show()
        return int(error.exit_code)
    if debug:
        traceback.print_exception(error)
    failure = failure_of(error)
    say(f"error: {failure.message}", err=True)
    if failure.reported:
        report = write_report(error, words)
        kept = f"Its traceback is in {report}; please send that file in." if report else "No report could be written."
        say(f"This should not have happened. {kept} ({FLAG} prints the traceback.)", err=True)
    return failure.code


def _stopped() -> int:
    say(stopping.word(), err=True)
    return stopping.exit_code()
