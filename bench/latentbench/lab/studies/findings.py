"""Sentences from the numbers of a study: the claims, whether each judge was shown to read explanations, and what differs.

They are made by rule and not by hand, so that a study run again with a better judge says something else by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentbench.lab.studies.contrast import ALPHA, supported
from latentbench.lab.studies.control import controls, doubt, gap_of
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
    """Sentences from the numbers: the study's claims, then whether each judge reads explanations, then what differs."""
    study, seed = session.study, session.profile.seed
    asked = dict.fromkeys(
        (explainer, scorer, str(r["judge"]))
        for explainer, scorer in itertools.product(study.explainers, study.scorers)
        for r in rows
        if (r["explainer"], r["scorer"]) == (explainer, scorer)
    )
    heard = controls({key: gap_of(scores, *key, seed) for key in asked})
    # A difference under a judge that does not read explanations is one of windows or latents, and is said to be.
    doubts = {key[:2]: doubt([found for other, found in heard.items() if other[:2] == key[:2]]) for key in heard}
    answers = {"same": "yes", "opposite": "no, the opposite", "unclear": "not shown"}
    said = [
        f"{c['claim']} ({c['explainer']}, {c['scorer']}): "
        f"{answers.get(supported(c['sign'], c['p_holm']), 'not tested')}: {_gap(c)}, "
        f"{p_is(c['p_holm'])} after Holm." + doubts.get((c["explainer"], c["scorer"]), "")
        for c in claims
    ]
    for key, unsure in doubts.items():
        own = {judge: found for (*pair, judge), found in heard.items() if tuple(pair) == key}
        said += [found.sentence(f"{key[1]} by {judge}, {key[0]}") for judge, found in own.items()]
        mine = [r for r in rows if (r["explainer"], r["scorer"]) == key]
        clear = [r for r in mine if r.get("p_holm") is not None and r["p_holm"] < ALPHA]
        name = f"{key[0]}, {key[1]}"
        for r in clear:
            word = "above" if r["difference"] > 0 else "below"
            said.append(
                f"{name}: {r['level']} is {word} {session.reference} by {number(abs(r['difference']))} "
                f"{interval(r['difference_low'], r['difference_high'])}, {p_is(r['p_holm'])} after Holm.{unsure}"
            )
        if not clear and len(mine) > 1:
            said.append(f"{name}: no level differs from {session.reference} (smallest p after Holm {_least(mine)}).")
    said += [
        f"{t['explainer']}, {t['scorer']}: trend {estimate(t['slope'], t['slope_low'], t['slope_high'], 4, signed)}, "
        f"{p_is(t['p'])} (not corrected).{doubts.get((t['explainer'], t['scorer']), '')}"
        for t in trends
        if t["p"] < ALPHA
    ]
    said += [
        f"{o['explainer']}, {o['scorer']}: order against the paper: {o['order']} ({o['same']} of {o['pairs']} pairs clearly the "
        f"same, {o['opposite']} opposite)."
        for o in orders
    ]
    return said


def _least(rows: Sequence[Row]) -> str:
    p = [r["p_holm"] for r in rows if r.get("p_holm") is not None and not math.isnan(r["p_holm"])]
    return p_value(min(p)) if p else "not defined: too few latents"


def _gap(c: Row) -> str:
    return estimate(c["difference"], c["difference_low"], c["difference_high"], write=signed)
