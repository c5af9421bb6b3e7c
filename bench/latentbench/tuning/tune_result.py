"""A finished search as plain data: `study.json`. The report, the terminal and MLflow read it and nothing else."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.runs.environment import git, hardware, versions
from latentbench.stats.maximum import best_of_k
from latentbench.tuning import storage
from latentbench.tuning.budget import FACTS, spent
from latentbench.tuning.importance import importances
from latentbench.tuning.objective import BROKEN, DEFAULT, PRUNED, SAME_AS, array, feasible
from latentbench.tuning.samplers import sampler_name
from latentbench.tuning.space import run_spec
from latentbench.tuning.tune_spec import Objective, Settings, TuneSpec

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial

STATES = {"COMPLETE": "complete", "PRUNED": "stopped", "FAIL": "failed", "RUNNING": "running", "WAITING": "waiting"}


def collect(study: Study, spec: TuneSpec, command: str, reason: str, where: str) -> dict[str, Any]:
    """Everything about a search that is known before the held-out comparison.

    Args:
        command: continues or reproduces it.
        reason: why no more trials were begun.
        where: the storage, without its password.
    """
    trials = study.get_trials(deepcopy=False)
    gone = storage.lost(study)
    rows = [_trial(t, gone) for t in trials]
    winners = best(feasible(trials), spec.objectives)
    return {
        "name": spec.name,
        "command": command,
        "storage": where,
        "stopped": reason,
        "spec": spec.model_dump(mode="json"),
        "spec_key": spec.key,
        "sampler": sampler_name(spec),
        "measured_on": study.user_attrs.get("measured_on"),
        "latents": max((r["latents"] for r in rows), default=0),
        "objectives": [{"name": o.name, "larger_is_better": o.larger_is_better} for o in spec.objectives],
        "trials": rows,
        "default": next((r["number"] for r in rows if r["name"] == DEFAULT and r["state"] == STATES["COMPLETE"]), None),
        "winners": winners,
        "spent": asdict(spent(trials)),
        "chance": _chance(feasible(trials), spec),
        "importances": {o.name: _importances(trials, spec, o) for o in spec.objectives},
        "holdout": None,
        "versions": versions(),
        "git": revision.model_dump() if (revision := git()) is not None else None,
        "hardware": hardware().model_dump(mode="json"),
    }


def _trial(trial: FrozenTrial, gone: Mapping[int, str]) -> dict[str, Any]:
    a = trial.user_attrs
    failed = trial.state.name == "FAIL"
    lost = gone.get(trial.number)
    facts = a.get(FACTS, {})
    state = "lost" if lost is not None else "repeat" if SAME_AS in a else STATES[trial.state.name]
    return {
        "number": trial.number,
        "name": a.get(storage.NAME),
        "state": state,
        "settings": dict(trial.params),
        "means": facts.get("means", {}),
        "values": facts.get("values", {}),
        "latents": facts.get("latents", 0),
        "coverage": facts.get("coverage"),
        "outcomes": facts.get("outcomes", {}),
        "breaks": a.get(BROKEN, []),
        "stopped_by": a.get(PRUNED),
        "outcome": a.get(storage.OUTCOME) if failed else None,
        "error": lost or (a.get(storage.ERROR) if failed else None),
        "spent": facts.get("spent"),
        "worker": a.get(storage.WORKER),
        "folder": facts.get("folder"),
        "again": a.get("again"),
        "same_as": a.get(SAME_AS),
    }


def best(trials: Sequence[FrozenTrial], objectives: Sequence[Objective]) -> list[int]:
    """Numbers of the trials that no other one beats: the winner, or the Pareto set with the best first objective first.

    Of equal trials the earliest stands for all.
    """
    signs = np.array([1.0 if o.larger_is_better else -1.0 for o in objectives])
    points = [(t.number, signs * np.array(t.values)) for t in sorted(trials, key=lambda t: t.number)]
    found = [
        (number, x)
        for i, (number, x) in enumerate(points)
        if not any((y >= x).all() and ((y > x).any() or j < i) for j, (_, y) in enumerate(points) if j != i)
    ]
    return [number for number, x in sorted(found, key=lambda p: (*(-p[1]), p[0]))]


def _chance(trials: Sequence[FrozenTrial], spec: TuneSpec) -> dict[str, Any] | None:
    """The winner's lead over a setting taken at random, beside the lead that choice among equals gives."""
    if len(spec.objectives) > 1:
        return None
    (objective,) = spec.objectives
    if len(trials) < 2:
        return None
    sign = 1 if objective.larger_is_better else -1
    scores = sign * np.array([array(t.user_attrs[FACTS]["values"][objective.name]) for t in trials])
    scores = scores[:, ~np.isnan(scores).any(axis=0)]
    found = best_of_k(scores, spec.seed)
    if math.isnan(found.p):
        return None
    return {"candidates": len(trials), "latents": scores.shape[1], **asdict(found)}


def _importances(trials: Sequence[FrozenTrial], spec: TuneSpec, objective: Objective) -> list[dict[str, Any]]:
    used = [t for t in trials if t.state.name in ("COMPLETE", "PRUNED") and FACTS in t.user_attrs]
    if not used:
        return []
    values = [array(t.user_attrs[FACTS]["values"][objective.name]) for t in used]
    found = importances([t.params for t in used], values, objective.larger_is_better, spec.space, spec.seed)
    return [asdict(i) for i in found]


def best_spec(spec: TuneSpec, settings: Settings, base: Path) -> dict[str, Any]:
    """A setting as a spec for `bench run`, on held-out latents, readable from any folder.

    Args:
        base: folder of the tuning spec.
    """
    found: dict[str, Any] = _absolute(run_spec(spec, settings, held_out=True), base)
    return found | {"name": f"{spec.name}-best"}


def _absolute(value: Any, base: Path) -> Any:
    """Paths beside the tuning spec, made absolute; every other text stays as it is."""
    if isinstance(value, dict):
        return {k: _absolute(v, base) for k, v in value.items()}
    if isinstance(value, list):
        return [_absolute(v, base) for v in value]
    if isinstance(value, str) and ("/" in value or value.endswith(".yaml")) and (base / value).exists():
        return str((base / value).resolve())
    return value
