"""`bench endpoint`: which hosts may be asked, and which variable holds the key of each. Values of variables are never shown."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from latentbench.views.terminal import plain_console, say

app = typer.Typer(help="Allow endpoints, and bind keys to them.", no_args_is_help=True)


@app.command()
def allow(
    host: Annotated[str, typer.Argument(help="Host or HOST:PORT, as in the address of the endpoint.")],
    key_env: Annotated[
        str | None, typer.Option(help="Environment variable whose value may be sent there as the key.")
    ] = None,
    key_header: Annotated[
        str | None, typer.Option(help="Header that the key is sent in; Authorization, with Bearer, by default.")
    ] = None,
    allow_http: Annotated[
        bool | None, typer.Option("--allow-http/--no-allow-http", help="Whether calls may go there unencrypted.")
    ] = None,
) -> None:
    """Allow an endpoint, with or without a key.

    Specs, baselines and run folders choose only among what is allowed.
    """
    from latentbench.judges.remote.binding import write_binding

    path, name = write_binding(host, key_env, allow_http, key_header)
    say(f"{path}: {name} is allowed{f', and gets the value of {key_env}' if key_env else ''}")


@app.command(name="list")
def listing() -> None:
    """List the endpoints that are allowed."""

    from latentbench.judges.remote.binding import BUILT_IN, place, read_bindings
    from latentbench.views.table import Column, Table

    own = read_bindings()
    rows = []
    for name, binding in {**BUILT_IN, **own}.items():
        keys = [f"{k} ({'set' if os.environ.get(k) else 'not set'})" for k in binding.key_env]
        rows.append((name, ", ".join(keys), "yes" if binding.allow_http else "", "" if name in own else "built in"))
    columns = [Column("host"), Column("key"), Column("http"), Column("")]
    console = plain_console()
    console.print(
        Table(f"endpoints of {place()}", columns, rows, "This machine needs no entry, unless it gets a key.").terminal(
            console.width
        )
    )
