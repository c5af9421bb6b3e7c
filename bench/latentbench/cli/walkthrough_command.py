"""`bench walkthrough`: a sentence of one's own, and the latents that fire in it, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import check_writable, write_text
from latentbench.views.terminal import plain_console, say


def walkthrough(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose explanations and scores are shown.")],
    sentence: Annotated[str, typer.Argument(help="Sentence that the subject reads.")],
    per_coder: Annotated[int, typer.Option(min=1, help="Number of latents to show of each coder.")] = 3,
    coder: Annotated[
        list[str] | None, typer.Option(help="Only this coder of the run; all by default. May be repeated.")
    ] = None,
    explainer: Annotated[
        str, typer.Option(help="Explainer whose texts are shown; the first that is no floor by default.")
    ] = "",
    suite: Annotated[Path | None, typer.Option(help="Folder of the suite, where it is not found by its name.")] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for walkthrough.json, .md, .png and .svg; the run's folder by default.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the walkthrough of another sentence.")] = False,
) -> None:
    """Show which latents of a run fire in a sentence, layer by layer.

    Each is shown with its explanation, its scores and their floor. The subject runs over the sentence once; no judge is asked.
    """

    from latentbench.analysis.walkthrough.sentence_walk import check_sentence, write_walk
    from latentbench.analysis.walkthrough.walk_figure import walk_figure
    from latentbench.analysis.walkthrough.walk_of_run import walk_run
    from latentbench.analysis.walkthrough.walk_page import walk_page
    from latentbench.kernel.errors import RunError, UnknownName
    from latentbench.kernel.extras import command as install
    from latentbench.kernel.extras import installed
    from latentbench.runs.finished import load_run, suite_of
    from latentbench.views.figure import write

    finished = load_run(run)
    if explainer and explainer not in finished.record.explainers:
        raise UnknownName(f"explainer of run {finished.id}", explainer, list(finished.record.explainers))
    found = suite_of(finished, suite)
    if found is None:
        raise RunError(
            f"the suite of {run} ({finished.record.suite.id}) is not here, and without it nothing says what to run. "
            "Give its folder: --suite FOLDER"
        )
    folder = out or run
    check_writable(folder)
    if not force:
        check_sentence(folder, sentence)
    walk = walk_run(finished, found, sentence, per_coder, coder or ())
    console = plain_console()
    console.print(walk_page(walk, explainer).terminal(console.width))
    write_walk(folder, walk)
    drawn = installed("matplotlib")
    written = write(walk_figure(walk, explainer), folder / "walkthrough") if drawn else []
    write_text(folder / "walkthrough.md", walk_page(walk, explainer, written[0].name if drawn else "").markdown())
    say(f"written: {folder}/walkthrough.json, .md{', .png, .svg' if drawn else ''}", err=True)
    if not drawn:
        say(f"the figure was not drawn, because matplotlib is not installed: {install('matplotlib')}", err=True)
