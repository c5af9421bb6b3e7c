"""A misspelt key is answered with its whole path, the path that was probably meant, and the keys that there are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from latentbench.cli import app
from latentbench.kernel import registry
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.prompts.task import read_task
from latentbench.runs.run import prepare
from latentbench.runs.run_spec import RunSpec
from pydantic import Field
from typer.testing import CliRunner

BASE: dict[str, Any] = {
    "name": "t",
    "suite": "planted-1",
    "explainers": ["tokens"],
    "scorers": ["detection"],
    "judges": ["mock:oracle"],
}


def refusal(tmp_path: Path, **parts: Any) -> str:
    """What is said of a run spec that differs from `BASE` in these parts."""
    with pytest.raises(SpecError) as caught:
        prepare(validate(RunSpec, BASE | parts, "spec.yaml"), tmp_path, None)
    return str(caught.value)


def test_parameters_have_the_place_of_their_entry(tmp_path: Path) -> None:
    said = refusal(tmp_path, scorers=["fuzzing", {"use": "detection", "params": {"positive": 3}}])
    assert (
        "unknown key 'scorers[1].params.positive'. Did you mean 'scorers[1].params.positives'? Known: answer, " in said
    )
    said = refusal(tmp_path, explainers=[{"use": "llm", "params": {"n_example": 3}, "model": "mock:oracle"}])
    assert "Did you mean 'explainers[0].params.n_examples'? Known: cot, max_tokens" in said
    said = refusal(tmp_path, scorers=[{"use": "detection", "params": {"positives": "many"}}])
    assert "scorers[0].params.positives must be a whole number, and is 'many'" in said


def test_entries_and_nested_models_have_their_whole_path() -> None:
    class Inner(Frozen):
        depth: int = 1

    class Outer(Frozen):
        inners: list[Inner] = Field(default_factory=list)

    with pytest.raises(SpecError) as caught:
        validate(Outer, {"inners": [{}, {"dept": 2}]}, "x.yaml")
    assert str(caught.value) == "x.yaml: unknown key 'inners[1].dept'. Did you mean 'inners[1].depth'? Known: depth."
    with pytest.raises(SpecError, match=r"Did you mean 'explainers\[0\]\.model'\? Known: label, model"):
        validate(RunSpec, BASE | {"explainers": [{"use": "llm", "modle": "mock:oracle"}]}, "spec.yaml")


def test_what_stands_in_a_task_file_is_told_by_that_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    file = {"version": "1-0", "implementation": "tokens", "summary": "x", "params": {"count": 3}}
    path.write_text(yaml.safe_dump(file), encoding="utf-8")
    said = refusal(tmp_path, explainers=[{"use": "mine.yaml", "params": {"n": 2}}])
    assert f"unknown key '{path}: params.count'" in said
    said = refusal(tmp_path, explainers=[{"use": "mine.yaml", "params": {"cout": 2}}])
    assert "unknown key 'explainers[0].params.cout'" in said


@pytest.mark.parametrize(
    ("reference", "hint"),
    [
        ("mock:oracle?erorr=0.1", "Did you mean 'error'? Known: answer, can"),
        ("mcok:oracle", "Did you mean 'mock'"),
        ("openai:m?base_ulr=http://127.0.0.1:1/v1", "Did you mean 'base_url'? Known: "),
    ],
)
def test_a_reference_of_a_judge_names_what_there_is(reference: str, hint: str, tmp_path: Path) -> None:
    assert hint in refusal(tmp_path, judges=[reference])


def test_names_of_other_packages_are_listed_and_suggested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "elsewhere-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: elsewhere\nVersion: 1.0\n", encoding="utf-8")
    kinds = ("scorer", "explainer", "judge", "coder")
    points = "".join(f"[latentbench.{kind}s]\nfaraway-{kind} = elsewhere:Thing\n" for kind in kinds)
    (info / "entry_points.txt").write_text(points, encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    for kind in kinds:
        assert f"faraway-{kind}" in registry.names(kind)
        assert f"faraway-{kind}" in CliRunner().invoke(app, ["list", f"{kind}s"]).output
        with pytest.raises(UnknownName, match=f"Did you mean 'faraway-{kind}'"):
            registry.lookup(kind, f"farway-{kind}")
    for kind in ("scorer", "explainer"):
        with pytest.raises(UnknownName, match=f"Did you mean 'faraway-{kind}'"):
            read_task(f"{kind}s", f"farway-{kind}")
        with pytest.raises(SpecError, match="has no task file"):
            read_task(f"{kind}s", f"faraway-{kind}")
    assert "Did you mean 'faraway-judge'" in refusal(tmp_path, judges=["farway-judge:x"])
