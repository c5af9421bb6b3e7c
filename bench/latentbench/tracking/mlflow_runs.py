"""Entries -> runs of MLflow, each written once and updated afterwards, in as few requests as MLflow allows.

What is there already is compared with what is to be there, so logging again sends only what has changed: every request of MLflow
is a transaction of its own, and a store of some years has thousands of runs. What an earlier logging left and nobody wants any
more goes to MLflow's trash, where `mlflow gc` ends it and its page restores it; leaving it would show every score twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from latentbench.kernel.veil import veiled
from latentbench.tracking.entries import LAYOUT, LAYOUT_TAG, TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.entities import Run as MlflowRun
    from mlflow.tracking import MlflowClient

RUN_TAG, ROW_TAG, STARTED_TAG = "latentbench.run_id", "latentbench.row", "latentbench.started"
METRICS_PER_CALL, PARAMS_PER_CALL, TAGS_PER_CALL = 800, 90, 90
"""Together below MLflow's limits for one batch (1,000 in all, 100 params, 100 tags)."""


def known_runs(client: MlflowClient, experiment: str, run_id: str, start: int | None = None) -> list[MlflowRun]:
    """What was logged of a run before.

    Args:
        run_id: what `searchable` makes of it.
        start: milliseconds since 1970 at which it was started; with None the name alone tells.
    """
    known: list[MlflowRun] = []
    token = None
    while True:
        page = client.search_runs([experiment], f"tags.`{RUN_TAG}` = '{run_id}'", max_results=500, page_token=token)
        known += [found for found in page if start is None or _started(found) == start]
        token = page.token
        if not token:
            return known


def _started(found: MlflowRun) -> int:
    """When what was run began; runs of the first layout say so only by their own start."""
    return int(found.data.tags.get(STARTED_TAG) or found.info.start_time)


def by_row(known: Iterable[MlflowRun]) -> dict[str, MlflowRun]:
    """Row name ("" for the parent) -> its run, of those that have today's layout: metrics cannot be renamed in MLflow."""
    return {found.data.tags.get(ROW_TAG, ""): found for found in known if found.data.tags.get(LAYOUT_TAG) == LAYOUT}


def discard(client: MlflowClient, known: Iterable[MlflowRun], kept: Iterable[str]) -> int:
    """Move runs that are not kept to MLflow's trash; returns how many.

    Args:
        kept: ids.
    """
    kept = set(kept)
    gone = [found.info.run_id for found in known if found.info.run_id not in kept]
    for run_id in gone:
        client.delete_run(run_id)
    return len(gone)


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
    tags = {name: veiled(text) for name, text in entry.tags.items()}
    params = {name: veiled(text) for name, text in entry.params.items()}
    metrics = entry.metrics
    if earlier is None:
        created = client.create_run(experiment, start_time=start, tags=tags, run_name=entry.name)
        run_id: str = created.info.run_id
        if inputs:
            client.log_inputs(run_id, inputs)
        tags = {}
    else:
        run_id, there = earlier.info.run_id, earlier.data
        # Params are immutable in MLflow: only what is missing may be sent again.
        params = {name: text for name, text in params.items() if name not in there.params}
        tags = {name: text for name, text in tags.items() if there.tags.get(name) != text}
        metrics = {name: value for name, value in metrics.items() if there.metrics.get(name) != value}
    if metrics or params or tags:
        log_batch(client, run_id, metrics, params, tags)
    if earlier is None or earlier.info.status != status or (end is not None and earlier.info.end_time != end):
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
    sizes = ((values, METRICS_PER_CALL), (texts, PARAMS_PER_CALL), (marks, TAGS_PER_CALL))
    for call in range(max(-(-len(some) // size) for some, size in sizes)):
        parts = [some[call * size : (call + 1) * size] for some, size in sizes]
        client.log_batch(run_id, *parts)
