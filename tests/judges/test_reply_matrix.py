"""Every kind of reply that an endpoint was seen to give, to every kind of question: what is no answer is never scored.

The loopback server writes what the kind says around the right answer. `answers` of a kind names the questions to which it is an
answer all the same; to all others it must become an outcome with a reason, in the judge's reply or
in the reader's judgement, and never a score. Whatever comes back goes through the cache, as in a run.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from latentbench.explainers.explainer import load_explainer
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import guarded
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Capability, Chat, Outcome
from latentbench.runs.explaining import explainer_exchange, explanation_of
from latentbench.runs.judging import judgements_of, trial_exchange
from latentbench.runs.rounds import Exchange, converse
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.store import load_suite

LIST, WORD, CHOICE, EXPLANATION, JSON = ASKED = ("list", "word", "choice", "explanation", "json")
WRITTEN = frozenset({LIST, WORD, EXPLANATION, JSON})
THOUGHT = "Okay, the texts look like [1, 0, 1, 0, 1] at first. Maybe Yes. No, words for numbers."
PARTS = {"type": "text"}


@dataclass(frozen=True)
class Kind:
    """One way to answer.

    Attributes:
        reply: the right answer -> the body, and its status where it is not 200.
        answers: the questions to which this is an answer.
    """

    reply: Callable[[str], Any]
    answers: frozenset[str] = frozenset()


def body(content: Any, finish: Any = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [
            {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": content, **message}}
        ],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15},
    }


def top(*pairs: tuple[Any, Any], **more: Any) -> Callable[[str], Any]:
    """A reply with likeliest first tokens."""

    def reply(answer: str) -> Any:
        found = body(answer)
        listed = [{"token": t, "logprob": p, "bytes": None} for t, p in pairs]
        found["choices"][0]["logprobs"] = {"content": [{**listed[0], "top_logprobs": listed}], **more}
        return found

    return reply


def said_beside(content: Any, **message: Any) -> Callable[[str], Any]:
    """First tokens that look like an answer, of a message that is none."""

    def reply(answer: str) -> Any:
        found = top(("Yes", -0.3), ("No", -1.4))(answer)
        found["choices"][0] |= {
            "message": {"role": "assistant", "content": content, **message},
            "finish_reason": "length",
        }
        return found

    return reply


def edited(**fields: Any) -> Callable[[str], Any]:
    return lambda answer: body(answer) | fields


def status(status_code: int, message: str = "no", **fields: Any) -> Callable[[str], Any]:
    return lambda answer: (status_code, {"error": {"message": message, **fields}})


ODD = ("two lists", "two answers in JSON", "a name that stands twice")
"""Kinds that say an explanation twice: which of them is meant, and how it is wrapped, nobody knows."""
ONLY = {name: frozenset({name}) for name in ASKED}
NOTHING: frozenset[str] = frozenset()

KINDS: dict[str, Kind] = {
    # thoughts
    "plain": Kind(body, WRITTEN),
    "a thought, then the answer": Kind(lambda a: body(f"<think>\n{THOUGHT}\n</think>\n\n{a}"), WRITTEN),
    "a thought without an end": Kind(lambda a: body(f"<think>\n{THOUGHT} {a}", "length")),
    "a thought without an end that stops": Kind(lambda a: body(f"<think>\n{THOUGHT} {a}")),
    "only the end of a thought": Kind(lambda a: body(f"{THOUGHT}\n</think>\n{a}"), WRITTEN),
    "two thoughts": Kind(lambda a: body(f"<think>{a}</think>\n<think>{THOUGHT}</think>{a}"), WRITTEN),
    "a thought and nothing": Kind(lambda a: body(f"<think>{a}</think>")),
    "a thought in capitals": Kind(lambda a: body(f"<THINK>{THOUGHT}</THINK>{a}"), WRITTEN),
    "thoughts in brackets": Kind(lambda a: body(f"[THINK]{THOUGHT}[/THINK]{a}"), WRITTEN),
    "another tag": Kind(lambda a: body(f"<reasoning>{THOUGHT}</reasoning>\n{a}"), WRITTEN),
    "a channel of thoughts": Kind(lambda a: body(f"<|channel>thought\n{THOUGHT}<channel|>\n{a}"), WRITTEN),
    "an empty channel of thoughts": Kind(lambda a: body(f"<|channel>thought\n<channel|>{a}"), WRITTEN),
    "a channel of thoughts without an end": Kind(lambda a: body(f"<|channel>thought\n{THOUGHT} {a}", "length")),
    "channels": Kind(
        lambda a: body(
            f"<|channel|>analysis<|message|>{THOUGHT}<|end|><|start|>assistant<|channel|>final<|message|>{a}"
        ),
        WRITTEN,
    ),
    "a channel without an end": Kind(lambda a: body(f"<|channel|>analysis<|message|>{THOUGHT} {a}", "length")),
    "thoughts in a field": Kind(lambda a: body(a, reasoning_content=THOUGHT), WRITTEN),
    "thoughts in a field and nothing": Kind(lambda a: body(None, "length", reasoning_content=a)),
    "thoughts in another field and nothing": Kind(lambda a: body("", "length", reasoning=a)),
    "thoughts in details and nothing": Kind(lambda a: body("", reasoning_details=[{"text": a}])),
    # cut off
    "cut at once": Kind(lambda a: body("", "length")),
    "cut in the middle": Kind(lambda a: body(a[: max(1, len(a) // 2)], "length")),
    "cut behind a number": Kind(lambda a: body("Words that refer to the number of things in a", "length")),
    "cut, in another word": Kind(lambda a: body(a[: max(1, len(a) // 2)], "MAX_TOKENS")),
    # content of all sorts
    "empty": Kind(lambda a: body("")),
    "white space": Kind(lambda a: body(" \n\t ")),
    "null": Kind(lambda a: body(None)),
    "parts": Kind(lambda a: body([{"type": "text", "text": a}]), WRITTEN),
    "parts with a thought": Kind(
        lambda a: body(
            [{"type": "thinking", "thinking": [{"type": "text", "text": THOUGHT}]}, {"type": "text", "text": a}]
        ),
        WRITTEN,
    ),
    "parts that are no text": Kind(lambda a: body([{"type": "image_url", "image_url": {"url": a}}])),
    "no parts": Kind(lambda a: body([])),
    "a number": Kind(lambda a: body(1)),
    "true": Kind(lambda a: body(True)),
    "an object": Kind(lambda a: body({"answer": a})),
    "half of a pair": Kind(lambda a: body(f"{a} \ud83d")),
    "half of a pair in the thoughts": Kind(lambda a: body(a, reasoning_content="hm \ud83d"), WRITTEN),
    "another language": Kind(lambda a: body("Ich weiß es nicht, tut mir leid."), ONLY[EXPLANATION]),
    "a refusal": Kind(lambda a: body(None, refusal="I will not do that.")),
    "a refusal as text": Kind(lambda a: body("I'm sorry, but I can't help with that.")),
    "a refusal in a part": Kind(lambda a: body([{"type": "refusal", "refusal": "no"}])),
    "a filter": Kind(lambda a: body(a, "content_filter")),
    "a tool call": Kind(lambda a: body(None, "tool_calls", tool_calls=[{"id": "1", "type": "function"}])),
    "a list of another length": Kind(
        lambda a: body("[1, 0]" if a.startswith("[") else "1 or 2 or 3"), ONLY[EXPLANATION]
    ),
    "two lists": Kind(lambda a: body(f"{a} or {a}"), ONLY[EXPLANATION]),
    "maybe": Kind(lambda a: body("Maybe."), ONLY[EXPLANATION]),
    # around the answer
    "a fence": Kind(lambda a: body(f"```\n{a}\n```"), WRITTEN),
    "a fence that is not closed": Kind(lambda a: body(f"```\n{a}"), frozenset({LIST, EXPLANATION})),
    "an answer in JSON": Kind(lambda a: body(json.dumps({"answer": a})), WRITTEN - ONLY[JSON]),
    "an answer in JSON in a fence": Kind(
        lambda a: body(f"```json\n{json.dumps({'answer': a})}\n```"), WRITTEN - ONLY[JSON]
    ),
    "two answers in JSON": Kind(
        lambda a: body(json.dumps({"answer": a, "other": a[:1]})), frozenset({LIST, EXPLANATION})
    ),
    "a name that stands twice": Kind(
        lambda a: body(f'{{"answer": {json.dumps(a)}, "answer": "No"}}'), frozenset({LIST, EXPLANATION})
    ),
    "emphasis": Kind(lambda a: body(f"**{a}**"), WRITTEN - ONLY[JSON]),
    "a label": Kind(lambda a: body(f"**Explanation:** {a}"), frozenset({LIST, EXPLANATION})),
    "control characters": Kind(lambda a: body(f"{a}\x00\x1b[31m"), frozenset({LIST, EXPLANATION})),
    # bodies of all sorts
    "no choices": Kind(edited(choices=[])),
    "choices null": Kind(edited(choices=None)),
    "a choice that is null": Kind(edited(choices=[None])),
    "no message": Kind(edited(choices=[{"index": 0}])),
    "a list": Kind(lambda a: [body(a)]),
    "a text": Kind(lambda a: a),
    "nothing": Kind(lambda a: b""),
    "HTML": Kind(lambda a: b"<html>Bad gateway</html>"),
    "bytes": Kind(lambda a: b"\xff\xfe\x00"),
    "deep": Kind(lambda a: b"[" * 100_000),
    "an error with status 200": Kind(lambda a: {"error": {"message": "Provider returned error", "code": 502}}),
    "an error inside a choice": Kind(edited(choices=[{"error": {"message": "upstream"}, "message": {"content": "1"}}])),
    "usage of all sorts": Kind(edited(usage={"prompt_tokens": "ten", "completion_tokens": -4, "x": 1e400}), WRITTEN),
    "no usage": Kind(edited(usage=None), WRITTEN),
    "usage without end": Kind(edited(usage={"prompt_tokens": 10**30, "completion_tokens": 1.5}), WRITTEN),
    "a reason that is a number": Kind(lambda a: body(a, 7), WRITTEN),
    # refusals of the call
    "400": Kind(status(400, "bad request")),
    "400 without a body": Kind(lambda a: (400, b"")),
    "401": Kind(status(401, "invalid key")),
    "404": Kind(status(404, "model not found")),
    "500": Kind(status(500, "oops")),
    "502 in HTML": Kind(lambda a: (502, b"<html>Bad gateway</html>")),
    "too long": Kind(status(400, "the request exceeds the available context size (512 tokens)")),
    "filtered": Kind(status(400, "no", code="content_filter")),
    # first tokens
    "first tokens": Kind(top(("Yes", -0.3), ("No", -1.4)), WRITTEN | ONLY[CHOICE]),
    "in small letters": Kind(top(("yes", -0.3), ("no", -1.4), ("Yes", -6.0)), WRITTEN | ONLY[CHOICE]),
    "with the vocabulary's space": Kind(top(("▁Yes", -0.3), ("Ġno", -1.4)), WRITTEN | ONLY[CHOICE]),
    "in quotation marks": Kind(top(('"Yes', -0.3), ("**No", -1.4)), WRITTEN | ONLY[CHOICE]),
    "no mass on one": Kind(top(("Yes", -0.1), ("No", -float("inf"))), WRITTEN | ONLY[CHOICE]),
    "a thought in a field beside first tokens": Kind(said_beside(None, reasoning_content="Okay, so")),
    "an opened thought beside first tokens": Kind(said_beside("<think>\nOkay, so")),
    "a thought first": Kind(top(("<think>", -0.001), ("Yes", -8.0), ("No", -9.0)), WRITTEN),
    "a fence first": Kind(top(("```", -0.01), ("Yes", -5.0), ("No", -6.0)), WRITTEN),
    "no number": Kind(top(("Yes", float("nan")), ("No", -1.0)), WRITTEN),
    "null for a number": Kind(top(("Yes", None), ("No", -1.0)), WRITTEN),
    "text for a number": Kind(top(("Yes", "high"), ("No", -1.0)), WRITTEN),
    "more than all": Kind(top(("Yes", 3.0), ("No", -1.0)), WRITTEN),
    "more than all together": Kind(top(("Yes", -0.1), ("No", -0.1)), WRITTEN),
    "no likeliest tokens": Kind(edited(), WRITTEN),
    "other tokens": Kind(top(("The", -0.1), ("A", -3.0)), WRITTEN),
    "half a token": Kind(top(("\ud83d", -0.1), ("A", -3.0)), WRITTEN),
    "a token that is null": Kind(top((None, -0.1), ("A", -3.0)), WRITTEN),
}


class Server:
    """Answers with the kind that the model's name says."""

    def __init__(self) -> None:
        self.right = ""

        class Handler(BaseHTTPRequestHandler):
            def do_POST(handler) -> None:  # noqa: N805 - `self` is the server's
                asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
                found = KINDS[asked["model"]].reply(self.right)
                code, said = found if isinstance(found, tuple) else (200, found)
                data = said if isinstance(said, bytes) else json.dumps(said).encode()
                handler.send_response(code)
                handler.send_header("Content-Type", "application/json")
                handler.send_header("Content-Length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            def log_message(handler, *args: Any) -> None: ...  # noqa: N805

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}/v1"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    found = Server()
    yield found
    found.http.shutdown()
    found.http.server_close()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplyCache]:
    found = ReplyCache(tmp_path_factory.mktemp("cache") / "replies.sqlite")
    yield found
    found.close()


