"""`bench list`: what can be named in a run spec."""

from __future__ import annotations

from typing import Annotated

import typer

KINDS = ("scorers", "explainers", "judges", "coders", "suites", "runs", "studies", "tuning", "profiles")


def listing(kind: Annotated[str, typer.Argument(help=f"One of {', '.join(KINDS)}.")]) -> None:
    """List what can be named in a spec.

    These are registered names, shipped suites, run specs, studies and profiles.
    A registered scorer or explainer without a task file is named by a file of
    your own that says which implementation it uses.
    """
    from latentbench.kernel.errors import UnknownName
    from latentbench.kernel.registry import names
    from latentbench.kernel.tasks import available

    if kind not in KINDS:
        raise UnknownName("kind", kind, KINDS)
    if kind in ("judges", "coders"):
        for name, target in sorted(names(kind.removesuffix("s")).items()):
            typer.echo(f"{name:<16} {target}")
        return
    for name, path in sorted(available(kind).items()):
        typer.echo(f"{name:<24} {path}")
    if kind in ("scorers", "explainers"):
        from latentbench.prompts.task import without_task

        for name, target in sorted(without_task(kind).items()):
            typer.echo(f"{name:<24} {target}, no task file: name a YAML file with `implementation: {name}`")
