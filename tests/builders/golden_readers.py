"""Golden contents of what reads a judge's words and numbers: written answers, an endpoint's responses, a model's read-outs."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import openai
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams, answer_logprobs, retry_after
from latentbench.prompts.answers import read_list, read_word, refused
from latentbench.scorers.load import load_scorer
from latentbench.scorers.rating import LEVELS
from latentbench.scorers.saebench import read_numbers
from latentbench.scorers.simulation import expected, read_json

from tests import golden_form as form
from tests.builders.golden_file import Json
from tests.builders.golden_latents import RULES, golden_latents

LISTS = (
    *(
        "[1, 0, 1]",
        "[1,0,1]",
        " The list is [0, 0, 0].",
        "[1, 0]",
        "[1, 0, 1, 1]",
        "[1, 2, 0]",
        "[1, 0, 1] [1, 0, 1]",
        "1, 0, 1",
    ),
    *("[]", "[1 0 1]", "[1, 0, 1,]", "[[1, 0, 1]]", "[1.0, 0, 1]", "[-1, 0, 1]", "[\n1,\n0,\n1\n]", "", "[１, 0, 1]"),
)
WORDS = (
    *(
        "Yes",
        "yes.",
        " NO ",
        '"Yes"',
        "`No`",
        "*yes*",
        "Yes, it does",
        "Yes No",
        "",
        "Y",
        "partly",
        "clearly!",
        "none",
        "1",
        "0",
    ),
)
REFUSALS = (
    *(
        "I'm sorry, but no.",
        "Sorry, that is not possible",
        "I apologise",
        "As an AI model I",
        "As an aim, I",
        "I can't help",
    ),
    *(
        "I cannot assist",
        "I can not say",
        "I am unable to answer",
        "The sorry state",
        '"I am sorry',
        "i'm not able to comply",
        "",
    ),
)
LISTED = ("1, 3", "none", "None.", "[]", "[2]", "[1,2]", "0", "5", "1, 1", "1 3", "text 2", "", "3,1", "1, 0, 1", '"2"')
JSONS = (
    *(
        "[1, 2.5, 10]",
        "[1, 2, 11]",
        "[1, 2]",
        '[["a", 1], ["b", 0], ["c", 9]]',
        '[["a", 1], ["x", 0], ["c", 9]]',
        "null",
        "{}",
    ),
    *(
        '[[" a", 1], ["b ", 0], ["c", 9]]',
        "```json\n[0, 0, 0]\n```",
        "[true, 0, 0]",
        '["1", 0, 0]',
        '[1, ["b", 2], 3]',
        "[-1, 0, 0]",
    ),
)


def answers_file() -> dict[str, Json]:
    """Readers of written answers."""
    inf = float("-inf")
    levels: list[tuple[float, ...]] = [(-1.0, -2.0, -3.0), (0.0, inf, inf), (inf, inf, inf), (inf, -700.0, -701.0)]
    three = ("a", "b", "c")
    return {
        "a list of three zeros and ones": {t: form.plain(read_list(t, 3)) for t in LISTS},
        "No or Yes": {t: read_word(t, ("No", "Yes")) for t in WORDS},
        "none, partly or clearly": {t: read_word(t, LEVELS) for t in WORDS},
        "a refusal": {t: refused(t) for t in REFUSALS},
        "numbers of four texts": {
            t: None if (s := read_numbers(t, 4)) is None else form.plain(sorted(s)) for t in LISTED
        },
        "three activations": {t: form.plain(read_json(t, three)) for t in JSONS},
        "expected level": [[form.plain(row), form.number(expected(row))] for row in levels],
    }


# --- an endpoint


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
    *(("chat", "a text", 200, completion(text)) for text in ("fine", "", None)),
    ("chat", "a refusal", 200, completion(None, refusal="I will not.")),
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

    class Wired(OpenAIJudge):
        def _client(self) -> openai.AsyncOpenAI:
            wire = httpx.AsyncClient(transport=httpx.MockTransport(answer))
            return openai.AsyncOpenAI(api_key="none", base_url="http://endpoint/v1", max_retries=0, http_client=wire)

    params = OpenAIParams(base_url="http://endpoint/v1", attempts=1, backoff=0, logprobs=True, completions=True)
    return Wired("m", params)


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
        "words": (("Yellow", "Yes"), [("Y", -1.0), ("Yel", -1.0), ("Yes", -2.0)]),
    }
    waits = {"3": "3", "0.5": "0.5", "-1": "-1", "soon": "soon", "long ago": "Thu, 01 Jan 1998 00:00:00 GMT"}
    assert datetime.now(UTC).year > 1998
    return {
        "replies": found,
        "sent": sent,
        "first tokens": {name: form.plain(answer_logprobs(a, top)) for name, (a, top) in cases.items()},
        "asked to wait": {name: form.number(retry_after(limited(value))) for name, value in waits.items()},
    }


def limited(value: str) -> Exception:
    """An endpoint's "too many calls" with a `Retry-After` header."""
    request = httpx.Request("POST", "http://endpoint/v1")
    response = httpx.Response(429, headers={"retry-after": value}, request=request)
    return openai.RateLimitError("slow down", response=response, body=None)


