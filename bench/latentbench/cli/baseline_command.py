"""`bench baseline`: freeze a run, so that later ones can be compared with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Freeze runs as the baselines of `bench gate`.", no_args_is_help=True)


@app.command()
def freeze(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="JSON file that the baseline is written to.")],
    metric: Annotated[
        list[str] | None, typer.Option(help="Metric to keep beside the headlines. May be repeated.")
    ] = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Do not ask the judges; the gate then cannot see that one has changed.")
    ] = False,
) -> None:
    """Freeze a run to a small file.

    The file has per-latent scores, agreement, identities, coverage, cost and answers of the judges.
    """
    from latentbench.analysis.gate.baseline import write_baseline
    from latentbench.analysis.gate.gate import freeze as make

    baseline = make(run, metric or (), offline=offline)
    write_baseline(baseline, out)
    typer.echo(
        f"{out}: {len(baseline.scores)} rows, {len(baseline.latents)} latents, {len(baseline.probes)} probes, "
        f"{out.stat().st_size / 1e3:.0f} kB"
    )


@app.callback()
def _group() -> None:
    """Keeps `freeze` a word of its own: with a single command Typer would drop it."""
