"""Do scorers say of explanations what people say of them? The paper's correlations with human ratings.

The study makes the explanations and their scores, and people make the rest: with `bench rate` on the study's own run, or
elsewhere, in a file. Without ratings it stops and says so. Ratings by a model, or by a generator of the reliability that one
would like, are the tempting way to fill the table; then it says how the generator was tuned, under a title with people in it.

Latents are what is drawn, so intervals come from a bootstrap over latents. A scorer that correlates with people by what windows
have in common does not read the explanation, so the control of every other study stands beside the correlation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from latentbench.analysis.agreement import ExplanationScores
from latentbench.analysis.people.given_rating import SCALE, GivenRating
from latentbench.analysis.people.people_agreement import PeopleAgreement, agreement_with
from latentbench.analysis.people.rating_import import imported_ratings
from latentbench.analysis.people.rating_store import read_ratings
from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import DataError, UnknownName
from latentbench.lab.studies import scorer_agreement
from latentbench.lab.studies.contrast import ALPHA, supported
from latentbench.lab.studies.control import controls
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.runs.finished import Run
from latentbench.stats.bootstrap import FEWEST, holm
from latentbench.views.figure import SERIES, panels, points, styled
from latentbench.views.number import count, estimate, number, p_is, percent

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

COLUMNS = (
    *("scorer", "judge", "metric", "n", "latents", "spearman", "spearman_low", "spearman_high", "p_holm", "detectable"),
    *(
        "coverage",
        "paper",
        "sign",
        "real_minus_shuffled",
        "real_minus_shuffled_low",
        "real_minus_shuffled_high",
        "reads",
    ),
)
RATERS = ("figure", "value", "value_low", "value_high", "n", "latents")
RATINGS = ("rater", "source", "ratings", "seconds")


class HumanOptions(Frozen):
    """Options of the kind `human`."""

    paper: dict[str, float] = Field(default_factory=dict)
    """Scorer -> the paper's Spearman correlation with human ratings."""


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `human`: one explainer, every scorer of the study, and people's ratings.

    Raises:
        DataError: nobody has rated these explanations, or the file of ratings does not fit them.
    """
    study, profile = session.study, session.profile
    options = validate(HumanOptions, study.options, f"options of study {session.name}")
    for name in options.paper:
        if name not in study.scorers:
            raise UnknownName(f"scorer of study {session.name}", name, study.scorers)
    explainer = session.explainers[0]
    entries = {name: profile.scorers[name] for name in session.scorers}
    runs = session.run(
        session.suite(), {explainer: profile.explainers[explainer]}, entries, study.coders, session.latents
    )
    scores, told = _held(runs, {name: s.metric for name, s in entries.items()})
    told = told[told["explainer"] == explainer]
    own = set(zip(told["latent"], told["hash"], strict=True))
    ratings = [r for r in ratings_of(runs, session.ratings) if r.task == SCALE and (r.latent, r.first) in own]
    found = agreement_with(told, _columns(session, scores, explainer), ratings, error_seed=profile.seed)
    if found is None:
        raise DataError(missing_ratings(session.name, runs, explainer))
    heard = controls({name: scorer_agreement.shuffled_gap(session, scores, explainer, name) for name in entries})
    reads = {name: scorer_agreement.reads_row(session, scores, explainer, name, heard[name]) for name in entries}
    rows = scorer_rows(found, reads, options)
    result = StudyResult(
        tables=[
            StudyTable("table", study.title, COLUMNS, rows, NOTE),
            StudyTable("ratings", "What was rated", RATINGS, rating_rows(found, ratings), RATINGS_NOTE),
        ],
        figures={"figure": human_figure(found)},
    )
    if between := rater_rows(found):
        result.tables.insert(1, StudyTable("raters", "Between raters", RATERS, between, RATERS_NOTE))
    result.findings = findings(found, rows)
    result.findings += [heard[name].sentence(f"{name} by {entries[name].judge}") for name in entries]
    result.limits.append(
        f"Ratings are from {', '.join(sorted({r.source for r in ratings}))}, raters: {len(found.raters)}. Who they are, and "
        "that they are people, is what the ratings say of themselves; nothing here can know it."
    )
    result.limits.append(f"{found.explanations} explanations were rated, all by one explainer, {explainer}.")
    return result


NOTE = (
    "Spearman of a scorer's value with the mean rating, explanation by explanation; intervals by a bootstrap over latents. "
    "`p_holm`: of no correlation, corrected for the scorers. `detectable`: the true correlation that is found in 4 of 5 studies "
    "of this many latents, at 5 % over the number of scorers. `coverage`: share of the rated explanations that have a score. "
    "`paper`: its correlation. `reads`: whether real explanations are shown to score above those of other latents."
)
RATERS_NOTE = (
    "Alpha is Krippendorff's. The ceiling is the largest correlation to expect with the mean rating, by the raters' own noise: "
    "sqrt(k r / (1 + (k - 1) r)), r the mean Spearman of two raters, k the ratings per explanation. With one rater there is none "
    "of it."
)
RATINGS_NOTE = (
    "`seconds`: median of an answer, where it is known. Raters are numbered: pages are read by more people than runs."
)


def ratings_of(runs: Sequence[Run], file: Path | None) -> list[GivenRating]:
    """The ratings of runs of the same explanations; of a file instead, if one is given.

    Raises:
        DataError: the file cannot be read, or a row is no rating of these explanations.
    """
    widest = max(runs, key=lambda r: len(r.record.latents))
    if file is not None:
        return imported_ratings(file, widest)
    # Whoever rated in two of the runs is heard in the wider one.
    order = sorted(runs, key=lambda r: len(r.record.latents))
    held = {rating.key: rating for own in order for rating in read_ratings(own.folder)}
    return [held[key] for key in sorted(held)]


def missing_ratings(name: str, runs: Sequence[Run], explainer: str) -> str:
    """What is said where nobody has rated."""
    widest = max(runs, key=lambda r: len(r.record.latents)).folder
    return (
        f"nobody has rated the explanations by {explainer}, so scorers cannot be set against people. They lie in {widest}, with "
        f"their scores. Have them rated with `bench rate {widest}` and give the command again, or name a file of ratings: "
        f"bench study {name} --ratings FILE (docs/rate.md)."
    )


def _held(runs: Sequence[Run], metrics: Mapping[str, str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores of all runs, and each explanation once."""
    import pandas as pd

    scores = pd.concat([own.per_latent(metrics) for own in runs], ignore_index=True)
    told = pd.concat([own.explanations for own in runs], ignore_index=True)
    return scores, told.drop_duplicates(["explainer", "latent", "repeat", "hash"])


