"""Every key of every file and reference is described from the source, and the page of the docs is what the source says."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from latentbench.cli import app
from latentbench.cli.describe_command import KINDS, described, reference
from latentbench.kernel.config import Frozen
from latentbench.kernel.described import Key, keys_of
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
