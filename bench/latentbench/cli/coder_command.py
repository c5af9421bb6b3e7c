"""`bench coder`: check, train and evaluate coders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.views.terminal import say

app = typer.Typer(help="Check, train and evaluate coders.", no_args_is_help=True)


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


@app.command()
def check(
    coder: Annotated[
        str, typer.Argument(help="Folder or hub id of the coder, or with --sae-id a release of sae-lens.")
    ],
    subject: Annotated[
        str | None, typer.Option(help="Model that the coder reads; the one that its folder names by default.")
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Text to measure on: JSONL with a `text` field, or a text file; sampled text by default."),
    ] = None,
    coder_format: Annotated[
        str | None, typer.Option("--format", help="Format of the coder; found by looking at the folder by default.")
    ] = None,
    sae_id: Annotated[str | None, typer.Option(help="Id within the release of sae-lens.")] = None,
    hookpoint: Annotated[
        str | None, typer.Option(help="Place where the coder reads; the one that its folder names by default.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=64, help="Largest number of tokens to measure on.")] = 4096,
    context: Annotated[int, typer.Option(min=8, help="Number of tokens per context.")] = 128,
    bos: Annotated[str, typer.Option(help="Start token in front: true, false, or auto, as in training.")] = "auto",
    as_is: Annotated[bool, typer.Option("--as-is", help="Feed activations as they are.")] = False,
    loss: Annotated[bool, typer.Option(help="Also measure the loss recovered.")] = True,
    dtype: Annotated[str, typer.Option(help="Number type of the subject: float32, bfloat16 or float16.")] = "float32",
    device: Annotated[str, typer.Option(help="Device to compute on: auto, cpu or cuda.")] = "auto",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure a coder beside what its file says.

    Some thousand tokens are read. Measured are shapes, places, L0, FVU, dead latents and recovered loss. The exit code is 2 if
    it cannot be used or is off by much.
    """
    import json

    from latentbench.kernel.errors import CoderError
    from latentbench.subject.coders.report_request import report_of
    from latentbench.views.terminal import plain_console

    report = report_of(
        coder,
        subject=subject,
        corpus=corpus,
        coder_format=coder_format,
        sae_id=sae_id,
        hookpoint=hookpoint,
        tokens=tokens,
        context=context,
        bos=bos,
        as_is=as_is,
        loss=loss,
        dtype=dtype,
        device=device,
    )
    if as_json:
        say(json.dumps(report.as_json(), indent=1, ensure_ascii=False))
    else:
        console = plain_console()
        console.print(report.table().terminal(console.width))
        for remark in report.remarks:
            say(f"warning: {remark}")
    if not report.ok:
        raise CoderError(" ".join(report.problems))
