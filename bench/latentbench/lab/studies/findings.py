"""Sentences from the numbers of a study: the claims, whether each judge was shown to read explanations, and what differs.

They are made by rule and not by hand, so that a study run again with a better judge says something else by itself.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from latentbench.lab.studies.contrast import ALPHA, TWO_SAMPLES, supported
from latentbench.lab.studies.control import controls, doubt, gap_of
from latentbench.lab.studies.reach import Reach, sentence
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
    could: Sequence[Reach | None],
    asked_for: Sequence[Reach],
) -> list[str]:
    """Sentences from the numbers: the study's claims, then whether each judge reads explanations, then what differs.

    Args:
        could, asked_for: what each of `rows` and of `claims` could have found.
    """
    seed = session.profile.seed
    asked = dict.fromkeys(
        (explainer, scorer, str(r["judge"]))
        for explainer, scorer in itertools.product(session.explainers, session.scorers)
        for r in rows
        if (r["explainer"], r["scorer"]) == (explainer, scorer)
    )
    heard = controls({key: gap_of(scores, *key, seed) for key in asked})
    # A difference under a judge that does not read explanations is one of windows or latents, and is said to be.
    judges = {(r["explainer"], r["scorer"], r["level"]): str(r["judge"]) for r in rows}

    def unsure(explainer: str, scorer: str, levels: Sequence[str]) -> str:
        own = dict.fromkeys(
            judges[explainer, scorer, level] for level in levels if (explainer, scorer, level) in judges
        )
        return doubt([heard[explainer, scorer, judge] for judge in own])

    said = [
        f"{c['claim']} ({c['explainer']}, {c['scorer']}): {_answer(c, own)}: {_gap(c)}, "
        f"{p_is(c['p_holm'])} after Holm, {c['n']} latents." + unsure(c["explainer"], c["scorer"], c["levels"])
        for c, own in zip(claims, asked_for, strict=True)
    ]
    for key in dict.fromkeys(key[:2] for key in heard):
        own = {judge: found for (*pair, judge), found in heard.items() if tuple(pair) == key}
        said += [found.sentence(f"{key[1]} by {judge}, {key[0]}") for judge, found in own.items()]
        both = [(r, c) for r, c in zip(rows, could, strict=True) if (r["explainer"], r["scorer"]) == key]
        mine = [r for r, _ in both]
        clear = [r for r in mine if r.get("p_holm") is not None and r["p_holm"] < ALPHA]
        name = f"{key[0]}, {key[1]}"
        for r in clear:
            word = "above" if r["difference"] > 0 else "below"
            said.append(
                f"{name}: {r['level']} is {word} {session.reference} by {number(abs(r['difference']))} "
                f"{interval(r['difference_low'], r['difference_high'])}, {p_is(r['p_holm'])} after Holm."
                + unsure(*key, [r["level"], session.reference])
            )
        if not clear and len(mine) > 1:
            least = _least(mine)
            said.append(
                f"{name}: no level is shown to differ from {session.reference} (smallest p after Holm {least})."
            )
        found = [(str(r["level"]), c) for r, c in both if c is not None]
        apart = any(r.get("design") == TWO_SAMPLES for r in mine)
        said += [line for line in [sentence(name, found, apart)] if line]
    said += [
        f"{t['explainer']}, {t['scorer']}: trend {estimate(t['slope'], t['slope_low'], t['slope_high'], 4, signed)}, "
        f"{p_is(t['p_holm'])} after Holm."
        + unsure(t["explainer"], t["scorer"], [level.label for level in session.levels if level.x is not None])
        for t in trends
        if t["p_holm"] < ALPHA
    ]
    said += [
        f"{o['explainer']}, {o['scorer']}: order against the paper: {o['order']} ({o['same']} of {o['pairs']} pairs clearly the "
        f"same, {o['opposite']} opposite)."
        for o in orders
    ]
    return said


def _answer(claim: Row, could: Reach) -> str:
    """Whether a claim is shown, as far as its corrected p carries it."""
    if math.isnan(claim["difference"]):
        return "not tested, no latents"
    verdict = supported(claim["sign"], claim["p_holm"])
    return {"same": "yes", "opposite": "no, the opposite"}.get(verdict, could.unshown)


def _least(rows: Sequence[Row]) -> str:
    p = [r["p_holm"] for r in rows if r.get("p_holm") is not None and not math.isnan(r["p_holm"])]
    return p_value(min(p)) if p else "not defined: too few latents"


def _gap(c: Row) -> str:
    return estimate(c["difference"], c["difference_low"], c["difference_high"], write=signed)
