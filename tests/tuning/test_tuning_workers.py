"""Two workers, one study in PostgreSQL, and one of them is killed in the middle of a trial."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from latentbench.tuning import storage
from latentbench.tuning.objective import SAME_AS

from tests.builders.tuning_landscape import install, landscape, write

TRIALS = 8
PATIENCE = 240.0


def _programs() -> Path | None:
    """Folder of initdb and pg_ctl: Debian keeps them off the path."""
    found = shutil.which("initdb")
    places = [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((p for p in places if (p / "initdb").exists() and (p / "pg_ctl").exists()), None)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URL of an empty database on a server that lives as long as this module."""
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
        # The server inherits the pipes of pg_ctl, so its output goes to a file.
        call("pg_ctl", "-D", str(data), "-o", options, "-w", "-t", "120", "-l", str(folder / "log"), "start")
        yield f"postgresql://bench:secret@127.0.0.1:{port}/postgres"
        call("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _until(what: str, true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.1)


def test_a_killed_worker_loses_only_its_trial(database: str, tmp_path: Path) -> None:
    site = install(tmp_path / "site")
    # Slow enough that the kill falls into a trial.
    content = landscape(extra="&seconds=0.01", latents=6, windows=4, trials=TRIALS)
    content["prune"] = {"first": 3}
    spec = write(tmp_path, content)
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{Path(__file__).parents[2]}", "OMP_NUM_THREADS": "1"}
    common = ["--storage", database, "--cache", str(tmp_path / "cache.sqlite"), "--no-track", "--no-holdout"]

    def worker(name: str, *words: str) -> subprocess.Popen[str]:
        command = [
            sys.executable,
            "-m",
            "latentbench",
            "tune",
            str(spec),
            "--out",
            str(tmp_path / name),
            *common,
            *words,
        ]
        return subprocess.Popen(
            command,
            env=env,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
        )

    opened = storage.open_storage(storage.storage_url(database, tmp_path))

    def trials() -> list[Any]:
        names = optuna.get_all_study_names(opened)
        return (
            optuna.load_study(study_name="knobs", storage=opened).get_trials(deepcopy=False) if "knobs" in names else []
        )

    def of(process: subprocess.Popen[str], state: Any) -> list[Any]:
        mine = f"{socket.gethostname()}:{process.pid}"
        return [t for t in trials() if t.user_attrs.get(storage.WORKER) == mine and t.state == state]

    states = optuna.trial.TrialState
    first = worker("first")
    try:
        _until("the study is there", lambda: bool(trials()))
        second = worker("second", "--join")
        try:
            place = tmp_path / "second" / "trials"

            def judging() -> bool:
                return any(
                    (place / f"{t.number:04d}" / "explanations.jsonl").exists() for t in of(second, states.RUNNING)
                )

            _until("the second worker judges", judging)
            os.kill(second.pid, signal.SIGKILL)
            second.wait(timeout=PATIENCE)
        finally:
            second.kill()
        said, _ = first.communicate(timeout=PATIENCE)
    finally:
        first.kill()
    assert first.returncode == 0, said
    assert "secret" not in said

    found = trials()
    study = optuna.load_study(study_name="knobs", storage=opened)
    lost = storage.lost(study)
    (killed,) = lost
    assert "died" in lost[killed]
    assert found[killed].state == states.FAIL
    # Consistent: nothing runs, the lost setting was tried again, and the study has all its trials.
    assert not [t for t in found if t.state == states.RUNNING]
    (again,) = [t for t in found if t.user_attrs.get("again") == killed]
    assert again.params == found[killed].params
    assert again.state in (states.COMPLETE, states.PRUNED)
    ended = [t for t in found if t.state.is_finished() and t.number not in lost and SAME_AS not in t.user_attrs]
    assert TRIALS <= len(ended) <= TRIALS + 1
    for t in ended:
        assert t.state in (states.COMPLETE, states.PRUNED)
        if t.state == states.COMPLETE:
            assert t.value == pytest.approx(t.user_attrs["facts"]["means"]["score"])
    report = (tmp_path / "first" / "report.md").read_text(encoding="utf-8")
    assert "1 lost and queued again" in report
    assert "secret" not in report
    assert "secret" not in (tmp_path / "first" / "study.json").read_text(encoding="utf-8")
