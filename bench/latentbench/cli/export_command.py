"""`bench export`: a finished run in another tool's layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import say


def export(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run.")],
    to: Annotated[str, typer.Option(help="Layout: neuronpedia, delphi, saebench, hf, csv or inspect.")],
    out: Annotated[Path, typer.Option(help="Folder to write, which must not exist.")],
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this explainer. May be repeated; by default all, without floors in neuronpedia, delphi and saebench."
        ),
    ] = None,
    repeat: Annotated[int, typer.Option(min=0, help="Repeat that layouts with one text per latent get, from 0.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace a folder that an export has written.")] = False,
) -> None:
    """Write a run in the layout of another tool."""
    from latentbench.exchange.exporting import export as write

    written = write(run, to, out, tuple(explainer or ()), repeat, force)
    for note in written.notes:
        say(note, err=True)
    say(f"written: {written.folder} ({written.files:,} files)")
