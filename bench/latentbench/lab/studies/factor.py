"""The common kind of study: a factor with levels, compared with one of them latent by latent.

For every explainer and scorer: the score at each level with its interval, the difference to the reference level with its test
(Holm over the whole table), a trend where levels have an order, and beside them what the paper found. And always the control:
the same explanations, each given to another latent. Where the real ones do not beat those, the judge did not read them, and
whatever the levels do cannot be a finding about explanations. A table without that row would look just as good.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.lab.studies.cells import CellGroup, gather
from latentbench.lab.studies.contrast import LevelContrast, agrees, difference, supported, trend
from latentbench.lab.studies.control import controls
from latentbench.lab.studies.deciles import decile_table
from latentbench.lab.studies.findings import findings
from latentbench.lab.studies.reach import PAPERS, Reach, reaches
from latentbench.lab.studies.session import Session
from latentbench.lab.studies.study_result import StudyResult, StudyTable
from latentbench.stats.bootstrap import holm
from latentbench.views.figure import levels_figure

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.runs.finished import Run

Row = dict[str, Any]

MAIN = (
    *("explainer", "scorer", "judge", "metric", "level", "n", "score", "score_low", "score_high", "coverage"),
    *("shuffled", "shuffled_low", "shuffled_high"),
    *("real_minus_shuffled", "real_minus_shuffled_low", "real_minus_shuffled_high", "p_shuffled", "reads"),
    *("difference", "difference_low", "difference_high", "p", "p_holm", "design", "detectable", "needed"),
    *("paper_difference", "sign"),
)
SHOWN = (
    *("explainer", "scorer", "judge", "level", "n", "coverage", "score", "real_minus_shuffled", "reads"),
    *("difference", "p_holm", "detectable", "needed", "sign"),
)
CLAIMS = (
    *("claim", "explainer", "scorer", "n", "difference", "difference_low", "difference_high", "p", "p_holm"),
    *("design", "detectable", "needed", "sign"),
)
PAPER = ("scorer", "level", "paper")
ORDER = ("explainer", "scorer", "ours", "paper", "pairs", "same", "opposite", "unclear", "order")
TREND = ("explainer", "scorer", "slope", "slope_low", "slope_high", "p", "p_holm", "detectable", "n", "design")
NOTE = (
    "`difference`: to the reference level {reference!r}, over latents; `p_holm` is corrected for all differences. "
    "`shuffled`: each explanation given to another latent of its coder. `reads`: whether "
    "real explanations score above shuffled ones, corrected for all rows; where that is not shown, a difference may be one of "
    "windows and not of explanations. `sign`: of the difference, against the paper's. {power}"
)
POWERED = (
    "`detectable`: the true difference that this test finds in 4 of 5 studies of this size, from the spread measured here, at "
    "5 % over the number of comparisons in the table (Holm's first step). `needed`: latents (a level, where levels hold other "
    "latents) with which {wanted:g}, or the paper's own difference of the two levels, is found in 4 of 5 studies."
)


def run(session: Session) -> StudyResult:
    """Carry out a study of the kind `factor`."""
    return result_of(session, *gather(session))


def result_of(session: Session, scores: pd.DataFrame, runs: Sequence[tuple[CellGroup, list[Run]]]) -> StudyResult:
    """Tables, figures and findings of a factor from its scores, as `latentbench.lab.studies.cells.gather` returns them."""
    rows, found = level_rows(session, scores)
    result = StudyResult()
    powered = POWERED.format(wanted=PAPERS)
    note = NOTE.format(reference=session.reference, power=powered)
    result.tables.append(StudyTable("table", session.study.title, MAIN, rows, note, SHOWN))
    theirs = [
        {"scorer": scorer, "level": level.label, "paper": level.paper.get(scorer)}
        for scorer in session.scorers
        for level in session.levels
        if scorer in level.paper
    ]
    if theirs:
        note = f"{session.study.paper.where}. Another statistic, metric, subject and judge than ours: compare signs and orders."
        result.tables.append(StudyTable("paper", "The paper's numbers, apart from ours", PAPER, theirs, note))
    claims, asked = claim_rows(session, scores)
    if claims:
        note = (
            "`p_holm` is corrected for the claims of this table; `sign`: whether the first level is above the second. "
        )
        note += "`detectable`, `needed`: as above, for these claims."
        result.tables.append(StudyTable("claims", "Claims", CLAIMS, claims, note))
    orders = order_rows(session, scores, rows)
    if orders:
        note = "Pairs of levels that both have a number in the paper; `unclear`: our difference is not shown after Holm over all."
        result.tables.append(StudyTable("order", "Order of the levels, against the paper's", ORDER, orders, note))
    trends = trend_rows(session, scores)
    if trends:
        unit = "doubling" if session.study.scale == "log2" else "unit"
        note = f"Change of the score per {unit} of the factor; `p_holm` is corrected for the trends of this table."
        result.tables.append(StudyTable("trend", "Trend over the levels", TREND, trends, note))
    if session.study.by_decile:
        table, figure = decile_table(session, runs)
        result.tables.append(table)
        result.figures["deciles"] = figure
    result.figures = {"figure": _figure(session, rows, runs), **result.figures}
    result.findings += findings(session, scores, rows, trends, orders, claims, found, asked)
    return result


def level_rows(session: Session, scores: pd.DataFrame) -> tuple[list[Row], list[Reach | None]]:
    """One row per explainer, scorer and level, in the study's order, and what each could have found."""
    seed = session.profile.seed
    paper = {level.label: level.paper for level in session.levels}
    rows: list[Row] = []
    gaps: dict[int, LevelContrast | None] = {}
    tests: dict[int, LevelContrast] = {}
    for explainer, scorer in itertools.product(session.explainers, session.scorers):
        reference = values(scores, explainer, scorer, session.reference)
        for level in session.levels:
            own = part(scores, explainer, scorer, level.label)
            if own.empty:
                continue
            real, shuffled = (
                values(scores, explainer, scorer, level.label),
                values(scores, explainer, scorer, level.label, False),
            )
            mean, control = (session.mean(own.to_numpy(), scorer) for own in (real, shuffled))
            read = difference(real, shuffled, seed)
            attempted = own["attempted"].sum()
            row: Row = {
                "explainer": explainer, "scorer": scorer, "judge": own["judge"].iloc[0], "level": level.label, "n": mean.n,
                "metric": session.profile.scorers[scorer].metric,
                "score": mean.estimate, "score_low": mean.low, "score_high": mean.high,
                "coverage": own["judged"].sum() / attempted if attempted else math.nan,
                "shuffled": control.estimate, "shuffled_low": control.low, "shuffled_high": control.high,
                "real_minus_shuffled": read.estimate, "real_minus_shuffled_low": read.low,
                "real_minus_shuffled_high": read.high, "p_shuffled": read.p,
                "paper": paper[level.label].get(scorer),
            }  # fmt: skip
            if level.label != session.reference:
                found = difference(real, reference, seed)
                row |= {
                    "difference": found.estimate, "difference_low": found.low, "difference_high": found.high,
                    "p": found.p, "design": found.design,
                }  # fmt: skip
                theirs = _gap(paper, scorer, level.label, session.reference)
                row |= {"paper_difference": theirs, "sign": agrees(found, theirs)}
                tests[len(rows)] = found
            rows.append(row)
            gaps[len(rows) - 1] = read
    for at, found_control in controls(gaps).items():
        rows[at]["reads"] = found_control.reads
    found_by: list[Reach | None] = [None] * len(rows)
    corrected = holm([c.p for c in tests.values()])
    reached = reaches(list(tests.values()), [rows[at]["paper_difference"] for at in tests])
    for at, p, could in zip(tests, corrected, reached, strict=True):
        rows[at] |= {"p_holm": float(p), **could.columns}
        found_by[at] = could
    return rows, found_by


