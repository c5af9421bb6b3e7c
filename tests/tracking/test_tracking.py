"""MLflow as a mirror of run folders: structure, numbers, repetition, and servers that are not there."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from latentbench.kernel.errors import RunError
from latentbench.kernel.identity import joined
from latentbench.kernel.requests import JudgeIdentity
from latentbench.leaderboards.row import read_rows
from latentbench.tracking.entries import ENDS, TAG_CHARS, apart, child, clean, part
from latentbench.tracking.mlflow import TrackResult, track
from latentbench.tracking.mlflow_settings import forced, lent
from latentbench.tracking.prompt_registry import prompts_of
from latentbench.tracking.uploads import without_secrets

from tests.builders.nameable import nameable
from tests.builders.records import cell as toy_cell
from tests.builders.records import record
from tests.builders.records import scorer as toy_scorer
from tests.builders.run_builder import Grid, build_run, build_suite, set_suite_digest

GRID = Grid(explainers={"llm": 0.8, "shuffled": 0.5}, coders={"res9": 12, "mlp9": 4}, fail=0.1, repeats=2)
"""Latents enough for the interval of a mean in one coder and together, and too few in the other."""
LATENTS = sum(GRID.coders.values())


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of one SQLite store for all tests: creating its tables takes seconds."""
    return tmp_path_factory.mktemp("mlruns")


@pytest.fixture(scope="session")
def run(store: Path) -> Path:
    _, found = build_suite(store / "suite", GRID)
    folder = build_run(store / "first-run", GRID)
    set_suite_digest(folder, found)
    return folder


@pytest.fixture(scope="session")
def uri(store: Path) -> str:
    return f"sqlite:///{store}/mlflow.db"


@pytest.fixture(scope="session")
def tracked(run: Path, store: Path, uri: str) -> TrackResult:
    result = track(run, store / "suite", uri)
    assert result.ok, result.message
    return result


@pytest.fixture(scope="session")
def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def _count(client: Any, run: str) -> int:
    experiment = client.get_experiment_by_name("latentbench").experiment_id
    return len(client.search_runs([experiment], f"tags.`latentbench.run_id` = '{run}'"))


def test_parent_for_the_grid_and_a_child_per_explainer_scorer_and_judge(tracked: TrackResult, client: Any) -> None:
    assert list(tracked.children) == ["llm / detection / mock", "shuffled / detection / mock"]
    parent = client.get_run(tracked.parent)
    assert "first-run" in parent.info.run_name
    assert parent.info.status == "FINISHED"
    assert parent.info.end_time - parent.info.start_time == 12_500
    for name, run_id in tracked.children.items():
        child = client.get_run(run_id)
        assert child.data.tags["mlflow.parentRunId"] == tracked.parent
        assert child.info.run_name == name


