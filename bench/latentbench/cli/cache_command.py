"""`bench cache`: what is in the reply cache, why a call missed it, and how to make it smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Look into the reply cache and make it smaller.", no_args_is_help=True)

At = Annotated[Path | None, typer.Option("--cache", help="File of the reply cache; the user's cache by default.")]


@app.command()
def stats(cache: At = None) -> None:
    """Count replies and bytes, by judge."""
    from latentbench.judges.cache.cached_judge import ReplyCache
    from latentbench.runs.run import default_cache

    path = cache or default_cache()
    typer.echo(f"{path}\n{ReplyCache(path).stats()}")


@app.command()
def prune(
    days: Annotated[float, typer.Argument(help="Replies older than this many days are dropped.")], cache: At = None
) -> None:
    """Drop replies that are older than a number of days."""
    from datetime import timedelta

    from latentbench.judges.cache.cached_judge import ReplyCache
    from latentbench.runs.run import default_cache

    typer.echo(f"dropped {ReplyCache(cache or default_cache()).prune(timedelta(days=days))} replies")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder, or run spec (YAML), whose next call is looked up.")],
    cache: At = None,
) -> None:
    """Say why the next call of a run is not in the cache.

    The answer is the part of the judge or of the request that differs from a stored one.
    """
    from latentbench.runs.cache_report import explain_misses
    from latentbench.runs.run import default_cache

    lines = explain_misses(run, cache)
    own = "" if cache else " (the user's cache; if the run had another, name it with --cache)"
    typer.echo(f"looked in {cache or default_cache()}{own}")
    for line in lines:
        typer.echo(line)
