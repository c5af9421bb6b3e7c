"""`bench agreement`: whether the scorers of a run rank explanations alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text


def agreement(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    explainer: Annotated[
        list[str] | None,
        typer.Option(help="Only explanations of this explainer; all that are no floor by default. May be repeated."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for agreement.md, .csv, .png and .svg; the run's by default.")
    ] = None,
) -> None:
    """Correlate the scorers (and judges) of a run over its explanations."""
    from rich.console import Console

    from latentbench.analysis.agreement import SHOWN
    from latentbench.analysis.agreement import agreement as correlate
    from latentbench.analysis.agreement_view import agreement_csv, agreement_markdown, agreement_terminal
    from latentbench.runs.record import load_run
    from latentbench.views.heatmap import heatmap, save

    found = correlate(load_run(run), explainer)
    Console().print(agreement_terminal(found))
    folder = out or run
    folder.mkdir(parents=True, exist_ok=True)
    written = save(heatmap([found.matrices[kind] for kind in SHOWN]), folder / "agreement.png")
    write_text(folder / "agreement.md", agreement_markdown(found, written[0].name))
    write_text(folder / "agreement.csv", agreement_csv(found))
    typer.echo(f"written: {folder}/agreement.md, .csv, .png, .svg", err=True)