SCORERS = {
    LIST: {"use": "detection", "preset": "paper", "params": {"positives": 3, "negatives": 2, "simulate": "never"}},
    WORD: {"use": "detection", "params": {"positives": 1, "negatives": 1, "simulate": "never"}},
    CHOICE: {"use": "detection", "params": {"positives": 1, "negatives": 1, "simulate": "never"}},
    JSON: {"use": "simulation", "params": {"mode": "json"}},
}


latents = lru_cache(lambda: load_suite("planted-1").latents(split="test", limit=1))
scorer_of = lru_cache(lambda asked: load_scorer(SCORERS[asked]))
llm = lru_cache(lambda: load_explainer("llm"))


async def outcome_of(server: Server, cache: ReplyCache, kind: str, asked: str) -> tuple[Outcome, str]:
    """What became of one question, from the request to the judgement or explanation."""
    options = "&logprobs=true" if asked == CHOICE else ""
    judge = load_judge(f"openai:{kind}?base_url={server.url}&attempts=1&backoff=0{options}")
    wrapped = CachedJudge(judge, cache)
    (latent, *_) = latents()

    async def source(requests: Any) -> Any:
        return await guarded(wrapped, requests)

    async def carried(exchange: Exchange) -> Exchange:
        await converse([exchange], source)
        return exchange

    try:
        if asked == EXPLANATION:
            explainer = llm()
            server.right = "[EXPLANATION]: Words for numbers."
            exchange = await carried(explainer_exchange(explainer, latent, 0))
            found = explanation_of(explainer, latent, exchange, 0, {})
            assert (found.outcome is Outcome.OK) == (found.text is not None)
            assert "think" not in (found.text or "").lower()
            assert (found.text or "").isprintable()
            assert kind in ODD or not re.search(r"```|\{|explanation", found.text or "", re.IGNORECASE), found.text
            assert THOUGHT[:20] not in (found.text or "")
            return found.outcome, found.error or ""
        scorer = scorer_of(asked)
        (trial, *_) = scorer.trials(latent, "Words for numbers.", 0)
        server.right = right(asked, trial)
        can = frozenset({Capability.CHOICE}) if asked == CHOICE else frozenset({Capability.CHAT})
        exchange = await carried(trial_exchange(scorer, trial, can))
        judgements = judgements_of(scorer, trial, exchange)
        assert len(judgements) == len(trial.judged)
        outcomes = {(j.outcome, j.error or "") for j in judgements}
        assert all(j.outcome is Outcome.OK or (j.score, j.answer, j.token_scores) == (None,) * 3 for j in judgements)
        assert len(outcomes) == 1
        return outcomes.pop()
    finally:
        await judge.close()


def right(asked: str, trial: Any) -> str:
    if asked == LIST:
        return str(list(trial.truth))
    if asked == JSON:
        from latentbench.scorers.simulation import cell

        return json.dumps([[cell(t), 3] for t in trial.windows[0].tokens], ensure_ascii=False)
    return "Yes"


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_no_answer_is_not_scored(server: Server, cache: ReplyCache, kind: str, asked: str) -> None:
    outcome, error = await outcome_of(server, cache, kind, asked)
    if asked in KINDS[kind].answers:
        assert (outcome, error) == (Outcome.OK, "")
    else:
        assert outcome is not Outcome.OK
        assert error
        assert error.isprintable()


async def test_a_second_run_reads_the_same_from_the_cache(server: Server, cache: ReplyCache) -> None:
    for kind in ("a thought, then the answer", "a thought without an end", "half of a pair", "parts"):
        first = await outcome_of(server, cache, kind, WORD)
        assert await outcome_of(server, cache, kind, WORD) == first


def test_the_matrix_is_as_wide_as_it_says() -> None:
    assert len(KINDS) >= 40
    for asked in ASKED:
        assert any(asked in kind.answers for kind in KINDS.values()), asked
    assert isinstance(Chat((), listed=True), Chat)
