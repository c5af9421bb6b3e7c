"""The two journals of a run, and how a unit stands in a line of each.

A unit is written and read here, side by side, and is a typed value everywhere else. Writing the line where it is appended and
reading it where it is needed is the tempting way, and a field that is added to one of the two is then lost without an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.conform import conform
from latentbench.kernel.files import plain
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.journal import Asked, Call, Earlier, ExplainedUnit, Journal, JudgedUnit, Written, note_text
from latentbench.runs.record import Paid
from latentbench.runs.settled import settled_explanations, settled_judgements
from latentbench.scorers.scorer import SMALL, Judgement
from latentbench.views.number import finite


def explanation_journal(folder: Path) -> Journal[ExplainedUnit]:
    """The journal of explanations of a run folder."""
    return Journal(
        folder / "explanations.jsonl", _explained_line, _explained_unit, partial(settled_explanations, folder)
    )


def judgement_journal(folder: Path) -> Journal[JudgedUnit]:
    """The journal of judgements of a run folder."""
    return Journal(folder / "judgements.jsonl", _judged_line, _judged_unit, partial(settled_judgements, folder))


def _explained_line(unit: ExplainedUnit) -> str:
    written, found = unit
    usage = found.usage
    line = {
        "latent": found.latent,
        "text": found.text,
        "hash": found.hash,
        "outcome": found.outcome.value,
        "error": found.error,
        "note": note_text(found),
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "seconds": usage.seconds,
        "explainer": written.explainer,
        "explainer_id": written.id,
        "explainer_key": written.key,
        "repeat": written.repeat,
        "cost": written.cost,
        "paid": written.paid.model_dump(),
    }
    return _json(line)


def _explained_unit(line: bytes) -> ExplainedUnit:
    held = json.loads(line)
    note = json.loads(held["note"]) if held["note"] else None
    explanation = Explanation(held["latent"], held["text"], Outcome(held["outcome"]), _usage(held), held["error"], note)
    paid = Paid.model_validate(held["paid"])
    written = Written(
        held["explainer"], held["explainer_id"], held["explainer_key"], held["repeat"], held["cost"], paid
    )
    return conform(written, Written), conform(explanation, Explanation)


def _judged_line(unit: JudgedUnit) -> str:
    place, judgements = unit
    rows = [_judgement_line(j, place.explanation, call) for j, call in zip(judgements, place.calls, strict=True)]
    return _json({"cell": place.cell, "latent": place.latent, "rows": rows, "paid": place.paid.model_dump()})


def _judged_unit(line: bytes) -> JudgedUnit:
    held = json.loads(line)
    rows = held["rows"]
    if any("probability" in row for row in rows):
        raise Earlier
    hashes = {row["explanation"] for row in rows} or {""}
    if len(hashes) > 1:
        raise ValueError("its rows judge different explanations")
    calls = tuple(Call(_usage(row), row["cost"]) for row in rows)
    place = Asked(held["cell"], held["latent"], hashes.pop(), calls, Paid.model_validate(held["paid"]))
    judgements = tuple(conform(_judgement(row), Judgement) for row in rows)
    for j in judgements:
        if any(n is not None and not -SMALL <= n < SMALL for n in (j.truth, j.answer)):
            raise ValueError("a truth or an answer has more than 32 bits")
    return conform(place, Asked), judgements


def _judgement_line(j: Judgement, explanation: str, call: Call) -> dict[str, Any]:
    return {
        "trial": j.trial,
        "part": j.part,
        "item": j.item,
        "kind": j.kind,
        "truth": j.truth,
        "outcome": j.outcome.value,
        "score": finite(j.score),
        "answer": j.answer,
        "token_scores": j.token_scores,
        "token_truth": j.token_truth,
        "error": j.error,
        **({"said": j.said} if j.said else {}),
        "explanation": explanation,
        "tokens_in": call.usage.tokens_in,
        "tokens_out": call.usage.tokens_out,
        "tokens_cached": call.usage.tokens_cached,
        "cost": call.cost,
        "seconds": call.usage.seconds,
    }


def _judgement(held: Mapping[str, Any]) -> Judgement:
    return Judgement(
        trial=held["trial"],
        part=held["part"],
        item=held["item"],
        kind=held["kind"],
        truth=held["truth"],
        outcome=Outcome(held["outcome"]),
        score=held["score"],
        answer=held["answer"],
        token_scores=None if held["token_scores"] is None else tuple(held["token_scores"]),
        token_truth=None if held["token_truth"] is None else tuple(held["token_truth"]),
        error=held["error"],
        said=tuple((label, Outcome(outcome), *rest) for label, outcome, *rest in held.get("said", ())),
    )


def _usage(held: Mapping[str, Any]) -> Usage:
    return Usage(held["tokens_in"], held["tokens_out"], held["tokens_cached"], held["seconds"])


def _json(held: Mapping[str, Any]) -> str:
    return json.dumps(held, ensure_ascii=False, separators=(",", ":"), default=plain)
