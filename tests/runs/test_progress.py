"""The line of a stage names it so that stages can be told apart, on a terminal and in a log."""

from __future__ import annotations

import io
import time

import pytest
from latentbench.views import progress
from latentbench.views.progress import Stage, short
from latentbench.views.run_line import Spent, Standing
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
    ("name", "shown"),
    [
        ("judge detection · big", "judge detection · big"),
        (LONG, "sensitivity… · …some-model"),
        ("judge detection · openai:m?base_url=http://127.0.0.1:8000/v1", "judge detection · openai:m"),
        ("judge sensitivity-ratings · big", "sensitivity-ratings · big"),
        ("explain some-explainer-with-a-name", "explain some-explainer-with…"),
    ],
)
def test_a_name_without_room_is_shortened_between_words(name: str, shown: str) -> None:
    assert short(name, 28) == shown
    assert len(shown) <= 28


def test_a_terminal_of_80_columns_shows_the_short_name_and_all_numbers() -> None:
    text = said(LONG, 80, terminal=True)
    assert "sensitivity… · …some-model" in text
    assert "1100/1229" in text
    assert "latents/s" in text
    assert LONG.partition("?")[0] in said(LONG, 120, terminal=True)


def test_a_log_hears_of_calls_before_the_first_batch_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "INTERVAL", 0.02)
    out = io.StringIO()
    now = Standing(7, 48, asked=Spent(7), failed={"api: 429": 2})
    with Stage("judge x", 48, "latents", Console(file=out, width=80), run=lambda: now):
        until = time.monotonic() + 10
        while out.getvalue().count("\n") < 2 and time.monotonic() < until:
            time.sleep(0.01)
    assert "0/48 latents" in out.getvalue()
    first = out.getvalue().splitlines()[0]
    assert "whole run 15% of ~48 calls; asked 7:" in first
    assert first.endswith("2 calls without answer (2 api: 429)")


def test_brackets_in_a_label_are_no_markup() -> None:
    for terminal in (True, False):
        assert "judge [red] · oracle" in said("judge [red] · oracle", 80, terminal)
