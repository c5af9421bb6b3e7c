"""Do the scorers of a run rank explanations in the same way?

The unit is an explanation, the columns are scorers (one per judge where a scorer met several), and the sample is of latents:
explanations of one latent are left out together when the error is estimated. Floors are left out by default. With them every
correlation is high, because any scorer tells an explanation from none, and that is not what the question is about.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from latentbench.analysis.entry import ComparedEntry, entries
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.runs.finished import Run
from latentbench.stats.alpha import krippendorff_alpha
from latentbench.stats.bootstrap import Array
from latentbench.stats.correlation import CorrelationMatrix, Kind, correlation_matrix
from latentbench.stats.resample import Coefficient

SHOWN: tuple[Kind, ...] = ("spearman", "pearson")


@dataclass(frozen=True)
class ExplanationScores:
    """Headline scores of explanations.

    Attributes:
        names: of the columns: `scorer`, or `scorer · judge` where a scorer met several judges.
        scorers: scorer of every column.
        values: [explanations, columns], NaN where there is none; metrics that are better when lower have their sign turned.
        latents: [explanations] latent of every row.
        explainers: labels that the rows come from.
    """

    names: tuple[str, ...]
    scorers: tuple[str, ...]
    values: Array = field(repr=False)
    latents: tuple[str, ...] = field(repr=False)
    explainers: tuple[str, ...]


@dataclass(frozen=True)
class ScorerAgreement:
    """Agreement of the scorers of a run.

    Attributes:
        run: its id.
        scores: what is correlated.
        matrices: by kind of coefficient.
        judges: scorer with several judges -> Krippendorff's alpha (interval) among them: whether they give the same values.
    """

    run: str
    scores: ExplanationScores
    matrices: dict[Kind, CorrelationMatrix]
    judges: dict[str, Coefficient]


def scores_of(run: Run, explainers: Sequence[str] | None = None, fewest: int = 2) -> ExplanationScores:
    """Scores of a run by explanation and column.

    Args:
        explainers: labels; all that are no floor by default, and all if there are only floors.
        fewest: columns that there must be: two, where they are compared with each other.

    Raises:
        UnknownName: an explainer that the run does not have.
        SpecError: the run has fewer columns.
    """
    found = entries(run)
    known = list(dict.fromkeys(e.cell.explainer.label for e in found))
    for label in explainers or ():
        if label not in known:
            raise UnknownName("explainer of the run", label, known)
    floors = {e.cell.explainer.label for e in found if e.cell.explainer.is_floor}
    wanted = list(explainers or [label for label in known if label not in floors] or known)
    columns = list(dict.fromkeys((e.cell.scorer.label, e.cell.judge.label) for e in found))
    if len(columns) < fewest:
        raise SpecError(f"{run.folder} has one scorer and judge, {' and '.join(columns[0])}; agreement needs two.")
    several = {s for s, _ in columns if sum(scorer == s for scorer, _ in columns) > 1}
    by_place: dict[tuple[str, str, str], ComparedEntry] = {e.cell.labels: e for e in found}
    latents = list(run.record.latents)
    values = np.full((len(wanted) * len(latents), len(columns)), np.nan)
    for j, (scorer, judge) in enumerate(columns):
        for i, label in enumerate(wanted):
            entry = by_place.get((label, scorer, judge))
            if entry is None:
                raise SpecError(
                    f"{run.folder} has no cell of explainer {label!r}, scorer {scorer!r} and judge {judge!r}, so its run.json is "
                    "not what was written. Restore it."
                )
            sign = 1.0 if entry.higher_is_better else -1.0
            own = [sign * entry.values.get(latent, np.nan) for latent in latents]
            values[i * len(latents) : (i + 1) * len(latents), j] = own
    return ExplanationScores(
        tuple(f"{s} · {j}" if s in several else s for s, j in columns),
        tuple(s for s, _ in columns),
        values,
        tuple(latents * len(wanted)),
        tuple(wanted),
    )


def agreement(run: Run, explainers: Sequence[str] | None = None) -> ScorerAgreement:
    """Correlate the scorers of a run over its explanations.

    Args:
        explainers: as in `scores_of`.

    Raises:
        UnknownName, SpecError: as `scores_of`.
    """
    scores = scores_of(run, explainers)
    matrices = {kind: correlation_matrix(scores.values, scores.names, kind, clusters=scores.latents) for kind in SHOWN}
    judges = {}
    for scorer in dict.fromkeys(scores.scorers):
        columns = [i for i, s in enumerate(scores.scorers) if s == scorer]
        if len(columns) > 1:
            judges[scorer] = krippendorff_alpha(scores.values[:, columns], "interval", clusters=scores.latents)
    return ScorerAgreement(run.id, scores, matrices, judges)