def _columns(session: Session, scores: pd.DataFrame, explainer: str) -> ExplanationScores:
    """Scores of one explainer, a column for each scorer; the sign of a metric that is better when lower is turned."""
    from latentbench.scorers.scorer import load_scorer

    own = scores[scores["explainer"] == explainer]
    wide = own.pivot_table(index="latent", columns="scorer", values="value").reindex(columns=session.scorers)
    values = wide.to_numpy(np.float64)
    for column, name in enumerate(session.scorers):
        entry = session.profile.scorers[name]
        table = load_scorer({"use": entry.use, "preset": entry.preset, "params": entry.params}).metric_table()
        if any(m.name == entry.metric and not m.higher_is_better for m in table):
            values[:, column] *= -1
    names = tuple(session.scorers)
    return ExplanationScores(names, names, values, tuple(map(str, wide.index)), (explainer,))


def scorer_rows(
    found: PeopleAgreement, reads: Mapping[str, Mapping[str, Any]], options: HumanOptions
) -> list[dict[str, Any]]:
    """One row per scorer."""
    corrected = dict(zip(found.scorers, holm([c.p for c in found.scorers.values()]), strict=True))
    rows = []
    for name, c in found.scorers.items():
        theirs, p = options.paper.get(name), float(corrected[name])
        rows.append({column: value for column, value in reads[name].items() if column in COLUMNS} | {
            "n": c.n, "latents": c.clusters, "spearman": c.estimate, "spearman_low": c.low, "spearman_high": c.high,
            "p_holm": p, "detectable": scorer_agreement.detectable(c.clusters, len(found.scorers)),
            "coverage": c.n / found.explanations, "paper": theirs,
            "sign": supported(scorer_agreement.sign_of(c.low, c.high, theirs), p),
        })  # fmt: skip
    return rows


