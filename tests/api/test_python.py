"""From Python: a run in a script, in a running loop, in threads; stopped and gone on with; the same folder as the command's."""

from __future__ import annotations

import _thread
import asyncio
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import latentbench as lb
import pandas as pd
import pytest
from latentbench.api.actions import FIRST, RunWarning
from latentbench.cli import app
from latentbench.kernel.errors import BenchError, RunError, SpecError, UnknownName
from latentbench.runs.finished import load_run
from latentbench.runs.ledger import total
from typer.testing import CliRunner


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    # Who is started in the background has Ctrl-C ignored, as a CI runner may.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def grid(**more: Any) -> dict[str, Any]:
    return {
        "name": "t",
        "suite": "planted-1",
        "limit": 4,
        "explainers": ["planted", {"use": "shuffled", "params": {"of": "planted"}}],
        "scorers": [{"use": "detection", "params": {"positives": 4, "negatives": 4}}],
        "judges": [{"use": "mock:oracle", "label": "oracle"}],
        **more,
    }


def run(**more: Any) -> lb.Result:
    return lb.run(grid(**more), cache="cache.sqlite", track=False, progress=False)


def same(a: lb.Result, b: lb.Result) -> None:
    # The cells' names hold the labels, not the folder, so equal runs have equal frames.
    pd.testing.assert_frame_equal(a.scores, b.scores)


def test_a_dictionary_becomes_a_finished_run_with_frames():
    result = run()
    assert result.folder.parent == Path("runs")
    assert set(result.explanations["explainer"]) == {"planted", "shuffled"}
    assert len(result.judgements) == 2 * 4 * 8
    board = result.leaderboard()
    assert tuple(board.columns[: len(FIRST)]) == FIRST
    assert list(board["explainer"]) == ["planted", "shuffled"]
    assert board["estimate"].iloc[0] > 0.9
    assert (board["n"] == 4).all()
    assert (board["coverage"] == 1).all()
    assert all(board[name].dtype == float for name in ("estimate", "low", "high", "floor"))
    assert "planted" in repr(result)
    assert "planted-1" in repr(result)
    shown = result._repr_html_()
    assert "<table" in shown
    assert "planted" in shown
    assert "<html" not in shown
    assert result.suite is not None
    assert len(result.suite.latents(limit=4)) == 4
    assert result.report().read_text(encoding="utf-8").startswith("<!doctype html>")
    same(lb.load(result.folder), result)


def test_the_command_and_the_function_write_the_same_tables():
    import yaml

    Path("spec.yaml").write_text(yaml.safe_dump(grid()), encoding="utf-8")
    done = CliRunner().invoke(app, ["run", "spec.yaml", "--out", "by-command", "--no-track", "--cache", "other.sqlite"])
    assert done.exit_code == 0, done.output
    by_function = lb.run("spec.yaml", "by-function", cache="cache.sqlite", track=False, progress=False)
    same(lb.load("by-command"), by_function)
    assert load_run(Path("by-command")).record.tables == by_function.record.tables
    assert by_function.record.command == "bench run spec.yaml"


async def test_in_a_running_loop():
    first = run()
    assert (await asyncio.to_thread(run)).folder != first.folder
    same(first, run())


def test_in_threads():
    done: list[lb.Result] = []
    threads = [threading.Thread(target=lambda: done.append(run())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({result.folder for result in done}) == 2
    same(*done)


@pytest.mark.parametrize("looping", [True, False])
def test_stopped_and_gone_on_with(looping: bool):
    slow = grid(judges=[{"use": "mock:oracle?seconds=0.05", "label": "oracle"}])

    def start() -> None:
        lb.run(slow, "slow", cache="slow.sqlite", track=False, progress=False)

    def stop_soon() -> None:
        while not total(Path("slow")):
            time.sleep(0.01)
        _thread.interrupt_main()

    async def inside() -> None:
        start()

    def either() -> None:
        if looping:
            asyncio.run(inside())
        else:
            start()

    stopper = threading.Thread(target=stop_soon, daemon=True)
    stopper.start()
    with pytest.raises(KeyboardInterrupt):
        either()
    stopper.join()
    with pytest.raises(RunError, match="has not ended"):
        lb.load("slow")
    gone_on = lb.resume("slow", cache="slow.sqlite", track=False, progress=False)
    pd.testing.assert_series_equal(gone_on.scores["value"], run().scores["value"])


def test_compare_and_leaderboard_of_several():
    a, b = run(), run(judges=[{"use": "mock:lexical", "label": "oracle"}])
    found = lb.compare(a, b.folder, across=["judge"])
    assert len(found) == 2
    assert {"difference", "low", "high", "p", "n", "why"} <= set(found.columns)
    board = lb.leaderboard([a, b])
    assert len(board) == 4
    assert board.groupby("judge_key").size().eq(2).all()


def test_what_is_wrong_is_said():
    with pytest.raises(SpecError, match="explainers"):
        lb.run({"name": "t", "suite": "planted-1"})
    with pytest.raises(UnknownName, match="demo"):
        lb.run("demoo")
    with pytest.raises(UnknownName, match="planted-1"):
        lb.suite("planted-0")
    with pytest.raises(UnknownName, match="mock"):
        lb.judge("mokc:oracle")
    with pytest.raises(AttributeError, match="leaderboard"):
        _ = lb.leaderbord  # type: ignore[attr-defined]


def test_too_many_failures_are_a_warning():
    failing = grid(judges=[{"use": "mock:oracle?fail=0.5", "label": "oracle"}])
    with pytest.warns(RunWarning, match="max_failures"):
        result = lb.run(failing, cache="cache.sqlite", track=False, progress=False)
    assert (result.leaderboard()["coverage"] < 1).all()


def test_a_good_run_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run()


def test_importing_is_light():
    code = "import sys, latentbench; dir(latentbench); print(sorted({'torch','pandas','mlflow','typer'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there():
    for name in lb.__all__:
        assert getattr(lb, name).__doc__, name


def test_a_run_that_is_named_twice_does_not_tie_with_itself():
    result = run()
    assert lb.leaderboard([result, result.folder]).equals(result.leaderboard())


def test_an_edited_name_is_refused_as_the_command_refuses_it():
    from tests.builders.signed_runs import signed

    result = run()
    cells = [cell.model_dump(mode="json") for cell in result.record.cells]
    for cell in cells:
        cell["explainer"]["is_floor"] = True
    signed(result.folder, cells=cells)
    with pytest.raises(BenchError, match="floor"):
        lb.leaderboard([result.folder])