def test_metrics_read_back_equal_the_rows(tracked: TrackResult, client: Any, run: Path, uri: str) -> None:
    by_coder = track(run, uri=uri, per_coder=True)
    assert by_coder.ok, by_coder.message
    assert set(tracked.children.items()) < set(by_coder.children.items())
    for row in read_rows([run], by_coder=True):
        of = "" if row.coders == "all" else f" / {row.coders}"
        data = client.get_run(by_coder.children[f"{row.explainer.label} / detection / mock{of}"]).data
        expected = {
            "score/detection/accuracy": row.score.estimate,
            "score/detection/details/accuracy_low": row.score.low,
            "score/detection/details/accuracy_high": row.score.high,
            "score/detection/details/accuracy_n": row.score.n,
            "score/detection/details/accuracy_floor": 0.5,
            "score/detection/details/accuracy_coverage": row.coverage,
            "score/detection/details/accuracy_worst": row.worst,
            "score/detection/details/accuracy_best": row.best,
            "secondary/detection/recall": row.metrics["recall"].estimate,
            "secondary/detection/details/recall_low": row.metrics["recall"].low,
            "secondary/detection/details/recall_n": row.metrics["recall"].n,
            "spent/explain_tokens_in_per_latent": row.explaining.tokens_in,
            "spent/judge_dollars_per_latent": row.judging.dollars,
            "spent/judge_seconds_per_latent": row.judging.seconds,
        }
        assert {name: data.metrics.get(name) for name in expected} == expected
        # MLflow sorts by name: what ranks comes first, and what it cost last.
        assert [n.partition("/")[0] for n in sorted(data.metrics)] == sorted(n.partition("/")[0] for n in data.metrics)
        assert sorted(data.metrics)[0].startswith("score/")
        # Twelve latents make an interval and four make none, which is no metric rather than one that is NaN.
        has = "score/detection/details/accuracy_low" in data.metrics
        assert has == (row.score.low is not None) == (row.coders != "mlp9")
        assert data.params["scorer_key"] == row.scorer.key
        assert data.params["judge_key"] == row.judge.key
        assert data.params["judge_provider"] == "mock"
        assert data.params["suite_digest"] == row.suite.digest
        assert data.params["latents_digest"] == row.latents
        assert data.tags["latentbench.floor"] == ("true" if row.explainer.label == "shuffled" else "false")
    plain = track(run, uri=uri)
    assert plain.children == tracked.children
    assert plain.notes[-1].startswith("4 MLflow runs")


def test_totals_of_the_grid(tracked: TrackResult, client: Any) -> None:
    data = client.get_run(tracked.parent).data
    assert (
        data.metrics["spent/judge_tokens_in"] == 2 * LATENTS * 10 * 2 * 100
    )  # explainers x latents x windows x repeats x 100
    assert data.metrics["spent/explain_cost"] == pytest.approx(LATENTS * 2 * 0.01)
    assert data.metrics["spent/judge_ok"] + data.metrics["spent/judge_api"] == 2 * LATENTS * 10 * 2
    assert data.tags["mlflow.source.git.commit"] == "0" * 40
    assert data.params["explainer_llm_key"]


def test_artifacts_are_the_tables_and_the_pages(tracked: TrackResult, client: Any, store: Path, run: Path) -> None:
    names = {f.path for f in client.list_artifacts(tracked.parent)}
    tables = {"explanations.parquet", "judgements.parquet", "scores.parquet", "seconds.parquet"}
    assert names == {"run.json", "report.html", "leaderboard.md", "scores.json", "scores.png", *tables}
    got = Path(client.download_artifacts(tracked.parent, "scores.parquet"))
    assert got.read_bytes() == (run / "scores.parquet").read_bytes()
    assert str(store / "artifacts") in client.get_run(tracked.parent).info.artifact_uri


def test_the_suite_is_a_dataset_input_with_its_own_digest(tracked: TrackResult, client: Any, run: Path) -> None:
    digest = json.loads((run / "run.json").read_text(encoding="utf-8"))["suite"]["digest"]
    for run_id in (tracked.parent, *tracked.children.values()):
        (found,) = client.get_run(run_id).inputs.dataset_inputs
        assert (found.dataset.name, found.dataset.digest) == ("synthetic@1-0", digest)
        assert json.loads(found.dataset.profile)["num_windows"] == LATENTS * 6


def test_prompts_are_registered_and_linked_once(tracked: TrackResult, client: Any) -> None:
    system = client.get_prompt_version("scorer.detection.system", 1)
    assert system.template == "Judge by detection: {{ explanation }}"
    assert system.tags["latentbench.id"] == f"detection@{GRID.scorer_version}"
    linked = json.loads(client.get_run(tracked.parent).data.tags["mlflow.linkedPrompts"])
    assert linked == [
        {"name": "explainer.llm.system", "version": "1"},
        {"name": "scorer.detection.system", "version": "1"},
    ]
    experiment = client.get_experiment_by_name("latentbench").experiment_id
    assert experiment in client.get_prompt("scorer.detection.system").tags["_mlflow_experiment_ids"]