def order_rows(session: Session, scores: pd.DataFrame, rows: Sequence[Row]) -> list[Row]:
    """Our order of the levels against the paper's, for scorers with at least two numbers in the paper."""
    seed = session.profile.seed
    found: list[Row] = []
    known = {
        key: [r for r in rows if (r["explainer"], r["scorer"]) == key and r["paper"] is not None]
        for key in itertools.product(session.explainers, session.scorers)
    }
    pairs = [(key, a, b) for key, mine in known.items() for a, b in itertools.combinations(mine, 2)]
    ours = [difference(values(scores, *key, a["level"]), values(scores, *key, b["level"]), seed) for key, a, b in pairs]
    signs: dict[tuple[str, str], list[str]] = {}
    for (key, a, b), c, p in zip(pairs, ours, holm([c.p for c in ours]), strict=True):
        signs.setdefault(key, []).append(supported(agrees(c, a["paper"] - b["paper"]), float(p)))
    for (explainer, scorer), verdicts in signs.items():
        mine = known[(explainer, scorer)]
        same, opposite = verdicts.count("same"), verdicts.count("opposite")
        found.append({
            "explainer": explainer, "scorer": scorer,
            "ours": _chain(mine, "score"), "paper": _chain(mine, "paper"), "pairs": len(verdicts), "same": same,
            "opposite": opposite, "unclear": len(verdicts) - same - opposite,
            "order": "not the paper's" if opposite else "the paper's" if same == len(verdicts)
            else "as far as it is clear, the paper's" if same else "unclear",
        })  # fmt: skip
    return found


