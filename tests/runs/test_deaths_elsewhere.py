"""Writers outside of a run, killed at every step that they take on the disk: studies, tuning, activations, simulators.

Each goes on, when the same command is given again, to what it would have been; no half file of a killed process is read as a
whole one. `tests/runs/test_every_death.py` does the same for runs and for the files that a run is read from.
"""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from latentbench.judges.simulator import artifact, lora
from latentbench.judges.simulator.heads import Heads
from latentbench.kernel.errors import BenchError
from latentbench.lab.simulator.simulator_training import add_point, read_curve
from latentbench.lab.studies.study_page import read_study
from latentbench.models.language_model import Loaded, load
from latentbench.subject.activations.activation_store import ActivationStore
from latentbench.subject.activations.activations import collect
from latentbench.tuning.tune_report import write_reports

from tests.builders.dying import every_death, in_child
from tests.builders.study_builder import PROFILE, carry_out
from tests.builders.tuning_landscape import install, landscape, study
from tests.subject.test_activations import CODERS, LENGTHS, write_corpus

every = pytest.mark.parametrize("stride", [0, pytest.param(1, marks=pytest.mark.slow)], ids=["some", "all"])
"""A stride of its own for what is fast, and each step where there is time."""


def files(folder: Path, but: tuple[str, ...] = ()) -> dict[str, bytes]:
    """Every finished file below a folder, and what it holds."""
    return {
        str(p.relative_to(folder)): p.read_bytes()
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.suffix != ".part" and p.name not in but
    }


def alone(work: Callable[[], object]) -> Callable[[], object]:
    """In a forked child there is one thread, and a library that waits for those of its parent waits for ever."""

    def calm() -> object:
        torch.set_num_threads(1)
        return work()

    return calm


# --- studies

SMALL: dict[str, Any] = {
    **PROFILE,
    "latents": 2,
    "scorers": {
        "detection": {
            "use": "detection",
            "params": {"positives": 2, "negatives": 2},
            "judge": "good",
            "metric": "auroc",
        }
    },
}


def _study(folder: Path) -> dict[str, Any]:
    carry_out(folder, profile=SMALL)
    record = read_study(folder / "out" / "demo")
    assert record is not None
    texts = {name: held for name, held in files(folder / "out").items() if name.endswith((".csv", ".svg"))}
    left_out = {"date", "seconds", "runs", "command", "key"}
    return {"record": {name: held for name, held in record.items() if name not in left_out}, "files": texts}


@every
def test_a_study_killed_at_a_step_is_finished_by_the_same_command(tmp_path: Path, stride: int) -> None:
    (tmp_path / "whole").mkdir()
    wanted = json.loads(json.dumps(_study(tmp_path / "whole"), default=repr).replace(str(tmp_path / "whole"), "HERE"))
    folder, deaths = tmp_path / "dying", 0
    folder.mkdir()
    for last in every_death(alone(lambda: _study(folder)), folder, stride or 150, first=7):
        deaths += 1
        code, said = in_child(alone(lambda: _study(folder)), folder)
        assert code == 0, (last, "\n".join(said))
        found = _study(folder)
        assert json.loads(json.dumps(found, default=repr).replace(str(folder), "HERE")) == wanted, last
        shutil.rmtree(folder)
        folder.mkdir()
    assert deaths >= (2 if not stride else 150)


# --- tuning


@pytest.fixture(scope="module")
def knobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    place = install(tmp_path_factory.mktemp("site-packages"))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(place))
        importlib.invalidate_caches()
        yield
    sys.modules.pop("latentbench_knobs", None)


CONTENT = landscape(trials=2, seed=0, latents=2, windows=2)