# --- models


def transformers_file() -> dict[str, Json]:
    """A tiny model's choices, text and log-likelihoods."""
    from tests.builders.golden_model import model_folder

    with tempfile.TemporaryDirectory() as folder:
        base = model_folder(Path(folder))
        answer = form.answers_of(f"transformers:{base}?dtype=float32&device=cpu")
        requests = [
            form.sample_request(k)
            for k in ("chat", "choice", "choice of 1 and 10", "choice at two places", "continuation")
        ]
        replies = answer(requests)
    return {"replies": [form.reply_form(r, 3) for r in replies], "asked": [form.request_form(r) for r in requests]}


def simulator_file() -> dict[str, Json]:
    """A tiny simulator's probabilities: per token of the window as it is cut, and per window."""
    from tests.builders.golden_model import model_folder, simulator_folder

    with tempfile.TemporaryDirectory() as folder:
        base = model_folder(Path(folder) / "base")
        own = simulator_folder(Path(folder) / "simulator", base)
        answer = form.answers_of(f"simulator:{own}?dtype=float32&device=cpu")
        requests = [
            form.simulate_request("Names of fruit.", (("A", " plum", " fell"), ("", " caf", "é", "\n"))),
            form.simulate_request("", ((" pear",),)),
            form.simulate_request("Names of fruit.", ((" a", " plum"), ("",))),
            form.simulate_request("Names of fruit.", ()),
            form.simulate_request("long " * 120, ((" pear",),)),
        ]
        replies = answer(requests)
    return {"replies": [form.reply_form(r, 3) for r in replies]}


ASKED: tuple[tuple[str, Mapping[str, Any], tuple[str, ...]], ...] = (
    ("detection", {"answer": "list", "positives": 2, "negatives": 1}, ("chat",)),
    ("fuzzing", {"answer": "single", "positives": 1, "negatives": 1}, ("choice_logprobs",)),
    ("fuzzing", {"answer": "single", "positives": 1, "negatives": 1}, ("simulate",)),
    ("saebench", {"negatives": 2}, ("chat",)),
    ("embedding", {"positives": 1, "negatives": 1}, ()),
    ("surprisal", {"positives": 1, "negatives": 1}, ()),
    ("simulation", {"positives": 1, "negatives": 1}, ("choice_logprobs", "slots")),
    ("simulation", {"positives": 1, "negatives": 1, "mode": "json"}, ("chat",)),
    ("intruder", {"trials": 1}, ("choice_logprobs",)),
    ("output_choice", {"texts": 2, "trials": 1}, ("chat",)),
    ("output_choice", {"texts": 2, "trials": 1}, ("choice_logprobs",)),
    ("sensitivity", {"texts": 1, "positives": 1, "negatives": 1, "kls": [1.0], "prompts": 2}, ()),
)
VARIANTS = (
    "label?",
    "label?error=0.4&",
    "label?fail=0.3&nonsense=0.5&seed=3&",
    "oracle?",
    "lexical?",
    "constant?",
    "constant?answer=0&",
)


def mock_file() -> dict[str, Json]:
    """What each mock says to questions of every form; the explanation is the truth, a paraphrase, or no text of the rules."""
    latent = golden_latents()["planted/fruit"]
    found: dict[str, Json] = {}
    for variant in VARIANTS:
        answer = form.answers_of(f"mock:{variant}rules={RULES}")
        said: list[Json] = []
        for name, params, can in ASKED:
            for text in ("The word plum.", "Words such as plum or apple.")[: 2 if variant == "lexical?" else 1]:
                questions = form.Questions(load_scorer({"use": name, "params": dict(params)}), latent, text, 7, can)
                replies, _ = questions.replies(answer)
                rows: list[Json] = [form.reply_form(r, 6) for own in replies[:2] for r in own]
                said.append({"scorer": name, "judge can": list(can), "explanation": text, "said": rows})
        found[variant.strip("&?")] = said
    return found


READERS: dict[str, Callable[[], dict[str, Json]]] = {
    "answers": answers_file,
    "openai": openai_file,
    "transformers": transformers_file,
    "simulator": simulator_file,
    "mock": mock_file,
}
"""Name of a reader -> what makes its golden content."""
