"""`bench run`, `resume`, `track`, `report`: carry out a grid, go on with it, log it again, look at it (or at a study)."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from latentbench.cli.final_table import show_table
from latentbench.cli.given_command import given
from latentbench.kernel import stopping
from latentbench.kernel.outcome import Outcome
from latentbench.views.terminal import plain_console, say, tell

if TYPE_CHECKING:
    from rich.console import Console

    from latentbench.runs.record import RunRecord

Cache = Annotated[
    Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="ADDRESS",
        help="Ray cluster whose workers compute: local, auto or HOST:PORT, and ?workers=N&cpus=N&gpus=N behind it.",
    ),
]
NoTrack = Annotated[bool, typer.Option("--no-track", help="Do not log to MLflow now; `bench track` does it later.")]
T = TypeVar("T")
CAUSES = 5
"""Reasons for missing answers that are printed when a run ends."""


def run(
    context: typer.Context,
    spec: Annotated[
        str, typer.Argument(help="Run spec (YAML) to carry out, or the name of a shipped one, such as demo.")
    ],
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME-TIME by default.")] = None,
    cache: Cache = None,
    ray: Ray = None,
    no_track: NoTrack = False,
) -> None:
    """Run a grid of explainers x scorers x judges on a suite."""
    from latentbench.kernel.crew import crew
    from latentbench.kernel.tasks import spec_file
    from latentbench.runs.run import start

    path, console = spec_file("runs", spec), plain_console(err=True)
    with crew(ray):
        folder, record = stoppable(
            cache, lambda created: start(path, out, cache, console, created, given(context)), ray, not no_track
        )
    show_table(folder)
    finish(folder, record, console, not no_track)


def resume(
    run: Annotated[Path, typer.Argument(help="Folder of the run to go on with.")],
    retry: Annotated[
        list[Outcome] | None,
        typer.Option(
            help="Outcome that is asked again, too, such as parse; its stored replies are forgotten. May be repeated."
        ),
    ] = None,
    cache: Cache = None,
    ray: Ray = None,
    no_track: NoTrack = False,
) -> None:
    """Go on with a run that was stopped, or ask again what failed."""
    from latentbench.kernel.crew import crew
    from latentbench.runs.run import resume as go_on

    console = plain_console(err=True)
    stopping.hint(how_to_go_on(run, cache, ray))
    if not no_track:
        _open_mlflow()
    try:
        with crew(ray):
            record = go_on(run, cache, console, retry or [])
    except KeyboardInterrupt:
        interrupted([run], cache, ray)
    unread = record.totals.count([Outcome.PARSE]) if record.totals and Outcome.PARSE not in (retry or []) else 0
    if unread:
        how = resuming(run, cache, "--retry", "parse")
        said = f"{unread:,} explanations and judgements could not be read; to ask again: {how}"
        tell(console, said)
    show_table(run)
    finish(run, record, console, not no_track)


def track(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run.")],
    uri: Annotated[
        str | None,
        typer.Option(help="URI of the MLflow store; by default MLFLOW_TRACKING_URI, else SQLite under mlruns/."),
    ] = None,
    per_coder: Annotated[
        bool, typer.Option("--per-coder", help="Also log a run of MLflow for every coder, below the whole run.")
    ] = False,
) -> None:
    """Log a finished run to MLflow, once more if need be.

    A run that was logged before is updated, not duplicated.
    """
    from latentbench.analysis.people.people_track import track as log
    from latentbench.kernel.errors import RunError

    result = log(run, uri=uri, per_coder=per_coder)
    if not result.ok:
        raise RunError(f"not logged: {result.message}")
    say(f"logged to {result.shown}: one run with {len(result.children)} below it, {result.traces} traces")
    for note in result.notes:
        say(note)


def report(
    folder: Annotated[Path, typer.Argument(metavar="RUN_OR_STUDY", help="Folder of a run or of a study.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for report.html; that of the run or study by default.")
    ] = None,
) -> None:
    """Write the self-contained HTML page of a run or a study."""
    # By name, because the studies import torch, which the page of a run does without.
    if (folder / "study.json").exists():
        from latentbench.lab.studies.study_page import write_report as write_study_report

        say(write_study_report(folder, out))
        return
    from latentbench.leaderboards.run_page import write_report

    say(write_report(folder, out=out))


def how_to_go_on(folder: Path, cache: Path | None, ray: str | None = None) -> str:
    """The sentence with the command that goes on with a run."""
    return f"Go on with: {resuming(folder, cache, *(['--ray', ray] if ray else []))}"


def resuming(folder: Path, cache: Path | None, *options: str) -> str:
    """The command that goes on with a run."""
    from latentbench.judges.cache.reply_database import database_url

    # Without its own cache the run would pay again for what it has not written yet. An address taken for a path has lost a slash.
    own = ["--cache", database_url(cache) or str(cache)] if cache else []
    return shlex.join(["bench", "resume", str(folder), *options, *own])


def stoppable(
    cache: Path | None, work: Callable[[Callable[[Path], None]], T], ray: str | None = None, tracked: bool = False
) -> T:
    """What a new run gives; ends the command where it is stopped, and says how it goes on.

    Args:
        work: carries the run out; what it is given is to be told the folder as soon as the run can be resumed.
        tracked: MLflow is opened meanwhile.
    """
    made: list[Path] = []

    def created(folder: Path) -> None:
        made.append(folder)
        stopping.hint(how_to_go_on(folder, cache, ray))
        if tracked:
            _open_mlflow()

    try:
        return work(created)
    except KeyboardInterrupt:
        interrupted(made, cache, ray)


def _open_mlflow() -> None:
    from latentbench.tracking.opened_ahead import open_ahead

    open_ahead()


def interrupted(folder: list[Path], cache: Path | None, ray: str | None = None) -> NoReturn:
    """Say how a stopped run goes on, and end the command."""
    from latentbench.runs.ledger import total

    said = f"{stopping.word()}."
    if folder:
        spent = total(folder[0])
        said += f" {spent.calls:,} calls have been paid for and are kept." if spent else ""
        said += f" {how_to_go_on(folder[0], cache, ray)}"
    say(said, err=True)
    raise typer.Exit(stopping.exit_code())


def finish(folder: Path, record: RunRecord, console: Console, tracked: bool) -> None:
    """Write the page of a run, log it, and say what failed; ends the command where more failed than is allowed."""
    from latentbench.leaderboards.run_page import write_report
    from latentbench.panels.panel_table import agreement, read_opinions

    page = write_report(folder)
    if tracked:
        from latentbench.analysis.people.people_track import track as log

        result = log(folder)
        tell(console, f"MLflow: {result.shown if result.ok else result.message}")
    for line in agreement(read_opinions(folder)):
        tell(console, line)
    causes = list((record.totals.causes if record.totals else {}).items())
    for cause, n in causes[:CAUSES]:
        # In a terminal a message goes on under its beginning; in a file it stays a line.
        width = console.width if console.is_terminal else 10_000
        tell(console, _hanging(f"{n:>7,} ", cause, width))
    if causes[CAUSES:]:
        tell(console, f"{sum(n for _, n in causes[CAUSES:]):>7,} for other reasons")
    rate, allowed = record.failure_rate or 0.0, record.spec.max_failures
    tell(console, f"run: {folder}\nreport: {page}")
    if rate > allowed:
        say(
            f"{rate:.1%} of the explanations and judgements failed; allowed are {allowed:.1%} (max_failures). {_counts(record)}",
            err=True,
        )
        raise typer.Exit(1)


def _hanging(head: str, text: str, width: int) -> str:
    """A text behind its head, wrapped between words where a terminal ends; an address stays whole."""
    from textwrap import fill

    room = max(40, width - 1)
    behind = " " * len(head)
    return fill(
        text, room, initial_indent=head, subsequent_indent=behind, break_long_words=False, break_on_hyphens=False
    )


def _counts(record: RunRecord) -> str:
    """What the rate is of: explanations and judgements apart, each by outcome."""
    if record.totals is None:
        return ""
    tables = {"Explanations": record.totals.explanations, "Judgements": record.totals.judgements}
    return " ".join(
        f"{name}: {', '.join(f'{n:,} {outcome}' for outcome, n in counts.items() if n)}."
        for name, counts in tables.items()
    )
