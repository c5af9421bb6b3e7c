"""A scorer and a judge that cannot meet are named before the run, in its record and beside its tables."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
import yaml
from latentbench.cli import app
from latentbench.cli.final_table import show_table
from latentbench.kernel.errors import CapabilityError
from latentbench.leaderboards.run_page import write_report
from latentbench.runs.record import read_record
from latentbench.runs.run import start
from rich.console import Console
from typer.testing import CliRunner

SPEC = {
    "name": "t",
    "suite": "planted-1",
    "limit": 2,
    "explainers": ["tokens"],
    "scorers": ["detection", "surprisal"],
    "judges": [{"use": "mock:lexical", "label": "all"}, {"use": "mock:lexical?can=chat&seed=1", "label": "writer"}],
}
SENTENCE = "scorer surprisal is not asked of judge writer: it needs text_logprobs, and the judge can chat."


def test_a_pair_that_cannot_meet_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    said = io.StringIO()
    folder, _ = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(file=said, width=200))
    assert said.getvalue().splitlines()[0] == SENTENCE
    record = read_record(folder)
    assert [str(pair) for pair in record.unasked] == [SENTENCE]
    assert {(c.scorer.label, c.judge.label) for c in record.cells} == {
        ("detection", "all"),
        ("detection", "writer"),
        ("surprisal", "all"),
    }
    assert SENTENCE in write_report(folder).read_text(encoding="utf-8")
    shown = CliRunner().invoke(app, ["leaderboard", str(folder)])
    assert SENTENCE in " ".join(shown.output.split())
    assert SENTENCE in (folder / "leaderboard.md").read_text(encoding="utf-8")
    show_table(folder)
    assert capsys.readouterr().out.strip() == shown.stdout.strip(), "a run ends with the table of bench leaderboard"


def test_a_pair_that_the_spec_rules_out_is_not(tmp_path: Path) -> None:
    scorers = [{"use": "detection", "judges": ["writer"]}, {"use": "surprisal", "judges": ["all"]}]
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC | {"scorers": scorers}), encoding="utf-8")
    _, record = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    assert record.unasked == ()


@pytest.mark.parametrize(
    ("explainer", "advice"), [("agent", "can chat. Take `subject:SUITE?writer=JUDGE`."), ("best-of-k", "can chat.")]
)
def test_an_explainer_whose_model_cannot_is_told_what_it_can(tmp_path: Path, explainer: str, advice: str) -> None:
    spec = SPEC | {"explainers": [{"use": explainer, "model": "mock:lexical?can=chat"}]}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    with pytest.raises(CapabilityError) as refused:
        start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    assert str(refused.value).endswith(advice)
