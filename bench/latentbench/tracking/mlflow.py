"""A finished run, mirrored to MLflow: a parent that says which explainer is best, a child for each explainer, scorer and judge.

The run folder is the truth; MLflow is for browsing. So tracking happens after the run, from its files, can be repeated
(`latentbench.run_id` finds the earlier MLflow runs, which are updated), and whatever goes wrong in MLflow becomes one line in the
result. Logging while judging is the tempting alternative: it ties an hour of paid calls to the health of a web server.

A child for every coder and kind of coder as well made 150 of them of a run with 24 latents, each over a handful; they are there
for who asks. Runs that were logged so go to MLflow's trash when they are logged again.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.extras import command, installed
from latentbench.kernel.files import write_text
from latentbench.kernel.identity import joined
from latentbench.kernel.tables import LATENTS
from latentbench.kernel.veil import veiled
from latentbench.leaderboards.board import Ranking, tables
from latentbench.leaderboards.board_page import board_page
from latentbench.leaderboards.row import POOLED, Row, rows
from latentbench.leaderboards.run_page import REPORT, report
from latentbench.runs.finished import Run, load_run, suite_of
from latentbench.runs.kept import chunked, has_calls
from latentbench.tracking.entries import TrackedRun, child, clean, fitting, parent, row_name, searchable
from latentbench.tracking.mlflow_runs import ROW_TAG, RUN_TAG, STARTED_TAG, by_row, discard, known_runs, log_entry
from latentbench.tracking.mlflow_settings import BASE, PROBE, WORK, address, lent
from latentbench.tracking.mlflow_traces import NO_CALLS, sample, trace_of
from latentbench.tracking.opened_ahead import put, wait_for_opening
from latentbench.tracking.prompt_registry import register
from latentbench.tracking.run_board import BOARD, FIGURE, SCORES, best_tags, description, scores_figure, scores_table
from latentbench.tracking.side_by_side import side_by_side
from latentbench.tracking.tracked_people import RATINGS_CSV, TrackedPeople
from latentbench.tracking.uploads import without_secrets
from latentbench.views.figure import styled

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.tracking import MlflowClient

    from latentbench.suites.store import Suite

EXPERIMENT = "latentbench"
FILES = ("run.json", "spec.yaml", "explanations.parquet", "judgements.parquet", "scores.parquet", "seconds.parquet")
REASON_CHARS = 120
FIGURE_DPI = 150
TRACES_PER_CALL = 50


@dataclass(frozen=True)
class TrackResult:
    """What became of a tracking call.

    Attributes:
        ok: everything was logged.
        uri: tracking URI that was used.
        message: one line; why it was not logged, and how to try again. Empty if it was.
        parent: MLflow run id of the grid.
        children: row name -> MLflow run id.
        traces: calls of the run that are shown as traces, by latent and child.
        notes: sentences on what was left out, and what became of runs that were logged before.
    """

    ok: bool
    uri: str
    message: str = ""
    parent: str | None = None
    children: Mapping[str, str] = field(default_factory=dict)
    traces: int = 0
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        """The URI without a password or token."""
        return veiled(self.uri)


def track(
    run_dir: Path,
    suite_dir: Path | None = None,
    uri: str | None = None,
    *,
    per_coder: bool = False,
    people: TrackedPeople | None = None,
) -> TrackResult:
    """Log a finished run to MLflow, or update what was logged of it before.

    Args:
        run_dir: the run folder.
        suite_dir: where the suite is, for its profile; its name and digest are logged without it.
        uri: tracking URI; MLFLOW_TRACKING_URI, else SQLite under `mlruns/` of the working directory.
        per_coder: also a child for every coder, where the run has several.
        people: what people said of the run (`latentbench.analysis.people.people_track.track` reads it); None where nobody has.

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
        lambda client, experiment, target: _log(client, experiment, run, suite, target, per_coder, people),
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
    target = address(uri)
    shown = veiled(target)
    if not installed("mlflow"):
        return TrackResult(False, target, f"not logged, because mlflow is not installed: {command('mlflow')}. {after}")
    what = f"{shown} does not answer"
    # MLflow raises its own, SQLAlchemy's, requests' and OS errors; none of them may fail what is complete on disk.
    made = wait_for_opening()
    with lent(BASE):
        try:
            with lent(PROBE):
                client, experiment = connect(target, made)
            what = f"logging to {shown} failed"
            with lent(WORK):
                return log(client, experiment, target)
        except Exception as e:
            return TrackResult(False, target, f"{what} ({reason(e)}). {after}")


