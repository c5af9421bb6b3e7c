"""A sample of a run's calls as traces: what they say is what the run kept, logged again they are the same, and old runs go."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import latentbench
import pytest
from latentbench.cli import app
from latentbench.runs.finished import load_run
from latentbench.runs.kept import kept_calls
from latentbench.tracking.mlflow import RUN_TAG, track
from latentbench.tracking.mlflow_traces import LATENTS, NO_CALLS, sample, trace_id
from typer.testing import CliRunner

from tests.builders.run_builder import Grid, build_run

SPEC = {
    "name": "traced",
    "suite": "planted-1",
    "limit": 6,
    "explainers": [{"use": "llm", "model": "mock:oracle", "label": "llm"}, {"use": "empty"}],
    "scorers": [{"use": "detection", "preset": "single"}],
    "judges": [{"use": "mock:oracle", "label": "oracle"}],
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("traced")
    for name, more in (("kept", {}), ("silent", {"keep": "none"})):
        latentbench.run({**SPEC, **more}, out=folder / name, cache=folder / "c.sqlite", track=False, progress=False)
    return folder


@pytest.fixture(scope="module")
def uri(home: Path) -> str:
    return f"sqlite:///{home}/mlruns/mlflow.db"


@pytest.fixture(scope="module")
def client(uri: str) -> Any:
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=uri, registry_uri=uri)


def traces(client: Any, run: str) -> list[Any]:
    experiment = client.get_experiment_by_name("latentbench").experiment_id
    found = client.search_traces(locations=[experiment], max_results=200)
    return [t for t in found if t.info.trace_metadata.get("mlflow.sourceRun") == run]


def test_a_trace_has_the_words_that_the_run_kept_and_says_what_was_right(home: Path, uri: str, client: Any) -> None:
    result = track(home / "kept", uri=uri)
    assert result.ok, result.message
    assert result.traces == LATENTS * 2
    run = load_run(home / "kept")
    told = {trace_id(run, t): t for t in sample(run)}
    found = [t for child in result.children.values() for t in traces(client, child)]
    assert {t.info.trace_id for t in found} == set(told)
    for trace in found:
        mine = told[trace.info.trace_id]
        calls = [c for c in kept_calls(run, mine.latent) if c.owner == mine.cell.cell]
        said = "\n".join(str(span.inputs) + str(span.outputs) for span in trace.data.spans)
        assert calls
        assert mine.explanation[:40] in said
        assert trace.info.assessments, "an answer has its assessment"
        scores = [a.feedback.value for a in trace.info.assessments if a.name == mine.cell.scorer.headline]
        assert scores in ([], [pytest.approx(mine.score, abs=1e-6)])


def test_logging_again_leaves_as_many(home: Path, uri: str, client: Any) -> None:
    first, second = track(home / "kept", uri=uri), track(home / "kept", uri=uri)
    assert (first.children, first.parent) == (second.children, second.parent)
    assert sum(len(traces(client, child)) for child in second.children.values()) == LATENTS * 2


def test_a_run_that_kept_nothing_has_none_and_says_so(home: Path, uri: str) -> None:
    result = track(home / "silent", uri=uri)
    assert result.ok, result.message
    assert result.traces == 0
    assert NO_CALLS in result.notes


def test_children_of_coders_are_there_on_request_and_gone_without_it(home: Path, uri: str, client: Any) -> None:
    run = build_run(home / "coders", Grid(explainers={"llm": 0.8}, coders={"res9": 12, "mlp9": 12}))
    words = ["track", str(run), "--uri", uri]
    assert CliRunner().invoke(app, [*words, "--per-coder"]).exit_code == 0
    experiment = client.get_experiment_by_name("latentbench").experiment_id
    mine = f"tags.`{RUN_TAG}` = 'coders'"
    assert len(client.search_runs([experiment], mine)) == 1 + 1 + 2
    said = CliRunner().invoke(app, words)
    assert said.exit_code == 0
    assert len(client.search_runs([experiment], mine)) == 1 + 1
    assert "2 MLflow runs that an earlier logging left are in MLflow's trash" in " ".join(said.output.split())
