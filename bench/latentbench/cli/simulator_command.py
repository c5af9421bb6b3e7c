"""`bench simulator`: train and evaluate simulator judges."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.views.terminal import say

app = typer.Typer(help="Train and evaluate simulator judges.", no_args_is_help=True)

Corpus = Annotated[Path, typer.Option(help="Text to read: JSONL with the fields `text` and `source`, .gz or not.")]
WordNet = Annotated[
    Path | None,
    typer.Option(help="Folder of WordNet's files (Debian: wordnet-base); without it there are only surface rules."),
]
Device = Annotated[str, typer.Option(help="Device to compute on: auto, cpu or cuda.")]


@app.command()
def train(
    recipe: Annotated[Path, typer.Argument(help="Training recipe of the simulator (YAML).")],
    corpus: Corpus,
    out: Annotated[Path, typer.Option(help="Folder for the simulator; a killed training goes on from there.")],
    wordnet: WordNet = None,
    device: Device = "auto",
    dtype: Annotated[str, typer.Option(help="Number type of the frozen base: bfloat16 or float32.")] = "bfloat16",
) -> None:
    """Train a simulator on rules over text and calibrate it.

    Its figures on held-out rules are reported.
    """
    from latentbench.lab.simulator.simulator_training import train as start

    start(recipe, corpus, wordnet, out, device, dtype, say=say)


@app.command()
def evaluate(
    simulator: Annotated[Path, typer.Argument(help="Folder of a trained simulator.")],
    recipe: Annotated[
        Path, typer.Option(help="Recipe that the simulator was trained with; it says what was held out.")
    ],
    corpus: Corpus,
    wordnet: WordNet = None,
    examples: Annotated[int, typer.Option(help="Number of held-out descriptions to test on.")] = 600,
    device: Device = "auto",
) -> None:
    """Measure a simulator on held-out concepts.

    AUROC and calibration go to the model card beside the weights.
    """
    from latentbench.lab.simulator.simulator_card import evaluate_folder

    evaluate_folder(simulator, recipe, corpus, wordnet, examples, device, say=say)
