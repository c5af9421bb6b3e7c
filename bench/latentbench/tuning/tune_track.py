"""A search in MLflow: the search is the parent, every trial a child, the figures and the winner's spec are artifacts.

Written after the search from its files, like every run of this project, so MLflow can neither slow a trial nor fail it, and
logging again updates what is there. (Optuna's own MLflow callback writes during trials and is deprecated.)

The prompts of the setting that the held-out comparison supports get the alias `champion`: the winner's if it is better than the
default, else the default's. A search without that comparison names no champion.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import RunError
from latentbench.kernel.files import write_text
from latentbench.kernel.inputs import read_json
from latentbench.runs.record import read_record
from latentbench.tracking.entries import LAYOUT, LAYOUT_TAG, SCORE, TrackedRun, part, texts
from latentbench.tracking.mlflow import TrackResult, tracked
from latentbench.tracking.mlflow_runs import ROW_TAG, RUN_TAG, by_row, discard, known_runs, log_entry
from latentbench.tracking.prompt_registry import register
from latentbench.tracking.side_by_side import side_by_side
from latentbench.tuning.holdout import BETTER
from latentbench.tuning.summary import chance, verdict
from latentbench.tuning.tune_board import description, metrics, trial_metrics, trials_json, winner_of, won
from latentbench.tuning.tune_report import FIGURES, MARKDOWN, REPORT
from latentbench.views.number import finite

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
STATUS = {"complete": "FINISHED", "stopped": "KILLED", "failed": "FAILED", "lost": "FAILED", "running": "RUNNING"}
FILES = ("spec.yaml", "study.json", REPORT, MARKDOWN)
TRIALS = "trials.json"


def track(folder: Path, uri: str | None = None) -> TrackResult:
    """Log a finished search, or update what was logged of it.

    Args:
        folder: of the search.
        uri: tracking URI; MLFLOW_TRACKING_URI, else SQLite under `mlruns/` of the working directory.

    Returns:
        The result. A dead server or any other fault of MLflow is `ok=False` with a message, never an exception.

    Raises:
        RunError: no finished search there.
    """
    result = read_search(folder)
    return tracked(
        uri,
        lambda client, experiment, target: _log(client, experiment, result, folder, target),
        "The search's folder is complete.",
    )


def read_search(folder: Path) -> dict[str, Any]:
    """`study.json` of a finished search.

    Raises:
        RunError: there is none, or it is no search.
    """
    path = folder / "study.json"
    try:
        result = read_json(path, finite=False)
    except (OSError, ValueError) as e:
        raise RunError(f"{folder} holds no finished search: {path}: {e}.") from e
    if not isinstance(result, dict) or not {"name", "spec_key", "trials", "objectives", "winners"} <= result.keys():
        raise RunError(f"{path} is not the record of a search. Carry it out again.")
    return result


def _log(client: MlflowClient, experiment: str, result: Mapping[str, Any], folder: Path, uri: str) -> TrackResult:
    study = f"{result['name']}-{result['spec_key']}"
    known = known_runs(client, experiment, study)
    there = by_row(known)

    def write(
        key: str, params: Mapping[str, Any], values: Mapping[str, float], tags: Mapping[str, str], status: str
    ) -> str:
        everywhere = {RUN_TAG: study, LAYOUT_TAG: LAYOUT, ROW_TAG: key, **tags}
        entry = TrackedRun(key or f"tune {result['name']}", everywhere, texts(params), dict(values))
        return log_entry(client, experiment, there.get(key), entry, status=status)

    linked = _champion(client, experiment, result, folder)
    tags = {
        "latentbench.kind": "study",
        "latentbench.command": result["command"],
        "latentbench.verdict": verdict(result),
        "latentbench.chance": chance(result) or "",
        "latentbench.winner": won(result),
        "mlflow.note.content": description(result),
        "mlflow.loggedArtifacts": json.dumps([{"path": TRIALS, "type": "table"}]),
        **({"mlflow.linkedPrompts": json.dumps(linked)} if linked else {}),
    }
    top = write("", _params(result), metrics(result), tags, "FINISHED")
    _history(client, top, result)

    def write_trial(trial: Mapping[str, Any]) -> str:
        tags = {
            "latentbench.kind": "trial",
            "latentbench.state": trial["state"],
            "mlflow.parentRunId": top,
            **{f"latentbench.{k}": str(trial[k]) for k in ("name", "outcome", "error", "worker") if trial[k]},
        }
        won_it = {"latentbench.winner": "true"} if trial["number"] in result["winners"] else {}
        values = trial_metrics(result, trial)
        return write(named(trial), trial["settings"], values, tags | won_it, STATUS[trial["state"]])

    shown = [trial for trial in result["trials"] if trial["state"] not in ("repeat", "waiting")]
    children = dict(zip(map(named, shown), side_by_side(client.tracking_uri, write_trial, shown), strict=True))
    for name in FILES:
        client.log_artifact(top, str(folder / name))
    for path in sorted(folder.glob("best*.yaml")):
        client.log_artifact(top, str(path))
    client.log_artifacts(top, str(folder / FIGURES), artifact_path=FIGURES)
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / TRIALS
        write_text(path, json.dumps(finite(trials_json(result)), allow_nan=False))
        client.log_artifact(top, str(path))
    gone = discard(client, known, [top, *children.values()])
    notes = (f"{gone} MLflow runs that an earlier logging left are in MLflow's trash.",) if gone else ()
    return TrackResult(True, uri, parent=top, children=children, notes=notes)


def named(trial: Mapping[str, Any]) -> str:
    """What the MLflow run of a trial is called, by which it is found again."""
    return f"trial {trial['number']}"


def _params(result: Mapping[str, Any]) -> dict[str, Any]:
    winner = winner_of(result)
    return {
        "name": result["name"],
        "suite": result["spec"]["run"].get("suite"),
        "suite_digest": (result["measured_on"] or {}).get("suite"),
        "spec_key": result["spec_key"],
        "sampler": result["sampler"],
        "objectives": ", ".join(o["name"] for o in result["objectives"]),
        "seed": result["spec"]["seed"],
        **{f"default_{k}": v for k, v in result["spec"]["default"].items()},
        **{f"best_{k}": v for k, v in (winner["settings"] if winner else {}).items()},
    }


def _history(client: MlflowClient, run_id: str, result: Mapping[str, Any]) -> None:
    """Each objective and the best so far as series over the trial number, for MLflow's own charts."""
    from mlflow.entities import Metric

    first = f"{SCORE}/{part(result['objectives'][0]['name'])}/tuning/of_trial"
    if client.get_run(run_id).data.metrics.get(first) is not None:
        return  # logged before; a series would be written twice
    now = int(time.time() * 1000)
    series = []
    for o in result["objectives"]:
        best: float | None = None
        place = f"{SCORE}/{part(o['name'])}/tuning"
        for t in result["trials"]:
            value = t["means"].get(o["name"])
            if t["state"] != "complete" or value is None:
                continue
            series.append(Metric(f"{place}/of_trial", value, now, t["number"]))
            if not t["breaks"]:
                best = value if best is None else max(best, value) if o["larger_is_better"] else min(best, value)
                series.append(Metric(f"{place}/best_so_far", best, now, t["number"]))
    for i in range(0, len(series), 800):
        client.log_batch(run_id, metrics=series[i : i + 800])


def _champion(client: MlflowClient, experiment: str, result: Mapping[str, Any], folder: Path) -> list[dict[str, str]]:
    held = result["holdout"]
    if held is None:
        return []
    better = [w for w in held["winners"] if w["verdict"] == BETTER]
    run = read_record(folder / (better[0]["folder"] if better else held["default"]["folder"]))
    versions = register(client, experiment, run)
    for version in versions:
        client.set_prompt_alias(version.name, CHAMPION, version.version)
    return [{"name": v.name, "version": str(v.version)} for v in versions]