def test_tracking_again_updates_the_same_runs(tracked: TrackResult, client: Any, run: Path, uri: str) -> None:
    before = _count(client, "first-run")
    again = track(run, uri=uri)
    assert again.ok, again.message
    assert (again.parent, again.children) == (tracked.parent, tracked.children)
    assert _count(client, "first-run") == before == 3
    from mlflow.exceptions import MlflowException

    with pytest.raises(MlflowException):
        client.get_prompt_version("scorer.detection.system", 2)


def test_another_run_has_its_own_mlflow_runs_and_a_changed_prompt_a_new_version(
    tracked: TrackResult, client: Any, tmp_path: Path, uri: str
) -> None:
    folder = build_run(tmp_path / "second-run", replace(GRID, coders={"res9": 6}))
    record = json.loads((folder / "run.json").read_text(encoding="utf-8"))
    for cell in record["cells"]:
        cell["scorer"]["prompts"]["system"] = "Another wording"
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    result = track(folder, uri=uri)
    assert result.ok, result.message
    assert result.parent != tracked.parent
    assert client.get_prompt_version("scorer.detection.system", 2).template == "Another wording"
    assert client.get_prompt_version("scorer.detection.system", 1).template.startswith("Judge by")
    # The first run again: its text is there as version 1, so no version 3 appears.
    linked = json.loads(client.get_run(result.parent).data.tags["mlflow.linkedPrompts"])
    assert {"name": "scorer.detection.system", "version": "2"} in linked
    assert {"name": "explainer.llm.system", "version": "1"} in linked


def test_two_runs_in_folders_of_one_name_are_two_and_each_is_updated_alone(
    client: Any, tmp_path: Path, uri: str
) -> None:
    first, second = (build_run(tmp_path / place / "twin", replace(GRID, coders={"res9": 6})) for place in "ab")
    record = json.loads((second / "run.json").read_text(encoding="utf-8"))
    (second / "run.json").write_text(json.dumps(record | {"started": "2026-01-02T03:04:06+00:00"}), encoding="utf-8")
    one, two, again = (track(folder, uri=uri) for folder in (first, second, first))
    assert one.ok, one.message
    assert two.ok, two.message
    assert one.parent != two.parent
    assert again == one
    assert _count(client, "twin") == 2 * (1 + len(one.children))


def test_a_dead_server_is_one_line_within_seconds(run: Path) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    began = time.monotonic()
    result = track(run, uri=f"http://127.0.0.1:{port}")
    assert time.monotonic() - began < 10
    assert not result.ok
    assert result.message.count("\n") == 0
    assert "does not answer" in result.message
    assert f"bench track {run}" in result.message


def test_a_server_that_accepts_and_never_answers_is_given_up(run: Path) -> None:
    with socket.socket() as s, forced({"MLFLOW_HTTP_REQUEST_TIMEOUT": "1"}):
        s.bind(("127.0.0.1", 0))
        s.listen()
        began = time.monotonic()
        result = track(run, uri=f"http://127.0.0.1:{s.getsockname()[1]}")
    assert not result.ok
    assert time.monotonic() - began < 10


def test_a_fault_in_the_middle_is_a_result_too(run: Path, tracked: TrackResult, uri: str, monkeypatch: Any) -> None:
    import mlflow.tracking

    def broken(*_: object, **__: object) -> None:
        raise OSError("disk full\nsecond line")

    monkeypatch.setattr(mlflow.tracking.MlflowClient, "log_artifact", broken)
    result = track(run, uri=uri)
    assert not result.ok
    assert "OSError: disk full second line" in result.message


def test_the_environment_is_as_before(run: Path, uri: str, tracked: TrackResult) -> None:
    before = dict(os.environ)
    track(run, uri="http://127.0.0.1:1")
    assert dict(os.environ) == before
    with forced({"MLFLOW_HTTP_REQUEST_TIMEOUT": "77"}), lent({"MLFLOW_HTTP_REQUEST_TIMEOUT": "5", "LB_NEW": "1"}):
        assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "77"
        assert os.environ["LB_NEW"] == "1"
    assert dict(os.environ) == before


