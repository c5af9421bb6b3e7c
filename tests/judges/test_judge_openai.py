"""The endpoint judge against a server on the loopback address that misbehaves in every known way."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.judges.remote.reading import answer_logprobs
from latentbench.kernel.errors import CapabilityError, SpecError
from latentbench.kernel.requests import Capability, Chat, Choice, Continuation, JudgeIdentity, Message, Outcome
from latentbench.runs.run import resume, start
from rich.console import Console

from tests.builders.bindings import bound

KEY = "sk-very-secret-0123456789"


@dataclass
class Answer:
    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


def completion(text: str | None = "fine", **message: Any) -> Answer:
    finish = message.pop("finish_reason", "stop")
    return Answer(
        {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "served-model",
            "system_fingerprint": "fp_1",
            "choices": [
                {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": text, **message}}
            ],
            "usage": {
                "prompt_tokens": 12,
                "completion_tokens": 3,
                "total_tokens": 15,
                "prompt_tokens_details": {"cached_tokens": 8},
            },
        }
    )


def failure(status: int, message: str = "no", headers: dict[str, str] | None = None, **fields: Any) -> Answer:
    return Answer({"error": {"message": message, **fields}}, status, headers or {})


class Endpoint:
    """Answers the n-th request with `script[n]` (the last one for all that follow) and keeps what it was sent."""

    def __init__(self) -> None:
        self.script: list[Answer] | Callable[[dict[str, Any]], Answer] = [completion()]
        self.sent: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.authorizations: set[str | None] = set()
        self.active = self.most = 0
        lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    n = len(endpoint.sent)
                    endpoint.sent.append({"path": self.path, **body})
                    endpoint.times.append(time.monotonic())
                    endpoint.authorizations.add(self.headers.get("Authorization"))
                    endpoint.active += 1
                    endpoint.most = max(endpoint.most, endpoint.active)
                script = endpoint.script
                answer = script(body) if callable(script) else script[min(n, len(script) - 1)]
                time.sleep(answer.wait)
                with lock:
                    endpoint.active -= 1
                data = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
                try:
                    self.send_response(answer.status)
                    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up: that is what the timeout test is about

            def log_message(self, *args: Any) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Endpoint]:
    monkeypatch.setenv("TEST_JUDGE_KEY", KEY)
    bound({"127.0.0.1": {"key_env": "TEST_JUDGE_KEY"}}, tmp_path, monkeypatch)
    found = Endpoint()
    yield found
    found.server.shutdown()
    found.server.server_close()


def make(endpoint: Endpoint, **params: Any) -> OpenAIJudge:
    given = {"base_url": endpoint.url, "key_env": "TEST_JUDGE_KEY", "backoff": 0.01, "timeout": 5, **params}
    return OpenAIJudge("m", OpenAIParams(**given))


def chat(text: str = "hello", **kwargs: Any) -> Chat:
    return Chat((Message("system", "s"), Message("user", text)), **kwargs)


async def one(judge: OpenAIJudge, request: Chat | None = None):
    try:
        return (await judge.answer([request or chat()]))[0]
    finally:
        await judge.close()


async def test_a_reply_with_its_usage(endpoint):
    judge = make(endpoint)
    reply = await one(judge, chat("hello", max_tokens=7, temperature=0.5, seed=3))
    assert (reply.outcome, reply.text) == (Outcome.OK, "fine")
    assert (reply.usage.tokens_in, reply.usage.tokens_out, reply.usage.tokens_cached) == (12, 3, 8)
    assert reply.usage.seconds > 0
    sent = endpoint.sent[0]
    assert sent["path"] == "/v1/chat/completions"
    assert (sent["model"], sent["max_tokens"], sent["temperature"], sent["seed"]) == ("m", 7, 0.5, 3)
    assert sent["messages"][1] == {"role": "user", "content": "hello"}
    assert endpoint.authorizations == {f"Bearer {KEY}"}


async def test_too_many_calls_are_tried_again(endpoint):
    endpoint.script = [failure(429), failure(429), completion("late")]
    assert (await one(make(endpoint))).text == "late"
    assert len(endpoint.sent) == 3


async def test_server_faults_and_broken_bodies_are_tried_again_and_then_given_up(endpoint):
    endpoint.script = [
        failure(500),
        Answer(b'{"choices": [', 200),
        Answer({"choices": []}),
        Answer({"choices": ["x"]}),
        completion("late"),
    ]
    assert (await one(make(endpoint))).text == "late"
    endpoint.script, endpoint.sent = [failure(503, "overloaded")], []
    reply = await one(make(endpoint, attempts=3))
    assert reply.outcome is Outcome.API
    assert "503" in reply.error
    assert "overloaded" in reply.error
    assert len(endpoint.sent) == 3
    endpoint.script, endpoint.sent = [Answer(b"<html>", 200)], []
    reply = await one(make(endpoint, attempts=2))
    assert reply.outcome is Outcome.API
    assert len(endpoint.sent) == 2


async def test_a_bad_request_is_not_tried_again(endpoint):
    for status in (400, 401, 404):
        endpoint.script, endpoint.sent = [failure(status)], []
        reply = await one(make(endpoint))
        assert reply.outcome is Outcome.API
        assert len(endpoint.sent) == 1
    endpoint.script, endpoint.sent = [failure(429, code="insufficient_quota")], []
    assert (await one(make(endpoint))).outcome is Outcome.API
    assert len(endpoint.sent) == 1


async def test_no_answer_in_time_is_its_own_outcome(endpoint):
    endpoint.script = [Answer({}, wait=1.5)]
    reply = await one(make(endpoint, timeout=0.5, attempts=2))
    assert reply.outcome is Outcome.TIMEOUT
    assert len(endpoint.sent) == 2


async def test_no_server_is_an_outcome(monkeypatch):
    judge = OpenAIJudge("m", OpenAIParams(base_url="http://127.0.0.1:9/v1", attempts=2, backoff=0.01))
    reply = await one(judge)
    assert reply.outcome is Outcome.API
    assert "APIConnectionError" in reply.error


async def test_refusals_are_told_apart(endpoint):
    for answer in (
        completion(None, refusal="I cannot help with that."),
        completion("", finish_reason="content_filter"),
        failure(400, "filtered", code="content_filter"),
    ):
        endpoint.script = [answer]
        reply = await one(make(endpoint))
        assert reply.outcome is Outcome.REFUSAL
        assert reply.error


async def test_retry_after_is_obeyed_up_to_the_longest_wait(endpoint):
    endpoint.script = [failure(429, headers={"Retry-After": "0.5"}), completion()]
    await one(make(endpoint))
    assert endpoint.times[1] - endpoint.times[0] >= 0.5
    endpoint.script, endpoint.times, endpoint.sent = (
        [failure(429, headers={"Retry-After": "3600"}), completion()],
        [],
        [],
    )
    assert (await one(make(endpoint, max_wait=0.2))).ok
    assert 0.2 <= endpoint.times[1] - endpoint.times[0] < 3


async def test_no_more_calls_are_under_way_than_allowed(endpoint):
    def slow(body: dict[str, Any]) -> Answer:
        found = completion(body["messages"][1]["content"])
        found.wait = 0.15
        return found

    endpoint.script = slow
    judge = make(endpoint, concurrency=3)
    replies = await judge.answer([chat(str(i)) for i in range(30)])
    await judge.close()
    assert [r.text for r in replies] == [str(i) for i in range(30)]
    assert 1 < endpoint.most <= 3


async def test_the_key_is_in_no_text(endpoint, caplog):
    caplog.set_level(logging.DEBUG)
    endpoint.script = [failure(401, f"Incorrect API key provided: {KEY}.")]
    judge = make(endpoint)
    reply = await one(judge)
    assert "***" in reply.error
    for text in (reply.error, repr(reply), repr(judge), repr(judge.params), repr(judge.identity), caplog.text):
        assert KEY not in text


def test_a_missing_key_is_said_before_the_first_call(monkeypatch, tmp_path):
    monkeypatch.delenv("NO_SUCH_KEY", raising=False)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises(SpecError, match="OPENAI_API_KEY is not set"):
        load_judge("openai:m")
    bound({"api.openai.com": {"key_env": ["OPENAI_API_KEY", "NO_SUCH_KEY"]}}, tmp_path, monkeypatch)
    with pytest.raises(SpecError, match="NO_SUCH_KEY is not set"):
        load_judge("openai:m?key_env=NO_SUCH_KEY")


def test_where_a_call_goes_is_no_part_of_what_answers():
    def identity(options: str) -> JudgeIdentity:
        return load_judge(f"openai:m?base_url=http://127.0.0.1:{options}").identity

    here = identity("1/v1")
    assert identity("2/v1&concurrency=3&timeout=9&rpm=60&headers={%22X-Team%22:%22a%22}") == here
    others = [
        "1/v1&revision=2026-11",
        "1/v1&max_tokens=512",
        "1/v1&reasoning_effort=low",
        "1/v1&chat_template_kwargs={%22enable_thinking%22:false}",
        "1/v1&extra_body={%22top_k%22:1}",
        "1/v1&system=merge",
        "1/v1&prefill=merge",
        "1/v1&top_logprobs=5",
        "1/v1&least_mass=0.5",
        "1/v1&structured=regex",
        "1/v1&temperature=false",
    ]
    assert len({here.key, *(identity(o).key for o in others)}) == len(others) + 1
    # An option at its default is not there, so a new option makes no new judge of an old one.
    assert identity("1/v1&system=keep&top_logprobs=20&extra_body={}") == here


def test_an_option_that_is_no_json_says_so():
    with pytest.raises(SpecError, match="extra_body.*not JSON"):
        load_judge("openai:m?base_url=http://127.0.0.1:1/v1&extra_body={top_k}")


async def test_choice_is_read_from_the_top_tokens_of_the_first_place(endpoint):
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in (("1", 0.6), (" 1", 0.1), ("0", 0.2))]
    answer = completion("1")
    answer.body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    endpoint.script = [answer]
    judge = make(endpoint, logprobs=True)
    assert judge.can == {Capability.CHAT, Capability.CHOICE}
    yes_no, several, twins = await judge.answer(
        [
            Choice(chat().messages, ("0", "1", "2")),
            Choice(chat().messages, ("0", "1"), slots=("a", "b")),
            Choice(chat().messages, ("1", "10")),
        ]
    )
    await judge.close()
    assert [round(math.exp(p), 6) for p in yes_no.logprobs[0]] == [0.2, 0.7, 0.1]
    assert several.outcome is twins.outcome is Outcome.SKIPPED
    assert len(endpoint.sent) == 1
    assert (endpoint.sent[0]["max_tokens"], endpoint.sent[0]["top_logprobs"]) == (1, 20)


def test_a_token_that_begins_two_answers_counts_for_neither():
    found = answer_logprobs(
        ("yes", "yellow", "no"), [("ye", math.log(0.5)), ("yes", math.log(0.2)), ("n", math.log(0.2))]
    )
    assert [round(math.exp(p), 6) for p in found] == [0.2, 0.1, 0.2]


def test_an_answer_without_token_gets_what_is_left_but_no_more_than_the_least_token():
    def read(*top: tuple[str, float]) -> list[float] | None:
        found = answer_logprobs(("yes", "no"), [(token, math.log(p)) for token, p in top])
        return None if found is None else [round(math.exp(p), 6) for p in found]

    assert read(("yes", 0.9), ("maybe", 0.06)) == [0.9, 0.04]
    assert read(("yes", 0.6), ("maybe", 0.01)) == [0.6, 0.01]
    assert read(("maybe", 0.5), ("The", 0.3), (" ", 0.1)) is None


async def test_a_first_place_without_any_answer_is_no_answer(endpoint):
    top = [{"token": t, "logprob": math.log(p), "bytes": None} for t, p in (("Maybe", 0.6), (" I", 0.2), ("\n", 0.1))]
    answer = completion("Maybe")
    answer.body["choices"][0]["logprobs"] = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    endpoint.script = [answer]
    judge = make(endpoint, logprobs=True)
    (reply,) = await judge.answer([Choice(chat().messages, ("0", "1"))])
    await judge.close()
    assert (reply.outcome, reply.logprobs) == (Outcome.PARSE, None)
    assert "0.00% of the probability of the first token is on an answer, less than least_mass=0.1" in reply.error
    assert "likeliest of 3: 'Maybe' 60.00%, ' I' 20.00%, '\\n' 10.00%" in reply.error
    assert reply.usage.tokens_in == 12
    assert len(endpoint.sent) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_judge_is_closed_in_another_event_loop_than_the_one_that_used_it(endpoint):
    # Only a connection that the server keeps open outlives the loop in which it was made.
    endpoint.server.RequestHandlerClass.protocol_version = "HTTP/1.1"
    judge = make(endpoint)
    assert asyncio.run(judge.answer([chat()]))[0].ok
    asyncio.run(judge.close())
    assert asyncio.run(one(judge)).ok
    gc.collect()  # here, so that no other test gets the warning about the connection that was dropped


async def test_an_endpoint_without_logprobs_says_so(endpoint):
    with pytest.raises(CapabilityError):
        await make(endpoint).answer([Choice(chat().messages, ("0", "1"))])
    judge = make(endpoint, logprobs=True, attempts=1)
    reply = (await judge.answer([Choice(chat().messages, ("0", "1"))]))[0]
    await judge.close()
    assert reply.outcome is Outcome.API
    assert "no log-probabilities" in reply.error


async def test_loglik_sums_the_echoed_tokens_of_the_text(endpoint):
    def echo(body: dict[str, Any]) -> Answer:
        # A start token of three characters shifts every offset.
        logprobs = {
            "tokens": ["<s>", "ab", "cd", "e", "f"],
            "token_logprobs": [None, -1.0, -2.0, -3.0, -4.0],
            "text_offset": [0, 3, 5, 7, 8],
            "top_logprobs": None,
        }
        choice = {"index": 0, "text": "abcdef", "finish_reason": "length", "logprobs": logprobs}
        usage = {"prompt_tokens": 5, "completion_tokens": 0, "total_tokens": 5}
        return Answer(
            {"id": "1", "object": "text_completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        )

    endpoint.script = echo
    judge = make(endpoint, completions=True)
    clean, across, whole = await judge.answer(
        [Continuation("abcd", "ef"), Continuation("abc", "def"), Continuation("", "<s>abcdef")]
    )
    await judge.close()
    assert (clean.loglik, clean.n_tokens) == (-7.0, 2)
    assert (across.loglik, across.n_tokens) == (-9.0, 3)
    assert whole.outcome is Outcome.SKIPPED
    assert endpoint.sent[0]["echo"] is True


def test_half_of_a_surrogate_pair_fails_its_call_and_the_run_goes_on(endpoint: Endpoint, tmp_path: Path) -> None:
    """An endpoint may name half a pair in its JSON; no file can hold such a text."""
    told: list[int] = []

    def script(body: dict[str, Any]) -> Answer:
        told.append(1)
        return completion("half \ud83d") if len(told) % 3 == 1 else completion("Words of boats.")

    endpoint.script = script
    model = f"openai:m?base_url={endpoint.url}&key_env=TEST_JUDGE_KEY&backoff=0.01&concurrency=2"
    spec = {
        "name": "t",
        "suite": "planted-1",
        "limit": 6,
        "explainers": [{"use": "llm", "model": model}],
        "scorers": [{"use": "detection", "preset": "paper"}],
        "judges": [{"use": model, "label": "served"}],
        "max_failures": 1.0,
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    folder, _ = start(tmp_path / "spec.yaml", tmp_path / "run", tmp_path / "c.sqlite", Console(quiet=True))
    explanations = pq.read_table(folder / "explanations.parquet").to_pandas()
    assert sorted(set(explanations.outcome)) == ["ok", "parse"]
    lost = explanations[explanations.outcome == "parse"].error
    assert set(lost) == {"the reply is not Unicode text: half of a surrogate pair (\\ud83d) at character 5"}
    judged = pq.read_table(folder / "judgements.parquet").to_pandas()
    assert judged.error.str.contains("surrogate pair").any()
    calls = len(told)
    resume(folder, tmp_path / "c.sqlite", Console(quiet=True))
    # The judge's answer stays what it is: it is not asked for again.
    assert len(told) == calls
