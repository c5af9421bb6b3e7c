"""Workers of a Ray cluster: what they answer and collect is what this process would have, whichever of them die."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.corpora.contexts import ContextSettings
from latentbench.corpora.corpus_spec import JsonlCorpus
from latentbench.judges.crew_judge import CrewJudge, forgetful, stays
from latentbench.judges.reference import load_judge
from latentbench.kernel.crew import CrewAddress, Raised, crew, hired
from latentbench.kernel.errors import CoderError, ModelError, RunError, SpecError, UnknownName
from latentbench.runs.run import start
from latentbench.subject.activations import shard_work
from latentbench.subject.activations.activations import collect
from latentbench.subject.activations.shard_work import Source
from rich.console import Console

from tests.builders import counted_judge
from tests.builders.crew_subject import subject_of
from tests.conftest import SENTENCES

ROOT = Path(__file__).parents[2]
QUIET = Console(quiet=True)
STORE = 100 << 20
LENGTHS = ContextSettings(context=24, min_context=6)


def test_an_address_says_where_workers_are_and_what_each_has() -> None:
    found = CrewAddress.read("10.0.0.1:6379?workers=4&cpus=0.5&gpus=1")
    assert (found.address, found.params.workers, found.params.cpus, found.params.gpus) == ("10.0.0.1:6379", 4, 0.5, 1)
    assert CrewAddress.read("local").params.workers is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "names no Ray cluster"),
        ("local?worker=4", "Did you mean 'workers'"),
        ("local?workers=0", "at least 1"),
        ("local?workers", "name=value"),
    ],
)
def test_an_address_that_is_none_says_why(text: str, said: str) -> None:
    with pytest.raises(SpecError, match=said):
        CrewAddress.read(text)


def test_who_is_reached_over_a_network_stays_in_this_process() -> None:
    assert stays("openai:m?base_url=http://127.0.0.1:1/v1")
    assert stays("embed:m?base_url=http://127.0.0.1:1/v1")
    assert stays("subject:s?writer=openai:m%3Fbase_url=http://127.0.0.1:1/v1")
    assert not stays("subject:s?writer=transformers:m")
    assert not stays("simulator:s")


def test_workers_remember_nothing_of_earlier_chunks() -> None:
    assert forgetful("transformers:a/b?dtype=float32") == "transformers:a/b?dtype=float32&remember=false"
    assert forgetful("transformers:m?remember=true") == "transformers:m?remember=true"
    assert forgetful("simulator:s") == "simulator:s"
    inner = "transformers%3Am%3Fdtype%3Dfloat32%26remember%3Dfalse"
    assert forgetful("subject:s?writer=transformers:m%3Fdtype=float32") == f"subject:s?writer={inner}"


def test_a_judge_that_forgets_is_the_same_judge_and_counts_what_it_computed(tiny_folder: Path) -> None:
    plain, alone = (load_judge(f"transformers:{tiny_folder}{tail}") for tail in ("", "?remember=false"))
    assert plain.identity.key == alone.identity.key
    assert alone.shared.keep_tokens == 0 < plain.shared.keep_tokens  # type: ignore[attr-defined]


def test_errors_of_workers_keep_their_class() -> None:
    told = Raised.of(CoderError("no such hookpoint."), "box, process 3").error()
    assert type(told) is CoderError
    assert str(told) == "no such hookpoint (on worker box, process 3)."
    # One with arguments of its own is not built anew.
    named = Raised.of(UnknownName("suite", "x", ["y"]), "box").error()
    assert isinstance(named, UnknownName)
    assert "unknown suite 'x'" in str(named)


def test_without_an_address_there_is_no_crew() -> None:
    with crew(None) as found:
        assert found is None
        assert hired() is None


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A cluster of a head without processors and four machines with one each, whose processes find the tests' judge."""
    pytest.importorskip("ray")
    place = tmp_path_factory.mktemp("installed")
    counted_judge.install(place)
    before = {name: os.environ.get(name) for name in ("PYTHONPATH", "RAY_USAGE_STATS_ENABLED")}
    os.environ["PYTHONPATH"] = os.pathsep.join([str(place), str(ROOT), str(ROOT / "bench")])
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    sys.path.insert(0, str(place))
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    )
    for _ in range(4):
        cluster.add_node(num_cpus=1, object_store_memory=STORE)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="critical")
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    sys.path.remove(str(place))
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


def run(folder: Path, name: str, tiny_folder: Path, pause: float = 0.0, address: str | None = None) -> dict[str, bytes]:
    """The tables of a run in a folder of its own, with a reply cache of its own; without the seconds that it took."""
    own = folder / name
    own.mkdir()
    counted = f"counted:label?error=0.2&pause={pause}&log={own / 'answers'}"
    # Weights are random: what matters of their numbers is every bit.
    model = f"transformers:{tiny_folder}?dtype=float32&device=cpu&remember=false"
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 12,
        "explainers": ["planted", {"use": "llm", "model": model}],
        "scorers": [
            {"use": "detection", "preset": "single", "params": {"positives": 4, "negatives": 4}, "judges": ["counted"]},
            {"use": "surprisal", "params": {"positives": 4, "negatives": 4}, "judges": ["tiny"]},
        ],
        "judges": [{"use": counted, "label": "counted"}, {"use": model, "label": "tiny"}],
        "max_failures": 1.0,
    }
    path = own / "spec.yaml"
    path.write_text(yaml.safe_dump(spec), encoding="utf-8")
    with crew(address):
        start(path, own / "run", own / "c.sqlite", QUIET)
    return {p.name: p.read_bytes() for p in sorted((own / "run").glob("*.parquet")) if p.name != "seconds.parquet"}