@every
@pytest.mark.usefixtures("knobs")
def test_reports_of_tuning_killed_at_a_step_are_written_again(tmp_path: Path, stride: int) -> None:
    result = study(tmp_path / "tuned", CONTENT)
    folder, deaths = tmp_path / "reports", 0
    folder.mkdir()
    write_reports(result, folder)
    wanted = files(folder)
    assert len(wanted) > 3
    for last in every_death(alone(lambda: write_reports(result, folder)), folder, stride or 9, first=3):
        deaths += 1
        assert files(folder).items() <= wanted.items(), f"half a file after step {last}"
        write_reports(result, folder)
        assert files(folder) == wanted, last
        shutil.rmtree(folder)
        folder.mkdir()
    assert deaths >= (2 if not stride else 10)


# --- activations


@every
def test_a_store_of_activations_killed_at_a_step_is_finished_by_the_same_command(
    tiny: Loaded, tmp_path: Path, stride: int
) -> None:
    corpus, folder, deaths = write_corpus(tmp_path, 20), tmp_path / "store", 0

    def work() -> ActivationStore:
        return collect(tiny, CODERS[:2], corpus, folder, LENGTHS, batch=4, shard=9)

    work()
    wanted = files(folder)
    assert "meta.json" in wanted
    shutil.rmtree(folder)
    for last in every_death(alone(work), tmp_path, stride or 11, first=4):
        deaths, refused = deaths + 1, ""
        try:
            found = ActivationStore.open(folder)
            assert {n: b for n, b in files(folder).items() if not n.startswith("shards")} == wanted, last
            assert found.n_tokens > 0
        except BenchError as e:
            refused = str(e)
        assert not refused or "is not finished" in refused or "does not exist" in refused, (last, refused)
        code, said = in_child(alone(work), tmp_path)
        assert code == 0, (last, "\n".join(said))
        assert files(folder) == wanted, last
        shutil.rmtree(folder)
    assert deaths >= (2 if not stride else 15)


# --- simulators


def test_a_simulator_killed_at_any_step_is_the_whole_one_or_none(tiny_folder: Path, tmp_path: Path) -> None:
    loaded = load(str(tiny_folder), dtype="float32", device="cpu")
    lora.attach(loaded.model, 2, 4.0, torch.Generator().manual_seed(0), 2)
    adapter = lora.state(loaded.model)
    folder, deaths = tmp_path / "simulator", 0

    def work(seed: int) -> None:
        torch.manual_seed(seed)
        heads = Heads(32, n_heads=2, ff=8, reach=2)
        for parameter in heads.parameters():
            torch.nn.init.normal_(parameter)
        artifact.save(folder, str(tiny_folder), loaded.files.identity, 2, 2, 4.0, adapter, heads)

    work(1)
    old = files(folder)
    work(2)
    wanted = files(folder)
    assert old != wanted
    for before in (False, True):
        shutil.rmtree(folder)
        if before:
            work(1)
        for last in every_death(alone(lambda: work(2)), tmp_path):
            deaths, refused = deaths + 1, ""
            try:
                artifact.load(folder)
                assert files(folder) in (old, wanted), last
            except BenchError as e:
                refused = str(e)
            assert not refused or str(folder) in refused, last
            work(2)
            assert files(folder) == wanted, last
            shutil.rmtree(folder)
            if before:
                work(1)
    assert deaths > 10


def test_the_curve_of_a_training_killed_at_any_step_is_whole(tmp_path: Path) -> None:
    """A line that is appended is torn by a kill, and the next one then stands behind its half."""
    path = tmp_path / "curve.jsonl"
    add_point(path, {"step": 1, "loss": 0.5})
    first = read_curve(path)
    for last in every_death(lambda: add_point(path, {"step": 2, "loss": 0.25}), tmp_path):
        assert read_curve(path) in (first, [*first, {"step": 2, "loss": 0.25}]), last
        add_point(path, {"step": 2, "loss": 0.25})
        assert read_curve(path) == [*first, {"step": 2, "loss": 0.25}], last
        path.unlink()
        add_point(path, {"step": 1, "loss": 0.5})
