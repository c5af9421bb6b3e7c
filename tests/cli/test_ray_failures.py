"""What goes wrong with a Ray cluster is said in plain words, with the exit code of its kind, and leaves no process behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.cli import main
from latentbench.kernel import crew as crews
from latentbench.kernel.cluster_address import nobody_there
from latentbench.runs.run import start
from rich.console import Console

from tests.builders import counted_judge
from tests.builders.crew_runs import tables, workers_left

ROOT = Path(__file__).parents[2]
STORE = 100 << 20
CHUNK = 8
Bench = Callable[..., tuple[int, str]]


@pytest.fixture
def web() -> Iterator[str]:
    """Address of a web server."""

    class Web(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield f"127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def silent() -> Iterator[str]:
    """Address at which somebody listens and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def free() -> str:
    """An address at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Bench:
    """The command in this process: exit code, and what it said on stderr."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "1000")

    def call(*words: str) -> tuple[int, str]:
        monkeypatch.setattr("sys.argv", ["bench", *words])
        with pytest.raises(SystemExit) as e:
            main()
        return int(e.value.code or 0), " ".join(capsys.readouterr().err.split())

    return call


def write(folder: Path, judge: str, scorer: str = "detection", limit: int = 4) -> Path:
    params = {"positives": 4, "negatives": 4}
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": limit,
        "explainers": ["planted"],
        "scorers": [{"use": scorer, "params": params, **({"preset": "single"} if scorer == "detection" else {})}],
        "judges": [{"use": judge, "label": "judge"}],
        "max_failures": 1.0,
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    return path


def test_an_address_is_tried_before_ray_tries_it_for_minutes(
    free: str, web: str, silent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert nobody_there(free) == f"127.0.0.1 cannot be reached on port {free[10:]} (Connection refused)"
    assert nobody_there(f"ray://{free}") == nobody_there(free)
    assert nobody_there(web) == f"what listens at {web} is no Ray cluster"
    assert nobody_there(silent, patience=0.1) == f"127.0.0.1 does not answer on port {silent[10:]} within 0 seconds"
    monkeypatch.setenv("RAY_ADDRESS", web)
    assert nobody_there("auto") == nobody_there(web)
    monkeypatch.delenv("RAY_ADDRESS")
    # What names no host and port is looked up by Ray.
    assert nobody_there("auto") is nobody_there("words") is nobody_there("host:99999999") is None


def test_a_dead_or_wrong_address_ends_the_command_before_there_is_a_run(
    bench: Bench, tmp_path: Path, free: str, web: str
) -> None:
    pytest.importorskip("ray")
    spec = str(write(tmp_path, "mock:label"))
    for address, why in ((free, "cannot be reached on port"), (web, "is no Ray cluster"), ("words", "Invalid address")):
        code, said = bench("run", spec, "--out", str(tmp_path / "run"), "--ray", address)
        assert code == 2
        assert said.startswith(f"error: no Ray cluster at '{address}'")
        assert why in said
        assert said.endswith("Start one with `ray start --head`, or write local.")
    assert not (tmp_path / "run").exists()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Address of a cluster of one machine."""
    pytest.importorskip("ray")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "bench")]))
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    machine = {"num_cpus": 1, "object_store_memory": STORE, "include_dashboard": False}
    found = Cluster(initialize_head=True, head_node_args=machine)
    yield found.address
    found.shutdown()


@pytest.mark.slow
def test_other_versions_and_models_that_are_not_there_are_said(
    bench: Bench, cluster: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    spec, run = str(write(tmp_path, "mock:label")), str(tmp_path / "run")
    assert nobody_there(cluster) is None
    with monkeypatch.context() as other:
        other.setattr(ray, "__version__", "0.1")
        code, said = bench("run", spec, "--out", run, "--ray", cluster)
    assert (code, said[:58]) == (2, f"error: the Ray cluster at '{cluster}' has other versions"[:58])
    assert "Install the same Python and Ray here and there." in said
    with monkeypatch.context() as other:
        other.setattr(crews, "version", lambda _: "9.9")
        code, said = bench("run", spec, "--out", run, "--ray", cluster)
    assert code == 2
    assert "this process 9.9; install the same." in said
    missing = str(write(tmp_path, "transformers:/no/such/model?dtype=float32", "surprisal"))
    code, said = bench("run", missing, "--out", run, "--ray", cluster)
    assert code == 2
    assert "/no/such/model" in said
    assert "on worker" in said
    assert "Traceback" not in said
    assert not Path(run).exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_command_that_is_killed_leaves_no_process_and_goes_on(tmp_path: Path, number: signal.Signals) -> None:
    pytest.importorskip("ray")
    place, log, mark = tmp_path / "installed", tmp_path / "answers", f"mark-{tmp_path.name}-{os.getpid()}"
    counted_judge.install(place)
    spec = write(tmp_path, f"counted:label?error=0.2&pause=0.5&log={log}", limit=12)
    paths = os.pathsep.join([str(place), str(ROOT), str(ROOT / "bench")])
    env = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "LATENTBENCH_TEST_MARK": mark}
    where = ["--cache", str(tmp_path / "c.sqlite"), "--ray", "local?workers=2&cpus=0.5", "--no-track"]

    def command(*words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "latentbench", *words, *where],
            env=env,
            cwd=tmp_path,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    first = command("run", str(spec), "--out", str(tmp_path / "run"))
    until = time.monotonic() + 300
    while not log.exists() or len(log.read_text(encoding="utf-8").splitlines()) < 3 * CHUNK:
        assert first.poll() is None, first.communicate()[1]
        assert time.monotonic() < until
        time.sleep(0.1)
    first.send_signal(number)
    said = first.communicate(timeout=120)[1]
    if number is signal.SIGTERM:
        assert first.returncode == 143
        assert "Go on with: bench resume" in said
    assert workers_left(mark) == []
    stopped = sum(counted_judge.answers(log).values())
    assert 3 * CHUNK <= stopped < 96
    second = command("resume", str(tmp_path / "run"))
    said = second.communicate(timeout=400)[1]
    assert second.returncode == 0, said
    assert workers_left(mark) == []
    given = counted_judge.answers(log)
    assert len(given) == 96
    # Each of the two workers had at most one chunk that was answered and not yet stored.
    assert sum(given.values()) - len(given) <= 2 * CHUNK
    sys.path.insert(0, str(place))
    try:
        alone = write(tmp_path, f"counted:label?error=0.2&log={tmp_path / 'alone'}", limit=12)
        start(alone, tmp_path / "local", tmp_path / "l.sqlite", Console(quiet=True))
    finally:
        sys.path.remove(str(place))
        sys.modules.pop("latentbench_counted", None)
    # Replies of a killed run come from the cache when it goes on, and say so among their tokens; what was said is the same.
    mine, its = tables(tmp_path / "run"), tables(tmp_path / "local")
    assert {name: mine[name] for name in ("judgements.parquet", "scores.parquet")} == {
        name: its[name] for name in ("judgements.parquet", "scores.parquet")
    }
    print(f"{stopped} answers when it was ended; {sum(given.values()) - len(given)} of 96 questions answered twice")
