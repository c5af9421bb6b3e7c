"""`bench study`: the tables and figures of the paper, as studies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import plain_console, say


def study(
    names: Annotated[
        list[str] | None, typer.Argument(help="Names of the studies; without one they are listed.")
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Carry out every study.")] = False,
    size: Annotated[
        str, typer.Option(help="Profile that sets how large a study is: embedded, large, or a YAML file of your own.")
    ] = "embedded",
    out: Annotated[Path, typer.Option(help="Folder for the studies' tables, figures and pages.")] = Path(
        "runs/studies/results"
    ),
    work: Annotated[Path, typer.Option(help="Folder for suites and runs, kept between calls.")] = Path("runs/studies"),
    again: Annotated[bool, typer.Option("--again", help="Carry out again what is done already.")] = False,
    index: Annotated[bool, typer.Option("--index", help="Only render the pages and the index of --out again.")] = False,
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
    ] = None,
    activations: Annotated[Path | None, typer.Option(help="Folder for activations; the user cache by default.")] = None,
    ratings: Annotated[
        Path | None,
        typer.Option(help="Ratings by people (CSV, JSON lines) for the study human; those of its run by default."),
    ] = None,
) -> None:
    """Carry out studies and write their tables and figures.

    Each study builds its suites, makes its runs, and leaves a table, a figure and a page.
    """

    from latentbench.lab.studies.study_spec import load_study, studies

    chosen = list(studies()) if all_ else names or []
    if not chosen and not index:
        for name in studies():
            say(f"{name:<26} {load_study(name)[1].title}")
        return
    from latentbench.lab.studies.series import PEOPLE, run_studies, write_index

    if index:
        path, refused = write_index(out)
        say(f"rendered: {path}")
        for name, what in refused.items():
            say(f"not rendered: {name}: {what}; make it again with `bench study {name} --again`", err=True)
        if refused:
            raise typer.Exit(1)
        return
    console = plain_console(err=True)
    if all_ and ratings is None:
        # A study that nobody has rated would end every series with an error.
        left = [name for name in chosen if load_study(name)[1].kind == PEOPLE]
        chosen = [name for name in chosen if name not in left]
        for name in left:
            say(f"left out: {name}: it needs ratings of people (bench study {name})", err=True)
    failed = run_studies(
        chosen, size, out, work, console, cache=cache, activations=activations, again=again, ratings=ratings
    )
    say(f"written: {out}")
    if failed:
        for name, message in failed.items():
            say(f"not done: {name}: {message}", err=True)
        raise typer.Exit(1)