def claim_rows(session: Session, scores: pd.DataFrame) -> tuple[list[Row], list[Reach]]:
    """The study's claims, each under every explainer and scorer, and what each could have found."""
    here = {level.label for level in session.levels}
    paper = {level.label: level.paper for level in session.levels}
    found: list[Row] = []
    tests: list[LevelContrast] = []
    theirs: list[float | None] = []
    for (a, b), explainer, scorer in itertools.product(session.study.claims, session.explainers, session.scorers):
        if not {a, b} <= here:
            continue
        left, right = (values(scores, explainer, scorer, level) for level in (a, b))
        c = difference(left, right, session.profile.seed)
        found.append({
            "claim": f"{a} above {b}", "levels": (a, b), "explainer": explainer, "scorer": scorer, "n": c.n,
            "difference": c.estimate, "difference_low": c.low, "difference_high": c.high, "p": c.p, "design": c.design,
            "sign": agrees(c, 1.0),
        })  # fmt: skip
        tests.append(c)
        theirs.append(_gap(paper, scorer, a, b))
    could = reaches(tests, theirs)
    for row, p, own in zip(found, holm([c.p for c in tests]), could, strict=True):
        row |= {"p_holm": float(p), **own.columns}
    return found, could


def trend_rows(session: Session, scores: pd.DataFrame) -> list[Row]:
    """Trends over the levels that have an `x`."""
    x = {level.label: level.x for level in session.levels if level.x is not None}
    if len(x) < 3:
        return []
    places = {label: math.log2(v) if session.study.scale == "log2" else v for label, v in x.items()}
    found: list[Row] = []
    tests: list[LevelContrast] = []
    for explainer, scorer in itertools.product(session.explainers, session.scorers):
        own = scores[(scores["explainer"] == explainer) & (scores["scorer"] == scorer) & scores["real"]]
        own = own[own["level"].isin(places)]
        if own.empty:
            continue
        t = trend(own.pivot_table(index="latent", columns="level", values="value"), places, session.profile.seed)
        found.append({
            "explainer": explainer, "scorer": scorer, "slope": t.estimate, "slope_low": t.low, "slope_high": t.high,
            "p": t.p, "n": t.n, "design": t.design,
        })  # fmt: skip
        tests.append(t)
    for row, p, could in zip(found, holm([t.p for t in tests]), reaches(tests, [None] * len(tests)), strict=True):
        row |= {"p_holm": float(p), "detectable": could.detectable}
    return found


def part(scores: pd.DataFrame, explainer: str, scorer: str, level: str, real: bool = True) -> pd.DataFrame:
    """Rows of one cell."""
    return scores[
        (scores["explainer"] == explainer)
        & (scores["scorer"] == scorer)
        & (scores["level"] == level)
        & (scores["real"] == real)
    ]


def values(scores: pd.DataFrame, explainer: str, scorer: str, level: str, real: bool = True) -> pd.Series[float]:
    """Scores of one cell by latent."""
    return part(scores, explainer, scorer, level, real).set_index("latent")["value"].astype(np.float64)


def _figure(session: Session, rows: Sequence[Row], runs: Sequence[tuple[CellGroup, list[Run]]]) -> Any:
    floors = {
        (label, metric.name): metric.floor
        for _, done in runs
        for run in done
        for label, scorer in run.record.scorers.items()
        for metric in scorer.metrics
    }
    titles = {s: f"{s} ({session.profile.scorers[s].metric})" for s in session.scorers}
    series = {titles[s]: [r for r in rows if r["scorer"] == s] for s in session.scorers}
    floor = {titles[s]: floors.get((s, session.profile.scorers[s].metric)) for s in session.scorers}
    return levels_figure(series, [level.label for level in session.levels], session.study.axis, floor)


def _gap(paper: dict[str, dict[str, float]], scorer: str, level: str, reference: str) -> float | None:
    a, b = paper[level].get(scorer), paper[reference].get(scorer)
    return None if a is None or b is None else a - b


def _chain(rows: Sequence[Row], key: str) -> str:
    return " > ".join(str(r["level"]) for r in sorted(rows, key=lambda r: -r[key]))
