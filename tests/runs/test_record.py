"""`run.json` as a type: today's layout, older ones, and the one mean over repeats."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from latentbench.kernel.errors import RunError
from latentbench.runs.finished import Run, load_run
from latentbench.runs.record import Totals, read_record, upgraded, write_record

from tests.builders.records import cell, record, scorer
from tests.builders.run_builder import Grid, build_run
from tests.builders.signed_runs import signed


def rewritten(folder: Path, change: dict[str, object]) -> Path:
    path = folder / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | change), encoding="utf-8")
    return folder


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder = signed(build_run(tmp_path / "r"))
    found = read_record(folder)
    written = write_record(found, folder)
    assert read_record(folder) == written
    assert written.model_copy(update={"digest": found.digest}) == found
    assert found.layout == 2
    assert json.loads((folder / "run.json").read_text(encoding="utf-8"))["layout"] == 2


def test_layout_1_is_read_as_todays(tmp_path: Path) -> None:
    new = build_run(tmp_path / "r")
    data = json.loads((new / "run.json").read_text(encoding="utf-8"))
    old = {key: value for key, value in data.items() if key != "layout"}
    for entry in old["cells"]:
        entry["explainer"]["null"] = entry["explainer"].pop("is_floor")
        entry["judge"]["qualification"] = None
    expected = read_record(new)
    (new / "run.json").write_text(json.dumps(old), encoding="utf-8")
    assert read_record(new) == expected
    assert [e.is_floor for e in expected.explainers.values()] == [False, False, True]


def test_upgrading_leaves_its_input_alone() -> None:
    old = {"cells": [{"explainer": {"label": "a", "null": True}, "scorer": {}, "judge": {}}]}
    before = json.dumps(old)
    upgraded(old)
    assert json.dumps(old) == before


def test_a_newer_layout_is_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="layout 3, and this version reads 1 and 2"):
        read_record(rewritten(build_run(tmp_path / "r"), {"layout": 3}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"split": None}, r"run\.json: split"),
        ({"cells": 3}, r"run\.json: cells"),
        ({"strange": 1}, "unknown key 'strange'"),
        ({"spec": {"name": "x"}}, r"spec\.suite"),
    ],
)
def test_a_field_that_is_wrong_is_named_with_its_file(tmp_path: Path, change: dict[str, object], said: str) -> None:
    with pytest.raises(RunError, match=said):
        load_run(rewritten(build_run(tmp_path / "r"), change))


def as_layout_1(folder: Path) -> dict[str, Any]:
    """What the code before layout 2 wrote for the run of a folder."""
    old: dict[str, Any] = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del old["layout"]
    for entry in old["cells"]:
        entry["explainer"]["null"] = entry["explainer"].pop("is_floor")
    return old


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda d: d["cells"][1].pop("explainer"), r"r/run\.json: cells\[1\]\.explainer is missing"),
        (lambda d: d["cells"][1]["scorer"].pop("headline"), r"r/run\.json: cells\[1\]\.scorer\.headline is missing"),
        (lambda d: d["cells"][1].pop("judge"), r"r/run\.json: cells\[1\]\.judge is missing"),
        (lambda d: d["cells"].append(1), r"r/run\.json: cells\[6\] must be keys with values, and is 1"),
        (lambda d: d.update(cells={"a": 1}), r"r/run\.json: cells must be a list"),
        (lambda d: d.pop("cells"), r"r/run\.json: cells is missing"),
    ],
)
def test_a_damaged_file_of_layout_1_is_the_users_error_too(
    tmp_path: Path, broken: Callable[[dict[str, Any]], object], said: str
) -> None:
    folder = build_run(tmp_path / "r", Grid(repeats=2))
    old = as_layout_1(folder)
    broken(old)
    (folder / "run.json").write_text(json.dumps(old), encoding="utf-8")
    with pytest.raises(RunError, match=said):
        load_run(folder)


def test_a_copy_with_other_cells_forgets_the_old_ones(tmp_path: Path) -> None:
    whole = read_record(build_run(tmp_path / "r", Grid(repeats=2)))
    assert [len(cells) for cells in whole.grid.values()] == [2, 2, 2]
    assert list(whole.explainers) == ["llm", "tokens", "shuffled"]
    one = whole.model_copy(update={"cells": whole.cells[:1]})
    assert [len(cells) for cells in one.grid.values()] == [1]
    assert list(one.explainers) == ["llm"]


@pytest.mark.parametrize("text", ["[]", "3", '"x"', "null"])
def test_json_that_is_no_record_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match="not the record of a run"):
        read_record(tmp_path)


def toy() -> Run:
    """Two scorers, two repeats, latents of two coders; `a/1` failed in one repeat of `s` and has no `t` at all."""
    values = {
        ("s", "a/0"): (0.2, 0.6),
        ("s", "a/1"): (0.5, None),
        ("s", "b/0"): (1.0, 0.0),
        ("t", "a/0"): (0.25, 0.75),
        ("t", "a/1"): (None, None),
        ("t", "b/0"): (1.0, 1.0),
    }
    rows = [
        {
            "cell": f"e/{name}/j/{repeat}",
            "explainer": "e",
            "scorer": name,
            "judge": "j",
            "repeat": repeat,
            "latent": latent,
            "coder": latent.split("/")[0],
            "metric": metric,
            "value": value if metric == "m" else (None if value is None else 1 - value),
            "n_judged": 0 if value is None else 4,
            "n_attempted": 4,
        }
        for (name, latent), both in values.items()
        for repeat, value in enumerate(both)
        for metric in ("m", "other")
    ]
    cells = [cell("e", scorer(name), "j", repeat) for name in "st" for repeat in (0, 1)]
    empty = pd.DataFrame()
    return Run(Path("r"), record(cells, ["a/0", "a/1", "b/0"]), empty, empty, pd.DataFrame(rows))


def test_the_mean_over_repeats_by_hand() -> None:
    found = toy().per_latent().set_index(["scorer", "latent"])
    assert found.loc[("s", "a/0"), "value"] == pytest.approx(0.4)
    assert found.loc[("s", "a/1"), "value"] == pytest.approx(0.5)
    assert found.loc[("s", "b/0"), "value"] == pytest.approx(0.5)
    assert found.loc[("t", "a/0"), "value"] == pytest.approx(0.5)
    assert math.isnan(found.loc[("t", "a/1"), "value"])
    assert found.loc[("s", "a/1"), ["judged", "attempted"]].tolist() == [4, 8]
    assert found.loc[("t", "a/1"), ["judged", "attempted"]].tolist() == [0, 8]
    assert found["coder"].tolist() == ["a", "a", "b"] * 2


def test_another_metric_of_some_scorers() -> None:
    found = toy().per_latent({"s": "other"})
    assert set(found["scorer"]) == {"s"}
    assert found["value"].tolist() == pytest.approx([0.6, 0.5, 0.5])


def test_repeats_of_a_cell_stand_together() -> None:
    found = toy().record
    assert {labels: len(cells) for labels, cells in found.grid.items()} == {("e", "s", "j"): 2, ("e", "t", "j"): 2}
    assert list(found.scorers) == ["s", "t"]


def test_failures_are_counted_over_both_tables() -> None:
    totals = Totals(explanations={"ok": 3, "api": 1}, judgements={"ok": 5, "parse": 2, "timeout": 1})
    assert totals.failure_rate == pytest.approx(4 / 12)
    assert totals.count(["api", "timeout"]) == 2


def test_a_run_without_ranges_is_an_old_one_with_open_metrics(tmp_path: Path) -> None:
    folder = build_run(tmp_path / "r", Grid(explainers={"llm": 0.8}))
    data = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    del data["layout"]
    for entry in data["cells"]:
        entry["explainer"]["null"] = entry["explainer"].pop("is_floor")
        for metric in entry["scorer"]["metrics"]:
            del metric["low"], metric["high"]
    (folder / "run.json").write_text(json.dumps(data), encoding="utf-8")
    assert read_record(folder).cells[0].scorer.ranking.low is None
