"""A tracking server of MLflow on loopback: its runs are in PostgreSQL, its artifacts in a folder that only it writes to."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

SECONDS = 120
"""How long a server may take to begin; it makes some sixty tables first."""


@dataclass(frozen=True)
class MlflowServer:
    """A running server.

    Attributes:
        uri: where it answers.
        artifacts: the folder that it keeps artifacts in.
        process: of the server; its workers are in its group.
    """

    uri: str
    artifacts: Path
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """End the server and its workers at once, as a crash does."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def mlflow_server(database: str, folder: Path) -> Iterator[MlflowServer]:
    """A server until the end of the block.

    Args:
        database: address of a PostgreSQL database.
        folder: for its artifacts and its log.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    artifacts, log = folder / "artifacts", folder / "server.log"
    artifacts.mkdir()
    # SQLAlchemy takes `postgresql` for psycopg 2.
    store = database.replace("postgresql://", "postgresql+psycopg://", 1)
    words = ["server", "--backend-store-uri", store, "--artifacts-destination", str(artifacts), "--serve-artifacts"]
    place = ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with log.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", *words, *place],
            cwd=folder,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
        )
    server = MlflowServer(f"http://127.0.0.1:{port}", artifacts, process)
    try:
        _wait(server, log)
        yield server
    finally:
        server.kill()


def _wait(server: MlflowServer, log: Path) -> None:
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and server.process.poll() is None:
        try:
            with urlopen(f"{server.uri}/health", timeout=2):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise AssertionError(f"the MLflow server did not begin: {log.read_text(encoding='utf-8')[-2000:]}")
