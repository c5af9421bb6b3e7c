"""One process at a time works in a run folder, two that ask the same pay once, and whoever is refused is told by whom."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import filelock
import pytest
import yaml
from latentbench.kernel import processes
from latentbench.kernel.errors import DataError, RunError
from latentbench.kernel.files import LEFT, check_writable, replacing, write_text
from latentbench.kernel.processes import Process, me
from latentbench.runs import ownership
from latentbench.runs.ownership import LOCK, OWNER, fresh_folder, owned, owner_of
from latentbench.runs.run import resume, start
from latentbench.runs.run_journals import judgement_journal
from rich.console import Console

QUIET = Console(quiet=True)
SPEC = {
    "name": "t",
    "suite": "planted-1",
    "limit": 3,
    "explainers": ["tokens"],
    "scorers": ["detection"],
    "judges": [{"use": "mock:lexical", "label": "lex"}],
}
HOLD = """
import sys, time
from pathlib import Path
from latentbench.runs.ownership import owned
with owned(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""


def spec_file(folder: Path, **changes: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return path


@pytest.fixture
def holder(tmp_path: Path):  # type: ignore[no-untyped-def]
    """Another process that has the folder `run`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_who_has_the_folder_and_since_when(tmp_path, holder):
    run = tmp_path / "run"
    with pytest.raises(RunError) as caught, owned(run):
        pass
    said = str(caught.value)
    assert f"process {holder.pid} of " in said
    assert f" on {processes.host()} since 20" in said
    assert "Nothing was paid" in said
    with pytest.raises(RunError, match=f"process {holder.pid}"):
        start(spec_file(tmp_path), run, tmp_path / "c.sqlite", QUIET)
    assert not (tmp_path / "c.sqlite").exists(), "the refused run got as far as its cache"
    assert {p.name for p in run.iterdir()} == {LOCK, OWNER}


def test_the_lock_of_a_killed_process_does_not_count(tmp_path, holder):
    run = tmp_path / "run"
    holder.kill()
    holder.wait()
    assert (run / LOCK).exists()
    began = time.monotonic()
    with owned(run):
        assert owner_of(run).pid == os.getpid()
    assert time.monotonic() - began < 5
    assert not run.exists()


def test_a_stopped_process_still_has_its_folder(tmp_path, holder):
    holder.send_signal(signal.SIGSTOP)
    with pytest.raises(RunError, match=f"process {holder.pid}"), owned(tmp_path / "run"):
        pass


def test_a_number_that_another_process_has_by_now_is_no_owner(tmp_path, holder):
    lock = tmp_path / "run" / LOCK
    told = lock.read_text(encoding="utf-8")
    holder.kill()
    holder.wait()
    # The number is that of this process, which lives and was started at another time.
    lock.write_text(re.sub(r"pid=\d+", f"pid={os.getpid()}", told), encoding="utf-8")
    with owned(tmp_path / "run"):
        pass


def marker(folder: Path, host: str) -> None:
    folder.mkdir()
    told = ["filelock/2", "pid=7", f"host={host}", "mode=lease", "token=ab", f"duration={ownership.LEASE!r}", "start=3"]
    (folder / LOCK).write_text("\n".join(told) + "\n", encoding="utf-8")
    owner = {"host": host, "pid": 7, "user": "u", "command": "bench resume run", "since": "2026-01-01T00:00:00+00:00"}
    (folder / OWNER).write_text(json.dumps(owner), encoding="utf-8")


def test_an_owner_on_another_host_is_watched_for_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "LEASE", 1.0)
    monkeypatch.setattr(ownership, "TORN", 0.5)
    run, said = tmp_path / "run", []
    marker(run, "elsewhere")
    with owned(run, said.append):
        assert owner_of(run).host == processes.host()
    assert "process 7 of u on elsewhere since 2026-01-01" in said[0]

    alive = tmp_path / "alive"
    marker(alive, "elsewhere")
    done = threading.Event()

    def live() -> None:
        while not done.wait(0.2):
            os.utime(alive / LOCK)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        with pytest.raises(RunError, match="process 7 of u on elsewhere"), owned(alive):
            pass
    finally:
        done.set()
        thread.join()


def test_a_lock_that_was_torn_when_it_was_made_does_not_bar_the_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(ownership, "TORN", 0.3)
    run = tmp_path / "run"
    run.mkdir()
    (run / LOCK).touch()
    with owned(run), pytest.raises(filelock.Timeout):
        filelock.SoftFileLease(run / LOCK, lease_duration=ownership.LEASE, timeout=0).acquire()


def test_the_thread_that_has_a_folder_may_take_it_again_and_no_other(tmp_path):
    run, said = tmp_path / "run", []

    def other() -> None:
        try:
            with owned(run):
                said.append("taken")
        except RunError as e:
            said.append(str(e))

    with owned(run), owned(run):
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    assert "another thread" in said[0]
    other()
    assert said[1] == "taken"


def test_folders_of_one_second_have_names_of_their_own(tmp_path):
    names = [fresh_folder(tmp_path / "runs", "t-1").name for _ in range(3)]
    assert names == ["t-1", "t-1-2", "t-1-3"]


def cli(folder: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "latentbench", *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=folder, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, encoding="utf-8"
    )


def units(run: Path) -> int:
    return len(list(judgement_journal(run).units()))


def test_of_two_runs_with_one_folder_one_works_and_the_other_pays_nothing(tmp_path):
    spec = spec_file(tmp_path, judges=[{"use": "mock:lexical?seconds=0.01", "label": "lex"}])
    both = [cli(tmp_path, "run", spec, "--out", "run", "--cache", f"{n}.sqlite", "--no-track") for n in "ab"]
    said = [process.communicate(timeout=120)[1] for process in both]
    assert sorted(process.returncode for process in both) == [0, 2]
    refused = said[[process.returncode for process in both].index(2)]
    assert re.search(r"error: run (is being worked on by process \d+|exists already)", refused), refused
    assert "Traceback" not in "".join(said)
    assert units(tmp_path / "run") == 3


def test_a_run_that_has_another_owner_is_read(tmp_path, holder):
    from latentbench.runs.finished import load_run

    done = tmp_path / "done"
    start(spec_file(tmp_path), done, tmp_path / "c.sqlite", QUIET)
    for name in (LOCK, OWNER):
        (done / name).write_bytes((tmp_path / "run" / name).read_bytes())
    assert len(load_run(done).record.latents) == 3
    with pytest.raises(RunError, match=f"process {holder.pid}"):
        resume(done, tmp_path / "c.sqlite", QUIET)


def test_a_start_that_was_stopped_before_its_run_says_how_to_start(tmp_path):
    run = tmp_path / "run"
    run.mkdir()
    (run / "spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    (run / "run.json.7-0.part").write_text("{", encoding="utf-8")
    with pytest.raises(RunError, match=f"nothing was paid. Start it with: bench run SPEC --out {run}"):
        resume(run, tmp_path / "c.sqlite", QUIET)
    _, record = start(spec_file(tmp_path), run, tmp_path / "c.sqlite", QUIET)
    assert record.ended


def test_processes_are_told_apart():
    assert not me().gone
    assert Process(me().host, me().pid, -1).gone, "another start"
    assert not Process("elsewhere", 2**22 + 1, 5).gone, "nobody can know"
    child = subprocess.Popen([sys.executable, "-c", ""])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert Process(me().host, child.pid, None).gone, "a zombie"
    child.wait()
    assert Process(me().host, child.pid, None).gone


def test_two_that_write_one_file_do_not_take_it_from_each_other(tmp_path):
    with replacing(tmp_path / "x") as first:
        first.write_text("first", encoding="utf-8")
        write_text(tmp_path / "x", "second")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    assert (tmp_path / "x").read_text(encoding="utf-8") == "first"


def test_what_a_killed_writer_left_is_removed_later(tmp_path):
    old, new = tmp_path / "x.1-0.part", tmp_path / "x.2-0.part"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 2 * LEFT,) * 2)
    write_text(tmp_path / "x", "")
    assert {p.name for p in tmp_path.iterdir()} == {"x", new.name}


@pytest.mark.parametrize("place", ["file/x", "file"])
def test_a_place_that_takes_no_file_is_a_message(tmp_path, place):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written: (Not a directory|File exists)"):
        check_writable(tmp_path / place)
