"""Sentences from the numbers of a study: first whether a judge can carry the claim at all, then what differs.

They are made by rule and not by hand, so that a study run again with a better judge says something else by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentbench.lab.studies.contrast import ALPHA, LevelContrast, difference, supported
from latentbench.lab.studies.session import Session
from latentbench.views.number import estimate, interval, number, p_is, signed
from latentbench.views.number import p as p_value

if TYPE_CHECKING:
    import pandas as pd

Row = Mapping[str, Any]


def findings(
    session: Session,
    scores: pd.DataFrame,
    rows: Sequence[Row],
    trends: Sequence[Row],
    orders: Sequence[Row],
    claims: Sequence[Row],
) -> list[str]:
    """Sentences from the numbers: the study's claims, then whether a judge can carry any claim at all, then what differs."""
    study, seed = session.study, session.profile.seed
    heard: dict[tuple[str, str], list[tuple[LevelContrast, str]]] = {}
    for explainer, scorer in itertools.product(study.explainers, study.scorers):
        judges = dict.fromkeys(str(r["judge"]) for r in rows if (r["explainer"], r["scorer"]) == (explainer, scorer))
        if judges:
            heard[(explainer, scorer)] = [carries(scores, explainer, scorer, judge, seed) for judge in judges]
    # A difference under a judge that does not read explanations is one of windows or latents, and is said to be.
    doubt = {
        key: "" if any(c.low > 0 for c, _ in found) else " The judge does not carry it." for key, found in heard.items()
    }
    answers = {"same": "yes", "opposite": "no, the opposite", "unclear": "not shown"}
    said = [
        f"{c['claim']} ({c['explainer']}, {c['scorer']}): "
        f"{answers.get(supported(c['sign'], c['p_holm']), 'not tested')}: {_gap(c)}, "
        f"{p_is(c['p_holm'])} after Holm." + doubt.get((c["explainer"], c["scorer"]), "")
        for c in claims
    ]
    for key, found in heard.items():
        said += [sentence for _, sentence in found]
        mine = [r for r in rows if (r["explainer"], r["scorer"]) == key]
        clear = [r for r in mine if r.get("p_holm") is not None and r["p_holm"] < ALPHA]
        name = f"{key[0]}, {key[1]}"
        for r in clear:
            word = "above" if r["difference"] > 0 else "below"
            said.append(
                f"{name}: {r['level']} is {word} {session.reference} by {number(abs(r['difference']))} "
                f"{interval(r['difference_low'], r['difference_high'])}, {p_is(r['p_holm'])} after Holm.{doubt[key]}"
            )
        if not clear and len(mine) > 1:
            said.append(f"{name}: no level differs from {session.reference} (smallest p after Holm {_least(mine)}).")
    said += [
        f"{t['explainer']}, {t['scorer']}: trend {estimate(t['slope'], t['slope_low'], t['slope_high'], 4, signed)}, "
        f"{p_is(t['p'])} (not corrected).{doubt.get((t['explainer'], t['scorer']), '')}"
        for t in trends
        if t["p"] < ALPHA
    ]
    said += [
        f"{o['explainer']}, {o['scorer']}: order against the paper: {o['order']} ({o['same']} of {o['pairs']} pairs clearly the "
        f"same, {o['opposite']} opposite)."
        for o in orders
    ]
    return said


def carries(scores: pd.DataFrame, explainer: str, scorer: str, judge: str, seed: int) -> tuple[LevelContrast, str]:
    """Whether real explanations beat shuffled ones with this judge, over all levels, and the sentence that says so."""
    own = scores[(scores["explainer"] == explainer) & (scores["scorer"] == scorer) & (scores["judge"] == judge)]
    table = own.pivot_table(index=["level", "latent"], columns="real", values="value")
    if True not in table or False not in table:
        empty = LevelContrast(math.nan, math.nan, math.nan, math.nan, 0, "paired")
        return (
            empty,
            f"{scorer} by {judge}, {explainer}: there is no control, so nobody can say whether the judge reads it.",
        )
    gap = (table[True] - table[False]).groupby("latent").mean().dropna()
    found = difference(gap, gap * 0.0, seed)
    numbers = f"{estimate(found.estimate, found.low, found.high, write=signed)}, {found.n} latents"
    if found.low > 0:
        return found, f"{scorer} by {judge}, {explainer}: the judge carries the claim: real minus shuffled {numbers}."
    return found, (
        f"{scorer} by {judge}, {explainer}: this judge cannot carry the claim: real explanations do not beat those of other "
        f"latents (real minus shuffled {numbers})."
    )


def _least(rows: Sequence[Row]) -> str:
    p = [r["p_holm"] for r in rows if r.get("p_holm") is not None and not math.isnan(r["p_holm"])]
    return p_value(min(p)) if p else "not defined"


def _gap(c: Row) -> str:
    return estimate(c["difference"], c["difference_low"], c["difference_high"], write=signed)
