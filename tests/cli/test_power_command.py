"""`bench power` answers from a stated spread or from a pilot, and refuses a mixture of both."""

from __future__ import annotations

from pathlib import Path

import pytest
from latentbench.cli import app
from typer.testing import CliRunner

from tests.builders.run_builder import Grid, build_run


def said(*words: str) -> str:
    done = CliRunner().invoke(app, ["power", *words], env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.exception or done.output
    assert max(map(len, done.output.splitlines())) <= 80
    return " ".join(done.output.split())


def test_a_stated_effect_has_a_number_of_latents() -> None:
    assert "295 latents: two explainers that differ by 0.05" in said("--effect", "0.05", "--sd", "0.2")
    pairs = said("--effect", "-0.05", "--sd", "0.2", "--pairs")
    assert "149 latents: two explainers" in pairs
    assert "One score" not in pairs
    assert said("--effect", "0.05", "--sd", "0.2", "--correlation", "0.5").count("149 latents") == 2


def test_a_pilot_has_a_table_for_each_scorer(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", Grid(coders={"res9": 30}, scorers=("detection", "fuzzing")))
    both = said(str(run), "--effect", "0.1")
    assert both.count("Pilot: accuracy of") == 2
    assert both.count("The level is") == 1
    one = said(str(run), "--scorer", "fuzzing", "--explainer", "llm", "--explainer", "tokens", "--latents", "100")
    assert "Pilot: accuracy of fuzzing" in one
    assert "No effect was named" in one


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([], "RUN, or --sd"),
        (["run", "--sd", "0.2"], "RUN, or --sd"),
        (["--sd", "0.2", "--effect", "0"], "not 0"),
        (["--sd", "0.2", "--scorer", "detection"], "choose from a pilot"),
        (["run", "--pairs"], "go with --sd"),
        (["--sd", "0.2", "--pairs", "--correlation", "0.5"], "not of pairs"),
        (["--sd", "0.2", "--power", "1"], "below 1"),
        (["--sd", "0.2", "--latents", "1"], "equal to 2"),
    ],
)
def test_what_does_not_go_together_is_refused(words: list[str], why: str) -> None:
    done = CliRunner().invoke(app, ["power", *words], env={"COLUMNS": "300"})
    assert done.exit_code == 2
    assert why in done.output
