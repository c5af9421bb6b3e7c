"""A finished run -> what the study optimises, per latent.

A latent without a headline in one of the cells has no score at all: the mean over the cells that are left would put scorers of
different levels together. It lowers the coverage instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.runs.record import Run
from latentbench.stats.normalise import normalise
from latentbench.tuning.tune_spec import Constraints, Objective

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measured:
    """One setting on some latents.

    Attributes:
        latents: ids, in the run's order.
        values: objective name -> [latents], averaged over repeats; NaN where there is none.
        cells: `scorer / judge` -> [latents] headline as the scorer defines it.
        headlines: `scorer / judge` -> name of that metric.
        coverage: share of judgements with an answer.
        outcomes: outcome -> number of explanations and judgements.
    """

    latents: tuple[str, ...]
    values: Mapping[str, Array]
    cells: Mapping[str, Array]
    headlines: Mapping[str, str]
    coverage: float
    outcomes: Mapping[str, int]

    def mean(self, objective: Objective) -> float:
        """Over latents that have a value; NaN if none has."""
        found = self.values[objective.name]
        found = found[~np.isnan(found)]
        return float(found.mean()) if len(found) else math.nan


def tuned_explainer(record: Mapping[str, Any], wanted: str | None) -> str:
    """Label of the explainer that is tuned.

    Raises:
        SpecError: the run has several and the spec names none; UnknownName: it names another.
    """
    labels = list(dict.fromkeys(cell["explainer"]["label"] for cell in record["cells"]))
    if wanted is not None:
        if wanted not in labels:
            raise UnknownName("explainer to tune", wanted, labels)
        return wanted
    if len(labels) > 1:
        raise SpecError(
            f"the run has the explainers {', '.join(labels)}: say which one is tuned with `explainer: LABEL`."
        )
    return str(labels[0])


def measure(run: Run, objectives: Sequence[Objective], explainer: str | None = None) -> Measured:
    """Read a run.

    Args:
        explainer: label of the tuned explainer, where the run has several.

    Raises:
        SpecError: an objective that the run does not have.
    """
    label = tuned_explainer(run.record, explainer)
    latents = tuple(run.record["latents"])
    cells = {c["cell"]: c for c in run.record["cells"] if c["explainer"]["label"] == label}
    scores = run.scores[run.scores["cell"].isin(cells)]
    explanations = run.explanations[run.explanations["explainer"] == label]
    judgements = run.judgements[run.judgements["cell"].isin(cells)]
    values = {}
    for objective in objectives:
        if objective.use == "score":
            values[objective.name] = _score(scores, cells, objective, latents)
        else:
            values[objective.name] = _other(objective.use, explanations, judgements, latents, run)
    raw, headlines = _raw(scores, cells, latents)
    counts = judgements["outcome"].value_counts().add(explanations["outcome"].value_counts(), fill_value=0)
    judged = int((judgements["outcome"] == "ok").sum())
    return Measured(
        latents=latents,
        values=values,
        cells=raw,
        headlines=headlines,
        coverage=judged / len(judgements) if len(judgements) else 0.0,
        outcomes={str(k): int(v) for k, v in counts.items()},
    )


def infeasible(measured: Measured, constraints: Constraints, amounts: Mapping[str, float]) -> dict[str, float]:
    """Constraint -> by how much it is broken; 0 or less is kept, as Optuna has it.

    Args:
        amounts: mean per latent of what `at_most` names.
    """
    found = {"coverage": constraints.coverage - measured.coverage}
    return found | {name: amounts[name] - most for name, most in constraints.at_most.items()}


def _score(
    scores: pd.DataFrame, cells: Mapping[str, Mapping[str, Any]], objective: Objective, latents: Sequence[str]
) -> Array:
    by_pair: dict[tuple[str, str], list[str]] = {}
    for name, cell in cells.items():
        if objective.scorer in (None, cell["scorer"]["label"]):
            by_pair.setdefault((cell["scorer"]["label"], cell["judge"]["label"]), []).append(name)
    if not by_pair:
        known = {cell["scorer"]["label"] for cell in cells.values()}
        raise UnknownName("scorer in `objectives`", str(objective.scorer), known)
    columns = []
    for names in by_pair.values():
        scorer = cells[names[0]]["scorer"]
        declared = {m["name"]: m for m in scorer["metrics"]}
        metric = objective.metric or scorer["headline"]
        if metric not in declared:
            raise UnknownName(f"metric of scorer {scorer['label']!r}", metric, declared)
        if not declared[metric]["higher_is_better"]:
            raise SpecError(f"metric {metric!r} of scorer {scorer['label']!r} is best when small; choose another.")
        found = _per_latent(scores, names, metric, latents)
        floor = declared[metric]["floor"]
        columns.append(found if floor is None else normalise(found, floor))
    return np.asarray(np.mean(columns, axis=0), np.float64)


def _raw(
    scores: pd.DataFrame, cells: Mapping[str, Mapping[str, Any]], latents: Sequence[str]
) -> tuple[dict[str, Array], dict[str, str]]:
    by_pair: dict[str, list[str]] = {}
    for name, cell in cells.items():
        by_pair.setdefault(f"{cell['scorer']['label']} / {cell['judge']['label']}", []).append(name)
    headlines = {pair: str(cells[names[0]]["scorer"]["headline"]) for pair, names in by_pair.items()}
    return {pair: _per_latent(scores, names, headlines[pair], latents) for pair, names in by_pair.items()}, headlines


def _per_latent(scores: pd.DataFrame, names: Sequence[str], metric: str, latents: Sequence[str]) -> Array:
    mine = scores[scores["cell"].isin(names) & (scores["metric"] == metric)]
    return mine.groupby("latent")["value"].mean().reindex(list(latents)).to_numpy(np.float64)


def _other(use: str, explanations: pd.DataFrame, judgements: pd.DataFrame, latents: Sequence[str], run: Run) -> Array:
    repeats = max(1, explanations["repeat"].nunique())
    if use == "length":
        words = explanations["text"].map(lambda t: len(t.split()) if isinstance(t, str) else math.nan)
        return words.groupby(explanations["latent"]).mean().reindex(list(latents)).to_numpy(np.float64)
    columns = {"cost": ["cost"], "tokens": ["tokens_in", "tokens_out"], "seconds": ["seconds"]}[use]
    total = np.zeros(len(latents))
    for table in (explanations, judgements):
        if use == "cost" and table["cost"].isna().any():
            raise SpecError(
                f"{run.id}: the price of a judge is not known, so `cost` cannot be an objective or limit. Add it to the file "
                "that LATENTBENCH_PRICES names, or use `tokens`."
            )
        summed = table.groupby("latent")[columns].sum().sum(axis=1)
        total += summed.reindex(list(latents), fill_value=0.0).to_numpy(np.float64)
    return total / repeats
