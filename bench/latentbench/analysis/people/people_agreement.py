"""How far scorers agree with people, and how far people agree with each other.

The unit is an explanation of a latent; explanations of one latent are left out together when the error is estimated. On a scale a
scorer's value is correlated (Spearman) with the mean rating of the explanation, and the ceiling is what the raters' own noise
allows. Of a pair, what counts is whether the scorer prefers the text that the person preferred; a scorer without a preference
has half a point, and choices of neither are left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from latentbench.analysis.agreement import ExplanationScores, scores_of
from latentbench.analysis.people.given_rating import PAIR, SCALE, GivenRating
from latentbench.kernel.errors import SpecError
from latentbench.runs.finished import Run
from latentbench.stats.alpha import krippendorff_alpha
from latentbench.stats.bootstrap import Array, Interval, bootstrap_mean
from latentbench.stats.correlation import correlation
from latentbench.stats.raters import ceiling, rater_correlation
from latentbench.stats.resample import Coefficient


@dataclass(frozen=True)
class PeopleAgreement:
    """Agreement of a run's scorers with its raters.

    Attributes:
        raters: rater -> ratings on the scale, and choices in pairs.
        explanations: texts that were rated on the scale.
        scorers: column of `scores_of` -> Spearman with the mean rating.
        ordinal, interval: Krippendorff's alpha between the raters, on the scale.
        rater: mean Spearman of two raters.
        ratings_each: harmonic mean of the ratings per explanation.
        ceiling: greatest correlation to expect with the mean rating; estimate, low, high.
        choices: column -> share of choices with which the scorer agrees; its floor is 0.5.
        rater_choices: the same of two raters of one pair.
        nominal: Krippendorff's alpha of the choices.
    """

    raters: dict[str, tuple[int, int]]
    explanations: int
    scorers: dict[str, Coefficient]
    ordinal: Coefficient
    interval: Coefficient
    rater: Coefficient
    ratings_each: float
    ceiling: tuple[float, float, float]
    choices: dict[str, Interval]
    rater_choices: Interval
    nominal: Coefficient


def people_agreement(
    run: Run, ratings: Sequence[GivenRating], explainers: Sequence[str] | None = None, seed: int = 0
) -> PeopleAgreement:
    """Set every scorer of a run against people.

    Args:
        ratings: of `read_ratings`; those of texts that the run does not have are left out.
        explainers: as in `scores_of`.
        seed: of the bootstrap over latents, for shares of choices.

    Raises:
        SpecError: no rating is of a text of these explainers. UnknownName: as `scores_of`.
    """
    scores = scores_of(run, explainers, fewest=1)
    told = run.explanations[run.explanations["explainer"].isin(scores.explainers)]
    found = agreement_with(told, scores, ratings, seed)
    if found is None:
        raise SpecError(
            f"{run.folder} has no rating of a text by {', '.join(scores.explainers)}. Rate it: bench rate {run.folder}"
        )
    return found


def agreement_with(
    told: pd.DataFrame,
    scores: ExplanationScores,
    ratings: Sequence[GivenRating],
    seed: int = 0,
    error_seed: int | None = None,
) -> PeopleAgreement | None:
    """Set scores of explanations against people; None where no rating is of these explanations.

    Args:
        told: the explanations of a run whose scores these are.
        scores: of the explainers of `told`, latent by latent for each.
        seed: of the bootstrap over latents, for shares of choices.
        error_seed: of the bootstrap over latents for correlations and alpha; None for the jackknife.
    """
    own = {(z, h) for z, h in zip(told["latent"], told["hash"], strict=True)}
    scaled = [r for r in ratings if r.task == SCALE and (r.latent, r.first) in own]
    pairs = [r for r in ratings if r.task == PAIR and {(r.latent, r.first), (r.latent, r.second)} <= own]
    if not scaled and not pairs:
        return None
    raters = sorted({r.rater for r in (*scaled, *pairs)})
    counts = {name: (sum(r.rater == name for r in scaled), sum(r.rater == name for r in pairs)) for name in raters}
    units = sorted({(r.latent, r.first) for r in scaled})
    table = _table(
        [(r.latent, r.first) for r in scaled], [r.rater for r in scaled], [r.value for r in scaled], units, raters
    )
    latents = [latent for latent, _ in units]
    between = rater_correlation(table, clusters=latents, seed=error_seed)
    each = _harmonic((~np.isnan(table)).sum(axis=1))
    # The rows of a run are latent by explainer; a text that several repeats or explainers wrote stands in all of their rows.
    means = dict(zip(units, np.nanmean(table, axis=1) if units else (), strict=True))
    texts: dict[tuple[str, str], list[str]] = {}
    for label, latent, text in zip(told["explainer"], told["latent"], told["hash"], strict=True):
        texts.setdefault((label, latent), []).append(text)
    ids = scores.latents[: len(scores.latents) // len(scores.explainers)]
    places = [(e, z) for e in scores.explainers for z in ids]
    human = np.array([_mean([means[z, h] for h in texts.get((e, z), ()) if (z, h) in means]) for e, z in places])
    held = [
        {(z, h): value for (e, z), value in zip(places, column, strict=True) for h in texts.get((e, z), ())}
        for column in scores.values.T
    ]
    chosen = sorted({(r.latent, r.first, r.second) for r in pairs})
    choices = _table([r.key[2:] for r in pairs], [r.rater for r in pairs], [r.value for r in pairs], chosen, raters)
    return PeopleAgreement(
        raters=counts,
        explanations=len(units),
        scorers={
            name: correlation(column, human, "spearman", clusters=scores.latents, seed=error_seed)
            for name, column in zip(scores.names, scores.values.T, strict=True)
        },
        ordinal=krippendorff_alpha(table, "ordinal", clusters=latents, seed=error_seed),
        interval=krippendorff_alpha(table, "interval", clusters=latents, seed=error_seed),
        rater=between,
        ratings_each=each,
        ceiling=(ceiling(between.estimate, each), ceiling(between.low, each), ceiling(between.high, each)),
        choices={name: _agreed(pairs, values, seed) for name, values in zip(scores.names, held, strict=True)},
        rater_choices=_same_choices(choices, [key[0] for key in chosen], seed),
        nominal=krippendorff_alpha(choices, "nominal", clusters=[key[0] for key in chosen], seed=error_seed),
    )


def _table(
    keys: Sequence[tuple[str, ...]],
    names: Sequence[str],
    values: Sequence[int],
    units: Sequence[tuple[str, ...]],
    raters: Sequence[str],
) -> Array:
    """[units, raters], NaN where there is no rating."""
    rows, columns = ({key: i for i, key in enumerate(part)} for part in (units, raters))
    table = np.full((len(units), len(raters)), np.nan)
    for key, name, value in zip(keys, names, values, strict=True):
        table[rows[key], columns[name]] = value
    return table


def _agreed(pairs: Sequence[GivenRating], values: dict[tuple[str, str], float], seed: int) -> Interval:
    by_latent: dict[str, list[float]] = {}
    for r in pairs:
        gap = values.get((r.latent, r.first), math.nan) - values.get((r.latent, r.second), math.nan)
        if r.value and not math.isnan(gap):
            by_latent.setdefault(r.latent, []).append((1 + np.sign(gap) * r.value) / 2)
    return _share(by_latent, seed)


def _same_choices(choices: Array, latents: Sequence[str], seed: int) -> Interval:
    by_latent: dict[str, list[float]] = {}
    for latent, row in zip(latents, choices, strict=True):
        said = row[~np.isnan(row) & (row != 0)]
        by_latent.setdefault(latent, []).extend(
            float(said[i] == said[j]) for i in range(len(said)) for j in range(i + 1, len(said))
        )
    return _share({latent: found for latent, found in by_latent.items() if found}, seed)


def _share(by_latent: dict[str, list[float]], seed: int) -> Interval:
    if not by_latent:
        return Interval(math.nan, math.nan, math.nan, 0)
    return bootstrap_mean([np.array(found) for found in by_latent.values()], seed=seed, low=0.0, high=1.0)


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values)) if values else math.nan


def _harmonic(counts: Array) -> float:
    return float(len(counts) / (1 / counts).sum()) if len(counts) else math.nan
