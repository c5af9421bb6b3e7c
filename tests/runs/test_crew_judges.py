"""Judges on workers of `--ray local`: models to the bit, though their numbers depend on the batch; a database; an endpoint."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.judges.crew_judge import answered
from latentbench.kernel import crew as crews
from latentbench.kernel.crew import crew
from latentbench.runs import flow
from latentbench.runs.run import start
from rich.console import Console

from tests.builders import counted_judge
from tests.builders.crew_runs import ending, tables
from tests.builders.loopback import Said, completed, serving
from tests.builders.postgres_server import postgres
from tests.conftest import PACKAGED

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)
CHUNK = 8
"""Questions that the counted judge takes at once, and so the most that a lost worker has answered in vain."""


@pytest.fixture(autouse=True)
def local(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Clusters with small object stores, whose processes find the tests' judge and compute with one thread, as this one does."""
    pytest.importorskip("ray")
    import torch

    place = tmp_path_factory.mktemp("installed")
    counted_judge.install(place)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(place), str(ROOT), str(ROOT / "bench")]))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.syspath_prepend(str(place))
    monkeypatch.setattr(crews, "STORE", 100 << 20)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
    sys.modules.pop("latentbench_counted", None)


def grid(folder: Path, name: str, spec: dict[str, Any], address: str | None = None, cache: Path | None = None) -> Path:
    """The folder of a run of its own."""
    own = folder / name
    own.mkdir(exist_ok=True)
    (own / "spec.yaml").write_text(yaml.safe_dump({"name": "t", "max_failures": 1.0, **spec}), encoding="utf-8")
    with crew(address):
        return start(own / "spec.yaml", own / "run", cache or own / "c.sqlite", QUIET)[0]


@pytest.mark.slow
def test_models_in_bfloat16_give_the_same_bits_on_one_two_and_four_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmolLM2 writes and reads, the packaged simulator predicts; what is asked together changes their numbers by rounding."""
    model = f"transformers:{PACKAGED}?dtype=bfloat16&device=cpu&remember=false"
    few = {"positives": 4, "negatives": 4}
    spec = {
        "suite": "smollm2-135m-mini",
        "split": "test",
        "limit": 3,
        "explainers": ["tokens", {"use": "llm-small", "label": "llm", "model": model}],
        "scorers": [
            {"use": "surprisal", "params": few, "judges": ["smollm2"]},
            {"use": "detection", "params": few, "judges": ["simulator"]},
        ],
        "judges": [
            {"use": model, "label": "smollm2"},
            {"use": "simulator:smollm2-135m?dtype=bfloat16", "label": "simulator"},
        ],
    }
    # Small batches, so that a run of a test has some for every worker; who cuts them is the same with and without workers.
    monkeypatch.setattr(flow, "BATCH", 12)
    local = grid(tmp_path, "local", spec)
    busy: set[str] = set()
    tell = crews._Piece.tell

    def told(piece: Any, value: object) -> None:
        # There is a thread for each worker.
        if piece.work is answered:
            busy.add(threading.current_thread().name)
        tell(piece, value)

    monkeypatch.setattr(crews._Piece, "tell", told)
    for workers in (1, 2, 4):
        busy.clear()
        address = f"local?workers={workers}&cpus=0.25"
        assert tables(grid(tmp_path, f"w{workers}", spec, address)) == tables(local)
        print(f"{workers} workers, of whom {len(busy)} answered")
        assert min(2, workers) <= len(busy) <= workers
    monkeypatch.setattr(flow, "BATCH", 40)
    other = grid(tmp_path, "other", spec)
    score = [pq.read_table(run / "judgements.parquet").column("score").to_pylist() for run in (local, other)]
    differ = sum(a != b for a, b in zip(*score, strict=True))
    print(f"{len(score[0])} judgements equal to the bit; in other batches {differ} differ")


def counted(folder: Path, name: str, pause: float) -> tuple[Path, dict[str, Any]]:
    """The log of a counted judge, and a run that asks it."""
    log = folder / name / "answers"
    log.parent.mkdir()
    return log, {
        "suite": "planted-1",
        "limit": 12,
        "explainers": ["planted"],
        "scorers": [{"use": "detection", "preset": "single", "params": {"positives": 4, "negatives": 4}}],
        "judges": [{"use": f"counted:label?error=0.2&pause={pause}&log={log}", "label": "counted"}],
    }


@pytest.mark.slow
def test_one_database_as_cache_gives_the_same_bytes_and_loses_nothing_with_three_workers(tmp_path: Path) -> None:
    with postgres() as server:
        log, spec = counted(tmp_path, "local", 0.0)
        local = tables(grid(tmp_path, "local", spec))
        asked = set(counted_judge.answers(log))
        log, spec = counted(tmp_path, "killed", 0.4)
        with ending(log, 3) as lost, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            run = grid(tmp_path, "killed", spec, "local?workers=4&cpus=0.25", Path(server.url))
        assert len(lost) == 3
        assert tables(run) == local
        given = counted_judge.answers(log)
        assert set(given) == asked
        twice = sum(given.values()) - len(given)
        print(f"{len(given)} questions, {twice} answered twice, ended {lost}")
        assert twice <= CHUNK * len(lost)
        # What is in the database is asked by nobody: the same judge, on other workers.
        before = sum(given.values())
        again = grid(tmp_path, "again", spec, "local?workers=2&cpus=0.25", Path(server.url))
        assert sum(counted_judge.answers(log).values()) == before
        assert {n: b for n, b in tables(again).items() if n in ("judgements.parquet", "scores.parquet")} == {
            n: b for n, b in local.items() if n in ("judgements.parquet", "scores.parquet")
        }


@pytest.mark.slow
def test_an_endpoint_is_asked_once_whatever_becomes_of_the_workers(tmp_path: Path) -> None:
    def script(body: dict[str, Any]) -> Said:
        said = hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()[:6]
        return Said(completed("Yes" if int(said, 16) % 2 else "No").body, wait=0.05)

    sent: dict[str, Counter[str]] = {}
    runs: dict[str, dict[str, bytes]] = {}
    for name, address in (("local", None), ("killed", "local?workers=4&cpus=0.25")):
        log, spec = counted(tmp_path, name, 0.4 if address else 0.0)
        with serving(script) as server, ending(log, 3 if address else 0) as lost, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            spec["judges"].append({"use": f"openai:m?base_url={server.url}&concurrency=4", "label": "served"})
            runs[name] = tables(grid(tmp_path, name, spec, address))
        questions = [json.dumps(body, sort_keys=True) for body in server.sent if "Hello." not in json.dumps(body)]
        sent[name] = Counter(questions)
        assert len(lost) == (3 if address else 0)
    assert runs["killed"] == runs["local"]
    assert sent["killed"] == sent["local"]
    assert set(sent["killed"].values()) == {1}
    print(f"{len(sent['killed'])} questions at the endpoint, each once")
