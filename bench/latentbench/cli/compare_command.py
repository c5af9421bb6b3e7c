"""`bench compare`: two runs side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text


def compare(
    run_a: Annotated[Path, typer.Argument(help="Run folder.")],
    run_b: Annotated[Path, typer.Argument(help="Run folder that is compared with it.")],
    across: Annotated[
        list[str] | None,
        typer.Option(help="Part whose difference is what is compared: judge, scorer or suite. May be repeated."),
    ] = None,
    smallest: Annotated[float, typer.Option(help="Smallest difference that matters, in units of the headline.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Folder for compare.md and compare.csv.")] = None,
) -> None:
    """Paired differences of two runs by latent: interval, p and a verdict + - ~ x."""
    from rich.console import Console

    from latentbench.analysis.compare import compare as paired
    from latentbench.analysis.compare_view import compare_csv, compare_page
    from latentbench.runs.record import load_run

    a, b = load_run(run_a), load_run(run_b)
    found = paired(a, b, across=across or (), smallest=smallest, seed=seed)
    page, console = compare_page(found, a.id, b.id), Console()
    console.print(page.terminal(console.width))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        write_text(out / "compare.md", page.markdown())
        write_text(out / "compare.csv", compare_csv(found))
        typer.echo(f"written: {out}/compare.md, .csv", err=True)
