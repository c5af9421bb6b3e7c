"""Do scores that ask about no explanation agree with those that do, latent by latent, and where do they part (arXiv 2507.08473)?

A latent can be coherent and badly explained, or explained and seen as incoherent by a judge that reads topics only. Any two
noisy scores have such latents, so the tempting table, the largest differences, is one of luck: latents are chosen by one draw
of windows, and what stands beside them comes from another. For the same reason every measure is drawn twice, and a correlation
stands beside what the reliabilities of both leave room for.

Coders differ in how coherent and how explicable their latents are, and a correlation over all latents is partly that of coders.
So it is also taken of ranks within each coder.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field, model_validator

from latentbench.kernel.config import Frozen, validate
from latentbench.kernel.errors import UnknownName
from latentbench.kernel.latent import coder_of
from latentbench.lab.studies import scorer_agreement
from latentbench.lab.studies.contrast import ALPHA
from latentbench.lab.studies.control import controls
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.lab.studies.study_spec import ProfileScorer
from latentbench.leaderboards.submission.judged_windows import texts_of
from latentbench.runs.finished import Run
from latentbench.scorers.explained import asks_about_explanation
from latentbench.scorers.scorer import Scorer, load_scorer
from latentbench.stats.bootstrap import FEWEST
from latentbench.stats.correlation import correlation_matrix, disattenuated, retest
from latentbench.views.number import estimate, number, p_is

if TYPE_CHECKING:
    import pandas as pd

DRAWS = 2
"""Draws of windows: one chooses, the other shows."""
SCORE = "score"
"""Name of the mean of the judgements' scores, among metrics."""
THIRD = 1 / 3
"""Share of the latents that are high, and that are low."""
LISTED = 5
"""Latents of each kind that a page lists."""
WIDTH = 120
"""Characters of an explanation that a page shows."""

PAIRS = (
    *("a", "b", "n", "spearman", "spearman_low", "spearman_high", "p_holm", "detectable"),
    *("within_coders", "within_coders_low", "within_coders_high", "p_within_holm"),
    *("disattenuated", "disattenuated_low", "disattenuated_high", "across_draws"),
)
MEASURES = (
    *("scorer", "judge", "metric", "asks", "n", "score", "score_low", "score_high", "floor"),
    *("reliability", "reliability_low", "reliability_high", "real_minus_shuffled", "real_minus_shuffled_low"),
    *("real_minus_shuffled_high", "p_holm", "detectable", "reads"),
)
CODERS = ("scorer", "coder", "n", "score", "score_low", "score_high", "floor")
PARTED = (
    *("latents_that_are", "coherent_by", "explained_by", "n", "chosen", "by_chance", "still", "p"),
    *("coherent_rank", "explained_rank"),
)
LATENTS = ("latent", "latents_that_are", "coherent_by", "explained_by", "coherence", "explained", "explanation")
KINDS = {"coherent, badly explained": (1, 0), "incoherent, well explained": (0, 1)}
"""Ways to part -> whether the rank of coherence and of explanation is high."""


class FreeMeasure(Frozen):
    """One measure of latents."""

    label: str = Field(pattern=r"^[^/]+$")
    """Name in tables."""
    use: str
    preset: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    judge: str
    """Name of the judge of the profile that is asked."""
    metric: str
    """The per-latent metric, or `score`: the mean of what the judge gave, which varies where its answers do not."""


class ExplanationFreeOptions(Frozen):
    """Options of the kind `explanation-free`."""

    measures: tuple[FreeMeasure, ...] = Field(min_length=2)
    """Scorers as in a profile."""
    parted: tuple[tuple[str, str], ...] = ()
    """Labels of a measure of coherence and of one of explanations: where do they part?"""

    @model_validator(mode="after")
    def _named(self) -> ExplanationFreeOptions:
        labels = [m.label for m in self.measures]
        if len(set(labels)) < len(labels):
            raise ValueError("two measures have the same label")
        for name in (n for pair in self.parted for n in pair):
            if name not in labels:
                raise ValueError(f"`parted` names {name!r}, which is none of the measures {labels}")
        return self


