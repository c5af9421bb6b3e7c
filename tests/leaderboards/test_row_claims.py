"""What a run and a row say of names, starts and counts, where somebody else says it, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from latentbench.kernel.identity import digest
from latentbench.kernel.tables import EXPLANATIONS
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.claims import UNCONFIRMED, confirmed, declares_floor, unknown_names
from latentbench.leaderboards.row import read_rows

from tests.builders.published_board import bench, carried_out, published
from tests.builders.signed_runs import copied, signed, unsigned
from tests.leaderboards.test_forgery import changed

SPEC = """
name: honest
suite: planted-1
split: test
limit: 24
explainers: [{use: planted, label: truth}, tokens, empty]
scorers: [{use: detection, params: {positives: 2, negatives: 2, simulate: never}}]
judges: [{use: "mock:label?error=0.2", label: label}]
"""


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(SPEC, tmp_path_factory.mktemp("honest"))


@pytest.fixture
def run(honest: Path, tmp_path: Path) -> Path:
    return copied(honest, tmp_path / "run")


@pytest.fixture(scope="module")
def board(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return published(honest, tmp_path_factory.mktemp("board"))


# --- a run folder, signed again by whoever edits it


def _cells(change: Callable[[dict[str, Any]], object]) -> Callable[[dict[str, Any]], object]:
    def all_cells(record: dict[str, Any]) -> None:
        for cell in record["cells"]:
            change(cell)

    return all_cells


RECORDS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "a floor that is none": (
        _cells(lambda c: c["explainer"].update(is_floor=c["explainer"]["label"] == "tokens")),
        "floor, and it says otherwise",
    ),
    "an explainer that the spec does not use": (
        _cells(lambda c: c["explainer"].update(id="llm@3-0") if c["explainer"]["label"] == "tokens" else None),
        "is that of tokens@1-0",
    ),
    "a judge by another name": (
        _cells(lambda c: c["judge"]["identity"].update(provider="openai", model="gpt-5")),
        "the key of judge 'label' (openai:gpt-5) is not that of its identity",
    ),
    "calls that are fewer than none": (lambda r: r["totals"]["paid"].update(calls=-5), "calls"),
    "tokens that are fewer than none": (lambda r: r["totals"]["paid"].update(tokens_in=-1), "tokens_in"),
    "a start that is no time": (lambda r: r.update(started="soon"), "'soon' is no time in ISO 8601"),
    "a start that is to come": (lambda r: r.update(started="2999-01-01T00:00:00+00:00"), "has not come yet"),
    "outcomes that the table has not": (
        lambda r: r["totals"]["judgements"].update(ok=7),
        "it counts 7 judgements with the outcome ok, and its table has",
    ),
    "a failure rate that does not follow": (lambda r: r.update(failure_rate=0.5), "its failure rate is 0.5"),
}


@pytest.mark.parametrize("edit", RECORDS)
def test_a_record_that_says_what_cannot_be(run: Path, edit: str) -> None:
    change, said = RECORDS[edit]
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    change(record)
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    for more in ((), ("--no-recompute",)):
        code, message = bench("leaderboard", signed(run), *more)
        assert code == 2
        assert said in message


@pytest.mark.parametrize("field", ["digest", "tables"])
def test_a_record_with_half_of_its_digests_is_refused(run: Path, field: str) -> None:
    """A run writes both or, before there were any, neither; a half is what somebody has left."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    del record[field], record["digest" if field == "tables" else "tables"]
    kept = json.loads((run / "run.json").read_text(encoding="utf-8"))[field]
    record |= {"tables": kept} if field == "tables" else {"digest": digest(record)}
    (run / "run.json").write_text(json.dumps(record), encoding="utf-8")
    code, message = bench("leaderboard", run)
    assert code == 2
    assert "which a run writes together with the other" in message


def test_without_digests_a_run_is_shown_and_not_ranked(run: Path, honest: Path) -> None:
    assert bench("leaderboard", unsigned(run, id="bare"), honest, "--out", run)[0] == 0
    ranked = json.loads((run / "leaderboard.json").read_text(encoding="utf-8"))["tables"]
    assert len(ranked) == 2, "rows that can be computed again never stand in one table with others"
    of = {table["rows"][0]["run"]: [row["rank"] for row in table["rows"]] for table in ranked}
    assert of["bare"] == [None] * 3
    assert all(of["run"])
    page = (run / "leaderboard.md").read_text(encoding="utf-8")
    assert "(self-reported: not recomputable, not ranked)" in page
    assert "NOT VERIFIED, so not ranked: run.json of bare" in page
    assert page.index("| rank |") < page.index("self-reported"), "what is ranked stands first"


