"""The ranked table at the end of a run, as `bench leaderboard` prints it."""

from __future__ import annotations

from pathlib import Path

from latentbench.views.terminal import plain_console, say


def show_table(folder: Path) -> None:
    """Print the tables of a run that has ended; a run on other than test latents is marked in their heads.

    What keeps a table from being made ends no command: the run has ended, and its numbers are on disk.
    """
    from latentbench.kernel.errors import BenchError
    from latentbench.leaderboards.board_page import board_page
    from latentbench.leaderboards.ranked_runs import rank
    from latentbench.runs.finished import load_runs

    try:
        ranked = rank(load_runs([folder]), any_split=True)
    except BenchError as e:
        say(f"no table: {e}", err=True)
        return
    if ranked.tables:
        console = plain_console()
        console.print(board_page(ranked.tables, ranked.remarks).terminal(console.width))
