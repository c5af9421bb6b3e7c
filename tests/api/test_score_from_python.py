"""`lb.score`: a dictionary, a DataFrame and a file are the same explanations, and the command's run is the function's."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import latentbench as lb
import numpy as np
import pandas as pd
import pytest
from latentbench.cli import app
from latentbench.explainers.foreign.column_texts import Columns
from latentbench.kernel.errors import DataError, RunError, SpecError
from latentbench.runs.scoring import GIVEN

from tests.builders.run_builder import Grid, build_suite


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a suite of 8 latents of one coder."""
    build_suite(tmp_path / "suite", Grid(coders={"res1": 8}))
    monkeypatch.chdir(tmp_path)
    return tmp_path


TEXTS = {f"res1/{i}": f"words {i}" for i in range(6)}


def score(explanations: Any, **more: Any) -> lb.Result:
    given = {"suite": "suite", "judge": "mock:label", "scorers": "detection", "cache": "c.sqlite", **more}
    return lb.score(explanations, track=False, progress=False, **given)


def texts(result: lb.Result) -> dict[str, str]:
    label = next(e.label for e in result.record.explainers.values() if e.label in ("given", "mine"))
    frame = result.explanations[result.explanations["explainer"] == label]
    found = frame.set_index("latent")["text"]
    return {str(k): str(v) for k, v in found.items() if isinstance(v, str)}


def test_a_dictionary_a_frame_and_a_file_are_the_same_explanations() -> None:
    Path("mine.jsonl").write_text(
        "".join(json.dumps({"latent": k, "text": v}) + "\n" for k, v in TEXTS.items()), encoding="utf-8"
    )
    frames = [
        pd.DataFrame({"latent": list(TEXTS), "text": list(TEXTS.values())}),
        pd.DataFrame({"feature": np.arange(8), "description": [*TEXTS.values(), None, np.nan], "score": 0.5}),
        pd.DataFrame({"explanation": list(TEXTS.values())}, index=pd.Index(range(6), name="index")),
        pd.DataFrame({"index": range(6), "sae": "res1", "label": list(TEXTS.values())}),
    ]
    first = score("mine.jsonl", label="mine")
    for given in (TEXTS, {i: f"words {i}" for i in range(6)}, *frames):
        found = score(given, label="mine")
        assert texts(found) == TEXTS
        pd.testing.assert_frame_equal(found.scores, first.scores)
    board = first.leaderboard()
    assert set(board["explainer"]) == {"mine", "tokens", "empty", "shuffled", "copied-words"}
    assert board.set_index("explainer").loc["mine", "coverage"] == pytest.approx(6 / 8)
    assert set(board.loc[board["is_floor"], "explainer"]) >= {"shuffled", "empty"}


def test_the_command_and_the_function_are_one_run() -> None:
    given = score(TEXTS, out="by-function", seed=3, limit=7)
    assert (given.folder / GIVEN).is_file()
    words = shlex.split(given.record.command)
    assert words[:3] == ["bench", "score", f"by-function/{GIVEN}"]
    app([*words[1:], "--out", "by-command", "--cache", "d.sqlite", "--no-track"], standalone_mode=False)
    by_command = lb.load("by-command")
    assert by_command.record.identities == given.record.identities
    assert by_command.record.tables == given.record.tables


def test_texts_from_memory_lie_in_the_run_and_it_goes_on_from_there(place: Path) -> None:
    first = score(TEXTS, out="r")
    again = lb.resume(first, cache="c.sqlite", track=False, progress=False)
    pd.testing.assert_frame_equal(again.scores, first.scores)
    before = (place / "r" / GIVEN).read_bytes()
    with pytest.raises(RunError, match="exists already"):
        score({0: "other"}, out="r")
    assert (place / "r" / GIVEN).read_bytes() == before, "a run that is refused changes nothing"
    (place / "full").mkdir()
    (place / "full" / "notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(RunError, match="exists already"):
        score(TEXTS, out="full")
    assert [p.name for p in (place / "full").iterdir()] == ["notes.txt"]


def test_explanations_of_other_latents_leave_no_folder(place: Path) -> None:
    with pytest.raises(DataError, match="no explanation of a latent of this suite"):
        score({"res7/1": "x"}, out="r")
    assert not (place / "r").exists()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "there are none"),
        ({"res1/0": 3}, r"\['res1/0'\]: 3 is no text"),
        ({0: "a", "0": "b"}, r"\['0'\]: a second text for 0"),
        ({True: "a"}, "neither an id"),
        ({-1: "a"}, "indices start at 0"),
        ({0: "a\ud800"}, "half of a character"),
        ({0.5: "a"}, "neither an id"),
        (["a", "b"], "are a list"),
        (pd.DataFrame({"unit": [0], "what": ["a"]}), "columns unit, what"),
        (pd.DataFrame({"latent": [0], "text": [1.5]}), "row 0, column 'text': 1.5 is no text"),
        (pd.DataFrame([[0, "a", "b"]], columns=["latent", "text", "text"]), "two columns 'text'"),
        (pd.DataFrame({"latent": [np.nan], "text": ["a"]}), "neither an id"),
    ],
)
def test_what_is_no_explanation_is_said_with_its_place(given: Any, said: str) -> None:
    with pytest.raises((SpecError, DataError), match=said):
        score(given)


def test_columns_may_be_named_and_a_file_keeps_its_options() -> None:
    frame = pd.DataFrame({"unit": [0, 1], "what": ["a", "b"], "method": ["x", "y"]})
    named = {"id_column": "unit", "text_column": "what"}
    assert texts(score(frame, **named)) == {"res1/0": "a", "res1/1": "b"}
    frame.to_csv("mine.csv", index=False)
    assert texts(score("mine.csv", where={"method": "x"}, **named)) == {"res1/0": "a"}
    with pytest.raises(SpecError, match="choose the rows of a DataFrame"):
        score(frame, where={"method": "x"}, **named)
    assert Columns().of(frame.columns) is None


def test_a_scorer_with_parameters_and_several_judges() -> None:
    detection = {"use": "detection", "params": {"positives": 2, "negatives": 2}}
    found = score(TEXTS, judge=["mock:label", "mock:lexical"], scorers=[detection, "fuzzing"], suite=lb.suite("suite"))
    assert {(cell.scorer.label, cell.judge.label) for cell in found.record.cells} == {
        (scorer, judge) for scorer in ("detection", "fuzzing") for judge in ("judge1", "judge2")
    }
    assert found.record.command == f"bench run {found.folder}/spec.yaml", "no option of the command says parameters"
    with pytest.raises(SpecError, match="judges is empty"):
        score(TEXTS, judge=[])
    with pytest.raises(SpecError, match="layout"):
        score("x.jsonl", layout="delphy")
