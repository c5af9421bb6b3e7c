"""A finished run, mirrored to MLflow: a parent for the grid, a child for every leaderboard row.

The run folder is the truth; MLflow is for browsing. So tracking happens after the run, from its files, can be repeated
(`latentbench.run_id` finds the earlier MLflow runs, which are updated), and whatever goes wrong in MLflow becomes one line in the
result. Logging while judging is the tempting alternative: it ties an hour of paid calls to the health of a web server.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.extras import command, installed
from latentbench.kernel.files import write_text
from latentbench.kernel.tables import LATENTS
from latentbench.kernel.veil import veiled
from latentbench.leaderboards.board import tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.row import rows
from latentbench.leaderboards.run_page import REPORT, report
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.tracking.entries import TrackedRun, child, fitting, parent, searchable
from latentbench.tracking.mlflow_settings import BASE, PROBE, WORK, lent
from latentbench.tracking.prompt_registry import register
from latentbench.tracking.uploads import without_secrets

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

    from latentbench.suites.store import Suite

EXPERIMENT = "latentbench"
STORE = Path("mlruns")
RUN_TAG = "latentbench.run_id"
FILES = ("run.json", "spec.yaml", "explanations.parquet", "judgements.parquet", "scores.parquet", "seconds.parquet")
REASON_CHARS = 120
METRICS_PER_CALL, PARAMS_PER_CALL = 850, 90
"""Below MLflow's limits for one batch (1,000 in all, 100 params, 100 tags)."""


