"""`bench compare`: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text


def compare(
    run_a: Annotated[Path, typer.Argument(help="Folder of the first run.")],
    run_b: Annotated[Path, typer.Argument(help="Folder of the run that is compared with the first.")],
    across: Annotated[
        list[str] | None,
        typer.Option(
            help="Part in which the runs may differ, because it is what is compared: judge, scorer or suite. May be repeated."
        ),
    ] = None,
    smallest: Annotated[float, typer.Option(help="Smallest difference that matters, in units of the headline.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Seed of the bootstrap resamples.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md and compare.csv.")] = None,
) -> None:
    """Print the differences of two runs, paired by latent.

    Each difference has an interval, a p-value and a verdict: + - ~ x.
    """
    from rich.console import Console

    from latentbench.analysis.compare import compare as paired
    from latentbench.analysis.compare_view import compare_csv, compare_page
    from latentbench.runs.finished import load_run

    a, b = load_run(run_a), load_run(run_b)
    found = paired(a, b, across=across or (), smallest=smallest, seed=seed)
    page, console = compare_page(found, a.id, b.id), Console()
    console.print(page.terminal(console.width))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "compare.md", page.markdown())
        write_text(out / "compare.csv", compare_csv(found))
        typer.echo(f"written: {out}/compare.md, .csv", err=True)
