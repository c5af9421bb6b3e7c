"""Two workers, one study in PostgreSQL, and one of them is killed in the middle of a trial."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from latentbench.tuning import storage
from latentbench.tuning.objective import SAME_AS

from tests.builders.postgres_server import postgres
from tests.builders.tuning_landscape import install, landscape, write

TRIALS = 8
PATIENCE = 240.0


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """URL of an empty database on a server that lives as long as this module."""
    with postgres() as server:
        yield server.url.replace("bench@", "bench:secret@")


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
