"""The line of a stage names it so that stages can be told apart, on a terminal and in a log."""

from __future__ import annotations

import io

import pytest
from latentbench.runs.progress import Stage
from rich.console import Console

LONG = "judge sensitivity-ratings · openai:some-model?base_url=http://127.0.0.1:8000/v1"


def said(name: str, width: int, terminal: bool) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, force_terminal=terminal, color_system=None)
    with Stage(name, 1229, "latents", console) as stage:
        stage.advance(1100)
    return out.getvalue()


def test_a_log_has_the_whole_name_on_one_line() -> None:
    text = said(LONG, 80, terminal=False)
    assert text.startswith(f"{LONG} 1100/1229 latents")
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("width", "shown"), [(80, "judge sensitiv…1:8000/v1"), (120, "judge sensitivity-ratings · openai")]
)
def test_a_terminal_shows_both_ends_of_a_name_that_has_no_room(width: int, shown: str) -> None:
    text = said(LONG, width, terminal=True)
    head, _, tail = shown.partition("…")
    assert head in text
    assert f"{tail or '8000/v1'} ━" in text
    assert "1100/1229" in text


def test_brackets_in_a_label_are_no_markup() -> None:
    for terminal in (True, False):
        assert "judge [red] · oracle" in said("judge [red] · oracle", 80, terminal)
