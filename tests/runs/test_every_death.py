"""Every writer, killed at every step that it takes on the disk, goes on to the same result or says what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.analysis.gate.baseline import Baseline, read_baseline, write_baseline
from latentbench.analysis.gate.gate import freeze
from latentbench.judges import qualification
from latentbench.judges.mock.mock_judge import MockJudge
from latentbench.kernel.errors import BenchError, RunError
from latentbench.kernel.files import write_text
from latentbench.kernel.identity import table_digest
from latentbench.kernel.tables import write_table
from latentbench.leaderboards import results, row
from latentbench.leaderboards.row import Row
from latentbench.runs import run as running
from latentbench.runs.finished import load_run
from latentbench.runs.record import read_record
from latentbench.runs.run import REPLIES, resume, start
from latentbench.suites.store import Suite, load_suite, save_suite
from rich.console import Console

from tests.builders.dying import DEAD, every_death, in_child
from tests.builders.run_builder import build_run

QUIET = Console(quiet=True)
SPEC = {
    "name": "t",
    "suite": "planted-1",
    "limit": 2,
    "explainers": [{"use": "llm", "model": "lex"}, "tokens"],
    "scorers": [{"use": "detection", "params": {"positives": 2, "negatives": 2}}],
    "judges": [{"use": "mock:lexical", "label": "lex"}],
}
TABLES = ("explanations", "judgements", "scores", "calls", "texts")
GONE = {"run.lock", "owner.json", "explanations.jsonl", "judgements.jsonl", "calls.jsonl", "texts.jsonl"}
"""What a run that has ended has no more."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):  # type: ignore[no-untyped-def]
    """Folder of a spec, with the suite read and every call of the judge written down."""
    folder = tmp_path_factory.mktemp("deaths")
    (folder / "spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    patch = pytest.MonkeyPatch()
    suite = running.load_suite("planted-1")
    suite.latents()
    patch.setattr(running, "load_suite", lambda name: suite)
    patch.setattr(MockJudge, "chunk", 1)
    answer = MockJudge.answer
    log = os.open(folder / "calls", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    write = os.write

    async def counted(self, requests):  # type: ignore[no-untyped-def]
        write(log, b"." * len(requests))
        return await answer(self, requests)

    patch.setattr(MockJudge, "answer", counted)
    yield folder
    patch.undo()
    os.close(log)


def calls(place: Path) -> int:
    return (place / "calls").stat().st_size


def digests(run: Path) -> dict[str, str]:
    return {name: table_digest({name: pq.read_table(run / f"{name}.parquet")}) for name in TABLES}


def begin(place: Path, run: Path) -> None:
    start(place / "spec.yaml", run, run / REPLIES, QUIET)


def go_on(place: Path, run: Path) -> None:
    try:
        resume(run, run / REPLIES, QUIET)
    except RunError as e:
        if "bench run" not in str(e) and "is not a run folder" not in str(e):
            raise
        begin(place, run)


@pytest.fixture(scope="module")
def whole(place: Path):  # type: ignore[no-untyped-def]
    """A run that nobody killed: its tables, the calls it made, and what it paid."""
    before = calls(place)
    begin(place, place / "whole")
    return digests(place / "whole"), calls(place) - before, read_record(place / "whole").totals.paid


def _dying(place: Path, whole, stride: int, first: int = 1) -> int:  # type: ignore[no-untyped-def]
    tables, asked, paid = whole
    assert paid.calls == asked
    run, before, deaths = place / "run", calls(place), 0
    for last in every_death(lambda: begin(place, run), place, stride, first):
        deaths += 1
        code, said = in_child(lambda: go_on(place, run), place)
        assert code == 0, (last, "\n".join(said))
        assert digests(run) == tables, last
        spent = calls(place) - before
        assert spent <= asked + 1, f"{last}: {spent} calls, {asked} of one session"
        record = read_record(run)
        assert record.ended
        # Between a reply and its line in the ledger one call may be lost to the count, none may be there twice.
        assert asked - 1 <= record.totals.paid.calls <= asked, last
        left = {p.name for p in run.iterdir() if p.suffix != ".part"}
        assert not left & GONE
        shutil.rmtree(run)
        before = calls(place)
    return deaths


def test_a_run_killed_at_some_steps_goes_on_to_the_same_tables(place, whole):
    assert _dying(place, whole, 31, first=4) >= 4


@pytest.mark.slow
def test_a_run_killed_at_any_step_goes_on_to_the_same_tables(place, whole):
    assert _dying(place, whole, 1) > 100


@pytest.mark.parametrize("stride", [29, pytest.param(1, marks=pytest.mark.slow)])
def test_a_resumption_killed_at_any_step_goes_on_to_the_same_tables(place, whole, stride):
    tables, asked, _ = whole
    killed, run = place / f"killed-{stride}", place / f"again-{stride}"
    before = calls(place)
    assert in_child(lambda: begin(place, killed), place, 90)[0] == DEAD
    first = calls(place) - before
    assert 0 < first < asked, "the run was to die in the middle"
    shutil.copytree(killed, run)
    before, deaths = calls(place), 0
    for last in every_death(lambda: go_on(place, run), place, stride):
        deaths += 1
        code, said = in_child(lambda: go_on(place, run), place)
        assert code == 0, (last, "\n".join(said))
        assert digests(run) == tables, last
        assert first + calls(place) - before <= asked + 2, last
        shutil.rmtree(run)
        shutil.copytree(killed, run)
        before = calls(place)
    assert deaths > 80 / stride


@pytest.mark.parametrize("stride", [13, pytest.param(1, marks=pytest.mark.slow)])
def test_a_run_that_had_ended_and_asks_again_goes_on_from_any_death(place, stride, monkeypatch):
    """Its journals are gone, so they are written again first; whatever of that was done when it died, nothing is lost."""
    spec = {**SPEC, "judges": [{"use": "mock:lexical?fail=0.4", "label": "lex"}], "max_failures": 1.0}
    (place / "failing.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    ended, run = place / f"ended-{stride}", place / f"retried-{stride}"
    start(place / "failing.yaml", ended, ended / REPLIES, QUIET)
    assert not {p.name for p in ended.iterdir()} & GONE
    failed = read_record(ended).totals.count(["api"])
    assert failed > 2
    monkeypatch.setattr("latentbench.judges.mock.mock_judge.share", lambda *parts: 1.0)
    shutil.copytree(ended, run)
    resume(run, run / REPLIES, QUIET)
    wanted, paid, deaths = digests(run), read_record(run).totals.paid, 0
    assert read_record(run).failure_rate == 0
    shutil.rmtree(run)
    shutil.copytree(ended, run)
    for last in every_death(lambda: go_on(place, run), place, stride):
        deaths += 1
        code, said = in_child(lambda: go_on(place, run), place)
        assert code == 0, (last, "\n".join(said))
        assert digests(run) == wanted, last
        record = read_record(run)
        assert record.ended
        assert paid.calls - 1 <= record.totals.paid.calls <= paid.calls, last
        assert not {p.name for p in run.iterdir()} & GONE, last
        shutil.rmtree(run)
        shutil.copytree(ended, run)
    assert deaths > 80 / stride


@dataclass(frozen=True)
class Writer:
    """What is written, and how a reader finds it.

    Attributes:
        write: into a folder; the number says what.
        read: what is there, as text; raises a `BenchError` where it is not whole.
    """

    write: Callable[[Path, int], object]
    read: Callable[[Path], object]


def _rows(folder: Path, n: int) -> None:
    results.write_file(folder / "run.json", _leaderboard_rows(folder.parent)[: n + 1])


@cache
def _leaderboard_rows(folder: Path) -> list[Row]:
    return sorted(row.rows([load_run(build_run(folder / "rows" / "run"))]), key=lambda found: found.name)


@cache
def _suite() -> Suite:
    return running.load_suite("planted-1")


@cache
def _suite_tables(n: int) -> tuple[pa.Table, pa.Table]:
    latents = _suite().latent_table.slice(0, n + 2)
    names = pa.array(latents.column("latent").to_pylist())
    return latents, _suite().window_table.filter(pc.is_in(_suite().window_table.column("latent"), names))


def _save_suite(folder: Path, n: int) -> None:
    save_suite(folder / "suite", {"name": "s", "version": f"{n + 1}-0"}, *_suite_tables(n))


@cache
def _baseline(folder: Path) -> Baseline:
    return freeze(build_run(folder / "base" / "run"), offline=True)


def _freeze(folder: Path, n: int) -> None:
    found = _baseline(folder.parent)
    write_baseline(found.model_copy(update={"command": f"bench run {n}"}), folder / "b.json")


def _qualified(folder: Path, n: int) -> None:
    (found,) = qualification.read(qualification.folders()[0])[:1]
    qualification.write(found.model_copy(update={"judgements": found.judgements + n}), folder / "q")


def _table(folder: Path, n: int) -> None:
    write_table(pa.table({"n": [n]}), folder / "t.parquet")


WRITERS = {
    "text": Writer(lambda f, n: write_text(f / "x", str(n) * 100), lambda f: (f / "x").read_text(encoding="utf-8")),
    "table": Writer(_table, lambda f: pq.read_table(f / "t.parquet").to_pydict()),
    "rows": Writer(_rows, lambda f: results.read_file(f / "run.json")),
    "qualification": Writer(_qualified, lambda f: qualification.read(f / "q")),
    "baseline": Writer(_freeze, lambda f: read_baseline(f / "b.json")),
    "suite": Writer(_save_suite, lambda f: load_suite(str(f / "suite")).digest),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_writer_killed_at_any_step_leaves_the_old_the_new_or_a_message_and_can_write_again(tmp_path, name):
    writer, folder = WRITERS[name], tmp_path / "there"
    wanted = []
    for n in (0, 1):
        folder.mkdir()
        writer.write(folder, n)
        wanted.append(writer.read(folder))
        if not n:
            shutil.copytree(folder, tmp_path / "old")
        shutil.rmtree(folder)
    assert wanted[0] != wanted[1]
    for old in (True, False):
        deaths = 0

        def clean(old: bool = old) -> None:
            shutil.rmtree(folder, ignore_errors=True)
            if old:
                shutil.copytree(tmp_path / "old", folder)
            else:
                folder.mkdir()

        clean()
        for last in every_death(lambda: writer.write(folder, 1), folder):
            deaths += 1
            try:
                assert writer.read(folder) in (wanted if old else [*wanted, []]), last
            except (BenchError, FileNotFoundError):
                # A suite says that it is not whole; where nothing was, there may still be nothing.
                assert name == "suite" or not old, last
            writer.write(folder, 1)
            assert writer.read(folder) == wanted[1], last
            clean()
        assert deaths >= 3
