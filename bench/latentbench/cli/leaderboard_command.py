"""`bench leaderboard`: rank what was run, and keep committed results and their rendering in step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text
from latentbench.views.terminal import say


def leaderboard(
    runs: Annotated[list[Path] | None, typer.Argument(help="Folders of the runs to rank.")] = None,
    by_coder: Annotated[bool, typer.Option("--by-coder", help="Print one table per coder as well.")] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="Also show runs on latents outside the test split, marked as such.")
    ] = False,
    paired: Annotated[
        bool, typer.Option("--paired", help="Rank by paired differences, with Holm's correction.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for leaderboard.md, .csv and .json; the first run's folder by default.")
    ] = None,
    submit: Annotated[
        Path | None,
        typer.Option(
            help="Folder of published results (leaderboards) that the rows are added to and that is rendered again."
        ),
    ] = None,
    render_only: Annotated[
        Path | None, typer.Option("--render", help="Only render the README of this folder again from its results.")
    ] = None,
    check: Annotated[
        Path | None, typer.Option(help="Only check that the README of this folder is what its results render to.")
    ] = None,
) -> None:
    """Print a leaderboard of runs and write it to files.

    The files are leaderboard.md, .csv and .json.
    """
    from rich.console import Console

    from latentbench.leaderboards.board import tables
    from latentbench.leaderboards.board_page import board_page
    from latentbench.leaderboards.export import to_csv, to_json
    from latentbench.leaderboards.results import add_results, render
    from latentbench.leaderboards.row import read_rows
    from latentbench.runs.record import read_record

    if render_only is not None:
        say(f"rendered: {render(render_only)}")
        return
    if check is not None:
        say(f"{render(check, check=True)} is up to date")
        return
    if not runs:
        raise typer.BadParameter("name at least one run folder, or use --render or --check", param_hint="RUNS")
    rows = read_rows(runs, by_kind=True, by_coder=by_coder, any_split=tune)
    ranked = tables(rows, "pairs" if paired else "intervals")
    console = Console()
    unasked = [str(pair) for run in runs for pair in read_record(run).unasked]
    page = board_page(ranked, list(dict.fromkeys(unasked)))
    console.print(page.terminal(console.width))
    folder = out or runs[0]
    for name, text in (("md", page.markdown()), ("csv", to_csv(ranked)), ("json", to_json(ranked))):
        write_text(folder / f"leaderboard.{name}", text)
    say(f"written: {folder}/leaderboard.md, .csv, .json", err=True)
    if submit is not None:
        for path in add_results(rows, submit):
            say(f"added: {path}", err=True)
        say(f"rendered: {render(submit)}", err=True)
