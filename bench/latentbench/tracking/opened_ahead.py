"""MLflow imported, and a first local store made, while judges work: a thread does what logging would otherwise begin with.

To import MLflow takes a second or two, and to make the tables of a new SQLite store more than that, before the first number is
written. None of it needs the run, so a command may begin it as soon as its run has a folder. Nothing is logged ahead: logging
begins when the tables of the run are there, and what fails here is tried again then, where it is said what is wrong.

The store is made in a temporary folder and put in its place by who logs, whole or not at all. Made in its place, a command that
is stopped in the middle would leave half of the tables, which MLflow then refuses for ever.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

from latentbench.kernel.extras import installed
from latentbench.tracking.mlflow_settings import BASE, address, lent

LOCAL = "sqlite:///"
LAST_SECONDS = 1.0
"""How long a command that ends without logging waits for the thread: an import that Python cuts off can take the process down."""


class OpenedAhead:
    """One opening of a store, under way or done."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._made: Path | None = None
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._open, name="mlflow-ahead", daemon=True)
        self._thread.start()
        atexit.register(self._end)

    def wait(self) -> Path | None:
        """The file of a new store, where there was none and one could be made; returns when the thread has ended."""
        self._thread.join()
        return self._made

    def _end(self) -> None:
        self._ended.set()
        self._thread.join(LAST_SECONDS)

    def _open(self) -> None:
        # Whatever it is, logging meets it again and says so.
        with suppress(Exception):
            if not installed("mlflow"):
                return
            with lent(BASE):
                import mlflow.tracking

                if self._ended.is_set() or not self._uri.startswith(LOCAL):
                    return
                import mlflow.store.tracking.sqlalchemy_store

                if not self._ended.is_set() and not Path(self._uri.removeprefix(LOCAL)).exists():
                    self._make(mlflow.tracking.MlflowClient)

    def _make(self, client: type) -> None:
        folder = tempfile.mkdtemp(prefix="latentbench-mlflow-")
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        path = Path(folder) / "mlflow.db"
        own = f"{LOCAL}{path}"
        client(tracking_uri=own, registry_uri=own).search_experiments(max_results=1)
        self._made = path


_ahead: OpenedAhead | None = None


def open_ahead() -> None:
    """Begin to open the store that a run of this command will be logged to."""
    global _ahead
    if _ahead is None:
        _ahead = OpenedAhead(address(None))


def wait_for_opening() -> Path | None:
    """What was begun is done; the file of a new local store if there is one."""
    return _ahead.wait() if _ahead is not None else None


def put(made: Path, place: Path) -> None:
    """Put a store that was made elsewhere into its place, unless there is one; where that cannot be done MLflow makes its own."""
    own = place.with_name(f".{place.name}.{os.getpid()}")
    with suppress(OSError):
        try:
            shutil.copyfile(made, own)
            # A link, unlike a renaming, never replaces the store of another command.
            os.link(own, place)
        finally:
            own.unlink(missing_ok=True)
