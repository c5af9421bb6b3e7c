"""`bench agreement`: whether the scorers of a run rank explanations alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text


def agreement(
    run: Annotated[Path, typer.Argument(help="Folder of the run whose scorers are compared.")],
    explainer: Annotated[
        list[str] | None,
        typer.Option(
            help="Only explanations of this explainer count; by default all that are no floor. May be repeated."
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder for agreement.md, .csv, .png and .svg; the run's folder by default.")
    ] = None,
) -> None:
    """Correlate the scorers and judges of a run.

    They are correlated over the explanations that they scored.
    """
    from rich.console import Console

    from latentbench.analysis.agreement import SHOWN
    from latentbench.analysis.agreement import agreement as correlate
    from latentbench.analysis.agreement_view import agreement_csv, agreement_page
    from latentbench.runs.finished import load_run
    from latentbench.views.figure import write
    from latentbench.views.heatmap import heatmap

    found = correlate(load_run(run), explainer)
    console = Console()
    console.print(agreement_page(found).terminal(console.width))
    folder = out or run
    folder.mkdir(parents=True, exist_ok=True)
    written = write(heatmap([found.matrices[kind] for kind in SHOWN]), folder / "agreement")
    write_text(folder / "agreement.md", agreement_page(found, written[0].name).markdown())
    write_text(folder / "agreement.csv", agreement_csv(found))
    typer.echo(f"written: {folder}/agreement.md, .csv, .png, .svg", err=True)
