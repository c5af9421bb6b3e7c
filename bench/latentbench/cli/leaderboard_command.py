"""`bench leaderboard`: rank what was run, and keep committed results and their rendering in step."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text
from latentbench.views.terminal import plain_console, say


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
    recompute: Annotated[
        bool,
        typer.Option(
            help="Compute all scores again from the judgements, about a millisecond per latent and cell. --submit always does."
        ),
    ] = True,
    windows: Annotated[
        bool,
        typer.Option(
            "--windows",
            help="Also show scores by how many activating windows a latent has, and write windows.csv: each latent's score with "
            "its standard error. About a tenth of a second per latent and cell.",
        ),
    ] = False,
) -> None:
    """Print a leaderboard of runs and write it to files.

    The files are leaderboard.md, .csv and .json. A run whose tables are not those that it wrote, or whose scores are not those of
    its judgements, is refused.
    """

    from latentbench.leaderboards.board_page import board_page
    from latentbench.leaderboards.export import to_csv, to_json
    from latentbench.leaderboards.few_windows import windowed_scores, windows_blocks, windows_csv
    from latentbench.leaderboards.ranked_runs import rank
    from latentbench.leaderboards.results import add_results, render
    from latentbench.runs.finished import load_runs
    from latentbench.views.page import Page

    if render_only is not None:
        say(f"rendered: {render(render_only)}")
        return
    if check is not None:
        say(f"{render(check, check=True)} is up to date")
        return
    if not runs:
        raise typer.BadParameter("name at least one run folder, or use --render or --check", param_hint="RUNS")
    twice = sorted({str(folder) for folder in runs if [f.resolve() for f in runs].count(folder.resolve()) > 1})
    if twice:
        say(f"named more than once, ranked once: {', '.join(twice)}", err=True)
    ranked = rank(
        load_runs(runs), paired=paired, by_coder=by_coder, any_split=tune, recompute=recompute or submit is not None
    )
    console = plain_console()
    page = board_page(ranked.tables, ranked.remarks)
    console.print(page.terminal(console.width))
    folder = out or runs[0]
    faces = {
        "md": page.markdown(),
        "csv": to_csv(ranked.tables, ranked.reruns),
        "json": to_json(ranked.tables, ranked.reruns),
    }
    for name, text in faces.items():
        write_text(folder / f"leaderboard.{name}", text)
    if windows:
        held = [row for run in ranked.runs for row in windowed_scores(run)]
        console.print(Page("", windows_blocks(held)).terminal(console.width))
        write_text(folder / "windows.csv", windows_csv(held))
    values = sum(one.values for one in ranked.found.values())
    if values:
        say(f"checked: {values:,} scores computed again from their judgements", err=True)
    say(f"written: {folder}/leaderboard.md, .csv, .json{' and windows.csv' if windows else ''}", err=True)
    if submit is not None:
        for path in add_results(ranked.rows, submit):
            say(f"added: {path}", err=True)
        say(f"rendered: {render(submit)}", err=True)
