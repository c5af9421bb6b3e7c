"""Rows that others hand in: what is written, what is refused and why, and how far a row was checked."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml
from latentbench.cli import main
from latentbench.kernel.errors import BenchError, DataError, DigestMismatch, SpecError
from latentbench.kernel.identity import digest
from latentbench.leaderboards.checks import CheckRecord, read_check
from latentbench.leaderboards.results import add_results, read_results, render
from latentbench.leaderboards.row import Row, checked, rows
from latentbench.leaderboards.submission.public_suites import PUBLIC, SHIPPED, is_private, public_suite
from latentbench.leaderboards.submission.statement import STATEMENT, TunedOn
from latentbench.leaderboards.submission.submission_check import check, publish
from latentbench.leaderboards.submission.submission_folder import BYTES, shape
from latentbench.leaderboards.submission.submitting import submit
from latentbench.leaderboards.submission.tuned_latents import tuned_on_test
from latentbench.runs.finished import load_run
from latentbench.runs.record import SuiteRecord
from latentbench.suites.store import load_suite
from rich.console import Console

from tests.builders.handed_in import SAID, edited_rows, handed_in, rejudged, rerun, resealed
from tests.builders.published_board import bench, carried_out
from tests.builders.signed_runs import copied, signed

JUDGE = "mock:label?error=0.2&fail=0.05"
SPEC = f"""
name: honest
suite: planted-1
limit: 24
explainers: [{{use: planted, label: truth}}, tokens, empty, {{use: shuffled, params: {{of: truth}}}}]
scorers: [{{use: detection, params: {{positives: 3, negatives: 3, simulate: never}}}}]
judges: [{{use: "{JUDGE}", label: label}}]
"""
TASKS = Path(__file__).parents[2] / "tasks"


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return carried_out(SPEC, tmp_path_factory.mktemp("honest"))


@pytest.fixture(scope="module")
def given(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return handed_in(honest, tmp_path_factory.mktemp("given"))


@pytest.fixture
def folder(given: Path, tmp_path: Path) -> Path:
    """A copy of what was handed in, to be changed."""
    return copied(given, tmp_path / "handed-in")


def looked_at(folder: Path, **options: Any) -> CheckRecord:
    return check(folder, console=Console(quiet=True), **options)[0]


def reasons(folder: Path, **options: Any) -> str:
    """Why a folder is refused."""
    record = looked_at(folder, **options)
    assert record.status == "refused"
    return "; ".join(record.reasons)


# --- what is handed in


def test_a_run_is_handed_in_checked_and_published(honest: Path, tmp_path: Path) -> None:
    form, out, board = tmp_path / STATEMENT, tmp_path / "handed-in" / "run", tmp_path / "leaderboards"
    form.write_text(SAID, encoding="utf-8")
    code, said = bench("submit", honest, "--out", out, "--statement", form)
    assert code == 0, said
    assert {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()} == {
        "submission.json",
        "statement.yaml",
        "results/run.json",
        *(f"run/{name}" for name in ("run.json", "explanations.parquet", "judgements.parquet", "scores.parquet")),
        "run/seconds.parquet",
    }
    code, said = bench("submit", "check", out)
    assert code == 0, said
    assert "run: rescored" in said
    assert read_check(out.with_name("run.check.json")).status == "rescored"
    code, said = bench("submit", "check", out, "--judge", JUDGE, "--publish", board)
    assert code == 0, said
    assert "run: reproduced" in said
    assert "24 latents" in said
    page = (board / "README.md").read_text(encoding="utf-8")
    assert "| run | reproduced |" in page
    assert bench("leaderboard", "--check", board)[0] == 0
    assert bench("submit", "check", out, "--publish", board)[0] == 0, "it is the same run, and may be checked again"
    assert (board / "README.md").read_text(encoding="utf-8") == page, "whoever asked a judge knows more"


def test_the_command_asks_nothing_and_says_what_is_missing(honest: Path, tmp_path: Path) -> None:
    run = copied(honest, tmp_path / "run")
    code, said = bench("submit", run, "--out", tmp_path / "out")
    assert code == 2
    assert f"{run / STATEMENT} was written: fill it in" in said
    for question in ("submitter", "about", "tuned", "explainer_saw_test_windows", "judge_trained_on_suite"):
        assert question in said
    assert not (tmp_path / "out").exists()
    half = "submitter: me\ntuned: [{what: a prompt}]\ncontamination: {judge_trained_on_suite: true}\n"
    (run / STATEMENT).write_text(half, encoding="utf-8")
    code, said = bench("submit", run, "--out", tmp_path / "out")
    assert code == 2
    assert "does not say: about" in said
    for question in ("tuned.0.study", "tuned.0.suite", "tuned.0.split", "explainer_saw_test_windows", "notes"):
        assert question in said
    assert "submitter (" not in said


@pytest.mark.slow
def test_a_search_is_named_in_the_form(honest: Path, tmp_path: Path) -> None:
    run, search = copied(honest, tmp_path / "run"), tmp_path / "search"
    search.mkdir()
    held = {"name": "prompts", "spec_key": "0123", "trials": [], "objectives": [], "winners": []}
    (search / "study.json").write_text(json.dumps({**held, "spec": {"run": {"suite": "planted-1"}}}), encoding="utf-8")
    assert bench("submit", run, "--out", tmp_path / "out", "--tuned", search)[0] == 2
    (entry,) = yaml.safe_load((run / STATEMENT).read_text(encoding="utf-8"))["tuned"]
    assert (entry["study"], entry["suite"], entry["split"]) == ("prompts-0123", "planted-1", "tune")


def test_nothing_of_this_machine_and_no_secret_is_handed_in(honest: Path, tmp_path: Path) -> None:
    run = copied(honest, tmp_path / "run")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    signed(
        run,
        command=f"bench run {record['base']}/s.yaml https://me:hunter2hunter2@example.org/x?api_key=abcdef1234567890",
    )
    folder = handed_in(run, tmp_path)
    for path in (folder / "run" / "run.json", *folder.glob("results/*.json")):
        text = path.read_text(encoding="utf-8")
        assert "hunter2" not in text
        assert "abcdef1234567890" not in text
        assert str(record["base"]) not in text
    assert looked_at(folder).status == "rescored"


def test_what_cannot_be_handed_in_is_said_at_once(honest: Path, tmp_path: Path) -> None:
    run = copied(honest, tmp_path / "run")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    signed(run, split="tune", id="a b", versions={}, suite={**record["suite"], "name": "mine"})
    (tmp_path / STATEMENT).write_text(SAID, encoding="utf-8")
    with pytest.raises(SpecError) as refused:
        submit(run, tmp_path / "out", tmp_path / STATEMENT)
    for why in ("suite mine@2-0", "'tune' latents", "'a b'", "with which version"):
        assert why in str(refused.value)
    assert not (tmp_path / "out").exists()


# --- what is refused


def _better(said: list[dict[str, Any]]) -> None:
    row = next(row for row in said if row["explainer"]["label"] == "tokens")
    held = Row.model_validate(row)
    assert held.evidence is not None
    values = {**held.evidence.values, held.headline: tuple(1.0 for _ in held.evidence.latents)}
    from latentbench.leaderboards.results import stored
    from latentbench.leaderboards.row import restated

    evidence = held.evidence.model_copy(update={"values": values, "worst": (), "best": ()})
    row.update(stored(restated(held, evidence).model_copy(update={"evidence": evidence})).model_dump(mode="json"))


def test_a_forged_row(folder: Path) -> None:
    said = reasons(edited_rows(folder, _better))
    assert "row tokens / detection / label / all is forged: its run gives score.estimate = " in said


def test_a_forged_score(folder: Path) -> None:
    import pyarrow.parquet as pq

    path = folder / "run" / "scores.parquet"
    table = pq.read_table(path).to_pandas()
    table["value"] = table["value"].where(table["explainer"] != "tokens", (table["value"] + 0.05).clip(upper=1))
    table.to_parquet(path)
    assert "its judgements give" in reasons(rerun(folder))


def test_right_answers_that_were_changed_instead_of_the_judges(folder: Path) -> None:
    """Judgements, scores, rows and digests fit together. Only the suite knows which windows are active."""

    def always_right(table: pd.DataFrame) -> pd.DataFrame:
        told = (table["explainer"] == "tokens") & table["answer"].notna()
        return table.assign(truth=table["answer"].where(told, table["truth"]).astype("int32"))

    said = reasons(rejudged(folder, always_right))
    assert "in cell 'tokens/detection/label/0' are not about what this run asks" in said


def test_answers_that_no_judge_gave_are_found_by_asking(folder: Path) -> None:
    def right(table: pd.DataFrame) -> pd.DataFrame:
        told = (table["explainer"] == "tokens") & table["answer"].notna()
        scored = told & table["score"].notna()
        return table.assign(
            answer=table["truth"].where(told, table["answer"]),
            score=table["truth"].astype(float).where(scored, table["score"]),
        )

    rejudged(folder, right)
    assert looked_at(folder).status == "rescored", "everything follows from everything"
    said = reasons(folder, judge=JUDGE, seed=3)
    assert "asked again, the same judge gives tokens / detection / label" in said
    assert "on 24 latents" in said


@pytest.mark.parametrize("name", ["statement.yaml", "run/explanations.parquet"])
def test_a_stale_digest(folder: Path, name: str) -> None:
    with (folder / name).open("ab") as f:
        f.write(b"\n")
    assert f"the digest of {name} is stale" in reasons(folder)


def test_a_list_of_files_that_was_edited(folder: Path) -> None:
    path = folder / "submission.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"run": "run"', '"run": "run2"'), encoding="utf-8")
    assert "submission.json was edited" in reasons(folder)


def test_a_missing_floor_row(folder: Path) -> None:
    def without(said: list[dict[str, Any]]) -> None:
        said[:] = [row for row in said if row["explainer"]["label"] != "empty"]

    said = reasons(edited_rows(folder, without))
    assert "the row empty / detection / label / all (a floor) is missing" in said


@pytest.mark.slow
def test_a_run_without_floors(honest: Path, tmp_path: Path) -> None:
    bare = SPEC.replace(", empty, {use: shuffled, params: {of: truth}}", ", empty")
    run = carried_out(bare, tmp_path)
    (run / STATEMENT).write_text(SAID, encoding="utf-8")
    code, said = bench("submit", run, "--out", tmp_path / "out")
    assert code == 2
    assert "the floor shuffled is missing under detection, judged by label" in said


def _versions(folder: Path, **changes: Any) -> Path:
    return rerun(folder, **changes)


def _scorer(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        cell["scorer"] |= {"id": "detection@99-0", "key": "0123456789abcdef"}


def _explainer(cells: list[dict[str, Any]]) -> None:
    for cell in cells:
        if cell["explainer"]["label"] == "tokens":
            cell["explainer"] |= {"id": "tokens@99-0", "key": "0123456789abcdef"}


@pytest.mark.parametrize(
    ("change", "why"),
    [(_scorer, "scores of detection: an unknown version"), (_explainer, "tokens@99-0 is an unknown version")],
)
def test_an_unknown_version(folder: Path, change: Callable[[list[dict[str, Any]]], None], why: str) -> None:
    cells = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["cells"]
    change(cells)
    assert why in reasons(rerun(folder, cells=cells))


@pytest.mark.slow
def test_unknown_versions_of_package_suite_and_layout(folder: Path) -> None:
    record = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    rerun(folder, versions={"latentbench": "99.1"}, suite={**record["suite"], "version": "9-0"})
    said = reasons(folder)
    assert "latentbench 99.1, an unknown version here" in said
    assert "suite planted-1@9-0" in said
    assert "is unknown here" in said
    path = folder / "submission.json"
    path.write_text(path.read_text(encoding="utf-8").replace('"layout": 1', '"layout": 2'), encoding="utf-8")
    assert "layout must be 1" in reasons(folder)


def test_a_row_tuned_on_test_latents(folder: Path) -> None:
    said = yaml.safe_load(SAID)
    said["tuned"] = [{"what": "the prompt", "study": "by hand", "suite": "planted-1@2-0", "split": "test"}]
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    assert "'the prompt' was tuned on latents that rank (planted/" in reasons(resealed(folder))
    said["tuned"][0]["split"] = "tune"
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    assert looked_at(resealed(folder)).status == "rescored"


def test_latents_are_known_wherever_they_lie() -> None:
    """Two suites of this package hold the same latents of one coder."""
    mini = load_suite("smollm2-135m-mini")
    test = [view.id for view in mini.latents("test")]

    def told(**entry: Any) -> list[str]:
        return list(tuned_on_test([TunedOn(what="it", study="by hand", **entry)], mini, test))

    assert "that rank" in told(suite="smollm2-135m-hard@1-0", split="test")[0]
    assert not told(suite="smollm2-135m-hard@1-0", split="tune")
    assert "that rank" in told(suite="smollm2-135m-hard@1-0", split="all")[0]
    assert "that rank" in told(suite="smollm2-135m-mini@1-0", split="listed", latents=(test[0],))[0]
    assert not told(suite="planted-1@2-0", split="test")
    assert "is no latent of suite" in told(suite="planted-1", split="listed", latents=("planted/nothing",))[0]
    assert "which is not here" in told(suite="elsewhere@1-0", split="tune")[0]
    assert "that rank" in told(suite="elsewhere@1-0", split="listed", latents=(test[0], "other/1"))[0]
    assert not told(suite="elsewhere@1-0", split="listed", latents=("other/1",))


@pytest.mark.slow
def test_what_the_submitter_says_of_contamination(folder: Path) -> None:
    said = yaml.safe_load(SAID)
    said["contamination"] = {"explainer_saw_test_windows": False, "judge_trained_on_suite": True, "notes": "its rules"}
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    assert "The judge was trained or tuned on this suite: 'its rules'." in looked_at(resealed(folder)).remarks
    said["contamination"]["explainer_saw_test_windows"] = True
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    assert "has seen the windows that rank: 'its rules'" in reasons(resealed(folder))


def test_all_reasons_at_once(folder: Path) -> None:
    edited_rows(folder, _better)
    rerunless = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))
    signed(folder / "run", versions={**rerunless["versions"], "latentbench": "99.0"})
    said = yaml.safe_load(SAID) | {
        "tuned": [{"what": "it", "study": "s", "suite": "planted-1@2-0", "split": "test"}],
        "about": "",
    }
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    found = reasons(folder)
    for why in ("the digest of run/run.json is stale", "does not say: about", "99.0", "is forged"):
        assert why in found


def test_nan_is_no_score(folder: Path) -> None:
    path = folder / "results" / "run.json"
    path.write_text(
        path.read_text(encoding="utf-8").replace('"estimate": 0.', '"estimate": NaN, "low": 0.', 1), encoding="utf-8"
    )
    assert "results/run.json is not JSON" in reasons(resealed(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 7.5])
def test_values_that_cannot_be(folder: Path, value: float) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq
    from latentbench.kernel.tables import SCORES

    path = folder / "run" / "scores.parquet"
    table = pq.read_table(path).to_pandas()
    table.loc[(table["metric"] == "accuracy") & (table["explainer"] == "tokens"), "value"] = value
    columns = {f.name: pa.array(table[f.name], type=f.type, from_pandas=f.name != "value") for f in SCORES}
    pq.write_table(pa.table(columns, schema=SCORES), path)
    signed(folder / "run")
    said = reasons(resealed(folder))
    assert "scores.parquet" in said
    assert "accuracy" in said


# --- the folder is somebody else's


def _linked(folder: Path) -> None:
    (folder / "statement.yaml").rename(folder.parent / "elsewhere.yaml")
    (folder / "statement.yaml").symlink_to(folder.parent / "elsewhere.yaml")


def _linked_folder(folder: Path) -> None:
    (folder / "run").rename(folder.parent / "elsewhere")
    (folder / "run").symlink_to(folder.parent / "elsewhere", target_is_directory=True)


def _piped(folder: Path) -> None:
    (folder / "run" / "seconds.parquet").unlink()
    os.mkfifo(folder / "run" / "seconds.parquet")


def _more(folder: Path) -> None:
    (folder / "handed-in.check.json").write_text('{"status": "reproduced"}', encoding="utf-8")


def _folder(folder: Path) -> None:
    (folder / "run" / "code").mkdir()


def _two(folder: Path) -> None:
    shutil.copy(folder / "results" / "run.json", folder / "results" / "other.json")


def _named(folder: Path) -> None:
    (folder / "results" / "run.json").rename(folder / "results" / "-r\x1b[2Jf.json")


def _huge(folder: Path) -> None:
    os.truncate(folder / "run" / "judgements.parquet", BYTES + 1)


def _many(folder: Path) -> None:
    for number in range(80):
        (folder / f"{number}").touch()


def _less(folder: Path) -> None:
    (folder / "run" / "scores.parquet").unlink()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_linked, "'statement.yaml' is a link"),
        (_linked_folder, "'run' is a link"),
        (_piped, "'run/seconds.parquet' is no file but a pipe"),
        (_more, "'handed-in.check.json' does not belong"),
        (_folder, "the folder 'run/code' does not belong"),
        (_two, "there are 2 files of rows"),
        (_named, "is named after a run whose id is no name"),
        (_huge, "all of it together is 512 MiB, more than 512 MiB"),
        (_many, "more than 64 files"),
        (_less, "the file run/scores.parquet is missing"),
    ],
)
def test_a_folder_that_is_not_opened(
    folder: Path, change: Callable[[Path], None], why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change(folder)
    monkeypatch.setattr(
        "latentbench.leaderboards.submission.submission_check._read", lambda _: pytest.fail("it was read")
    )
    assert why in reasons(folder)


@pytest.mark.parametrize(
    "name", ["../../secret", "/etc/hostname", "run/../statement.yaml", "C:\\x", "results/none.json"]
)
def test_paths_in_the_list_of_files_are_compared_and_never_opened(folder: Path, name: str) -> None:
    path = folder / "submission.json"
    held = json.loads(path.read_text(encoding="utf-8"))
    held["files"][name] = held["files"].pop("statement.yaml")
    del held["digest"]
    path.write_text(json.dumps({**held, "digest": digest(held)}), encoding="utf-8")
    said = reasons(folder)
    assert f"names {name!r}, which is no file of the folder" in said
    assert "statement.yaml is not in submission.json" in said


def test_a_scorer_that_is_a_path_is_not_opened(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever checks has files that the submitter may name and not see."""
    os.mkfifo(tmp_path / "pipe.yaml")
    spec = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["spec"]
    spec["scorers"][0]["use"] = str(tmp_path / "pipe.yaml")
    monkeypatch.setattr(
        "latentbench.leaderboards.submission.submission_check.rescored", lambda _: pytest.fail("it was opened")
    )
    assert "which is no scorer that is known here by its name" in reasons(rerun(folder, spec=spec))


