"""Which golden files there are: two for each shipped scorer and explainer, by name and version, and one for each judge reader.

Further ones hold what stands between a judge and its readers, and what no task shows: under what replies are stored, what helpers
do at their edges, what a run makes of a fault.

Those below `runs/` are as a run asks (see `golden_runs`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from tests.builders.golden_edges import edges_file, faults_file, requests_file
from tests.builders.golden_explainers import explainer_file
from tests.builders.golden_file import Json, dumped
from tests.builders.golden_readers import READERS
from tests.builders.golden_replies import reasoning_file, received_file, structure_file, turns_file, worded_file
from tests.builders.golden_runs import plan_file, run_explainer_file, run_scorer_file
from tests.builders.golden_scorers import scorer_file

DOORS: dict[str, Callable[[], dict[str, Json]]] = {
    "received": received_file,
    "reasoning": reasoning_file,
    "turns": turns_file,
    "worded": worded_file,
    "structure": structure_file,
}
"""What stands between a judge and its readers -> what makes its golden content."""
TASKS = Path(__file__).parents[2] / "tasks"


def shipped(kind: str) -> dict[str, str]:
    """Name -> version of the shipped tasks of a kind, `scorers` or `explainers`."""
    files = sorted((TASKS / kind).glob("*.yaml"))
    return {path.stem: str(yaml.safe_load(path.read_text(encoding="utf-8"))["version"]) for path in files}


def contents() -> dict[str, Callable[[], dict[str, Json]]]:
    """Path of every golden file -> what makes its content."""
    found: dict[str, Callable[[], dict[str, Json]]] = {
        "runs/plan.json": plan_file,
        "runs/faults.json": faults_file,
        "requests.json": requests_file,
        "edges.json": edges_file,
    }
    for name, version in shipped("scorers").items():
        found[f"scorers/{name}@{version}.json"] = partial(scorer_file, name)
        found[f"runs/scorers/{name}@{version}.json"] = partial(run_scorer_file, name)
    for name, version in shipped("explainers").items():
        found[f"explainers/{name}@{version}.json"] = partial(explainer_file, name)
        found[f"runs/explainers/{name}@{version}.json"] = partial(run_explainer_file, name)
    return found | {f"judges/{name}.json": make for name, make in (READERS | DOORS).items()}


def text_of(name: str) -> str:
    """The text that a golden file would have now."""
    return dumped(json.loads(json.dumps(contents()[name]())))
