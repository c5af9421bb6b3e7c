"""Explanation and judgement <-> their row in a journal, each way once and side by side.

A journal is read back by whoever resumes, and by whoever makes the tables. Writing the row where it is appended and reading it
where it is needed is the tempting way, and a field that is added to one of the two is then lost without an error.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from latentbench.explainers.explainer import Explanation
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.journal import finite
from latentbench.scorers.scorer import Judgement


def explanation_row(explanation: Explanation) -> dict[str, Any]:
    """The columns that an explanation fills by itself; who wrote it, and at what price, its stage adds."""
    usage = explanation.usage
    return {
        "latent": explanation.latent,
        "text": explanation.text,
        "hash": explanation.hash,
        "outcome": explanation.outcome.value,
        "error": explanation.error,
        "note": json.dumps(explanation.note, sort_keys=True) if explanation.note is not None else None,
        "tokens_in": usage.tokens_in,
        "tokens_out": usage.tokens_out,
        "tokens_cached": usage.tokens_cached,
        "seconds": usage.seconds,
    }


def explanation_of_row(row: Mapping[str, Any]) -> Explanation:
    """The explanation that `explanation_row` made a row of."""
    return Explanation(
        row["latent"],
        row["text"],
        Outcome(row["outcome"]),
        Usage(row["tokens_in"], row["tokens_out"], row["tokens_cached"], row["seconds"]),
        row["error"],
        json.loads(row["note"]) if row["note"] else None,
    )


def judgement_row(judgement: Judgement) -> dict[str, Any]:
    """The columns that a judgement fills by itself; what was judged, and at what price, its stage adds."""
    return {
        "trial": judgement.trial,
        "part": judgement.part,
        "item": judgement.item,
        "kind": judgement.kind,
        "truth": judgement.truth,
        "outcome": judgement.outcome.value,
        "score": finite(judgement.score),
        "answer": judgement.answer,
        "token_scores": judgement.token_scores,
        "token_truth": judgement.token_truth,
        "error": judgement.error,
    }


def judgement_of_row(row: Mapping[str, Any]) -> Judgement:
    """The judgement that `judgement_row` made a row of."""
    return Judgement(
        trial=row["trial"],
        part=row["part"],
        item=row["item"],
        kind=row["kind"],
        truth=row["truth"],
        outcome=Outcome(row["outcome"]),
        score=row["score"],
        answer=row["answer"],
        token_scores=None if row["token_scores"] is None else tuple(row["token_scores"]),
        token_truth=None if row["token_truth"] is None else tuple(row["token_truth"]),
        error=row["error"],
    )
