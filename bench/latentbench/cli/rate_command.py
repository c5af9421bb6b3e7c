"""`bench rate`: people rate the explanations of a run on a page of this machine; `bench rate import` takes a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from latentbench.views.terminal import say


class _RunOrImport(TyperGroup):
    """A group whose first word is a run folder, unless it is the name of a command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden name of the command that opens the page before its words."""
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["page", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_RunOrImport,
    no_args_is_help=True,
    help="""Have people rate the explanations of a run, or import ratings.

    The words `bench rate RUN` open a page on this machine; Ctrl-C ends the session and writes the table. Options of
    the page: `bench rate RUN --help`.""",
)


@app.command("page", hidden=True)
def page(
    run: Annotated[Path, typer.Argument(help="Folder of the finished run.")],
    task: Annotated[
        Literal["scale", "pair"], typer.Option(help="What is asked: a number from 1 to 5, or the better of two.")
    ] = "scale",
    explainer: Annotated[
        list[str] | None,
        typer.Option(help="Only explanations of this explainer; by default of all that are no floor. May be repeated."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of items, the same for all raters.")] = None,
    windows: Annotated[int, typer.Option(min=1, max=100, help="Number of test windows shown with each item.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the items, windows, orders and sides.")] = 0,
    suite: Annotated[
        Path | None, typer.Option(help="Folder of the suite; else it is looked for as the run names it.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the page; 0 for any that is free.")] = 0,
) -> None:
    """Open a page on which people rate explanations."""
    from latentbench.analysis.people.rated_item import rated_items
    from latentbench.analysis.people.rating_store import rating_session, read_ratings
    from latentbench.kernel.errors import RunError
    from latentbench.runs.finished import load_run, suite_of
    from latentbench.site.rating_server import RatingDesk, RatingServer

    found = load_run(run)
    frozen = suite_of(found, suite)
    if frozen is None:
        raise RunError(
            f"the suite of {run} is not here under its digest, so no window can be shown. Name it with --suite."
        )
    items = rated_items(found, frozen, task, explainers=explainer, limit=limit, windows=windows, seed=seed)
    try:
        with rating_session(run) as session, RatingServer(RatingDesk(items, session, seed), port) as server:
            say(f"{len(items):,} items. Rate them here: {server.address} (Ctrl-C ends the session)")
            server.serve_forever()
    finally:
        say(f"{len(read_ratings(run)):,} ratings in {run}/ratings", err=True)


@app.command("import")
def import_(
    file: Annotated[Path, typer.Argument(help="File of ratings, CSV or JSON lines.")],
    run: Annotated[Path, typer.Option(help="Folder of the run whose explanations were rated.")],
) -> None:
    """Import ratings that were made elsewhere.

    A row has rater, latent, value, and explainer or text; a pair has other_explainer or other_text, too.
    """
    from latentbench.analysis.people.rating_import import imported_ratings
    from latentbench.analysis.people.rating_store import rating_session
    from latentbench.runs.finished import load_run

    ratings = imported_ratings(file, load_run(run))
    with rating_session(run) as session:
        for rating in ratings:
            session.add(rating)
    say(f"imported: {len(ratings):,} ratings into {run}/ratings; look at them: bench agreement {run}")