def test_a_place_that_is_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no folder"):
        shape(tmp_path / "nothing")


def test_hostile_words_move_no_cursor_and_make_no_page(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    said = yaml.safe_load(SAID)
    ill = "\x1b[2J::error::x | <script>alert(1)</script> [a](http://b) \u202e"
    said["contamination"] |= {"explainer_saw_test_windows": True, "notes": ill}
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    resealed(folder)
    monkeypatch.setattr(sys, "argv", ["bench", "submit", "check", str(folder)])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    shown = "".join(capsys.readouterr())
    assert "has seen the windows that rank" in shown
    for sign in ("\x1b", "::error::", "\u202e"):
        assert sign not in shown
    said["contamination"] |= {"explainer_saw_test_windows": False, "judge_trained_on_suite": True}
    (folder / STATEMENT).write_text(yaml.safe_dump(said), encoding="utf-8")
    record, accepted = check(resealed(folder), console=Console(quiet=True))
    publish(tmp_path / "board", record, accepted)
    page = (tmp_path / "board" / "README.md").read_text(encoding="utf-8")
    assert "was trained or tuned on this suite" in page
    for sign in ("\x1b", "<script>", "](http", "\u202e"):
        assert sign not in page


@pytest.mark.slow
def test_a_statement_of_another_kind(folder: Path) -> None:
    (folder / STATEMENT).write_text("submitter: !!python/object/apply:os.system [ls]\n", encoding="utf-8")
    assert "statement.yaml line 1" in reasons(resealed(folder))
    (folder / STATEMENT).write_text("status: reproduced\n", encoding="utf-8")
    assert "unknown key 'status'" in reasons(resealed(folder))


# --- suites


def _mine(place: Path, **manifest: Any) -> SuiteRecord:
    folder = place / "tasks" / "suites" / "mine"
    shutil.copytree(TASKS / "suites" / "planted-1", folder)
    held = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"name": "mine", **manifest}
    (folder / "manifest.json").write_text(json.dumps(held), encoding="utf-8")
    return SuiteRecord(name="mine", version=held["version"], digest=held["digest"])


