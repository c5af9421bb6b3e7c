"""A stop is clean, a second one is at once, and neither prints a traceback."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from latentbench.runs.ledger import total
from latentbench.runs.record import read_record
from latentbench.runs.run import resume
from rich.console import Console

QUIET = Console(quiet=True)
SLOW = {
    "name": "t",
    "suite": "planted-1",
    "limit": 3,
    "explainers": ["tokens"],
    "scorers": ["detection"],
    "judges": [{"use": "mock:lexical?seconds=0.005", "label": "lex"}],
}
# Work that does not end when it is asked to, in the event loop or outside of it.
STUBBORN = {
    "loop": """
async def work():
    print("on", flush=True)
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            print("asked", flush=True)
stopping.run(work())
""",
    "plain": """
on = print
while True:
    try:
        on and on("on", flush=True)
        on = None
        time.sleep(60)
    except KeyboardInterrupt:
        print("asked", flush=True)
""",
    "leaving": """
def slow():
    print("on", flush=True)
    time.sleep(60)
import concurrent.futures
pool = concurrent.futures.ThreadPoolExecutor(1)
async def work():
    await asyncio.get_running_loop().run_in_executor(pool, slow)
try:
    stopping.run(work())
except KeyboardInterrupt:
    print("asked", flush=True)
""",
}
SCRIPT = """
import asyncio, sys, time
from latentbench.kernel import stopping
@stopping.stoppable
def main():
    stopping.hint("Go on with: bench resume run")
    exec(sys.argv[1], {**globals()})
main()
"""


def signals_on() -> None:
    # A CI runner that starts us in the background has SIGINT ignored, and children inherit that.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(*command: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *map(str, command)],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=signals_on,
        encoding="utf-8",
    )


@pytest.mark.parametrize("work", STUBBORN)
@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_second_stop_ends_at_once_without_a_traceback(work, signum, code):
    process = started("-c", SCRIPT, STUBBORN[work])
    assert process.stdout.readline() == "on\n"
    process.send_signal(signum)
    assert process.stdout.readline() == "asked\n"
    time.sleep(0.6)
    process.send_signal(signum)
    _, said = process.communicate(timeout=30)
    assert process.returncode == code
    assert said == "stopped at once. Go on with: bench resume run\n"


CLOSING = """
try:
    print("on", flush=True)
    time.sleep(60)
finally:
    time.sleep(0.3)
    print("closed", flush=True)
"""


def test_two_signals_at_once_are_one_stop():
    process = started("-c", SCRIPT, CLOSING)
    assert process.stdout.readline() == "on\n"
    for _ in range(3):
        process.send_signal(signal.SIGTERM)
    out, said = process.communicate(timeout=30)
    assert (process.returncode, out, said) == (143, "closed\n", "")


def test_sigterm_closes_a_run_counts_what_was_paid_and_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SLOW), encoding="utf-8")
    run, cache = tmp_path / "run", tmp_path / "c.sqlite"
    command = ["-m", "latentbench", "run", tmp_path / "spec.yaml", "--out", run, "--cache", cache, "--no-track"]
    process = started(*command)
    deadline = time.monotonic() + 120
    while not (spent := total(run)) or not spent.calls:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "Traceback" not in said
    told = re.search(
        rf"terminated\. (\d+) calls have been paid for and are kept\. Go on with: bench resume {run}", said
    )
    assert told, said
    assert int(told[1]) == total(run).calls
    assert not {"run.lock", "owner.json"} & {p.name for p in run.iterdir()}
    assert read_record(run).status == "running"
    # The batch had not come back whole, so no unit says what was paid.
    assert not (run / "judgements.jsonl").exists()
    record = resume(run, cache, QUIET)
    assert record.totals.paid.calls >= int(told[1])
    alone = resume(run, cache, QUIET)
    assert alone.totals.paid == record.totals.paid
