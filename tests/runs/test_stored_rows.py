"""What is written of an explanation or a judgement is what is read back, through JSON."""

from __future__ import annotations

import json
import math
from dataclasses import fields, replace

import pytest
from latentbench.explainers.explainer import Explanation
from latentbench.kernel.requests import Outcome, Usage
from latentbench.runs.stored_rows import explanation_of_row, explanation_row, judgement_of_row, judgement_row
from latentbench.scorers.scorer import Judgement

FULL = Judgement("t/1", "written", 7, "random", 1, Outcome.OK, 0.25, 0, (0.5, 1.5), (0.0, 2.0), "odd")
BARE = Judgement("t/1", "", None, "random", 0, Outcome.API, error="HTTP 500")


@pytest.mark.parametrize(
    "explanation",
    [
        Explanation("c/1", "Words for colours.", Outcome.OK, Usage(100, 10, 40, 1.5), None, {"gain": [1.0, 2.0]}),
        Explanation("c/1", "", note={}),
        Explanation("c/1", None, Outcome.REFUSAL, Usage(1, 2), "I cannot."),
    ],
)
def test_an_explanation_comes_back(explanation: Explanation) -> None:
    assert explanation_of_row(json.loads(json.dumps(explanation_row(explanation)))) == explanation


@pytest.mark.parametrize("judgement", [FULL, BARE])
def test_a_judgement_comes_back(judgement: Judgement) -> None:
    assert judgement_of_row(json.loads(json.dumps(judgement_row(judgement)))) == judgement


def test_every_field_of_a_judgement_has_its_column() -> None:
    assert set(judgement_row(FULL)) == {field.name for field in fields(Judgement)}
    assert None not in judgement_row(FULL).values()


def test_a_score_without_a_number_is_null() -> None:
    assert judgement_row(replace(FULL, score=math.nan))["score"] is None
