"""`bench scorer`: whether the metrics of a scoring method measure what they say."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.kernel.files import write_text
from latentbench.views.terminal import plain_console, say

app = typer.Typer(help="Audit the metrics of scorers.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Audit the metrics of scorers."""


@app.command()
def audit(
    scorers: Annotated[list[str], typer.Argument(help="Scorers to audit, by name or YAML file.")],
    suite: Annotated[str, typer.Option(help="Planted suite, by name or folder.")] = "planted-1",
    limit: Annotated[int | None, typer.Option(help="Largest number of latents to audit on.")] = None,
    prevalence: Annotated[
        float, typer.Option(min=0, max=1, callback=finite, help="Share of positives of a rare latent.")
    ] = 0.001,
    out: Annotated[Path | None, typer.Option(help="Markdown page that the result is written to.")] = None,
) -> None:
    """Say which metrics notice wrong labels.

    Half of the true labels are dropped in one test; as many false ones are added in the other.
    """
    from datetime import UTC, datetime

    from latentbench.analysis.qualify.audit import audit as measure
    from latentbench.analysis.qualify.audit import audit_table, markdown
    from latentbench.scorers.scorer import load_scorer
    from latentbench.suites.store import load_suite

    console, loaded, found = plain_console(), load_suite(suite), {}
    for name in scorers:
        scorer = load_scorer(name)
        found[scorer.id] = measure(scorer, loaded, limit, prevalence)
        console.print(audit_table(scorer.id, found[scorer.id]).terminal(console.width))
    if out is not None:
        extra = "".join(
            f" --{k} {v}"
            for k, v, default in (
                ("suite", suite, "planted-1"),
                ("limit", limit, None),
                ("prevalence", prevalence, 0.001),
            )
            if v != default
        )
        command = f"bench scorer audit {' '.join(scorers)}{extra} --out {out}"
        write_text(out, markdown(found, command, datetime.now(UTC).date().isoformat()))
        say(f"written: {out}", err=True)
