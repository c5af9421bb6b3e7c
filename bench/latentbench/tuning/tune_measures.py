"""A finished run -> what the search optimises, per latent.

A latent without a headline in one of the cells has no score at all: the mean over the cells that are left would put scorers of
different levels together. It lowers the coverage instead.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.runs.finished import Run
from latentbench.runs.record import RunRecord, ScorerRecord
from latentbench.stats.ranking import normalise
from latentbench.tuning.tune_spec import Constraints, Objective

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]
Range = tuple[float | None, float | None]


@dataclass(frozen=True)
class SettingMeasures:
    """One setting on some latents.

    Attributes:
        latents: ids, in the run's order.
        values: objective name -> [latents], averaged over repeats; NaN where there is none.
        cells: `scorer / judge` -> [latents] headline as the scorer defines it.
        headlines: `scorer / judge` -> name of that metric.
        ranges: objective name or `scorer / judge` -> least and greatest possible value; None where there is none.
        coverage: share of judgements with an answer.
        outcomes: outcome -> number of explanations and judgements.
    """

    latents: tuple[str, ...]
    values: Mapping[str, Array]
    cells: Mapping[str, Array]
    headlines: Mapping[str, str]
    ranges: Mapping[str, Range]
    coverage: float
    outcomes: Mapping[str, int]

    def mean(self, objective: Objective) -> float:
        """Over latents that have a value; NaN if none has."""
        found = self.values[objective.name]
        found = found[~np.isnan(found)]
        return float(found.mean()) if len(found) else math.nan


def tuned_explainer(record: RunRecord, wanted: str | None) -> str:
    """Label of the explainer that is tuned.

    Raises:
        SpecError: the run has several and the spec names none; UnknownName: it names another.
    """
    labels = list(record.explainers)
    if wanted is not None:
        if wanted not in labels:
            raise UnknownName("explainer to tune", wanted, labels)
        return wanted
    if len(labels) > 1:
        raise SpecError(
            f"the run has the explainers {', '.join(labels)}: say which one is tuned with `explainer: LABEL`."
        )
    return labels[0]


def measure(run: Run, objectives: Sequence[Objective], explainer: str | None = None) -> SettingMeasures:
    """Read a run.

    Args:
        explainer: label of the tuned explainer, where the run has several.

    Raises:
        SpecError: an objective that the run does not have.
    """
    label = tuned_explainer(run.record, explainer)
    latents = run.record.latents
    means = run.means[run.means["explainer"] == label]
    pairs = {(c.scorer.label, c.judge.label): c.scorer for c in run.record.cells if c.explainer.label == label}
    explanations = run.explanations[run.explanations["explainer"] == label]
    judgements = run.judgements[run.judgements["explainer"] == label]
    values = {}
    ranges: dict[str, Range] = {_pair(*pair): (s.ranking.low, s.ranking.high) for pair, s in pairs.items()}
    for objective in objectives:
        if objective.use == "score":
            values[objective.name], ranges[objective.name] = _score(means, pairs, objective, latents)
        else:
            values[objective.name] = _other(objective.use, explanations, judgements, latents, run)
            ranges[objective.name] = (0.0, None)
    headlines = {_pair(*pair): scorer.headline for pair, scorer in pairs.items()}
    raw = {_pair(*pair): _per_latent(means, pair, scorer.headline, latents) for pair, scorer in pairs.items()}
    counts = judgements["outcome"].value_counts().add(explanations["outcome"].value_counts(), fill_value=0)
    judged = int((judgements["outcome"] == "ok").sum())
    return SettingMeasures(
        latents=latents,
        values=values,
        cells=raw,
        headlines=headlines,
        ranges=ranges,
        coverage=judged / len(judgements) if len(judgements) else 0.0,
        outcomes={str(k): int(v) for k, v in counts.items()},
    )


def infeasible(measured: SettingMeasures, constraints: Constraints, amounts: Mapping[str, float]) -> dict[str, float]:
    """Constraint -> by how much it is broken; 0 or less is kept, as Optuna has it.

    Args:
        amounts: mean per latent of what `at_most` names.
    """
    found = {"coverage": constraints.coverage - measured.coverage}
    return found | {name: amounts[name] - most for name, most in constraints.at_most.items()}


def _score(
    means: pd.DataFrame, pairs: Mapping[tuple[str, str], ScorerRecord], objective: Objective, latents: Sequence[str]
) -> tuple[Array, Range]:
    """Mean over the chosen scorers, each metric from its floor at 0 to 1, and the range of that mean."""
    chosen = {pair: scorer for pair, scorer in pairs.items() if objective.scorer in (None, scorer.label)}
    if not chosen:
        raise UnknownName("scorer in `objectives`", str(objective.scorer), {scorer for scorer, _ in pairs})
    columns, lows, highs = [], [], []
    for pair, scorer in chosen.items():
        name = objective.metric or scorer.headline
        metric = scorer.metric(name)
        if metric is None:
            raise UnknownName(f"metric of scorer {scorer.label!r}", name, [m.name for m in scorer.metrics])
        if not metric.higher_is_better:
            raise SpecError(f"metric {name!r} of scorer {scorer.label!r} is best when small; choose another.")
        found = _per_latent(means, pair, name, latents)
        floor = 0.0 if metric.floor is None else metric.floor
        columns.append(normalise(found, floor))
        lows.append(None if metric.low is None else normalise(metric.low, floor))
        highs.append(None if metric.high is None else normalise(metric.high, floor))
    return np.asarray(np.mean(columns, axis=0), np.float64), (_mean(lows), _mean(highs))


def _mean(ends: Sequence[float | None]) -> float | None:
    known = [end for end in ends if end is not None]
    return sum(known) / len(known) if len(known) == len(ends) else None


def _pair(scorer: str, judge: str) -> str:
    return f"{scorer} / {judge}"


def _per_latent(means: pd.DataFrame, pair: tuple[str, str], metric: str, latents: Sequence[str]) -> Array:
    scorer, judge = pair
    mine = means[(means["scorer"] == scorer) & (means["judge"] == judge) & (means["metric"] == metric)]
    return mine.set_index("latent")["value"].reindex(list(latents)).to_numpy(np.float64)


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
