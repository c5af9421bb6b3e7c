"""`bench tune`: search for better prompts, example counts and sampling, and say whether it helped."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel import stopping
from latentbench.views.terminal import plain_console, say, tell


def tune(
    spec: Annotated[
        str, typer.Argument(help="Tuning spec (YAML) to carry out, or the name of a shipped one, such as embedded.")
    ],
    out: Annotated[Path | None, typer.Option(help="Folder of the search; runs/tune-NAME by default.")] = None,
    storage: Annotated[
        str | None,
        typer.Option(
            envvar="LATENTBENCH_STUDY_STORAGE",
            help="Storage of the trials: journal:FILE, or the URL of a database; SQLite in the search's folder by default.",
        ),
    ] = None,
    join: Annotated[bool, typer.Option("--join", help="Help with a search that was begun elsewhere.")] = False,
    trials: Annotated[int | None, typer.Option(min=1, help="Trials of the search, instead of the spec's.")] = None,
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
    ] = None,
    no_holdout: Annotated[bool, typer.Option("--no-holdout", help="Do not compare on held-out latents yet.")] = False,
    no_track: Annotated[bool, typer.Option("--no-track", help="Do not log to MLflow.")] = False,
) -> None:
    """Search for better settings of a run.

    Settings are tried on tuning latents, and the winner is compared with the default on held-out ones. The same command
    goes on with a search that was stopped.
    """

    from latentbench.kernel.tasks import spec_file
    from latentbench.tuning.summary import chance, verdict
    from latentbench.tuning.tune import TuneRequest
    from latentbench.tuning.tune import tune as start

    console = plain_console(err=True)
    asked = TuneRequest(spec_file("tuning", spec), out, storage, join, trials, cache, not no_holdout)
    try:
        result = start(asked, console)
    except KeyboardInterrupt:
        say(f"{stopping.word()}. The same command goes on with the search.", err=True)
        raise typer.Exit(stopping.exit_code()) from None
    if result is None:
        return
    folder = Path(result["folder"])
    for sentence in (verdict(result), chance(result)):
        if sentence:
            say(sentence)
    if not no_track:
        from latentbench.tuning.tune_track import track

        logged = track(folder)
        tell(console, f"MLflow: {logged.shown if logged.ok else logged.message}")
    tell(console, f"search: {folder}\nreport: {folder / 'report.html'}")
    if not result["winners"]:
        say(f"no setting finished within the constraints ({result['stopped']}).", err=True)
        raise typer.Exit(1)
