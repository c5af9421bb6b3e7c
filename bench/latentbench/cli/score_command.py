"""`bench score`: anybody's explanations on a suite, with their floors, without a spec to write."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from latentbench.cli.final_table import show_table
from latentbench.cli.given_command import given
from latentbench.cli.run_command import Cache, NoTrack, finish, stoppable
from latentbench.views.terminal import plain_console, tell


def _pairs(values: list[str] | None, option: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for value in values or ():
        name, equals, said = value.rpartition("=") if option == "--map" else value.partition("=")
        if not equals or not name or not said:
            raise typer.BadParameter(f"{value!r} is not NAME=VALUE", param_hint=option)
        found[name] = said
    return found


def score(
    context: typer.Context,
    file: Annotated[
        Path,
        typer.Argument(
            help="Explanations: a table (JSONL, CSV, TSV, JSON, Parquet), or files of Neuronpedia, delphi, SAEBench or OpenAI."
        ),
    ],
    suite: Annotated[str, typer.Option(help="Name of a suite, or its folder.")],
    judge: Annotated[list[str], typer.Option(help="Reference of a judge. May be repeated.")],
    scorer: Annotated[
        list[str] | None,
        typer.Option(
            help="Scorer; by default embedding for embed: judges, detection, fuzzing and simulation for simulator: judges, "
            "detection and fuzzing for others. May be repeated."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; runs/score-TIME by default.")] = None,
    coder: Annotated[
        list[str] | None, typer.Option(help="Only latents of this coder of the suite. May be repeated.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most this many latents.")] = None,
    place: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="PLACE=CODER",
            help="Coder that a place in the file's ids stands for; the place * is every other one. May be repeated.",
        ),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN=VALUE", help="Only rows with this value, such as typeName=... May be repeated."),
    ] = None,
    layout: Annotated[
        str,
        typer.Option(
            help="Tool that the file is of, if looking does not find it: rows, columns, neuronpedia, delphi, saebench, openai."
        ),
    ] = "auto",
    id_column: Annotated[str | None, typer.Option(help="Column with the ids of the latents.")] = None,
    text_column: Annotated[str | None, typer.Option(help="Column with the explanations.")] = None,
    place_column: Annotated[
        str | None, typer.Option(help="Column with the coder or module, for ids that are numbers.")
    ] = None,
    label: Annotated[
        str | None, typer.Option(help="How tables name the explanations; the file's name by default.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of the run.")] = 0,
    cache: Cache = None,
    no_track: NoTrack = False,
) -> None:
    """Score the explanations of a file, beside floors.

    The floors are shuffled, empty, the strongest tokens, and the words copied from examples. The folder is that of any run:
    resume, leaderboard and compare take it.
    """
    from latentbench.explainers.foreign.layouts import Layout
    from latentbench.kernel.config import validate
    from latentbench.kernel.errors import UnknownName
    from latentbench.runs.ownership import dated_folder
    from latentbench.runs.scoring import ScoreRequest
    from latentbench.runs.scoring import score as scored

    if layout not in (known := ("auto", *get_args(Layout))):
        raise UnknownName("layout", layout, known)
    asked = {
        "file": str(file),
        "suite": suite,
        "judges": tuple(judge),
        "scorers": tuple(scorer or ()),
        "coders": tuple(coder or ()),
        "limit": limit,
        "layout": layout,
        "id_column": id_column,
        "text_column": text_column,
        "place_column": place_column,
        "places": _pairs(place, "--map"),
        "where": _pairs(where, "--where"),
        "label": label,
        "seed": seed,
    }
    request = validate(ScoreRequest, asked, "bench score")
    folder = out or dated_folder(request.spec().name)
    console = plain_console(err=True)
    record = stoppable(
        cache, lambda made: scored(request, folder, cache, console, made, command=given(context)), tracked=not no_track
    )
    show_table(folder)
    for name, met in record.matched.items():
        for line in met.sentences(name):
            tell(console, line)
    finish(folder, record, console, not no_track)
