"""`bench cache`: what is in the reply cache, why a call missed it, and how to make it smaller."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from latentbench.cli.finite import finite
from latentbench.kernel.outcome import Outcome
from latentbench.views.terminal import say

app = typer.Typer(help="Look into the reply cache and make it smaller.", no_args_is_help=True)

At = Annotated[
    Path | None,
    typer.Option(
        "--cache",
        help="Reply cache: a file, or a database postgresql://USER@HOST/DATABASE; the user's cache by default.",
    ),
]


def _there(path: Path) -> Path:
    """The file, which is not made by looking into it, or the database.

    Raises:
        DataError: there is none.
    """
    from latentbench.judges.cache.reply_database import database_url
    from latentbench.kernel.errors import DataError

    if database_url(path) is None and not path.exists():
        raise DataError(
            f"there is no reply cache at {path}; the first `bench run` that uses it makes it. Is --cache right?"
        )
    return path


@app.command()
def stats(cache: At = None) -> None:
    """Count replies and bytes, by judge."""
    from latentbench.judges.cache.reply_database import open_replies
    from latentbench.runs.run import default_cache

    replies = open_replies(_there(cache or default_cache()))
    say(f"{replies.name}\n{replies.stats()}")


@app.command()
def prune(
    days: Annotated[
        float, typer.Argument(min=0, max=1e6, callback=finite, help="Replies older than this many days are dropped.")
    ],
    cache: At = None,
) -> None:
    """Drop replies that are older than a number of days."""
    from datetime import timedelta

    from latentbench.judges.cache.reply_database import open_replies
    from latentbench.runs.run import default_cache

    say(f"dropped {open_replies(_there(cache or default_cache())).prune(timedelta(days=days))} replies")


@app.command()
def forget(
    judge: Annotated[
        str | None, typer.Option(help="Judge whose replies are dropped: its label in `stats`, or in the run.")
    ] = None,
    outcome: Annotated[
        list[Outcome] | None,
        typer.Option(help="Outcome of the replies, or with --run of the run's rows. May be repeated; all by default."),
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Run folder: only replies behind its rows are dropped.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count them and drop none.")] = False,
    cache: At = None,
) -> None:
    """Drop replies by judge, outcome or run; they are asked again.

    What a scorer could not read is a reply with the outcome ok; only a run knows of it.
    """
    from latentbench.judges.cache.reply_database import open_replies
    from latentbench.kernel.errors import SpecError
    from latentbench.runs.forgetting import forget_behind
    from latentbench.runs.record import read_record
    from latentbench.runs.run import default_cache

    if judge is None and not outcome and run is None:
        raise SpecError("say which replies: --judge, --outcome or --run. (`bench cache prune` drops old ones.)")
    path = _there(cache or default_cache())
    if judge is not None:
        known = {*open_replies(path).stats().judges, *([j.label for j in read_record(run).spec.judges] if run else ())}
        if judge not in known:
            raise SpecError(f"no judge {judge!r} in {path}; it has {', '.join(sorted(known)) or 'no replies'}.")
    if run is not None:
        gone = forget_behind(run, path, outcome or list(Outcome), judge, dry_run)
    else:
        gone = open_replies(path).forget(judge=judge, outcomes=outcome or (), dry_run=dry_run)
    say(f"{'would drop' if dry_run else 'dropped'} {gone} replies of {path}")


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="Run folder, or run spec (YAML), whose next call is looked up.")],
    cache: At = None,
) -> None:
    """Say why the next call of a run is not in the cache.

    The answer is the part of the judge or of the request that differs from a stored one.
    """
    from latentbench.analysis.cache_report import explain_misses
    from latentbench.runs.run import default_cache

    lines = explain_misses(run, cache)
    own = "" if cache else " (the user's cache; if the run had another, name it with --cache)"
    say(f"looked in {cache or default_cache()}{own}")
    for line in lines:
        say(line)
