"""Every key of every file and reference is described from the source, and the page of the docs is what the source says."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Literal

import pytest
from latentbench.cli import app
from latentbench.cli.describe_command import KINDS, described, reference
from latentbench.kernel import described as described_module
from latentbench.kernel.config import Frozen
from latentbench.kernel.described import Key, keys_of
from latentbench.runs.run_spec import RunSpec
from latentbench.subject.coders.coder_spec import CoderSpec
from latentbench.suites.build.suite_recipe import SuiteRecipe
from latentbench.tuning.tune_spec import TuneSpec
from pydantic import Field
from typer.testing import CliRunner

PAGE = Path(__file__).parents[2] / "docs" / "reference.md"


class Inner(Frozen):
    depth: int = Field(ge=1, le=9)
    """How deep."""


class Outer(Frozen):
    name: str
    """What it is called."""
    inners: list[Inner] = Field(default_factory=list)
    """Things
    inside."""
    how: Literal["fast", "slow"] | None = None
    silent: bool = False


class Narrower(Outer):
    name: str = "one"
    """Said anew."""


def test_keys_have_types_bounds_defaults_and_the_string_under_them():
    assert keys_of(Outer) == [
        Key("name", "text", None, "What it is called."),
        Key("inners", "list of mapping", "none", "Things inside."),
        Key("inners[].depth", "whole number, at least 1, at most 9", None, "How deep."),
        Key("how", "fast | slow", "none", ""),
        Key("silent", "true | false", "false", ""),
    ]
    assert keys_of(Narrower)[0] == Key("name", "text", "one", "Said anew.")


def test_the_page_is_what_the_source_says():
    said = PAGE.read_text(encoding="utf-8")
    assert said == reference().rstrip() + "\n", "bench describe all > docs/reference.md"


@pytest.mark.parametrize("model", [RunSpec, SuiteRecipe, TuneSpec, CoderSpec])
def test_a_changed_string_under_a_key_makes_the_page_untrue(
    monkeypatch: pytest.MonkeyPatch, model: type[Frozen]
) -> None:
    key = next(key for key in keys_of(model) if len(key.meaning) > 20 and "." not in key.name)
    said = " ".join(key.meaning.split()[:3])
    source, read = inspect.getsource(model), inspect.getsource
    assert said in source
    monkeypatch.setattr(
        inspect, "getsource", lambda what: source.replace(said, "Mutated") if what is model else read(what)
    )
    described_module._meanings.cache_clear()
    try:
        with pytest.raises(AssertionError, match="describe all"):
            test_the_page_is_what_the_source_says()
    finally:
        described_module._meanings.cache_clear()


def test_every_key_has_a_meaning():
    rows = [line for line in reference().splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    assert [row for row in rows if row.endswith("|  |")] == []


@pytest.mark.parametrize("kind", KINDS)
def test_each_is_printed_at_eighty_columns(kind: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "80")
    listed = CliRunner().invoke(app, ["describe", kind])
    assert listed.output.split() == sorted(described(kind))
    for name in described(kind):
        done = CliRunner().invoke(app, ["describe", kind, name])
        assert done.exit_code == 0, done.output
        assert max(map(len, done.output.splitlines())) <= 80


def test_an_unknown_name_says_what_is_known():
    for words in (["nonsense"], ["scorer", "detecton"]):
        done = CliRunner().invoke(app, ["describe", *words])
        assert "Known:" in str(done.exception)