def test_without_digests_an_explanation_must_still_be_the_one_that_was_judged(run: Path) -> None:
    changed(run, "explanations", EXPLANATIONS, lambda t: t.assign(text="a better one"))
    code, message = bench("leaderboard", unsigned(run))
    assert code == 2
    assert "is not the one that was judged" in message


# --- published rows


def _of(rows: list[dict[str, Any]], label: str) -> dict[str, Any]:
    return next(row for row in rows if row["explainer"]["label"] == label)


ROWS: dict[str, tuple[Callable[[list[dict[str, Any]]], object], str]] = {
    "a floor made a method": (
        lambda rows: _of(rows, "empty").update(is_floor=False),
        "empty@1-0 is a floor, and it says otherwise",
    ),
    "a method made a floor": (
        lambda rows: _of(rows, "tokens").update(is_floor=True),
        "tokens@1-0 is no floor, and it says otherwise",
    ),
    "a floor of an older version": (
        lambda rows: _of(rows, "empty").update(
            is_floor=False, explainer={"label": "empty", "id": "empty@0-9", "key": "x"}
        ),
        "empty@0-9 is a floor, and it says otherwise",
    ),
    "a floor by another name": (
        lambda rows: (
            _of(rows, "empty")["explainer"].update(id="great@1-0"),
            _of(rows, "empty").update(is_floor=False),
        ),
        "the key of explainer great@1-0 is that of empty@1-0",
    ),
    "two scorers with one key": (
        lambda rows: _of(rows, "tokens")["scorer"].update(id="detection@9-0"),
        "is detection@2-0 in one row and detection@9-0 in another",
    ),
    "two judges with one key": (
        lambda rows: _of(rows, "tokens")["judge"].update(id="openai:gpt-5"),
        "is mock:label in one row and openai:gpt-5 in another",
    ),
    "a start that is to come": (
        lambda rows: [row.update(date="2999-01-01T00:00:00+00:00") for row in rows],
        "has not come yet",
    ),
}


@pytest.mark.parametrize("edit", ROWS)
def test_a_row_that_says_what_cannot_be(board: Path, tmp_path: Path, edit: str) -> None:
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    (path,) = (root / "results").glob("*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    change, said = ROWS[edit]
    change(content["rows"])
    content["digest"] = digest(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    for option in ("--render", "--check"):
        code, message = bench("leaderboard", option, root)
        assert code == 2
        assert said in message


def test_rows_without_evidence_are_never_ranked(board: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    (path,) = (root / "results").glob("*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["run"] = "before"
        del row["evidence"]
    old = {**content, "layout": 2, "digest": digest(content["rows"])}
    (root / "results" / "before.json").write_text(json.dumps(old), encoding="utf-8")
    assert bench("leaderboard", "--render", root)[0] == 0
    lines = (root / "README.md").read_text(encoding="utf-8").splitlines()
    assert sum(line.endswith("| before |") and line.startswith("| - |") for line in lines) == 3
    assert sum(line.endswith("| run |") and line.startswith("| 1") for line in lines) >= 1
    assert not any(line.endswith("| before |") and not line.startswith("| - |") for line in lines)


def test_a_qualification_that_no_row_of_judges_gives_is_marked(board: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(board, tmp_path / "leaderboards"))
    (path,) = (root / "results").glob("*.json")
    content = json.loads(path.read_text(encoding="utf-8"))
    for row in content["rows"]:
        row["qualification"] = "truth>near 99%, truth>unrelated 100% (planted-2, n=38)"
    content["digest"] = digest(content["rows"])
    path.write_text(json.dumps(content), encoding="utf-8")
    assert bench("leaderboard", "--render", root)[0] == 0
    assert f"judge {UNCONFIRMED} 'truth>near 99%" in (root / "README.md").read_text(encoding="utf-8")


def test_the_qualification_of_a_committed_exam_is_confirmed(honest: Path) -> None:
    from latentbench.judges import qualification

    exam = qualification.read(qualification.folders()[0])[0]
    (row, *_) = read_rows([honest])
    judged = row.model_copy(
        update={"judge": row.judge.model_copy(update={"key": exam.judge_key}), "qualification": exam.verdict}
    )
    assert confirmed([judged]) == [judged]
    other = judged.model_copy(update={"qualification": exam.verdict.replace("%", "9%")})
    assert confirmed([other])[0].qualification.startswith(UNCONFIRMED)


def test_what_nobody_here_knows_is_said_and_not_refused(honest: Path) -> None:
    found = read_rows([honest])
    assert unknown_names(found) == []
    strange = found[0].model_copy(update={"explainer": found[0].explainer.model_copy(update={"id": "theirs@1-0"})})
    assert declares_floor("theirs@1-0") is None
    assert "theirs@1-0" in unknown_names([strange])[0]
    assert len(tables([strange])) == 1
