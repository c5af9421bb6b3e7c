"""Golden content of the endpoint judge: fixed responses as replies, what is sent, and first tokens as answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import httpx
import openai
from latentbench.judges.remote.endpoint import Endpoint, asked_to_wait
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.judges.remote.reading import answer_logprobs

from tests import golden_form as form
from tests.builders.golden_file import Json


def completion(text: str | None, finish: str = "stop", **fields: Any) -> dict[str, Any]:
    """A chat completion as an endpoint sends it."""
    choice: dict[str, Any] = {
        "index": 0,
        "finish_reason": finish,
        "message": {"role": "assistant", "content": text, "refusal": None},
    }
    if "refusal" in fields:
        choice["message"] |= {"refusal": fields["refusal"]}
    if "top" in fields:
        top = [{"token": t, "logprob": p, "bytes": None} for t, p in fields["top"]]
        first = top[0] if top else {"token": "", "logprob": 0.0, "bytes": None}
        choice["logprobs"] = {"content": [first | {"top_logprobs": top}], "refusal": None}
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def echoed(tokens: Sequence[str], values: Sequence[float | None]) -> dict[str, Any]:
    """A completion with echo as an endpoint sends it."""
    offsets = [len("".join(tokens[:i])) for i in range(len(tokens))]
    logprobs = {"tokens": list(tokens), "token_logprobs": list(values), "text_offset": offsets, "top_logprobs": None}
    choice = {"index": 0, "finish_reason": "length", "text": "".join(tokens), "logprobs": logprobs}
    return {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


def failure(message: str, code: str | None = None) -> dict[str, Any]:
    """An error as an endpoint sends it."""
    return {"error": {"message": message, "code": code, "type": "invalid", "param": None}}


TOPS: dict[str, list[tuple[str, float]]] = {
    "both": [("Yes", -0.25), ("No", -1.75), ("Maybe", -4.0)],
    "pieces of one": [("Yes", -0.5), (" yes", -2.5), ("Y", -3.0), ("No", -2.75), ("N", -5.0)],
    "one only": [("No", -0.05), ("The", -4.5)],
    "neither": [("The", -0.1), ("A", -3.0)],
}
NUMBERED = [("1", -1.0), ("10", -1.5), (" 2", -2.0), ("", -2.5), ("3", -6.0)]

RESPONSES: list[tuple[str, str, int, Any]] = [
    *(("chat", "a text", 200, completion(text)) for text in ("fine", " fine\n", "", None)),
    ("chat", "a refusal", 200, completion(None, refusal="I will not.")),
    ("chat", "a long refusal", 200, completion(None, refusal="no, " * 60)),
    ("chat", "a filter", 200, completion("par", "content_filter")),
    ("chat", "cut", 200, completion("as long as", "length")),
    ("chat", "no choices", 200, completion("x") | {"choices": []}),
    ("chat", "another form", 200, {"hello": 1}),
    ("chat", "too many", 429, failure("slow down")),
    ("chat", "no quota", 429, failure("pay", "insufficient_quota")),
    ("chat", "a fault", 500, failure("oops")),
    ("chat", "no key", 401, failure("bad key")),
    ("chat", "a filtered prompt", 400, failure("no", "content_filter")),
    ("chat", "too long", 400, failure("This model's maximum context length is 8 tokens")),
    ("chat", "bad", 400, failure("bad\nrequest")),
    *(("choice", name, 200, completion("x", top=top)) for name, top in TOPS.items()),
    ("choice", "no numbers", 200, completion("Yes")),
    ("choice", "a refusal", 200, completion(None, refusal="No.")),
    ("choice of 1 and 10", "not asked", 200, completion("x", top=NUMBERED)),
    ("choice at two places", "not asked", 200, completion("x", top=NUMBERED)),
    ("continuation", "echo", 200, echoed(["A", " con", "text:", " one", " two"], [None, -1.0, -2.0, -3.0, -0.5])),
    ("continuation", "a token across", 200, echoed(["A", " context: o", "ne two"], [None, -1.0, -2.25])),
    ("continuation", "nothing before", 200, echoed(["A context: one two"], [None])),
    ("continuation", "no echo", 200, echoed([], [])),
]
"""What is asked, what comes back, with which status, and as what body."""


def endpoint(status: int, body: Any, sent: list[Any]) -> OpenAIJudge:
    """A judge whose endpoint answers one thing, and which tries once."""

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content))
        return httpx.Response(status, json=body)

    class Wired(Endpoint):
        @property
        def client(self) -> openai.AsyncOpenAI:
            wire = httpx.AsyncClient(transport=httpx.MockTransport(answer))
            return openai.AsyncOpenAI(api_key="none", base_url="http://endpoint/v1", max_retries=0, http_client=wire)

    params = OpenAIParams(
        base_url="http://127.0.0.1:9/v1", attempts=1, backoff=0, patience=0, logprobs=True, completions=True
    )
    judge = OpenAIJudge("m", params)
    judge.endpoint = Wired(params, "m", {})
    return judge


def openai_file() -> dict[str, Json]:
    """Responses of an endpoint as replies, what was sent for each kind of request, and first tokens as answers."""
    found: list[Json] = []
    sent: dict[str, Json] = {}
    for kind, name, status, body in RESPONSES:
        wire: list[Any] = []
        (reply,) = form.answers_by(endpoint(status, body, wire))([form.sample_request(kind)])
        sent.setdefault(kind, wire[0] if wire else None)
        said = form.reply_form(reply)
        # The rest of a line quotes the client library, which changes with its releases.
        said |= {"error": str(said["error"])[:48]} if "error" in said else {}
        found.append({"asked": kind, "response": name, "status": status, "reply": said})
    cases = {name: (("No", "Yes"), top) for name, top in TOPS.items()} | {
        "numbers": (("1", "10", "2"), NUMBERED),
        "short": (("1", "2", "3"), NUMBERED),
        "spaced": (("No", "Yes"), [("Yes ", -0.5), ("\nNo\n", -1.0), (" ", -3.0)]),
        "certain": (("No", "Yes"), [("Yes", 0.0)]),
        "words": (("Yellow", "Yes"), [("Y", -1.0), ("Yel", -1.0), ("Yes", -2.0)]),
    }
    waits = {"3": "3", "0.5": "0.5", "-1": "-1", "soon": "soon", "long ago": "Thu, 01 Jan 1998 00:00:00 GMT"}
    return {
        "replies": found,
        "sent": sent,
        "first tokens": {name: form.plain(answer_logprobs(a, top)) for name, (a, top) in cases.items()},
        "asked to wait": {name: form.number(asked_to_wait({"retry-after": value})) for name, value in waits.items()},
    }
