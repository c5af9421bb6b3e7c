"""`bench coder`: train, evaluate and check coders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Coders: train, evaluate, check.", no_args_is_help=True)


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Training recipe (YAML).")],
    corpus: Annotated[Path, typer.Option(help="Text to train on: JSONL with a `text` field, .gz or not.")],
    out: Annotated[Path, typer.Option(help="Folder for the coder folders.")],
    minutes: Annotated[
        float | None, typer.Option(help="Stop after this long instead of at the recipe's tokens.")
    ] = None,
) -> None:
    """Train all coders of a recipe in one pass of the subject (needs the `train` extra)."""
    from latentbench.lab.coders.coder_training import train as start

    start(recipe, corpus, out, minutes, say=typer.echo)


@app.command()
def evaluate(
    coder: Annotated[list[Path], typer.Argument(help="Coder folders.")],
    corpus: Annotated[Path, typer.Option(help="The corpus of the recipe; its held-out part is read.")],
    tokens: Annotated[int, typer.Option(help="Held-out tokens to measure on.")] = 100_000,
) -> None:
    """Measure FVU, L0, dead latents and recovered loss on held-out text, and write the model cards."""
    from latentbench.lab.coders.coder_evaluation import evaluate_folders

    evaluate_folders(coder, corpus, tokens, say=typer.echo)
