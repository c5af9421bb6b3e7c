"""`bench coder`: train and evaluate coders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.views.terminal import say

app = typer.Typer(help="Train and evaluate coders.", no_args_is_help=True)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Training recipe of the coders (YAML).")],
    corpus: Annotated[Path, typer.Option(help="Text to train on: JSONL with a `text` field, .gz or not.")],
    out: Annotated[Path, typer.Option(help="Folder that gets one folder per coder.")],
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0,
            callback=finite,
            help="Training stops after this many minutes instead of at the recipe's number of tokens.",
        ),
    ] = None,
) -> None:
    """Train all coders of a recipe in one pass of the subject.

    Training needs the `train` extra.
    """
    from latentbench.lab.coders.coder_training import train as start

    start(recipe, corpus, out, minutes, say=say)


@app.command()
def evaluate(
    coder: Annotated[list[Path], typer.Argument(help="Folders of the coders to evaluate.")],
    corpus: Annotated[Path, typer.Option(help="Corpus of the recipe; only its held-out part is read.")],
    tokens: Annotated[int, typer.Option(help="Number of held-out tokens to measure on.")] = 100_000,
) -> None:
    """Measure coders on held-out text and write their cards.

    Measured are FVU, L0, dead latents and recovered loss.
    """
    from latentbench.lab.coders.coder_evaluation import evaluate_folders

    evaluate_folders(coder, corpus, tokens, say=say)
