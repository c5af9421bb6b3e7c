"""What people give to a function of `latentbench`, as what the code below takes: paths as text, runs that were read, suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.api.result import Result

if TYPE_CHECKING:
    from rich.console import Console

    from latentbench.suites.store import Suite


def suite_of_argument(suite: str | Path | Suite) -> str:
    """The name or folder of a suite."""
    return str(suite) if isinstance(suite, str | Path) else str(suite.path)


def folder_of(run: str | Path | Result) -> Path:
    """The folder of a run."""
    return run.folder if isinstance(run, Result) else Path(run)


def path_of(path: str | Path | None) -> Path | None:
    """A path, or None where none was given."""
    return None if path is None else Path(path)


def console_of(progress: bool) -> Console:
    """Where progress is shown, on standard error; one that says nothing where none is wanted."""
    from latentbench.views.terminal import plain_console

    console = plain_console(err=True)
    console.quiet = not progress
    return console
