"""Holding an endpoint to the answers that a trial allows, where it can be held.

A model that follows no format is otherwise read as no answer. Each way is another field of the request, and none is the default:
a server that does not know the field ignores or refuses it, and a constrained model answers where a free one would have said that
it cannot. What is allowed comes from the trial's form, never from the words of a prompt.
"""

from __future__ import annotations

import json
import re
from typing import Any, Literal

from latentbench.kernel.forms import Levels, Which, YesNo, words
from latentbench.kernel.requests import Chat

Structure = Literal["off", "json_schema", "choice", "regex"]


def structured(request: Chat, how: Structure) -> dict[str, Any]:
    """Fields of the request that hold its reply to the form of its trial; none where any text may be said.

    A list of answers has no `choice`, and falls back to the pattern that describes it.
    """
    trial = request.trial
    if how == "off" or trial is None or not isinstance(trial.form, YesNo | Levels | Which):
        return {}
    if isinstance(trial.form, Levels) and trial.form.per == "token":
        # Its tokens stand beside its numbers, in a form that is the scorer's own.
        return {}
    n = len(trial.windows)
    allowed = words(trial.form, n)
    if how == "json_schema":
        word: dict[str, Any] = {"type": "string", "enum": list(allowed)}
        number = {"type": "integer", "enum": [0, 1]}
        answer = {"type": "array", "items": number, "minItems": n, "maxItems": n} if request.listed else word
        schema = {
            "type": "object",
            "properties": {"answer": answer},
            "required": ["answer"],
            "additionalProperties": False,
        }
        named = {"name": "answer", "strict": True, "schema": schema}
        return {"response_format": {"type": "json_schema", "json_schema": named}}
    if request.listed:
        return {"structured_outputs": {"regex": rf"\[[01](, [01]){{{n - 1}}}\]"}}
    if how == "choice":
        return {"structured_outputs": {"choice": list(allowed)}}
    return {"structured_outputs": {"regex": "|".join(map(re.escape, allowed))}}


def unwrapped(text: str) -> str:
    """The answer inside a JSON object of `structured`, as it would have been written; any other text as it is."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return text
    answer = found.get("answer") if isinstance(found, dict) and set(found) == {"answer"} else None
    if isinstance(answer, list):
        return json.dumps(answer)
    return answer if isinstance(answer, str) else text
