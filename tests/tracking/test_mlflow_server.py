"""A run in a server over PostgreSQL: what is read back is the run, logging again doubles nothing, a crash fails nothing."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import latentbench
import pytest
from latentbench.leaderboards.row import read_rows
from latentbench.tracking.entries import part
from latentbench.tracking.mlflow import track
from latentbench.tracking.mlflow_runs import RUN_TAG

from tests.builders.mlflow_server import MlflowServer, mlflow_server
from tests.builders.postgres_server import postgres
from tests.tracking.test_mlflow_traces import SPEC, traces

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    with postgres() as database, mlflow_server(database.url, tmp_path_factory.mktemp("mlflow")) as found:
        yield found


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "served"
    latentbench.run(SPEC, out=folder, cache=folder.parent / "c.sqlite", track=False, progress=False)
    return folder


def held(client: Any, server: MlflowServer) -> tuple[Counter[str], int, int]:
    """Runs by name, versions of prompts and files of the store."""
    experiment = client.get_experiment_by_name("latentbench").experiment_id
    runs = client.search_runs([experiment], f"tags.`{RUN_TAG}` = 'served'")
    versions = sum(len(client.search_prompt_versions(p.name)) for p in client.search_prompts(max_results=200))
    files = sum(path.is_file() for path in server.artifacts.rglob("*"))
    return Counter(found.info.run_name for found in runs), versions, files


def test_what_is_read_back_is_the_run_and_again_doubles_nothing(server: MlflowServer, run: Path) -> None:
    from mlflow.tracking import MlflowClient

    logged = track(run, uri=server.uri)
    assert logged.ok, logged.message
    client = MlflowClient(tracking_uri=server.uri, registry_uri=server.uri)
    top = client.get_run(logged.parent)
    assert top.info.status == "FINISHED"
    # The server keeps the files: the client is told no folder of its own.
    assert top.info.artifact_uri.startswith("mlflow-artifacts:")
    for row in read_rows([run]):
        child = client.get_run(logged.children[f"{row.explainer.label} / detection / oracle"])
        assert child.data.metrics[f"score/detection/{part(row.headline)}"] == row.score.estimate
        assert child.data.tags["mlflow.parentRunId"] == logged.parent
        assert child.info.status == "FINISHED"
        (dataset,) = child.inputs.dataset_inputs
        assert dataset.dataset.digest == row.suite.digest[:36]
    names = {found.path for found in client.list_artifacts(logged.parent)}
    assert {"run.json", "spec.yaml", "judgements.parquet", "report.html", "leaderboard.md", "scores.json"} <= names
    got = Path(client.download_artifacts(logged.parent, "judgements.parquet"))
    assert got.read_bytes() == (run / "judgements.parquet").read_bytes()
    prompts = json.loads(top.data.tags["mlflow.linkedPrompts"])
    assert prompts
    for prompt in prompts:
        assert client.get_prompt_version(prompt["name"], prompt["version"]).template
    shown = [trace for child in logged.children.values() for trace in traces(client, child)]
    assert len(shown) == logged.traces > 0

    before = held(client, server)
    assert set(before[0].values()) == {1}
    again = track(run, uri=server.uri)
    assert again == logged
    assert held(client, server) == before
    later = [trace for child in logged.children.values() for trace in traces(client, child)]
    assert {t.info.trace_id for t in later} == {t.info.trace_id for t in shown}


def test_a_server_that_dies_in_the_middle_is_a_line_and_the_folder_stays(
    server: MlflowServer, run: Path, monkeypatch: Any
) -> None:
    """Last of this file, because the server is gone afterwards."""
    from mlflow.tracking import MlflowClient

    def dies(client: MlflowClient, run_id: str, *words: Any, **more: Any) -> None:
        server.kill()
        upload(client, run_id, *words, **more)

    upload = MlflowClient.log_artifact
    monkeypatch.setattr(MlflowClient, "log_artifact", dies)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    files = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    lost = track(run, uri=server.uri)
    assert not lost.ok
    assert f"logging to {server.uri} failed" in lost.message
    assert lost.message.endswith(f"bench track {run}")
    assert "\n" not in lost.message
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == files