def test_the_address_comes_from_the_environment_if_not_given(run: Path, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert track(run).uri == "http://127.0.0.1:1"
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_run_is_the_users_error(tmp_path: Path, uri: str) -> None:
    with pytest.raises(RunError):
        track(tmp_path, uri=uri)


def test_prompt_names_and_parts() -> None:
    judged = toy_scorer("d", prompts={"system": "  "})
    found = prompts_of(record([toy_cell("my llm/1", judged, "j", prompts={"few": [{"a": 1}], "none": []})]))
    (name,) = found
    assert name.startswith("explainer.my_llm_1.few.")
    assert json.loads(found[name][0]) == [{"a": 1}]
    assert clean("pkg:x==1") == "pkg_x__1"


def test_prompt_names_of_different_labels_differ() -> None:
    labels = ("a b", "a_b", "a/b", "a.b", "a")
    prompts = {"c": "1", "b.c": "2", "b c": "3", "b_c": "4"}
    found = prompts_of(record([toy_cell(x, toy_scorer("d"), "j", prompts=prompts) for x in labels]))
    assert len(found) == len(labels) * len(prompts)
    assert {"explainer.a_b.c", "explainer.a.b.c", "explainer.a.c", "explainer.a.b_c"} <= set(found)


def test_metrics_and_labels_that_are_cleaned_alike_keep_names_of_their_own(run: Path) -> None:
    assert apart(["kl:1", "auroc"]) == {"auroc": "auroc", "kl:1": "kl_1"}
    found = apart(["a b", "a_b", "a/b", "score", "a_b_low"], ENDS, ["score", "score_low"])
    every = [name + end for name in found.values() for end in ENDS]
    assert len(set(every)) == len(every) == 5 * len(ENDS)
    assert not {"score", "score_low"} & set(every)
    assert found["a_b"] == "a_b"
    row, *_ = read_rows([run])
    mine = row.model_copy(
        update={"metrics": dict.fromkeys(("score", "accuracy low", "accuracy_low", "accuracy"), row.score)}
    )
    kept = child(mine, JudgeIdentity("mock", "m", "0", "exact")).metrics
    plain = child(row.model_copy(update={"metrics": {}}), JudgeIdentity("mock", "m", "0", "exact")).metrics
    assert {name: kept[name] for name in plain} == plain
    assert len(kept) == len(plain) + 4 * 5


def test_labels_that_are_joined_or_cleaned_alike_have_runs_and_params_of_their_own(tmp_path: Path, uri: str) -> None:
    """The faults: `a / b` with `c`, and `a` with `b / c`, were one MLflow run, and `a b` and `a_b` one param."""
    labels = {"a / b": 0.9, "a": 0.5, "a b": 0.7, "a_b": 0.6, "a/b": 0.8}
    grid = Grid(explainers=labels, scorers=("c", "b / c", "b/c"), coders={"res9": 3})
    folder = build_run(tmp_path / "slashed", grid)
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    found = [track(folder, uri=uri) for _ in range(2)]
    assert found[0].ok, found[0].message
    assert found[0] == found[1]
    assert len(set(found[0].children.values())) == len(labels) * len(grid.scorers)
    for row in read_rows([folder]):
        name = joined((row.explainer.label, row.scorer.label, row.judge.label), " / ")
        data = client.get_run(found[0].children[name]).data
        assert data.metrics[f"score/{part(row.scorer.label)}/accuracy"] == row.score.estimate
        assert (data.params["explainer"], data.params["scorer"]) == (row.explainer.label, row.scorer.label)
    top = client.get_run(found[0].parent).data
    assert len([p for p in top.params if p.startswith("explainer_")]) == len(labels)
    scores = [name for name in top.metrics if name.startswith("score/") and "/details/" not in name]
    assert len(scores) == len(labels) * len(grid.scorers)


def test_odd_and_long_names_are_logged_once_and_found_again(tmp_path: Path, uri: str, client: Any) -> None:
    """MLflow reads a search as a query, keys as paths, and has limits; labels and folders of runs know of none of that."""
    odd = 'it\'s a "run" \u202e%x'
    long = "l" * 9000
    grid = Grid(
        explainers={long: 0.8, "..": 0.7, "[red]x\x1b[0m/\n": 0.6, "": 0.5},
        scorers=("../up", "/" + "s" * 400),
        judges=("a" * 300 + "\u200b",),
        coders={"c": 4},
    )
    folder = build_run(tmp_path / nameable(odd), grid)
    first = track(folder, uri=uri)
    assert first.ok, first.message
    assert len(first.children) == len(grid.explainers) * len(grid.scorers)
    again = track(folder, uri=uri)
    assert again.ok, again.message
    assert (again.parent, again.children) == (first.parent, first.children)
    for run in (first.parent, *first.children.values()):
        data = client.get_run(run).data
        assert all(len(text) <= TAG_CHARS for text in data.tags.values())
        assert not any("\x1b" in text or "\u200b" in text for text in (*data.tags.values(), *data.params.values()))


def test_secrets_of_an_old_run_do_not_reach_the_server(tmp_path: Path) -> None:
    """Specs with a key in them are refused today; run folders of before may still hold one."""
    folder = tmp_path / "run"
    folder.mkdir()
    secret = "hunter2hunter2"
    spec = f"""judges:
  - {{use: "openai:m?base_url=https://ada:{secret}@models.example/v1"}}
  - use: openai:m?base_url=https://models.example/v1&api_key={secret}
params:
  api_key: {secret}
name: t
"""
    (folder / "spec.yaml").write_text(spec, encoding="utf-8")
    record = {"command": "bench run x.yaml", "spec": {"params": {"password": secret}}, "uri": f"http://a:{secret}@h/x"}
    (folder / "run.json").write_text(json.dumps(record), encoding="utf-8")
    for name in ("spec.yaml", "run.json"):
        clean = without_secrets(folder / name)
        assert clean is not None
        assert secret not in clean
        assert "***" in clean
    assert json.loads(without_secrets(folder / "run.json"))["command"] == "bench run x.yaml"
    assert "name: t" in without_secrets(folder / "spec.yaml")
    (folder / "spec.yaml").write_text("name: t\nseed: 1\n", encoding="utf-8")
    assert without_secrets(folder / "spec.yaml") is None


def test_keys_of_what_has_a_label_reach_the_server_and_those_of_a_spec_do_not(run: Path, tmp_path: Path) -> None:
    """The fault: every `key` of run.json was hidden, so runs could not be compared by what the server has."""
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    cell = record["cells"][0]
    record["spec"]["params"] = {"key": "hunter2hunter2"}
    record["identities"] = {"explainers": {"token": "0123456789abcdef"}}
    (tmp_path / "run.json").write_text(json.dumps(record), encoding="utf-8")
    sent = without_secrets(tmp_path / "run.json")
    assert sent is not None
    clean = json.loads(sent)
    assert clean["cells"][0]["scorer"]["key"] == cell["scorer"]["key"]
    assert clean["identities"]["explainers"]["token"] == "0123456789abcdef"
    assert "hunter2" not in sent


def test_the_best_explainer_is_read_off_the_parent(tracked: TrackResult, client: Any, run: Path) -> None:
    data = client.get_run(tracked.parent).data
    (row,) = [r for r in read_rows([run]) if r.explainer.label == "llm"]
    assert data.metrics["score/detection/accuracy/mock/llm"] == row.score.estimate
    assert data.metrics["score/detection/accuracy/mock/details/llm_n"] == row.score.n
    assert data.tags["latentbench.best.detection.mock"].startswith("llm: accuracy")
    first = data.tags["mlflow.note.content"].splitlines()[0]
    assert "**llm**" in first
    assert f"n {row.score.n}" in first
    assert "floor 0.5" in first
    table = json.loads(Path(client.download_artifacts(tracked.parent, "scores.json")).read_text(encoding="utf-8"))
    assert len(table["data"][0]) == len(table["columns"])
