"""Do scoring methods agree with each other, latent by latent? The matrix of the paper's tables A1 and A2.

Scores of one explainer's explanations under every scorer, correlated over latents. A method whose judge does not read the
explanation correlates with the others by what windows and latents have in common, so the same check stands beside the matrix as
in every other study: do real explanations beat those of other latents under this scorer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from latentbench.kernel.config import Frozen, validate
from latentbench.lab.studies.contrast import ALPHA, LevelContrast, difference, supported
from latentbench.lab.studies.control import Control, controls
from latentbench.lab.studies.session import CONTROL, Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.stats import power
from latentbench.stats.bootstrap import FEWEST
from latentbench.stats.correlation import CorrelationMatrix, correlation_matrix
from latentbench.views.figure import heatmap, panels, styled
from latentbench.views.number import estimate, number, p_is

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    *("a", "b", "n", "spearman", "spearman_low", "spearman_high", "p_holm", "detectable"),
    *("pearson", "pearson_low", "pearson_high", "p_holm_pearson", "paper", "sign"),
)
READS = (
    *("scorer", "judge", "metric", "n", "score", "score_low", "score_high"),
    *(
        "real_minus_shuffled",
        "real_minus_shuffled_low",
        "real_minus_shuffled_high",
        "p",
        "p_holm",
        "detectable",
        "reads",
    ),
)


class AgreementOptions(Frozen):
    """Options of the kind `agreement`."""

    paper: list[tuple[str, str, float]] = Field(default_factory=list)
    """(scorer, scorer, Spearman) of the paper."""


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `agreement`: one explainer, every scorer of the study, all its coders."""
    import pandas as pd

    study, profile = session.study, session.profile
    options = validate(AgreementOptions, study.options, f"options of study {session.name}")
    explainer = session.explainers[0]
    scorers = {name: profile.scorers[name] for name in session.scorers}
    runs = session.run(
        session.suite(), {explainer: profile.explainers[explainer]}, scorers, study.coders, session.latents
    )
    scores = pd.concat(
        [run.per_latent({name: s.metric for name, s in scorers.items()}) for run in runs], ignore_index=True
    )
    real = scores[scores["explainer"] == explainer]
    wide = real.pivot_table(index="latent", columns="scorer", values="value").reindex(columns=list(scorers))
    rank = correlation_matrix(wide.to_numpy(), list(scorers), "spearman", clusters=list(wide.index))
    linear = correlation_matrix(wide.to_numpy(), list(scorers), "pearson", clusters=list(wide.index))
    heard = controls({name: shuffled_gap(session, scores, explainer, name) for name in scorers})
    reads = [reads_row(session, scores, explainer, name, heard[name]) for name in scorers]
    rows = pair_rows(rank, linear, options)
    note = (
        "`p_holm`: of no correlation, corrected for the pairs of the matrix. `detectable`: the true correlation that is found "
        "in 4 of 5 studies of this many latents, at 5 % over the number of pairs. `paper`: its Spearman correlation."
    )
    result = StudyResult(
        tables=[
            StudyTable("table", study.title, COLUMNS, rows, note),
            StudyTable(
                "scorers", "Does each judge read the explanation?", READS, reads, "`reads`: corrected for the rows."
            ),
        ],
        figures={"figure": matrix_figure(rank, linear)},
    )
    result.findings = findings(rows, reads, heard)
    complete = int(wide.notna().all(axis=1).sum())
    result.limits.append(
        f"{len(wide)} latents, {complete} of them with a score from every method; one explainer, {explainer}."
    )
    return result


def pair_rows(rank: CorrelationMatrix, linear: CorrelationMatrix, options: AgreementOptions) -> list[dict[str, Any]]:
    """One row per pair of scorers."""
    paper = {frozenset((a, b)): value for a, b, value in options.paper}
    rows: list[dict[str, Any]] = []
    pairs = math.comb(len(rank.names), 2)
    for i, j in itertools.combinations(range(len(rank.names)), 2):
        theirs = paper.get(frozenset((rank.names[i], rank.names[j])))
        rows.append({
            "a": rank.names[i], "b": rank.names[j], "n": int(rank.n[i, j]),
            "spearman": rank.estimate[i, j], "spearman_low": rank.low[i, j], "spearman_high": rank.high[i, j],
            "p_holm": rank.p_holm[i, j], "detectable": detectable(int(rank.n[i, j]), pairs),
            "pearson": linear.estimate[i, j], "pearson_low": linear.low[i, j], "pearson_high": linear.high[i, j],
            "p_holm_pearson": linear.p_holm[i, j], "paper": theirs,
            "sign": supported(sign_of(rank.low[i, j], rank.high[i, j], theirs), float(rank.p_holm[i, j])),
        })  # fmt: skip
    return rows


def detectable(n: int, pairs: int) -> float | None:
    """The true correlation found in 4 of 5 studies of n latents, at 5 % over so many tests; None for too few latents."""
    return None if n < FEWEST else power.detectable_correlation(n, ALPHA / pairs)