def reason(error: Exception) -> str:
    """A fault in one short line."""
    text = veiled(" ".join(str(error).split()))
    return f"{type(error).__name__}: {text[:REASON_CHARS]}{'...' if len(text) > REASON_CHARS else ''}"


def connect(uri: str, made: Path | None = None) -> tuple[MlflowClient, str]:
    """Client and experiment id. The first request is what shows whether anybody is there.

    Args:
        made: an empty local store for where there is none.
    """
    from mlflow.tracking import MlflowClient

    local = uri.startswith("sqlite:///")
    if local:
        place = Path(uri.removeprefix("sqlite:///")).resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        if made is not None and not place.exists():
            put(made, place)
    client = MlflowClient(tracking_uri=uri, registry_uri=uri)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
    found = client.get_experiment_by_name(name)
    if found is not None:
        return client, found.experiment_id
    # Without a location MLflow puts artifacts under the working directory of whoever logs first.
    beside = Path(uri.removeprefix("sqlite:///")).resolve().parent / "artifacts"
    return client, client.create_experiment(name, artifact_location=beside.as_uri() if local else None)


def _log(
    client: MlflowClient,
    experiment: str,
    run: Run,
    suite: Suite | None,
    uri: str,
    per_coder: bool,
    people: TrackedPeople | None,
) -> TrackResult:
    every = rows([run], by_kind=True, by_coder=True, any_split=True)
    pooled = _pooled(every)
    whole = _whole(pooled)
    told = [*whole, *(row for row in every if per_coder and row.coders != POOLED)]
    start = int(datetime.fromisoformat(run.record.started).timestamp() * 1000)
    end = start + int(run.record.seconds * 1000)
    # A run is named after its folder, and another folder may have the name.
    known = known_runs(client, experiment, searchable(run.id), start)
    there = by_row(known)
    inputs = [_dataset(run, suite)]

    def write(entry: TrackedRun, tags: Mapping[str, str], i: int) -> str:
        """Write one run; MLflow lists the youngest first, so each begins a millisecond before the one that is to stand above."""
        marks = {RUN_TAG: searchable(run.id), STARTED_TAG: str(start), **entry.tags, **tags}
        earlier = there.get(entry.tags.get(ROW_TAG, ""))
        entry = replace(entry, tags=marks)
        return log_entry(client, experiment, earlier, entry, start=start - i, end=end - i, inputs=inputs)

    # `link_prompt_version_to_run` would write to the process-wide server; the link is this tag.
    prompts = [{"name": p.name, "version": str(p.version)} for p in register(client, experiment, run.record)]
    linked = {"mlflow.linkedPrompts": json.dumps(prompts)} if prompts else {}
    shown = {"mlflow.note.content": description(pooled), TABLES_TAG: TABLES} | best_tags(pooled) | linked
    whole_run = parent(run, whole)
    if people is not None:
        whole_run = replace(whole_run, metrics=whole_run.metrics | people.metrics)
    top = write(whole_run, shown, 0)
    identities = {label: judge.identity for label, judge in run.record.judges.items()}
    below = {"mlflow.parentRunId": top}
    below_it = [(child(row, identities[row.judge.label]), i) for i, row in enumerate(told, start=1)]
    # Side by side only now: the parent has brought the dataset, which no two requests may make at once.
    written = side_by_side(client.tracking_uri, lambda one: write(one[0], below, one[1]), below_it)
    children = dict(zip(map(row_name, told), written, strict=True))
    _artifacts(client, top, run, suite, every, people)
    gone = discard(client, known, [top, *children.values()])
    traces, notes = _traces(client, experiment, run, top, children, prompts)
    if gone:
        notes.append(f"{gone} MLflow runs that an earlier logging left are in MLflow's trash.")
    return TrackResult(True, uri, parent=top, children=children, traces=traces, notes=tuple(notes))