def rater_rows(found: PeopleAgreement) -> list[dict[str, Any]]:
    """Agreement of raters with each other, and what it leaves room for."""
    named = {
        "alpha, ordinal": found.ordinal, "alpha, interval": found.interval, "Spearman of two raters": found.rater,
    }  # fmt: skip
    rows = [
        {"figure": name, "value": c.estimate, "value_low": c.low, "value_high": c.high, "n": c.n, "latents": c.clusters}
        for name, c in named.items()
        if c.n
    ]
    middle, low, high = found.ceiling
    if not math.isnan(middle):
        rows.append(
            {"figure": "ceiling", "value": middle, "value_low": low, "value_high": high, "n": found.rater.n,
             "latents": found.rater.clusters}
        )  # fmt: skip
    return rows


def rating_rows(found: PeopleAgreement, ratings: Sequence[GivenRating]) -> list[dict[str, Any]]:
    """One row per rater, without the name."""
    rows = []
    for place, rater in enumerate(found.raters, 1):
        own = [r for r in ratings if r.rater == rater]
        seconds = [r.seconds for r in own if r.seconds is not None]
        rows.append({
            "rater": f"rater {place}", "source": ", ".join(sorted({r.source for r in own})), "ratings": len(own),
            "seconds": float(np.median(seconds)) if seconds else None,
        })  # fmt: skip
    return rows


def findings(found: PeopleAgreement, rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sentences: how far raters agree, which scorers are shown to agree with them, and whether their order is the paper's."""
    return [_between(found), *map(_against, rows), *scorer_agreement.order_of_the_paper(rows, "scorers")]


def _between(found: PeopleAgreement) -> str:
    """How far raters agree with each other."""
    raters = f"{len(found.raters)} rater{'' if len(found.raters) == 1 else 's'}"
    rated = f"{count(found.explanations)} explanations, {number(found.ratings_each, 1)} ratings each"
    if math.isnan(found.ordinal.estimate):
        return f"{raters}, {rated}: their agreement is not known, for no two share explanations that vary."
    alpha = estimate(found.ordinal.estimate, found.ordinal.low, found.ordinal.high, 2)
    line = f"{raters}, {rated}: Krippendorff's alpha (ordinal) {alpha}"
    if not math.isnan(found.ceiling[0]):
        line += f"; their noise leaves room for a correlation of {estimate(*found.ceiling, 2)} with their mean"
    return f"{line}."


def _against(row: Mapping[str, Any]) -> str:
    """What is shown of one scorer."""
    rho = estimate(row["spearman"], row["spearman_low"], row["spearman_high"], 2)
    line = f"{row['scorer']} by {row['judge']}: "
    if row["latents"] < FEWEST:
        return f"{line}not shown, too few latents ({row['latents']} of at least {FEWEST}), Spearman {rho} with the mean rating."
    shown = "shown" if row["p_holm"] < ALPHA else "not shown"
    line += f"{shown}, Spearman {rho} with the mean rating, {p_is(row['p_holm'])} after Holm, {row['n']} explanations"
    line += f" of {row['latents']} latents, coverage {percent(row['coverage'])}"
    if shown != "shown" and row["detectable"] is not None:
        line += f" ({number(row['detectable'], 2)} is found in 4 of 5 studies)"
    return f"{line}."


def human_figure(found: PeopleAgreement) -> Figure:
    """Draw the correlation of every scorer with its interval, below the ceiling."""
    with styled():
        figure, (axis,) = panels(1, width=1.0 + 0.9 * len(found.scorers), height=3.0)
        bounds = [(c.estimate, c.low, c.high) for c in found.scorers.values()]
        points(axis, range(len(bounds)), *zip(*bounds, strict=True), colour=SERIES[0])
        axis.axhline(0.0, color=SERIES[4], linewidth=0.8)
        if not math.isnan(found.ceiling[0]):
            label = "ceiling by the raters' noise"
            axis.axhline(found.ceiling[0], color=SERIES[1], linewidth=1.0, linestyle="--", label=label)
            axis.legend(fontsize=7)
        axis.set_xticks(range(len(bounds)), list(found.scorers), rotation=20, ha="right")
        axis.set_ylabel("Spearman with the mean rating")
    return figure
