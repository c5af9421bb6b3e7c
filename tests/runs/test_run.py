"""The harness end to end on the planted suite with deterministic judges."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.judges.cache.replies import ReplyCache
from latentbench.kernel.errors import CapabilityError, CorruptTable, DigestMismatch, RunError, SpecError, UnknownName
from latentbench.kernel.identity import table_digest
from latentbench.runs.finished import load_run
from latentbench.runs.journal import Journal
from latentbench.runs.plan import cells_of
from latentbench.runs.record import read_record
from latentbench.runs.run import resume, start
from rich.console import Console

from tests.builders.signed_runs import unsigned

QUIET = Console(quiet=True)
SPEC = {
    "name": "t",
    "suite": "planted-1",
    "limit": 6,
    "explainers": ["tokens", "empty", {"use": "shuffled", "params": {"of": "tokens"}}],
    "scorers": ["detection", "embedding"],
    "judges": [{"use": "mock:lexical", "label": "lex"}],
}
TABLES = ("explanations", "judgements", "scores")


def write_spec(folder: Path, **changes: object) -> Path:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC, **changes}), encoding="utf-8")
    return path


def digests(run: Path) -> dict[str, str]:
    return {name: table_digest({name: pq.read_table(run / f"{name}.parquet")}) for name in TABLES}


def table(run: Path, name: str):  # type: ignore[no-untyped-def]
    return pq.read_table(run / f"{name}.parquet").to_pandas()


def carry_out(folder: Path, name: str = "run", **changes: object):  # type: ignore[no-untyped-def]
    return start(write_spec(folder, **changes), folder / name, folder / f"{name}.sqlite", QUIET)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):  # type: ignore[no-untyped-def]
    folder, _ = carry_out(tmp_path_factory.mktemp("finished"))
    return folder


def test_every_cell_and_latent_has_rows_and_a_headline(finished):
    record = read_record(finished)
    assert record.status == "complete"
    assert [c.cell for c in record.cells] == [
        f"{e}/{s}/lex/0" for s in ("detection", "embedding") for e in ("tokens", "empty", "shuffled")
    ]
    scores = table(finished, "scores")
    headline = scores[scores.metric == "ap_normalised"]
    assert len(headline) == 6 * len(record.latents)
    assert set(table(finished, "judgements").outcome) == {"ok"}
    means = headline[headline.scorer == "detection"].groupby("explainer").value.mean()
    assert means["tokens"] > means["shuffled"] + 0.2
    assert means["empty"] == pytest.approx(0, abs=1e-9)


def test_the_same_spec_gives_the_same_tables(finished, tmp_path):
    again, _ = carry_out(tmp_path)
    assert digests(again) == digests(finished)


def test_windows_are_the_same_for_every_explainer(finished):
    judgements = table(finished, "judgements")
    shown = judgements.groupby(["scorer", "latent", "explainer"]).item.apply(tuple).unstack("explainer")
    assert (shown["tokens"] == shown["empty"]).all()
    assert (shown["tokens"] == shown["shuffled"]).all()


def test_a_killed_run_resumes_to_the_same_tables_and_pays_no_call_twice(finished, tmp_path):
    # The mock takes 4 ms a call, so the kill falls into the middle.
    slow = [{"use": "mock:lexical?seconds=0.004", "label": "lex"}]
    whole, record = carry_out(tmp_path, "whole", judges=slow)
    spec = write_spec(tmp_path, judges=slow)
    run, cache = tmp_path / "killed", tmp_path / "killed.sqlite"
    command = [sys.executable, "-m", "latentbench", "run", spec, "--out", run, "--cache", cache, "--no-track"]
    process = subprocess.Popen([str(c) for c in command], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        journal = run / "judgements.jsonl"
        if journal.exists() and journal.read_bytes().count(b"\n") >= 3:
            break
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    with pytest.raises(RunError, match="bench resume"):
        start(spec, run, cache, QUIET)
    done = (run / "judgements.jsonl").read_bytes().count(b"\n")
    assert 0 < done < len(record.cells) * len(record.latents)
    resumed = resume(run, cache, QUIET)
    assert digests(run) == digests(whole)
    # What was in flight when the kill came is in the cache or unpaid: the paid calls of both sessions are those of one.
    assert resumed.totals.paid.calls <= record.totals.paid.calls
    assert resumed.status == "complete"


def test_resuming_a_finished_run_asks_nothing(finished, tmp_path):
    before = digests(finished)
    resume(finished, tmp_path / "empty-cache.sqlite", QUIET)
    assert digests(finished) == before
    assert ReplyCache(tmp_path / "empty-cache.sqlite").stats().replies == 0


def test_a_second_run_pays_nothing(tmp_path):
    spec = write_spec(tmp_path)
    _, first = start(spec, tmp_path / "a", tmp_path / "c.sqlite", QUIET)
    _, second = start(spec, tmp_path / "b", tmp_path / "c.sqlite", QUIET)
    assert first.totals.paid.calls > 0
    assert second.totals.paid.calls == 0
    assert digests(tmp_path / "a") == digests(tmp_path / "b")


def test_failed_calls_lower_coverage_and_not_the_score(tmp_path):
    asked = {"limit": 24, "explainers": ["tokens"]}
    whole, _ = carry_out(tmp_path, "whole", **asked)
    failing = [{"use": "mock:lexical?fail=0.2", "label": "lex"}]
    folder, record = carry_out(tmp_path, judges=failing, max_failures=0.5, **asked)
    judgements = table(folder, "judgements")
    judged = judgements[judgements.scorer == "detection"]
    coverage = (judged.outcome == "ok").mean()
    assert 0.75 < coverage < 0.85
    assert judged[judged.outcome != "ok"].score.isna().all()
    assert record.failure_rate > 0.1

    def means(run):  # type: ignore[no-untyped-def]
        scores = table(run, "scores")
        rows = scores[(scores.metric == "auroc") & (scores.scorer == "detection") & (scores.explainer == "tokens")]
        return rows.set_index("latent").value

    from latentbench.stats.bootstrap import bootstrap_mean

    interval = bootstrap_mean(means(whole).to_numpy(), seed=0)
    assert interval.low <= means(folder).mean() <= interval.high
    scores = table(folder, "scores")
    assert (scores.n_judged <= scores.n_attempted).all()
    assert (scores.n_judged < scores.n_attempted).any()


def test_failed_calls_are_asked_again_on_resume(tmp_path, monkeypatch):
    folder, record = carry_out(tmp_path, judges=[{"use": "mock:lexical?fail=0.2", "label": "lex"}], max_failures=1.0)
    assert record.totals.judgements["api"] > 0
    # The endpoint recovers: the same judge answers everything now.
    monkeypatch.setattr("latentbench.judges.mock.mock_judge.share", lambda *parts: 1.0)
    appended = []
    append = Journal.append
    monkeypatch.setattr(
        Journal, "append", lambda self, unit: (appended.append((self.path.name, unit)), append(self, unit))
    )
    recovered = resume(folder, tmp_path / "run.sqlite", QUIET)
    assert recovered.totals.judgements["api"] == 0
    assert recovered.failure_rate == 0


def test_latents_without_an_explanation_are_explained_and_judged_on_resume(tmp_path, monkeypatch):
    folder, record = carry_out(
        tmp_path,
        explainers=[{"use": "llm", "model": "flaky"}, "empty"],
        judges=[{"use": "mock:lexical", "label": "lex"}, {"use": "mock:lexical?fail=0.5", "label": "flaky"}],
        scorers=[{"use": "detection", "judges": ["lex"]}, {"use": "embedding", "judges": ["flaky"]}],
        max_failures=1.0,
    )
    latents, unexplained = len(record.latents), record.totals.explanations["api"]
    assert 0 < unexplained < latents
    judgements = table(folder, "judgements")
    skipped = judgements[judgements.outcome == "skipped"]
    assert set(skipped.explainer) == {"llm"}
    assert skipped.groupby("scorer").latent.nunique().to_dict() == {"detection": unexplained, "embedding": unexplained}
    monkeypatch.setattr("latentbench.judges.mock.mock_judge.share", lambda *parts: 1.0)
    appended = []
    append = Journal.append
    monkeypatch.setattr(
        Journal, "append", lambda self, unit: (appended.append((self.path.name, unit)), append(self, unit))
    )
    recovered = resume(folder, tmp_path / "run.sqlite", QUIET)
    assert recovered.totals.explanations["ok"] == 2 * latents
    assert recovered.failure_rate == 0
    judgements = table(folder, "judgements")
    assert set(judgements.outcome) == {"ok"}
    texts = table(folder, "explanations").set_index(["explainer", "latent"])["hash"].to_dict()
    judged = zip(judgements.explainer, judgements.latent, judgements.explanation, strict=True)
    assert all(texts[explainer, latent] == explanation for explainer, latent, explanation in judged)
    scores = table(folder, "scores")
    assert (scores.n_judged == scores.n_attempted).all()
    # Of the judge that never failed, only what had been skipped is judged again.
    again = [unit[0].cell for name, unit in appended if name == "judgements.jsonl"]
    assert sum("/detection/" in cell for cell in again) == unexplained


@pytest.mark.parametrize("left", [["spec.yaml"], ["replies.sqlite"], ["spec.yaml", "replies.sqlite"]])
def test_what_a_killed_start_left_is_no_run_and_is_written_over(tmp_path, left):
    run = tmp_path / "run"
    run.mkdir()
    for name in left:
        (run / name).touch()
    spec = write_spec(tmp_path, limit=1, explainers=["tokens"], scorers=["embedding"])
    _, record = start(spec, run, run / "replies.sqlite", QUIET)
    assert record.status == read_record(run).status == "complete"
    assert yaml.safe_load((run / "spec.yaml").read_text(encoding="utf-8"))["limit"] == 1


def test_a_folder_with_a_run_or_with_anything_else_in_it_is_refused(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    for folder, name in ((run, "run.json"), (other, "notes.txt")):
        folder.mkdir()
        (folder / "spec.yaml").touch()
        (folder / name).write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="bench resume"):
        carry_out(tmp_path, "run")
    with pytest.raises(RunError, match="not empty") as caught:
        carry_out(tmp_path, "other")
    assert "bench resume" not in str(caught.value)
    assert {p.name for p in other.iterdir()} == {"spec.yaml", "notes.txt"}


def test_an_answer_that_is_nonsense_is_a_parse_failure_without_a_score(tmp_path):
    folder, record = carry_out(
        tmp_path,
        scorers=[{"use": "detection", "preset": "paper"}],
        judges=[{"use": "mock:label?nonsense=1&can=chat", "label": "talker"}],
        max_failures=1.0,
    )
    assert set(table(folder, "judgements").outcome) == {"parse"}
    scores = table(folder, "scores")
    assert scores.value.isna().all()
    assert (scores.n_judged == 0).all()
    assert record.failure_rate > 0.5


def test_a_failed_explanation_skips_its_windows_and_keeps_the_latent(tmp_path):
    folder, _ = carry_out(
        tmp_path,
        explainers=[{"use": "llm", "model": "broken"}, "empty"],
        judges=[{"use": "mock:lexical", "label": "lex"}, {"use": "mock:constant?fail=1", "label": "broken"}],
        scorers=[{"use": "detection", "judges": ["lex"]}, {"use": "embedding", "judges": ["broken"]}],
        max_failures=1.0,
    )
    judgements = table(folder, "judgements")
    skipped = judgements[(judgements.explainer == "llm") & (judgements.judge == "lex")]
    assert set(skipped.outcome) == {"skipped"}
    assert skipped.latent.nunique() == 6
    assert skipped.error.str.contains("no explanation").all()


def test_a_run_is_not_resumed_on_other_inputs(finished, tmp_path):
    folder, _ = carry_out(tmp_path)
    spec = yaml.safe_load((folder / "spec.yaml").read_text(encoding="utf-8"))
    spec["judges"][0]["use"] = "mock:lexical?seed=1"
    spec["scorers"][0]["params"] = {"positives": 3}
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    before = digests(folder)
    with pytest.raises(RunError, match=r"judges: lex.*scorers: detection"):
        resume(folder, None, QUIET)
    assert digests(folder) == before


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"suite": "planted-9"}, UnknownName, "Did you mean 'planted-2' or 'planted-1'?"),
        ({"explainers": ["token"]}, UnknownName, "Did you mean 'tokens'"),
        ({"scorers": ["detektion"]}, UnknownName, "Did you mean 'detection'"),
        ({"scorers": [{"use": "detection", "preset": "papr"}]}, UnknownName, "Did you mean 'paper'"),
        (
            {"scorers": [{"use": "detection", "params": {"positive": 3}}]},
            SpecError,
            "Did you mean 'scorers[0].params.positives'",
        ),
        ({"judges": ["mok:lexical"]}, UnknownName, "Did you mean 'mock'"),
        ({"judges": ["mock:lexical?errror=1"]}, SpecError, "Did you mean 'error'"),
        ({"explainers": ["llm"]}, SpecError, "give it one with `model"),
        (
            {"explainers": [{"use": "shuffled", "params": {"of": "tokns"}}, "tokens"]},
            UnknownName,
            "Did you mean 'tokens'",
        ),
        ({"judges": ["mock:lexical?can=embed"], "scorers": ["detection"]}, CapabilityError, "needs a judge with"),
        (
            {"judges": ["mock:lexical?can=chat+choice_logprobs"], "scorers": ["simulation"]},
            CapabilityError,
            "needs a judge with simulate or choice_logprobs+slots",
        ),
        ({"judges": ["mock:lexical", "mock:label?can=chat"], "scorers": ["embedding"]}, SpecError, "serves none"),
        (
            {"judges": ["mock:lexical", "mock:label?can=chat"], "scorers": ["embedding"]},
            SpecError,
            "to the explainer itself",
        ),
        (
            {"judges": ["mock"]},
            SpecError,
            "`mock:MODEL`. MODEL is one of blind, constant, guesser, label, lexical, oracle, writer.",
        ),
        ({"judges": ["openai"]}, SpecError, "names no model; write `openai:MODEL`."),
        (
            {"explainers": [{"use": "shuffled", "params": {"of": "shufled"}}, "tokens"]},
            UnknownName,
            "unknown explainer that 'shuffled' reads from 'shufled'. Known: tokens.",
        ),
        ({"coders": ["planed"]}, UnknownName, "Did you mean 'planted'"),
    ],
)
def test_a_bad_spec_is_refused_before_anything_is_paid(tmp_path, changes, error, message):
    with pytest.raises(error) as caught:
        carry_out(tmp_path, **changes)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def _cli(*words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "latentbench", *(str(w) for w in words)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, encoding="utf-8")


def test_exit_codes_and_one_message(tmp_path):
    bad = write_spec(tmp_path, scorers=["detektion"])
    done = _cli("run", bad, "--out", tmp_path / "x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "Did you mean 'detection'" in done.stderr
    failing = write_spec(tmp_path, judges=[{"use": "mock:lexical?fail=0.5", "label": "lex"}])
    done = _cli("run", failing, "--out", tmp_path / "y", "--cache", tmp_path / "c", "--no-track")
    assert done.returncode == 1
    totals = read_record(tmp_path / "y").totals
    assert totals is not None
    assert "% of the explanations and judgements failed; allowed are 5.0% (max_failures)." in done.stderr
    assert f"Judgements: {totals.judgements['ok']} ok, {totals.judgements['api']} api." in done.stderr
    assert json.loads((tmp_path / "y" / "run.json").read_text(encoding="utf-8"))["status"] == "complete"


def test_an_interrupt_leaves_a_run_that_can_be_resumed(tmp_path):
    spec = write_spec(tmp_path, judges=[{"use": "mock:lexical?seconds=0.01", "label": "lex"}])
    run, cache = tmp_path / "run", tmp_path / "c.sqlite"
    command = [sys.executable, "-m", "latentbench", "run", spec, "--out", run, "--cache", cache, "--no-track"]
    # A CI runner that starts us in the background has SIGINT ignored, and children inherit that.
    process = subprocess.Popen(
        [str(c) for c in command],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        encoding="utf-8",
    )
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (run / "judgements.jsonl").exists():
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert f"bench resume {run} --cache {cache}" in said
    with pytest.raises(RunError, match=f"has not ended .*bench resume {run}"):
        load_run(run)
    assert resume(run, cache, QUIET).status == "complete"


SLASHED = {
    "limit": 3,
    "explainers": [{"use": "tokens", "label": "a/b"}, {"use": "empty", "label": "a"}, {"use": "vocab", "label": "%2F"}],
    "scorers": [{"use": "detection", "label": "c"}, {"use": "detection", "label": "b/c"}],
}


def test_cells_whose_labels_hold_a_slash_are_told_apart(tmp_path):
    """`a/b` with `c`, and `a` with `b/c`, had one id, and the scores of the later stood under both names."""
    folder, record = carry_out(tmp_path, **SLASHED)
    assert len({cell.cell for cell in record.cells}) == len(record.cells) == 6
    same = carry_out(tmp_path, "plain", limit=3, explainers=["tokens", "empty", "vocab"], scorers=["detection"])[0]
    wanted = load_run(same).per_latent().set_index(["explainer", "latent"])["value"]
    found = load_run(folder).per_latent().set_index(["explainer", "scorer", "latent"])["value"]
    for label, name in (("a/b", "tokens"), ("a", "empty"), ("%2F", "vocab")):
        for scorer in ("c", "b/c"):
            assert found[label, scorer].equals(wanted[name])
    before = digests(folder)
    resume(folder, tmp_path / "run.sqlite", QUIET)
    assert digests(folder) == before


def test_cells_keep_the_ids_of_stored_runs_where_these_differ():
    grid = [("a/b", "c", "openai:x/y", 0), ("a", "c", "openai:x/y", 0), ("50%", "c", "lex", 1)]
    assert [c.id for c in cells_of(grid)] == ["a/b/c/openai:x/y/0", "a/c/openai:x/y/0", "50%/c/lex/1"]
    equal = [*grid, ("a", "b/c", "openai:x/y", 0)]
    assert [c.id for c in cells_of(equal)][:3] == ["a%2Fb/c/openai:x%2Fy/0", "a/c/openai:x%2Fy/0", "50%/c/lex/1"]


def test_a_record_whose_cells_share_an_id_is_refused(finished, tmp_path):
    held = json.loads((finished / "run.json").read_text(encoding="utf-8"))
    held["cells"][1]["cell"] = held["cells"][0]["cell"]
    (tmp_path / "run.json").write_text(json.dumps(held), encoding="utf-8")
    with pytest.raises(DigestMismatch, match=r"run\.json is not what the run wrote"):
        read_record(tmp_path)
    unsigned(tmp_path)
    with pytest.raises(RunError, match="2 cells with the id .* cannot be told apart"):
        read_record(tmp_path)


@pytest.mark.parametrize("label", ["a\nb", "\x1b[31m", "a\u2028b", "\x00"])
def test_a_label_with_a_control_character_is_refused(tmp_path, label):
    with pytest.raises(SpecError, match="holds a control character|holds the character NUL"):
        carry_out(tmp_path, explainers=[{"use": "tokens", "label": label}])


def test_equal_runs_have_equal_tables_byte_for_byte_whatever_time_they_took(tmp_path):
    """Times are in a table of their own; in that of the judgements they made equal runs differ."""
    asked = {
        "limit": 4,
        "explainers": ["tokens", {"use": "llm", "model": "lex"}, {"use": "shuffled", "params": {"of": "llm"}}],
    }
    runs = []
    for name, judge in (("one", "mock:lexical?seconds=0.001&fail=0.2"), ("two", "mock:lexical?seconds=0.003&fail=0.2")):
        judges = [{"use": judge, "label": "lex"}]
        runs.append(carry_out(tmp_path, name, judges=judges, repeats=2, max_failures=1.0, **asked)[0])
    for table_name in TABLES:
        one, two = ((run / f"{table_name}.parquet").read_bytes() for run in runs)
        assert one == two, table_name
    took = [load_run(run) for run in runs]
    for name in ("explanations", "judgements"):
        one, two = (getattr(run, name)["seconds"].sum() for run in took)
        assert two == pytest.approx(3 * one)
        assert one > 0


def test_times_of_an_older_run_are_read_from_its_tables(finished, tmp_path):
    before = load_run(finished)
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "seconds.parquet").unlink()
    with pytest.raises(CorruptTable, match="seconds.parquet is missing"):
        load_run(tmp_path)
    for name in ("explanations", "judgements"):
        held = pq.read_table(tmp_path / f"{name}.parquet")
        times = pa.array([i / 8 for i in range(len(held))], pa.float64())
        pq.write_table(held.append_column("seconds", times), tmp_path / f"{name}.parquet")
    unsigned(tmp_path)
    old = load_run(tmp_path)
    assert old.judgements["seconds"].tolist() == [i / 8 for i in range(len(old.judgements))]
    assert old.judgements.drop(columns="seconds").equals(before.judgements.drop(columns="seconds"))


@pytest.mark.parametrize("row", [-1, 10**6])
def test_times_of_rows_that_are_not_there_are_refused(finished, tmp_path, row):
    for path in finished.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    rows = pa.table({"table": ["judgements"], "row": pa.array([row], pa.int64()), "seconds": [1.0]})
    pq.write_table(rows, tmp_path / "seconds.parquet")
    with pytest.raises(DigestMismatch, match=r"seconds\.parquet is not what was written"):
        load_run(tmp_path)
    unsigned(tmp_path)
    with pytest.raises(CorruptTable, match="seconds.parquet is not of judgements.parquet"):
        load_run(tmp_path)