@dataclass(frozen=True)
class DrawnScores:
    """Scores of one explainer's explanations, drawn twice.

    Attributes:
        names: of the measures.
        latents: [n].
        coders: [n] of each latent.
        values: [n, measures, draws]; NaN where there is none.
    """

    names: tuple[str, ...]
    latents: tuple[str, ...]
    coders: tuple[str, ...]
    values: np.ndarray[Any, np.dtype[np.float64]]

    def of(self, name: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Scores by a measure [n, draws]."""
        found: np.ndarray[Any, np.dtype[np.float64]] = self.values[:, self.names.index(name)]
        return found

    @property
    def means(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Means over the draws [n, measures]; NaN where one is missing."""
        found: np.ndarray[Any, np.dtype[np.float64]] = self.values.mean(axis=2)
        return found


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `explanation-free`: one explainer, every measure twice, all coders of the study."""
    import pandas as pd

    study = session.study
    options = validate(ExplanationFreeOptions, study.options, f"options of study {session.name}")
    entries = {
        m.label: ProfileScorer(use=m.use, preset=m.preset, params=m.params, judge=m.judge, metric=m.metric)
        for m in options.measures
    }
    for m in options.measures:
        if m.judge not in session.profile.judges:
            raise UnknownName(f"judge of study {session.name}", m.judge, session.profile.judges)
    explainer, suite = session.explainers[0], session.suite()
    tables: list[pd.DataFrame] = []
    seen: list[Run] = []
    for draw in range(DRAWS):
        drawn = {"seed": session.profile.seed + draw, "scorers": entries}
        own = replace(session, profile=session.profile.model_copy(update=drawn))
        made = own.run(
            suite,
            {explainer: own.profile.explainers[explainer]},
            entries,
            study.coders,
            session.latents,
            control=not draw,
        )
        seen += made
        tables.append(pd.concat([scores_of(r, entries) for r in made], ignore_index=True))
    asked = replace(session, profile=session.profile.model_copy(update={"scorers": entries}))
    scores = drawn_scores(tables, explainer, tuple(entries))
    scorers = {name: load_scorer({"use": e.use, "preset": e.preset, "params": e.params}) for name, e in entries.items()}
    example = suite.latents("test", limit=1)[0]
    asks = {name: asks_about_explanation(scorer, example) for name, scorer in scorers.items()}
    heard = controls({
        name: scorer_agreement.shuffled_gap(asked, tables[0], explainer, name) for name in entries if asks[name]
    })  # fmt: skip
    rows = pair_rows(scores)
    measured = [
        _measure(asked, scores, name, scorers[name], asks[name])
        | (scorer_agreement.reads_row(asked, tables[0], explainer, name, heard[name]) if asks[name] else {})
        | _mean(asked, scores.means[:, scores.names.index(name)], name)
        for name in entries
    ]
    coders = [
        {"scorer": name, "coder": coder, "floor": _floor(scorers[name], entries[name].metric)}
        | _mean(asked, scores.means[np.array(scores.coders) == coder, scores.names.index(name)], name)
        for name in entries
        for coder in dict.fromkeys(scores.coders)
    ]
    texts = {
        latent: shorten(text, WIDTH, placeholder=" ...")
        for own in seen
        for (label, _, latent), text in texts_of(own).items()
        if label == explainer and text
    }
    parts = [part(scores, a, b, kind) for a, b in options.parted for kind in KINDS]
    listed = [row for a, b in options.parted for kind in KINDS for row in latent_rows(scores, a, b, kind, texts)]
    rank = correlation_matrix(scores.means, list(scores.names), "spearman")
    linear = correlation_matrix(scores.means, list(scores.names), "pearson")
    result = StudyResult(
        tables=[
            StudyTable("table", "Agreement, latent by latent", PAIRS, rows, PAIRS_NOTE),
            StudyTable("scorers", "The measures", MEASURES, measured, MEASURES_NOTE),
            StudyTable("coders", "Means by coder", CODERS, coders, "`floor`: of an answer that knows nothing."),
            StudyTable("parted", "Where they part", PARTED, parts, PARTED_NOTE),
            StudyTable("latents", "Latents that part in both draws", LATENTS, listed, LATENTS_NOTE),
        ],
        figures={"figure": scorer_agreement.matrix_figure(rank, linear)},
    )
    result.findings = findings(rows, measured, [c.sentence(name) for name, c in heard.items()], parts)
    complete = int((~np.isnan(scores.means)).all(axis=1).sum())
    result.limits.append(
        f"{len(scores.latents)} latents, {complete} of them with a score from every measure in both draws; one explainer, "
        f"{explainer}. Numbers of windows stand in the study's file, not in the profile."
    )
    result.limits.append(
        "Both draws are from the same test windows of a latent and share some, so reliabilities and correlations across draws "
        "are upper ones."
    )
    return result


PAIRS_NOTE = (
    "Of the means of two draws of windows. `p_holm`: of no correlation, corrected for the pairs. `detectable`: the true "
    "correlation that is found in 4 of 5 studies of this many latents, at 5 % over the number of pairs. `within_coders`: of "
    "ranks within each coder. `disattenuated`: `across_draws` (one measure in one draw, the other in the other) over the root "
    "of the product of both reliabilities."
)
MEASURES_NOTE = (
    "`asks`: about what. `score`: mean of two draws. `reliability`: Spearman between two draws of windows. "
    "`real_minus_shuffled`: in the first draw; `reads`: corrected for the rows that ask about explanations."
)
PARTED_NOTE = (
    "High and low are the upper and the lower third by rank. `chosen`: in one draw, either of the two in turn; `by_chance`: "
    "what unrelated measures would give. `still`: share of the chosen that part in the other draw too; p: of no more than "
    "the ninth that unrelated draws give, one-sided. Ranks (0 to 1) are those in the other draw."
)
LATENTS_NOTE = "At most five of each kind, those that part most first. Values are means of both draws."


def scores_of(found: Run, entries: Mapping[str, ProfileScorer]) -> pd.DataFrame:
    """One row per explainer, scorer and latent; columns `explainer`, `scorer`, `latent`, `value`."""
    import pandas as pd

    columns = ["explainer", "scorer", "latent"]
    plain = found.per_latent({name: e.metric for name, e in entries.items() if e.metric != SCORE})
    by_score = [name for name, e in entries.items() if e.metric == SCORE]
    judged = found.judgements[found.judgements["scorer"].isin(by_score) & (found.judgements["outcome"] == "ok")]
    means = judged.groupby(columns, sort=False, observed=True)["score"].mean().rename("value").reset_index()
    return pd.concat([part for part in (plain[[*columns, "value"]], means) if len(part)], ignore_index=True)


def drawn_scores(tables: Sequence[pd.DataFrame], explainer: str, names: tuple[str, ...]) -> DrawnScores:
    """Scores of one explainer out of the tables of all draws."""
    wide = [
        t[t["explainer"] == explainer]
        .pivot_table(index="latent", columns="scorer", values="value")
        .reindex(columns=list(names))
        for t in tables
    ]
    latents = tuple(sorted({str(latent) for w in wide for latent in w.index}))
    values = np.stack([w.reindex(list(latents)).to_numpy(np.float64) for w in wide], axis=2)
    return DrawnScores(names, latents, tuple(map(coder_of, latents)), values)


def pair_rows(scores: DrawnScores) -> list[dict[str, Any]]:
    """One row per pair of measures."""
    names = list(scores.names)
    whole = correlation_matrix(scores.means, names, "spearman")
    plain = scorer_agreement.pair_rows(whole, whole, scorer_agreement.AgreementOptions())
    inside = correlation_matrix(within(scores.means, scores.coders), names, "pearson")
    rows = []
    for row, (i, j) in zip(plain, itertools.combinations(range(len(names)), 2), strict=True):
        clean = disattenuated(scores.of(names[i]), scores.of(names[j]))
        rows.append({name: row[name] for name in PAIRS if name in row} | {
            "within_coders": inside.estimate[i, j], "within_coders_low": inside.low[i, j],
            "within_coders_high": inside.high[i, j], "p_within_holm": inside.p_holm[i, j],
            "disattenuated": clean.estimate, "disattenuated_low": clean.low, "disattenuated_high": clean.high,
            "across_draws": clean.across,
        })  # fmt: skip
    return rows


def within(values: np.ndarray[Any, Any], coders: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Midranks within each coder, from -1/2 to 1/2 [n, k]; NaN stays."""
    from scipy.stats import rankdata

    found = np.full(values.shape, np.nan)
    for coder in dict.fromkeys(coders):
        mine = np.array([c == coder for c in coders])
        for k in range(values.shape[1]):
            rows = np.flatnonzero(mine & ~np.isnan(values[:, k]))
            found[rows, k] = (rankdata(values[rows, k]) - 0.5) / max(len(rows), 1) - 0.5
    return found


def ranks(values: np.ndarray[Any, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Midranks of all latents, from 0 to 1 [n]."""
    return within(values[:, None], [""] * len(values))[:, 0] + 0.5


def parting(
    scores: DrawnScores, coherent: str, explained: str, kind: str, draw: int
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which latents part in one draw [n]."""
    found = np.ones(len(scores.latents), bool)
    for name, high in zip((coherent, explained), KINDS[kind], strict=True):
        place = ranks(scores.of(name)[:, draw])
        found &= (place > 1 - THIRD) if high else (place < THIRD)
    return found


def part(scores: DrawnScores, coherent: str, explained: str, kind: str) -> dict[str, Any]:
    """How many latents part, and how many of them still do in the other draw."""
    from scipy.stats import binomtest

    there = ~np.isnan(scores.of(coherent)).any(axis=1) & ~np.isnan(scores.of(explained)).any(axis=1)
    both = [parting(scores, coherent, explained, kind, draw) & there for draw in range(DRAWS)]
    n, chosen = int(there.sum()), int(both[0].sum() + both[1].sum())
    still = 2 * int((both[0] & both[1]).sum())
    shown = {}
    for column, name in (("coherent_rank", coherent), ("explained_rank", explained)):
        other = [ranks(scores.of(name)[:, 1 - draw])[both[draw]] for draw in range(DRAWS)]
        shown[column] = float(np.concatenate(other).mean()) if chosen else math.nan
    # A latent chosen twice is one observation of whether it stays.
    distinct = int((both[0] | both[1]).sum())
    return {
        "latents_that_are": kind, "coherent_by": coherent, "explained_by": explained, "n": n,
        "chosen": chosen / DRAWS, "by_chance": n * THIRD**2, "still": still / chosen if chosen else math.nan,
        "p": float(binomtest(still // 2, distinct, THIRD**2, "greater").pvalue) if n >= FEWEST and distinct else math.nan,
    } | shown  # fmt: skip


def latent_rows(
    scores: DrawnScores, coherent: str, explained: str, kind: str, texts: Mapping[str, str]
) -> list[dict[str, Any]]:
    """Latents that part in both draws, those that part most first."""
    both = np.logical_and(*(parting(scores, coherent, explained, kind, draw) for draw in range(DRAWS)))
    a, b = (scores.of(name).mean(axis=1) for name in (coherent, explained))
    apart = np.abs(ranks(a) - ranks(b))
    chosen = sorted(np.flatnonzero(both), key=lambda i: (-apart[i], scores.latents[i]))[:LISTED]
    return [
        {
            "latent": scores.latents[i], "latents_that_are": kind, "coherent_by": coherent, "explained_by": explained,
            "coherence": float(a[i]), "explained": float(b[i]), "explanation": texts.get(scores.latents[i], ""),
        }
        for i in chosen
    ]  # fmt: skip


def findings(
    rows: Sequence[Mapping[str, Any]],
    measured: Sequence[Mapping[str, Any]],
    heard: Sequence[str],
    parts: Sequence[Mapping[str, Any]],
) -> list[str]:
    """Sentences: what each measure is worth, which pairs correlate and how much noise leaves room for, and where they part."""
    said = []
    for m in measured:
        if m["asks"] != "nothing":
            continue
        mean = estimate(m["score"], m["score_low"], m["score_high"])
        again = estimate(m["reliability"], m["reliability_low"], m["reliability_high"], 2)
        said.append(
            f"{m['scorer']} by {m['judge']}: mean {m['metric']} {mean} {_beside(m)} its floor {number(m['floor'])}, "
            f"{m['n']} latents; two draws of windows correlate by {again}."
        )
    said += heard
    steady = {m["scorer"]: m["reliability_low"] for m in measured}
    for r in rows:
        shown = "shown" if r["p_holm"] < ALPHA else "not shown"
        line = (
            f"{r['a']} and {r['b']}: {shown}, Spearman {estimate(r['spearman'], r['spearman_low'], r['spearman_high'], 2)}, "
            f"{p_is(r['p_holm'])} after Holm, {r['n']} latents"
        )
        if not r["p_holm"] < ALPHA and r["detectable"] is not None:
            line += f" ({number(r['detectable'], 2)} is found in 4 of 5 studies)"
        line += f"; within coders {estimate(r['within_coders'], r['within_coders_low'], r['within_coders_high'], 2)}"
        vague = [name for name in (r["a"], r["b"]) if not steady[name] > 0]
        if vague:
            line += f"; without noise: not known, {' and '.join(vague)} not shown to repeat"
        elif not math.isnan(r["disattenuated"]):
            line += (
                f"; without noise {estimate(r['disattenuated'], r['disattenuated_low'], r['disattenuated_high'], 2)}"
            )
        said.append(f"{line}.")
    for r in parts:
        stays = "more than chance" if r["p"] < ALPHA else "not shown to be more than chance"
        said.append(
            f"Latents that are {r['latents_that_are']} ({r['coherent_by']}, {r['explained_by']}): {number(r['chosen'], 1)} "
            f"of {r['n']} a draw, {number(r['by_chance'], 1)} by chance; {number(100 * r['still'], 0)} % of them are so in the "
            f"other draw, too, {stays} ({p_is(r['p'])})."
        )
    return said


def _beside(measure: Mapping[str, Any]) -> str:
    """How a mean stands to its floor, by its interval."""
    if measure["score_low"] > measure["floor"]:
        return "is above"
    return "is below" if measure["score_high"] < measure["floor"] else "is not shown to differ from"


def _measure(session: Session, scores: DrawnScores, name: str, scorer: Scorer, asks: bool) -> dict[str, Any]:
    entry = session.profile.scorers[name]
    again = retest(scores.of(name), [(0, 1)])
    return {
        "scorer": name, "judge": entry.judge, "metric": entry.metric, "asks": "an explanation" if asks else "nothing",
        "floor": _floor(scorer, entry.metric), "reliability": again.estimate, "reliability_low": again.low,
        "reliability_high": again.high,
    }  # fmt: skip


def _mean(session: Session, values: np.ndarray[Any, Any], name: str) -> dict[str, Any]:
    mean = session.mean(values[~np.isnan(values)], name)
    return {"n": mean.n, "score": mean.estimate, "score_low": mean.low, "score_high": mean.high}


def _floor(scorer: Scorer, metric: str) -> float | None:
    return scorer.floor(scorer.headline if metric == SCORE else metric)
