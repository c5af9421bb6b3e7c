"""A PostgreSQL server for tests, started on loopback by another user than root."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


def _programs() -> Path | None:
    """Folder of initdb and pg_ctl: Debian keeps them off the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@dataclass(frozen=True)
class PostgresServer:
    """A running server.

    Attributes:
        url: of its empty database, without a password.
        stop, start: end it at once, as a crash does, and start it again on the same port.
    """

    url: str
    stop: Callable[[], None]
    start: Callable[[], None]


@contextmanager
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server on loopback; the test is skipped where there is none."""
    pytest.importorskip("psycopg", reason="the driver psycopg is not installed (extra `workers`)")
    programs = _programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed: no initdb on the path or under /usr/lib/postgresql")
    # The server refuses to run as root; pytest's own folders are closed to everybody else.
    folder = Path(tempfile.mkdtemp(prefix="latentbench-pg-"))
    user: dict[str, Any] = {}
    if os.getuid() == 0:
        import pwd

        names = {u.pw_name: u for u in pwd.getpwall()}
        other = names.get("postgres") or names.get("nobody")
        if other is None:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres or nobody")
        os.chown(folder, other.pw_uid, other.pw_gid)
        user = {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    port, data = _free_port(), folder / "data"

    def call(program: str, *words: str) -> None:
        done = subprocess.run(
            [programs / program, *words],
            cwd=folder,
            capture_output=True,
            text=True,
            env={"PATH": os.environ["PATH"]},
            **user,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    try:
        call("initdb", "-D", str(data), "-A", "trust", "-U", "bench", "--no-sync", "-E", "UTF8", "--locale=C")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"

        def start() -> None:
            # The server inherits the pipes of pg_ctl, so its output goes to a file.
            call("pg_ctl", "-D", str(data), "-o", options, "-w", "-t", "120", "-l", str(folder / "log"), "start")

        def stop() -> None:
            call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")

        start()
        try:
            yield PostgresServer(f"postgresql://bench@127.0.0.1:{port}/postgres", stop, start)
        finally:
            if (data / "postmaster.pid").exists():
                stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
