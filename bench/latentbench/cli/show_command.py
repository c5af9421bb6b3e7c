"""`bench show`: one latent of a finished run, with what was asked about it and what came back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import plain_console


def show(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    latent: Annotated[str, typer.Argument(help="Id of one of its latents, such as res9/1537.")],
    explainer: Annotated[
        list[str] | None, typer.Option(help="Only this explainer, by its label in the run. May be repeated.")
    ] = None,
    scorer: Annotated[
        list[str] | None, typer.Option(help="Only this scorer, by its label in the run. May be repeated.")
    ] = None,
    words: Annotated[
        bool, typer.Option("--words", help="Also show prompts, replies and reasoning, as they were.")
    ] = False,
    whole: Annotated[
        bool, typer.Option("--all", help="Leave nothing out: all windows, calls, repeats and characters.")
    ] = False,
    suite: Annotated[
        Path | None, typer.Option(help="Folder of the suite that the run used; found by its name by default.")
    ] = None,
) -> None:
    """Show one latent of a run.

    Its windows, its explanations with every score, and what the judge said of each window.
    """

    from latentbench.leaderboards.latent_terminal import ShownParts, latent_shown
    from latentbench.runs.finished import load_run, suite_of

    found = load_run(run, per_token=True)
    choice = ShownParts(tuple(explainer or ()), tuple(scorer or ()), whole, words)
    plain_console().print(latent_shown(found, latent, suite_of(found, suite), choice))