@pytest.mark.slow
def test_one_two_and_four_workers_give_the_tables_of_a_run_without(
    nodes: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    local = run(tmp_path, "local", tiny_folder)
    assert {"calls.parquet", "explanations.parquet", "judgements.parquet", "scores.parquet"} <= set(local)
    for workers in (1, 2, 4):
        assert run(tmp_path, f"w{workers}", tiny_folder, address=f"auto?workers={workers}") == local
        log = tmp_path / f"w{workers}" / "answers"
        assert set(counted_judge.answers(log).values()) == {1}
        assert 1 <= len(counted_judge.processes(log)) <= workers
        assert os.getpid() not in counted_judge.processes(log)


@pytest.mark.slow
def test_three_lost_workers_lose_nothing_and_nothing_that_was_answered_is_asked_again(
    nodes: Any, tmp_path: Path, tiny_folder: Path
) -> None:
    local = run(tmp_path, "local", tiny_folder)
    log = tmp_path / "killed" / "answers"
    lost: list[int] = []

    def kill() -> None:
        while len(lost) < 3:
            alive = [pid for pid in counted_judge.processes(log) if pid not in lost]
            if len(alive) >= 2 or (alive and lost):
                os.kill(alive[-1], signal.SIGKILL)
                lost.append(alive[-1])
            time.sleep(0.3)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = run(tmp_path, "killed", tiny_folder, pause=0.4, address="auto?workers=4")
    assert len(lost) == 3
    assert any("a worker was lost" in str(w.message) for w in said)
    assert found == local
    given = counted_judge.answers(log)
    assert set(given) == set(counted_judge.answers(tmp_path / "local" / "answers"))
    # What a worker had answered and not yet handed over when it died is one chunk of the judge at most.
    twice = sum(given.values()) - len(given)
    print(f"{len(given)} questions, {twice} answered twice, killed {lost} of {counted_judge.processes(log)}")
    assert twice <= 8 * len(lost)


def write_corpus(folder: Path) -> JsonlCorpus:
    path = folder / "corpus.jsonl"
    texts = [" ".join(SENTENCES[(i + j) % len(SENTENCES)] for j in range(1 + i % 5)) for i in range(60)]
    path.write_text("".join(json.dumps({"text": t}) + "\n" for t in texts), encoding="utf-8")
    return JsonlCorpus(path=(str(path),))


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize("shared", [True, False])
def test_activations_of_workers_are_the_same_files(
    nodes: Any, tmp_path: Path, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch, shared: bool
) -> None:
    loaded, coders = subject_of(str(tiny_folder))
    corpus = write_corpus(tmp_path)
    source = Source(partial(subject_of, str(tiny_folder)), "tiny")
    local = files(collect(loaded, coders, corpus, tmp_path / "local", LENGTHS, 4, shard=7, source=source).path)
    if not shared:  # a folder that workers do not see: the mark in it is never there
        monkeypatch.setattr(Path, "touch", lambda *_, **__: None)
    written: list[Path] = []
    here = shard_work.write_shard
    monkeypatch.setattr(shard_work, "write_shard", lambda p, c, t: (written.append(p), here(p, c, t)))
    for workers in (1, 2, 4):
        with crew(f"auto?workers={workers}"):
            store = collect(loaded, coders, corpus, tmp_path / f"w{workers}", LENGTHS, 4, shard=7, source=source)
        assert files(store.path) == local
    # The shards that this process wrote: none, where the workers see its folder.
    assert bool(written) is not shared


@pytest.mark.slow
def test_workers_that_load_something_else_are_refused(nodes: Any, tmp_path: Path, tiny_folder: Path) -> None:
    loaded, coders = subject_of(str(tiny_folder))
    source = Source(partial(subject_of, str(tmp_path / "nothing")), "missing")
    with crew("auto?workers=1"), pytest.raises(ModelError, match="on worker"):
        collect(loaded, coders, write_corpus(tmp_path), tmp_path / "out", LENGTHS, source=source)
    with crew("auto?workers=1") as found:
        assert found is not None
        tiny = Source(partial(subject_of, str(tiny_folder)), "tiny")
        future = found.submit(shard_work.work_shard, tiny, "another key", [], 4, tmp_path, tmp_path)
        with pytest.raises(RunError, match="another subject"):
            future.result()


@pytest.mark.slow
def test_a_piece_that_ends_every_worker_is_given_up(nodes: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with crew("auto?workers=2") as found:
            assert found is not None
            with pytest.raises(RunError, match="lost with 5 workers"):
                found.submit(os._exit, 1).result()
            assert found.submit(len, [1, 2]).result() == 2


@pytest.mark.slow
def test_a_machine_that_goes_for_good_leaves_its_work_to_the_others(nodes: Any, tmp_path: Path) -> None:
    node = nodes.add_node(num_cpus=2, resources={"spot": 1}, object_store_memory=STORE)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Six workers on four machines with one processor and one with two.
        with crew("auto?workers=6") as found:
            assert found is not None
            waiting = [found.submit(time.sleep, 1.0) for _ in range(18)]
            time.sleep(3)
            nodes.remove_node(node)
            for future in waiting:
                future.result(timeout=60)
            judge = load_judge("mock:label")
            assert isinstance(judge, CrewJudge)