def test_a_private_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = _mine(tmp_path)
    said = is_private(record)
    assert "suite mine@2-0 is private" in said
    assert "their evidence would tell of its windows" in said


def test_a_suite_of_which_others_are_told_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert is_private(_mine(tmp_path, **{PUBLIC: "https://example.org/mine"})) == ""


def test_a_row_of_a_private_suite(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record = _mine(tmp_path)
    said = reasons(rerun(folder, suite=record.model_dump()))
    assert "suite mine@2-0 is private" in said


def test_the_suites_of_this_package_are_public() -> None:
    there = {}
    for path in sorted((TASKS / "suites").glob("*/manifest.json")):
        held = json.loads(path.read_text(encoding="utf-8"))
        there[f"{held['name']}@{held['version']}"] = held["digest"]
    assert there == dict(SHIPPED)
    for name, held in there.items():
        suite, _, version = name.partition("@")
        assert public_suite(SuiteRecord(name=suite, version=version, digest=held)).digest == held


# --- duplicates and statuses


@pytest.fixture(scope="module")
def board(honest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("board") / "leaderboards"
    other = signed(copied(honest, place.parent / "other"), id="other")
    add_results(checked(rows([load_run(other)], by_kind=True), {}), place)
    render(place)
    return place


def test_a_duplicate_of_a_published_row(folder: Path, board: Path) -> None:
    said = reasons(folder, boards=[board])
    assert "every row that is no floor is a duplicate of a published one" in said
    assert "truth has the explanations of truth in other" in said


def test_a_duplicate_under_another_name_and_key(folder: Path, board: Path) -> None:
    cells = json.loads((folder / "run" / "run.json").read_text(encoding="utf-8"))["cells"]
    for cell in cells:
        if cell["explainer"]["label"] == "truth":
            cell["explainer"]["key"] = "0123456789abcdef"
    assert "is a duplicate of a published one" in reasons(rerun(folder, cells=cells), boards=[board])


@pytest.mark.slow
def test_what_is_new_beside_what_is_known(folder: Path, board: Path, tmp_path: Path) -> None:
    place = copied(board, tmp_path / "board")
    (path,) = (place / "results").glob("*.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    held["rows"] = [row for row in held["rows"] if row["explainer"]["label"] != "truth"]
    held["digest"] = digest(held["rows"])
    path.write_text(json.dumps(held), encoding="utf-8")
    assert looked_at(folder, boards=[place]).status == "rescored"


def test_a_row_that_stands_twice(folder: Path) -> None:
    assert "is there twice" in reasons(edited_rows(folder, lambda said: said.append(said[0])))


def test_a_status_is_of_the_rows_that_were_checked(folder: Path, tmp_path: Path) -> None:
    board = tmp_path / "leaderboards"
    record, accepted = check(folder, console=Console(quiet=True))
    publish(board, record, accepted)
    page = (board / "README.md").read_text(encoding="utf-8")
    assert "| run | rescored |" in page
    path = board / "checks" / "run.json"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"rescored"', '"reproduced"'), encoding="utf-8")
    with pytest.raises(DigestMismatch, match="was edited"):
        render(board, check=True)
    held = json.loads(text) | {"rows": "0123456789abcdef"}
    del held["digest"]
    path.write_text(json.dumps({"digest": digest(held), **held}), encoding="utf-8")
    render(board)
    assert "rescored" not in (board / "README.md").read_text(encoding="utf-8"), "the check is of other rows"
    path.unlink()
    render(board)
    assert "status" not in (board / "README.md").read_text(encoding="utf-8"), "without checks a page is what it was"


@pytest.mark.slow
def test_rows_without_a_check_are_self_reported_beside_checked_ones(folder: Path, board: Path, tmp_path: Path) -> None:
    place = copied(board, tmp_path / "leaderboards")
    (path,) = (place / "results").glob("*.json")
    path.unlink()
    strange = copied(folder, tmp_path / "strange")
    record, accepted = check(folder, console=Console(quiet=True))
    publish(place, record, accepted)
    other = [
        row.model_copy(update={"run": "other", "judge": row.judge.model_copy(update={"key": "0" * 16})})
        for row in accepted
    ]
    add_results(
        [r.model_copy(update={"evidence": r.evidence.model_copy(update={"record": "1"})}) for r in other if r.evidence],
        place,
    )
    render(place)
    page = (place / "README.md").read_text(encoding="utf-8")
    assert "| other | self-reported |" in page
    assert "| run | rescored |" in page
    assert "Status: other: self-reported." in page
    assert len(read_results(place)) == 2 * len(accepted)
    assert strange.is_dir()


@pytest.mark.slow
def test_another_judge_and_a_small_sample_reproduce_nothing(given: Path) -> None:
    other = looked_at(given, judge="mock:label?error=0.3", sample=24)
    assert other.status == "rescored"
    assert other.asked is not None
    assert not other.asked.same
    assert "another judge" in other.asked.summary
    few = looked_at(given, judge=JUDGE, sample=6, seed=1)
    assert few.status == "rescored"
    assert few.asked is not None
    assert {row.verdict for row in few.asked.rows} == {"open"}
    assert looked_at(given, judge=JUDGE, sample=6, seed=2).asked.latents != few.asked.latents  # type: ignore[union-attr]


@pytest.mark.slow
def test_a_judge_that_is_none(given: Path) -> None:
    with pytest.raises(BenchError, match="unknown judge"):
        looked_at(given, judge="nobody:x")