@dataclass(frozen=True)
class TrackResult:
    """What became of a tracking call.

    Attributes:
        ok: everything was logged.
        uri: tracking URI that was used.
        message: one line; why it was not logged, and how to try again. Empty if it was.
        parent: MLflow run id of the grid.
        children: row name -> MLflow run id.
    """

    ok: bool
    uri: str
    message: str = ""
    parent: str | None = None
    children: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The URI without a password or token."""
        return veiled(self.uri)


def track(run_dir: Path, suite_dir: Path | None = None, uri: str | None = None) -> TrackResult:
    """Log a finished run to MLflow, or update what was logged of it before.

    Args:
        run_dir: the run folder.
        suite_dir: where the suite is, for its profile; its name and digest are logged without it.
        uri: tracking URI; MLFLOW_TRACKING_URI, else SQLite under `mlruns/` of the working directory.

    Returns:
        The result. A dead server or any other fault of MLflow is `ok=False` with a message, never an exception.

    Raises:
        RunError: no finished run there.
        CorruptTable: a table that cannot be read.
    """
    run = load_run(run_dir)
    suite = suite_of(run, suite_dir)
    return tracked(
        uri,
        lambda client, experiment, target: _log(client, experiment, run, suite, target),
        f"The run folder is complete; log it later: bench track {run_dir}",
    )


def tracked(uri: str | None, log: Callable[[MlflowClient, str, str], TrackResult], after: str) -> TrackResult:
    """Connect to MLflow and log.

    Args:
        log: is given the client, the experiment's id and the URI.
        after: sentence behind the reason why it failed.

    Returns:
        What `log` returns; any fault of MLflow is `ok=False` with a message.
    """
    target = uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{STORE.as_posix()}/mlflow.db"
    shown = veiled(target)
    if not installed("mlflow"):
        return TrackResult(False, target, f"not logged, because mlflow is not installed: {command('mlflow')}. {after}")
    what = f"{shown} does not answer"
    # MLflow raises its own, SQLAlchemy's, requests' and OS errors; none of them may fail what is complete on disk.
    with lent(BASE):
        try:
            with lent(PROBE):
                client, experiment = connect(target)
            what = f"logging to {shown} failed"
            with lent(WORK):
                return log(client, experiment, target)
        except Exception as e:
            return TrackResult(False, target, f"{what} ({reason(e)}). {after}")


def reason(error: Exception) -> str:
    """A fault in one short line."""
    text = veiled(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:REASON_CHARS]}{'...' if len(text) > REASON_CHARS else ''}"


def connect(uri: str) -> tuple[MlflowClient, str]:
    """Client and experiment id. The first request is what shows whether anybody is there."""
    from mlflow.tracking import MlflowClient

    local = uri.startswith("sqlite:///")
    if local:
        Path(uri.removeprefix("sqlite:///")).resolve().parent.mkdir(parents=True, exist_ok=True)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None:
        return client, found.experiment_id
    # Without a location MLflow puts artifacts under the working directory of whoever logs first.
    beside = Path(uri.removeprefix("sqlite:///")).resolve().parent / "artifacts"
    return client, client.create_experiment(name, artifact_location=beside.as_uri() if local else None)


def _log(client: MlflowClient, experiment: str, run: Run, suite: Suite | None, uri: str) -> TrackResult:
    found = rows([run], by_kind=True, by_coder=True, any_split=True)
    start = int(datetime.fromisoformat(run.record.started).timestamp() * 1000)
    # A run is named after its folder, and another folder may have the name.
    known = known_runs(client, experiment, searchable(run.id), start)
    end = start + int(run.record.seconds * 1000)
    inputs = [_dataset(run, suite)]

    def write(key: str, entry: TrackedRun, tags: Mapping[str, str]) -> str:
        entry = replace(entry, tags={RUN_TAG: searchable(run.id), **entry.tags, **tags})
        return log_entry(client, experiment, known.get(key), entry, start=start, end=end, inputs=inputs)

    # `link_prompt_version_to_run` would write to the process-wide server; the link is this tag.
    prompts = [{"name": p.name, "version": str(p.version)} for p in register(client, experiment, run.record)]
    top = write("", parent(run), {"mlflow.linkedPrompts": json.dumps(prompts)} if prompts else {})
    identities = {label: judge.identity for label, judge in run.record.judges.items()}
    children = {}
    for row in found:
        entry = child(row, identities[row.judge.label])
        children[entry.name] = write(entry.name, entry, {"mlflow.parentRunId": top})
    _artifacts(client, top, run, suite, board_page(tables(found)).markdown())
    return TrackResult(True, uri, parent=top, children=children)


def known_runs(client: MlflowClient, experiment: str, run_id: str, start: int | None = None) -> dict[str, MlflowRun]:
    """Row name ("" for the parent) -> what was logged of this run before.

    Args:
        run_id: what `searchable` makes of it.
        start: milliseconds since 1970 at which it was started; with None the name alone tells.
    """
    known: dict[str, MlflowRun] = {}
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=500, page_token=token)
        same = [found for found in page if start is None or found.info.start_time == start]
        known |= {found.data.tags.get("latentbench.row", ""): found for found in same}
        token = page.token
        if not token:
            return known


def log_entry(
    client: MlflowClient,
    experiment: str,
    earlier: MlflowRun | None,
    entry: TrackedRun,
    *,
    status: str = "FINISHED",
    start: int | None = None,
    end: int | None = None,
    inputs: Sequence[DatasetInput] = (),
) -> str:
    """Write an entry as a new MLflow run, or into the one that it was before; returns the id of that run."""
    if earlier is None:
        created = client.create_run(experiment, start_time=start, tags=entry.tags, run_name=entry.name)
        run_id: str = created.info.run_id
        if inputs:
            client.log_inputs(run_id, inputs)
    else:
        run_id = earlier.info.run_id
    # Params are immutable in MLflow: only what is missing may be sent again.
    there = earlier.data.params if earlier is not None else {}
    params = {k: veiled(v) for k, v in entry.params.items() if k not in there}
    log_batch(client, run_id, entry.metrics, params, {k: veiled(v) for k, v in entry.tags.items()})
    client.set_terminated(run_id, status, end)
    return run_id


def log_batch(
    client: MlflowClient, run_id: str, metrics: Mapping[str, float], params: Mapping[str, str], tags: Mapping[str, str]
) -> None:
    """Metrics, params and tags in as few calls as MLflow allows; one `log_metric` each would take 200 times as long."""
    from mlflow.entities import Metric, Param, RunTag

    now = int(time.time() * 1000)
    values = [Metric(name, value, now, 0) for name, value in metrics.items()]
    texts = [Param(name, value) for name, value in params.items()]
    marks = [RunTag(name, value) for name, value in tags.items()]
    client.log_batch(run_id, values[:METRICS_PER_CALL], texts[:PARAMS_PER_CALL], marks)
    for i in range(METRICS_PER_CALL, len(values), METRICS_PER_CALL):
        client.log_batch(run_id, metrics=values[i : i + METRICS_PER_CALL])
    for i in range(PARAMS_PER_CALL, len(texts), PARAMS_PER_CALL):
        client.log_batch(run_id, params=texts[i : i + PARAMS_PER_CALL])


def _dataset(run: Run, suite: Suite | None) -> DatasetInput:
    """The suite as MLflow's dataset: its own digest, not one that MLflow would compute over a sample of rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    record = run.record
    profile: dict[str, Any] = {"num_latents_used": len(record.latents), "split": record.split}
    if suite is not None:
        profile |= {"num_rows": suite.latent_table.num_rows, "num_windows": suite.window_table.num_rows}
    columns = [{"name": f.name, "type": "string"} for f in LATENTS if f.type == "string"]
    dataset = Dataset(
        name=fitting(record.suite.id),
        digest=record.suite.digest[:36],
        source_type="local",
        source=json.dumps({"uri": suite.path.name if suite is not None else record.suite.name}),
        schema=json.dumps({"mlflow_colspec": columns}),
        profile=json.dumps(profile),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])


def _artifacts(client: MlflowClient, run_id: str, run: Run, suite: Suite | None, board: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for name in FILES:
            path = run.folder / name
            if not path.exists():
                continue
            if path.suffix != ".parquet" and (clean := without_secrets(path)) is not None:
                path = Path(folder) / name
                write_text(path, clean)
            client.log_artifact(run_id, str(path))
        # Rendered here, so that the server has the page of the tables that it has.
        for name, text in ((REPORT, report(run, suite)), ("leaderboard.md", board)):
            path = Path(folder) / name
            write_text(path, text)
            client.log_artifact(run_id, str(path))