def _traces(
    client: MlflowClient,
    experiment: str,
    run: Run,
    top: str,
    children: Mapping[str, str],
    prompts: Sequence[Mapping[str, str]],
) -> tuple[int, list[str]]:
    """Write the traces of a run; returns how many, and what is to be said of them."""
    if not has_calls(run):
        return 0, [NO_CALLS]
    from mlflow.tracing.client import TracingClient

    tracing = TracingClient(client.tracking_uri)
    found = []
    for told in sample(run):
        own = fitting(joined(told.cell.labels, " / "))
        kinds = (("explainer", told.cell.explainer.label), ("scorer", told.cell.scorer.label))
        linked = [p for p in prompts if p["name"].startswith(tuple(f"{kind}.{clean(label)}." for kind, label in kinds))]
        found.append(trace_of(run, told, experiment, children.get(own, top), linked))
    for some in chunked(found, TRACES_PER_CALL):
        # Their ids are those of before, and what is there of them would be added to.
        client.delete_traces(experiment, trace_ids=[info.trace_id for info, _ in some])
        try:
            side_by_side(client.tracking_uri, tracing.start_trace, [info for info, _ in some])
            tracing.log_spans(experiment, [span for _, spans in some for span in spans])
        except NotImplementedError as e:
            return 0, [f"No traces: {e}."]
    return len(found), []


def _pooled(every: Sequence[Row]) -> list[Ranking]:
    """Rankings over all coders, or over all of one kind; a run has four times as many with those of single coders."""
    return [table for table in tables(every) if table.rows[0].coders == POOLED]


TABLES_TAG, TABLES = "mlflow.loggedArtifacts", json.dumps([{"path": SCORES, "type": "table"}])
"""How MLflow knows that an artifact is a table. Its `log_table` puts the same rows below those that are there."""


def _whole(pooled: Sequence[Ranking]) -> list[Row]:
    """The row over all latents of the run for each explainer, scorer and judge, best first: rankings of kinds come after them."""
    found: dict[tuple[str, str], Ranking] = {}
    for table in pooled:
        found.setdefault((table.rows[0].scorer.label, table.rows[0].judge.label), table)
    return [row for table in found.values() for row in table.rows]


def _dataset(run: Run, suite: Suite | None) -> DatasetInput:
    """The suite as MLflow's dataset: its own digest, not one that MLflow would compute over a sample of rows."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    record = run.record
    profile: dict[str, Any] = {"num_latents_used": len(record.latents), "split": record.split}
    if suite is not None:
        profile |= {"num_rows": suite.latent_table.num_rows, "num_windows": suite.stored.num_rows}
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


def _artifacts(
    client: MlflowClient, run_id: str, run: Run, suite: Suite | None, every: Sequence[Row], people: TrackedPeople | None
) -> None:
    ranked = tables(every)
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
        texts = {
            REPORT: report(run, suite),
            BOARD: board_page(ranked).markdown(),
            SCORES: json.dumps(scores_table(ranked), allow_nan=False),
        }
        if people is not None:
            texts[RATINGS_CSV] = people.ratings
        for name, text in texts.items():
            path = Path(folder) / name
            write_text(path, text)
            client.log_artifact(run_id, str(path))
        if installed("matplotlib"):
            path = Path(folder) / FIGURE
            with styled():
                scores_figure(_pooled(every)).savefig(path, dpi=FIGURE_DPI, metadata={"Software": None})
            client.log_artifact(run_id, str(path))
