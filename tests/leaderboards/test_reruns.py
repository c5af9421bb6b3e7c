"""What is there twice is one row: in a table over several runs, and on a page of published results."""

from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from latentbench.kernel.identity import digest
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.reruns import contents, once, sentences
from latentbench.leaderboards.results import add_results, page, read_results
from latentbench.leaderboards.row import Row, rows
from latentbench.runs.finished import load_run, load_runs

from tests.builders.published_board import bench, carried_out
from tests.builders.signed_runs import copied, signed

SPEC = """
name: first
suite: planted-1
limit: 24
explainers: [{use: planted, label: truth}, tokens, empty]
scorers: [{use: detection, params: {positives: 2, negatives: 2, simulate: never}}]
judges: [{use: "mock:label?error=0.2", label: label}]
"""


LATER = (datetime.now(UTC) + timedelta(hours=1)).isoformat(timespec="seconds")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(SPEC, tmp_path_factory.mktemp("first"))


@pytest.fixture
def again(first: Path, tmp_path: Path) -> Path:
    """The same run, carried out later."""
    return signed(copied(first, tmp_path / "again"), id="again", started=LATER)


@pytest.fixture(scope="module")
def row(first: Path) -> Row:
    """The row of the first explainer."""
    return rows([load_run(first)])[0]


def of_run(row: Row, run: str, **evidence: object) -> Row:
    """The row as a later run has it."""
    assert row.evidence is not None
    return row.model_copy(update={"run": run, "date": LATER, "evidence": row.evidence.model_copy(update=evidence)})


def ranks(*runs: Path) -> list[tuple[str, str, str]]:
    found = rank(load_runs(runs), recompute=False)
    return [
        (row.run, row.explainer.label, str(place))
        for table in found.tables
        for row, place in zip(table.rows, table.ranks, strict=True)
    ]


def test_a_rerun_fills_no_table_and_moves_no_rank(first: Path, again: Path) -> None:
    alone = ranks(first)
    assert ranks(again, first) == alone
    assert {run for run, _, _ in alone} == {"run"}


def test_a_page_says_for_how_many_a_row_stands(first: Path, again: Path, tmp_path: Path) -> None:
    code, said = bench("leaderboard", first, again, "--no-recompute", "--out", tmp_path)
    assert code == 0
    told = " ".join((tmp_path / "leaderboard.md").read_text(encoding="utf-8").split())
    assert (
        "2 runs have the same explanations, scorer and judge, and are one row, that of run: truth, tokens, empty"
        in told
    )
    assert "(again in again, with the same scores)" in told
    assert "are one row" in " ".join(said.split())
    lines = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text(encoding="utf-8"))))
    assert {(line["run"], line["again_in"]) for line in lines} == {("run", "again")}
    (table,) = json.loads((tmp_path / "leaderboard.json").read_text(encoding="utf-8"))["tables"]
    for row in table["rows"]:
        ((other),) = row["again_in"]
        assert (other["run"], other["estimate"]) == ("again", row["score"]["estimate"])
    bench("leaderboard", first, "--no-recompute", "--out", tmp_path)
    lines = list(csv.DictReader(io.StringIO((tmp_path / "leaderboard.csv").read_text(encoding="utf-8"))))
    assert {(line["run"], line["again_in"]) for line in lines} == {("run", "")}


def test_published_reruns_are_one_row_of_the_page(first: Path, again: Path, tmp_path: Path) -> None:
    for run in (first, again):
        add_results(rows([load_run(run)]), tmp_path / "board")
    there = read_results(tmp_path / "board")
    assert len(there) == 6, "what was published stays"
    text = page(there)
    assert "| run |" in text
    assert "| again |" not in text
    assert "are one row, that of run" in text


def test_rows_of_before_are_known_by_the_explanations_of_their_run(first: Path, again: Path) -> None:
    old, new = rows([load_run(first)]), rows([load_run(again)])
    before = [row.model_copy(update={"evidence": row.evidence.model_copy(update={"texts": None})}) for row in old]  # type: ignore[union-attr]
    shown, reruns = once([*before, *new])
    assert {row.run for row in shown} == {"run"}
    assert len(reruns) == 3


def test_a_run_with_one_explainer_more_repeats_the_others(row: Row) -> None:
    """Its table of explanations is another one, and the texts of this explainer are the same."""
    shown, reruns = once([row, of_run(row, "more", tables={"explanations": "another"})])
    assert [r.run for r in shown] == [row.run]
    assert [r.run for r in reruns[0].others] == ["more"]


def test_better_coverage_stands_for_an_older_run(row: Row) -> None:
    early = row.model_copy(update={"run": "early", "date": "2025-01-02T03:04:05+00:00"})
    assert [r.run for r in once([row, early])[0]] == ["early"], "the oldest counts"
    holes = early.model_copy(update={"n_judged": row.n_judged - 5})
    assert [r.run for r in once([holes, row])[0]] == [row.run]


def test_scores_that_differ_are_told(row: Row) -> None:
    assert row.score.estimate is not None
    moved = row.score.model_copy(update={"estimate": row.score.estimate - 0.02})
    _, reruns = once([row, of_run(row, "other").model_copy(update={"score": moved})])
    assert "scores differ by at most 0.02" in next(sentences(reruns))


def test_other_texts_another_judge_and_repeats_are_other_rows(row: Row) -> None:
    texts = of_run(row, "other", texts="0", tables={"explanations": "0"})
    judged = of_run(row, "other").model_copy(update={"judge": row.judge.model_copy(update={"key": "0"})})
    repeated = of_run(row, "other").model_copy(update={"repeats": 3})
    for other in (texts, judged, repeated):
        shown, reruns = once([row, other])
        assert len(shown) == 2
        assert not reruns
    assert not contents(row.model_copy(update={"evidence": None})), "without evidence nobody knows what a row is of"


def test_one_explainer_under_two_labels_of_one_run_stays_two_rows(row: Row) -> None:
    twin = row.model_copy(update={"explainer": row.explainer.model_copy(update={"label": "twin"})})
    shown, reruns = once([row, twin])
    assert [r.explainer.label for r in shown] == ["truth", "twin"]
    assert not reruns


def test_a_published_file_of_before_says_nothing_of_texts(first: Path, tmp_path: Path) -> None:
    (path,) = add_results(rows([load_run(first)]), tmp_path / "board")
    held = json.loads(path.read_text(encoding="utf-8"))
    assert all(told["evidence"].pop("texts") for told in held["rows"])
    held["digest"] = digest(held["rows"])
    path.write_text(json.dumps(held), encoding="utf-8")
    assert all(row.evidence is not None and row.evidence.texts is None for row in read_results(tmp_path / "board"))
    assert not add_results(rows([load_run(first)]), tmp_path / "board"), "it is the same run"
