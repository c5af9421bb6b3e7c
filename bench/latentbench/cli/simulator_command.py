"""`bench simulator`: train and evaluate simulator judges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Simulator judges: train, evaluate.", no_args_is_help=True)

Corpus = Annotated[Path, typer.Option(help="Text: JSONL with `text` and `source`, .gz or not.")]
WordNet = Annotated[
    Path | None, typer.Option(help="Folder of WordNet's files (Debian: wordnet-base); surface rules alone without it.")
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda.")]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Training recipe (YAML).")],
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Folder of the simulator; a killed run goes on from there.")],
    wordnet: WordNet = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="Of the frozen base: bfloat16 or float32.")] = "bfloat16",
) -> None:
    """Train a simulator on rules over text, calibrate it, and report its held-out figures."""
    from latentbench.lab.simulator.simulator_training import train as start

    start(recipe, corpus, wordnet, out, device, dtype, say=typer.echo)


@app.command()
def evaluate(
    simulator: Annotated[Path, typer.Argument(help="Folder of a trained simulator.")],
    recipe: Annotated[Path, typer.Option(help="The recipe that it was trained with: it says what was held out.")],
    corpus: Corpus,
    wordnet: WordNet = None,
    examples: Annotated[int, typer.Option(help="Held-out descriptions.")] = 600,
    device: Device = "auto",
) -> None:
    """Measure AUROC and calibration on held-out concepts, and write the model card beside the weights."""
    from latentbench.lab.simulator.simulator_card import evaluate_folder

    evaluate_folder(simulator, recipe, corpus, wordnet, examples, device, say=typer.echo)
