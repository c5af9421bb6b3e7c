"""`bench reliability`: what a score depends on besides the latent."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.kernel.files import write_text


def reliability(
    spec: Annotated[
        Path, typer.Argument(help="Reliability spec (YAML): a run spec with explainer_seeds, draws, orders.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the runs; runs/NAME by default. Runs that are there already are continued."),
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Reply cache (SQLite); the user cache by default.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of the resamples behind the intervals.")] = 0,
) -> None:
    """Repeat a run and say what its scores depend on.

    It is repeated over draws, explainer seeds, orders and judges. The report has variance components, test-retest
    correlations and the stability of the top k.
    """
    from rich.console import Console

    from latentbench.analysis.reliability import as_json
    from latentbench.analysis.reliability import reliability as carry_out
    from latentbench.analysis.reliability_spec import load_reliability_spec
    from latentbench.analysis.reliability_view import reliability_csv, reliability_page
    from latentbench.kernel.files import write_json

    folder = out or Path("runs") / load_reliability_spec(spec).name
    found = carry_out(spec, folder, cache, Console(stderr=True), seed=seed)
    page, console = reliability_page(found), Console()
    console.print(page.terminal(console.width))
    write_text(folder / "reliability.md", page.markdown())
    write_text(folder / "reliability.csv", reliability_csv(found))
    write_json(folder / "reliability.json", as_json(found))
    typer.echo(f"written: {folder}/reliability.md, .csv, .json", err=True)
