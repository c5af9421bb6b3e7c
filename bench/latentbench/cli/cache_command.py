"""`bench cache`: what is in the reply cache, why a call missed it, and how to make it smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="The reply cache.", no_args_is_help=True)

At = Annotated[Path | None, typer.Option("--cache", help="Cache file; the user cache by default.")]


@app.command()
def stats(cache: At = None) -> None:
    """Count replies and bytes, by judge."""
    from latentbench.judges.cache.cached_judge import ReplyCache
    from latentbench.runs.run import default_cache

    path = cache or default_cache()
    typer.echo(f"{path}\n{ReplyCache(path).stats()}")


@app.command()
def prune(
    days: Annotated[float, typer.Argument(help="Drop replies that are older than this.")],
    cache: At = None,
) -> None:
    """Drop old replies."""
    from datetime import timedelta

    from latentbench.judges.cache.cached_judge import ReplyCache
    from latentbench.runs.run import default_cache

    typer.echo(f"dropped {ReplyCache(cache or default_cache()).prune(timedelta(days=days))} replies")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder or run spec (YAML).")],
    cache: At = None,
) -> None:
    """Say why the next call of a run is not in the cache: which part of the judge or request differs from a stored one."""
    from latentbench.runs.cache_report import explain_misses

    for line in explain_misses(run, cache):
        typer.echo(line)
