"""Score against the length of the explanation.

Longer explanations say more and can score higher for length alone. The same explainer is made to write more or less (the levels),
so the effect of length is read within latents: each latent has an explanation of every length, and what makes latents easy or
hard cancels. A correlation over latents, which is what a scatter shows, mixes the two and stands beside it for comparison.

The length-penalised score is the score minus slope x (log2 words - log2 of the median length): what would have been scored at
the length that is usual in the table, if length acted as it does within latents.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.lab.studies import factor
from latentbench.lab.studies.cells import gather
from latentbench.lab.studies.contrast import ALPHA, LevelContrast, paired
from latentbench.lab.studies.reach import reaches
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.stats.bootstrap import bootstrap_mean, holm
from latentbench.stats.correlation import correlation
from latentbench.views.escape import drawn
from latentbench.views.figure import SERIES, legend_above, panels, styled
from latentbench.views.number import estimate, number, p_is, signed

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.lab.studies.cells import CellGroup
    from latentbench.runs.finished import Run

LENGTHS = (
    *("explainer", "scorer", "level", "n", "words", "score", "score_low", "score_high"),
    *("penalised", "penalised_low", "penalised_high"),
)
SLOPES = (
    *("explainer", "scorer", "slope", "slope_low", "slope_high", "p", "p_holm", "detectable", "n"),
    *("correlation", "correlation_low", "correlation_high", "p_correlation", "rows"),
)


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `length`."""
    scores, runs = gather(session)
    result = factor.result_of(session, scores, runs)
    table = scores[scores["real"]].merge(word_counts(runs), on=["level", "explainer", "latent"])
    table = table[(table["words"] > 0) & table["value"].notna()]
    slopes: list[dict[str, Any]] = []
    lengths: list[dict[str, Any]] = []
    tests: list[LevelContrast] = []
    for explainer, scorer in itertools.product(session.explainers, session.scorers):
        own = table[(table["explainer"] == explainer) & (table["scorer"] == scorer)]
        if own.empty:
            continue
        row, test = slope_row(own, session.profile.seed)
        slopes.append({"explainer": explainer, "scorer": scorer, **row})
        tests.append(test)
        lengths += [
            {"explainer": explainer, "scorer": scorer, **r}
            for r in penalised_rows(own, row["slope"], [level.label for level in session.levels], session.profile.seed)
        ]
    for row, p, could in zip(slopes, holm([t.p for t in tests]), reaches(tests, [None] * len(tests)), strict=True):
        row |= {"p_holm": float(p), "detectable": could.detectable}
        result.findings.append(_sentence(row))
    note = "`slope`: change of the score per doubling of the words, within latents. `correlation`: Spearman, all explanations."
    result.tables.append(StudyTable("slopes", "Score against length", SLOPES, slopes, note))
    note = "`penalised`: the score at the median length of the table, if length acts as it does within latents."
    result.tables.append(StudyTable("lengths", "Length-penalised scores", LENGTHS, lengths, note))
    result.figures["length"] = _figure(session, table)
    return result


def word_counts(runs: list[tuple[CellGroup, list[Run]]]) -> pd.DataFrame:
    """Words of every explanation: columns level, explainer, latent, words; mean over repeats."""
    import pandas as pd

    parts = []
    for group, done in runs:
        texts = pd.concat([run.explanations for run in done]).drop_duplicates(["explainer", "latent", "repeat"])
        words = texts.assign(words=[len(str(text or "").split()) for text in texts["text"]])
        words = words.groupby(["explainer", "latent"])["words"].mean().reset_index()
        parts += [
            words[words["explainer"] == m.label].assign(level=m.level, explainer=m.explainer) for m in group.members
        ]
    return pd.concat(parts, ignore_index=True)


def _sentence(row: Mapping[str, Any]) -> str:
    """What a page says of the length of explanations under one explainer and scorer."""
    shown = row["p_holm"] < ALPHA
    power = "" if shown or row["detectable"] is None else f"; {number(row['detectable'], 4)} is found in 4 of 5 studies"
    slope = estimate(row["slope"], row["slope_low"], row["slope_high"], 4, signed)
    rank = estimate(row["correlation"], row["correlation_low"], row["correlation_high"], 2)
    effect = "scores" if shown else "is not shown to change the score,"
    return (
        f"{row['explainer']}, {row['scorer']}: a doubling of the words {effect} {slope} within a latent "
        f"({p_is(row['p_holm'])} after Holm, {row['n']} latents{power}); over all explanations the Spearman correlation of score "
        f"and length is {rank} ({p_is(row['p_correlation'])})."
    )


def slope_row(table: pd.DataFrame, seed: int) -> tuple[dict[str, Any], LevelContrast]:
    """Effect of log2 words within latents (mean of each latent's least-squares slope), and the correlation over all rows.

    Args:
        table: of one explainer and scorer; columns latent, words, value.
    """
    slopes = []
    for _, own in table.groupby("latent"):
        x = np.log2(own["words"].to_numpy(np.float64))
        centred = x - x.mean()
        if centred @ centred > 1e-9:
            slopes.append(float(centred @ own["value"].to_numpy(np.float64) / (centred @ centred)))
    found = paired(np.array(slopes), np.zeros(len(slopes)), range(len(slopes)), seed)
    c = correlation(table["words"], table["value"], "spearman", clusters=list(table["latent"]))
    row = {
        "slope": found.estimate, "slope_low": found.low, "slope_high": found.high, "p": found.p, "n": found.n,
        "correlation": c.estimate, "correlation_low": c.low, "correlation_high": c.high, "p_correlation": c.p, "rows": c.n,
    }  # fmt: skip
    return row, found


def penalised_rows(table: pd.DataFrame, slope: float, levels: list[str], seed: int) -> list[dict[str, Any]]:
    """Mean score and length-penalised score by level."""
    middle = float(np.log2(table["words"].median()))
    adjusted = table["value"] - (0.0 if np.isnan(slope) else slope) * (np.log2(table["words"]) - middle)
    rows = []
    for level in levels:
        mine = table["level"] == level
        if not mine.any():
            continue
        raw = bootstrap_mean(table["value"][mine].to_numpy(np.float64), seed=seed)
        fair = bootstrap_mean(adjusted[mine].to_numpy(np.float64), seed=seed)
        rows.append({
            "level": level, "n": raw.n, "words": float(table["words"][mine].mean()),
            "score": raw.estimate, "score_low": raw.low, "score_high": raw.high,
            "penalised": fair.estimate, "penalised_low": fair.low, "penalised_high": fair.high,
        })  # fmt: skip
    return rows


def _figure(session: Session, table: pd.DataFrame) -> Any:
    pairs = list(itertools.product(session.explainers, session.scorers))
    with styled():
        figure, axes = panels(len(pairs))
        for axis, (explainer, scorer) in zip(axes, pairs, strict=True):
            own = table[(table["explainer"] == explainer) & (table["scorer"] == scorer)]
            for k, level in enumerate(session.levels):
                mine = own[own["level"] == level.label]
                axis.scatter(
                    mine["words"],
                    mine["value"],
                    s=9,
                    color=SERIES[k % len(SERIES)],
                    alpha=0.6,
                    label=drawn(level.label),
                )
            axis.set_xscale("log", base=2)
            axis.set_title(drawn(f"{scorer}, {explainer}"))
            axis.set_xlabel("words")
            axis.set_ylabel(drawn(session.profile.scorers[scorer].metric))
        legend_above(figure, axes)
    return figure
