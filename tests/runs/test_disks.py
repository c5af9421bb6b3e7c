"""Disks that are full and folders that belong to others: a message, nothing paid is lost, and what can be read is read.

Each script runs in a mount name space of its own, with a disk of its own; where this machine gives none, the tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

START = """
import sys, shutil, yaml, os
from pathlib import Path
import pyarrow.parquet as pq
from rich.console import Console
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.errors import BenchError
from latentbench.kernel.identity import table_digest
from latentbench.runs import run as running
from latentbench.runs.record import read_record
from latentbench.runs.run import resume, start

LOST = 16  # answers that were in flight when a disk was found full, at most; 1 to 6 on a machine with other work
place, quiet, calls = Path(sys.argv[1]), Console(quiet=True), [0]
suite = running.load_suite("planted-1")
running.load_suite = lambda name: suite
answer, MockJudge.chunk = MockJudge.answer, 1

async def counted(self, requests):
    # Paid is what was answered. Calls queue (seconds=), so few are in flight when a disk is found full.
    replies = await answer(self, requests)
    calls[0] += len(requests)
    return replies

MockJudge.answer = counted
spec = {"name": "t", "suite": "planted-1", "limit": 2, "explainers": ["tokens"], "scorers": ["detection"],
        "judges": [{"use": "mock:lexical?seconds=0.002", "label": "lex"}]}
(place / "spec.yaml").write_text(yaml.safe_dump(spec))

def digests(run):
    return {n: table_digest({n: pq.read_table(run / f"{n}.parquet")}) for n in ("explanations", "judgements", "scores")}
"""
FULL = """
start(place / "spec.yaml", place / "whole", place / "whole.sqlite", quiet)
wanted, asked = digests(place / "whole"), calls[0]
disk, stopped = place / "disk", 0
for free in (4, 12, 24, 40, 64, 100, 200, 400, 800, 1600):
    run, cache = disk / "run", disk / "c.sqlite"
    with (disk / "filler").open("wb") as f:
        stat = os.statvfs(disk)
        f.write(bytes(max(0, stat.f_bavail * stat.f_frsize - free * 1024)))
    calls[0] = 0
    try:
        start(place / "spec.yaml", run, cache, quiet)
    except BenchError as e:
        stopped += 1
        assert "cannot be written" in str(e) or "cannot be used" in str(e), e
    (disk / "filler").unlink()
    if (run / "run.json").exists():
        resume(run, cache, quiet)
    else:
        start(place / "spec.yaml", run, cache, quiet)
    assert digests(run) == wanted, free
    assert calls[0] <= asked + LOST, (free, calls[0], asked)
    assert calls[0] - LOST <= read_record(run).totals.paid.calls <= calls[0], free
    for path in (run, *disk.glob("c.sqlite*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
assert stopped > 5, stopped
print("held", stopped)
"""
OTHERS = """
import gc, subprocess
disk, out = place / "disk", place / "out"
run, cache = disk / "run", disk / "c.sqlite"
start(place / "spec.yaml", run, cache, quiet)
start(place / "spec.yaml", disk / "second", cache, quiet)
gc.collect()  # closes the caches, or the disk is busy
subprocess.run(["mount", "-o", "remount,ro,bind", str(disk)], check=True)
before = calls[0]
_, record = start(place / "spec.yaml", place / "own", cache, quiet)
assert calls[0] == before and record.ended, "a cache that can only be read is read"

def bench(*words):
    from latentbench.cli import main
    sys.argv = ["bench", *map(str, words)]
    code = 0
    try:
        main()
    except SystemExit as e:
        code = e.code or 0
    return code

assert bench("report", run, "--out", out) == 0
assert bench("leaderboard", run, "--out", out) == 0
assert bench("compare", run, disk / "second", "--out", out) == 0
assert {"report.html", "leaderboard.md", "compare.md"} <= {p.name for p in out.iterdir()}
assert not [p for p in out.iterdir() if p.suffix == ".part"]
for words in (
    ["report", run],
    ["leaderboard", run],
    ["resume", run, "--no-track"],
    ["run", place / "spec.yaml", "--out", disk / "new", "--no-track"],
    ["run", place / "spec.yaml", "--out", place / "new", "--cache", disk / "new.sqlite", "--no-track"],
):
    assert bench(*words) == 2, words
os.chdir(disk)
assert bench("run", place / "spec.yaml", "--no-track") == 2
assert calls[0] == before
print("held")
"""


def in_own_disk(script: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Carry out a script with a disk of twelve megabytes at `disk`."""
    (folder / "disk").mkdir()
    (folder / "script.py").write_text(START + script, encoding="utf-8")
    mount = f'mount -t tmpfs -o size=12m tmpfs "{folder}/disk"'
    if subprocess.run(["unshare", "-m", "bash", "-c", mount], capture_output=True).returncode:
        pytest.skip("no mount name spaces here")
    command = f'{mount} && exec "{sys.executable}" "{folder}/script.py" "{folder}"'
    return subprocess.run(
        ["unshare", "-m", "bash", "-c", command], capture_output=True, text=True, timeout=3000, encoding="utf-8"
    )


@pytest.mark.slow
def test_a_disk_that_is_full_at_any_point_is_a_message_and_nothing_paid_is_lost(tmp_path: Path) -> None:
    done = in_own_disk(FULL, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("held")


@pytest.mark.slow
def test_a_run_of_somebody_else_is_read_ranked_and_reported_elsewhere(tmp_path: Path) -> None:
    done = in_own_disk(OTHERS, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.endswith("held\n")
    assert "Traceback" not in done.stderr
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 6
    assert all("Read-only file system" in line for line in errors), errors