def findings(rows: list[dict[str, Any]], reads: list[dict[str, Any]], heard: Mapping[str, Control]) -> list[str]:
    """Sentences: which judges read, which pairs correlate, and whether the pairs' order is the paper's."""
    said = [heard[r["scorer"]].sentence(f"{r['scorer']} by {r['judge']}") for r in reads]
    clear = [r for r in rows if r["p_holm"] < ALPHA]
    said += [
        f"{r['a']} and {r['b']}: Spearman {estimate(r['spearman'], r['spearman_low'], r['spearman_high'], 2)}, "
        f"{p_is(r['p_holm'])} after Holm, {r['n']} latents."
        for r in clear
    ]
    if len(clear) < len(rows):
        unclear = [r for r in rows if not r["p_holm"] < ALPHA]
        least = max((r["detectable"] for r in unclear if r["detectable"] is not None), default=None)
        could = (
            "too few latents" if least is None else f"correlations of at least {least:.2f} are found in 4 of 5 studies"
        )
        pairs = "; ".join(
            f"{r['a']} and {r['b']} {estimate(r['spearman'], r['spearman_low'], r['spearman_high'], 2)}"
            for r in unclear
        )
        said.append(
            f"{len(unclear)} of {len(rows)} pairs are not shown to correlate after Holm's correction ({could}): {pairs}."
        )
    return [*said, *order_of_the_paper(rows, "pairs")]


def order_of_the_paper(rows: Sequence[Mapping[str, Any]], what: str) -> list[str]:
    """Whether rows stand in the order that the paper has; nothing where it has fewer than three of them.

    Args:
        rows: with `spearman` and `paper`.
        what: what a row is, in the plural.
    """
    both = [(r["spearman"], r["paper"]) for r in rows if r["paper"] is not None and not math.isnan(r["spearman"])]
    if len(both) < 3:
        return []
    from scipy.stats import kendalltau

    tau = kendalltau(*zip(*both, strict=True))
    return [
        f"Order of the {len(both)} {what} that the paper has: Kendall's tau {number(tau.statistic, 2)} with the paper's, "
        f"{p_is(float(tau.pvalue))}."
    ]


def cell_scores(scores: pd.DataFrame, explainer: str, scorer: str) -> pd.Series[float]:
    """Scores of one explainer under one scorer, by latent."""
    own = scores[(scores["scorer"] == scorer) & (scores["explainer"] == explainer)]
    return own.set_index("latent")["value"].astype(np.float64)


def shuffled_gap(session: Session, scores: pd.DataFrame, explainer: str, scorer: str) -> LevelContrast:
    """Real explanations minus those of other latents under one scorer."""
    real, other = (cell_scores(scores, name, scorer) for name in (explainer, f"{CONTROL}{explainer}"))
    return difference(real, other, session.profile.seed)


def reads_row(session: Session, scores: pd.DataFrame, explainer: str, scorer: str, control: Control) -> dict[str, Any]:
    """One row per scorer: its mean, and whether its judge reads explanations."""
    mean = session.mean(cell_scores(scores, explainer, scorer).to_numpy(), scorer)
    gap = control.gap
    return {
        "scorer": scorer, "judge": session.profile.scorers[scorer].judge,
        "metric": session.profile.scorers[scorer].metric, "n": mean.n, "score": mean.estimate, "score_low": mean.low,
        "score_high": mean.high, "real_minus_shuffled": gap and gap.estimate, "real_minus_shuffled_low": gap and gap.low,
        "real_minus_shuffled_high": gap and gap.high, "p": gap and gap.p, "p_holm": control.p_holm,
        "detectable": control.detectable, "reads": control.reads,
    }  # fmt: skip


def sign_of(low: float, high: float, paper: float | None) -> str:
    """How an interval stands to the paper's number; empty where one of them is missing."""
    if paper is None or math.isnan(low):
        return ""
    return "unclear" if low <= 0 <= high else "same" if (low > 0) == (paper > 0) else "opposite"


def matrix_figure(rank: CorrelationMatrix, linear: CorrelationMatrix) -> Any:
    """Draw both matrices side by side."""
    with styled():
        figure, axes = panels(2, width=0.62 * len(rank.names) + 1.8, height=0.55 * len(rank.names) + 1.2)
        for axis, matrix in zip(axes, (rank, linear), strict=True):
            notes = [
                [
                    ""
                    if i == j or math.isnan(matrix.low[i, j])
                    else f"[{matrix.low[i, j]:.1f}, {matrix.high[i, j]:.1f}]"
                    for j in range(len(matrix.names))
                ]
                for i in range(len(matrix.names))
            ]
            heatmap(axis, matrix.estimate, matrix.names, matrix.names, notes)
            axis.set_title(f"{matrix.kind.capitalize()} over latents")
    return figure
