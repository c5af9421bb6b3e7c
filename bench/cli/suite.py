"""`bench suite`: build, show and verify frozen suites."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Latent suites: build, show, verify.", no_args_is_help=True)


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(help="Suite recipe (YAML).")],
    out: Annotated[Path | None, typer.Option(help="Suite folder; the recipe's own folder by default.")] = None,
    work: Annotated[Path | None, typer.Option(help="Folder for activations; the user cache by default.")] = None,
) -> None:
    """Run the subject over the corpus, draw latents and windows, and freeze them."""
    from rich.console import Console

    from bench.spec import read_yaml
    from bench.suites.build import build_from_file
    from bench.suites.planted import build_planted

    data = read_yaml(recipe)
    if isinstance(data, dict) and data.get("kind") == "planted":
        built = build_planted(recipe, out)
    else:
        built = build_from_file(recipe, out, work, Console(stderr=True))
    typer.echo(f"{built.name}@{built.version}  digest {built.digest}  {built.path}")


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="Suite name or folder.")],
    latent: Annotated[str | None, typer.Option(help="Latent to show with its windows; the first by default.")] = None,
) -> None:
    """Show what a suite holds and one latent with its windows."""
    from rich.console import Console

    from bench.suites.show import show_suite
    from bench.suites.store import load_suite

    Console().print(show_suite(load_suite(name), latent))


@app.command()
def verify(
    name: Annotated[str, typer.Argument(help="Suite name or folder.")],
    activations: Annotated[bool, typer.Option("--activations", help="Also run the subject again on a sample.")] = False,
) -> None:
    """Recompute the digest and check every rule a suite promises; exit 2 if one is broken."""
    from bench.errors import DataError
    from bench.suites.store import load_suite
    from bench.suites.verify import verify as check

    report = check(load_suite(name), activations=activations)
    for line in report.lines:
        typer.echo(line)
    if not report.ok:
        raise DataError(f"{name}: {'; '.join(report.problems)}")
