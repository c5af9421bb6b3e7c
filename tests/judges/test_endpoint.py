"""How calls get to an endpoint: counted at a server on the loopback address, and at a clock that the test moves."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from latentbench.judges.reference import load_judge
from latentbench.judges.remote.call_quota import Quota
from latentbench.judges.remote.endpoint import advice, asked_to_wait, seconds
from latentbench.judges.remote.limiter import Limiter, Pace
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.kernel.requests import Chat, Message, Outcome, Reply

from tests.builders.loopback import Loopback, Said, completed, rationed, refused, serving


def judge(server: Loopback, **params: Any) -> OpenAIJudge:
    return OpenAIJudge("m", OpenAIParams(base_url=server.url, **({"backoff": 0.05, "timeout": 5} | params)))


def chats(n: int, text: str = "hello", max_tokens: int = 1) -> list[Chat]:
    return [Chat((Message("user", f"{text} {i}"),), max_tokens=max_tokens) for i in range(n)]


async def answers(asked: OpenAIJudge, requests: list[Chat]) -> list[Reply]:
    try:
        return await asked.answer(requests)
    finally:
        await asked.close()


async def test_a_rationed_endpoint_answers_every_call_and_refuses_few():
    with serving(rationed(10, 0.5)) as server:
        replies = await answers(judge(server), chats(100))
    assert {r.outcome for r in replies} == {Outcome.OK}
    assert len(server.sent) == 100 + server.statuses.count(429)
    assert server.statuses.count(429) <= 0.1 * len(server.sent)


async def test_a_429_pauses_the_whole_endpoint():
    told: list[float] = []

    def script(body: dict[str, Any]) -> Said:
        if len(server.sent) == 5:
            told.append(time.monotonic())
            return refused(429, headers={"Retry-After": "1"})
        return completed()

    with serving(script) as server:
        replies = await answers(judge(server), chats(15))
    assert all(r.ok for r in replies)
    late = [t for t in server.times if t > told[0] + 0.3]
    assert min(late) - told[0] >= 0.95
    assert len(late) >= 8  # the rest waited, too


async def test_after_a_pause_calls_are_let_out_one_by_one():
    def script(body: dict[str, Any]) -> Said:
        return refused(429, headers={"retry-after-ms": "400"}) if len(server.sent) == 15 else completed()

    with serving(script) as server:
        await answers(judge(server, concurrency=64), chats(25))
    pause = next(i for i in range(1, len(server.times)) if server.times[i] - server.times[i - 1] > 0.3)
    after = server.times[pause:]
    # Fifteen were taken in some 1.2 s: no more than a few in a tenth of a second can be the rate that is allowed.
    assert sum(t < after[0] + 0.1 for t in after) <= 4


async def test_a_429_costs_no_attempt():
    with serving(lambda body: completed() if len(server.sent) > 12 else refused(429)) as server:
        (reply,) = await answers(judge(server, attempts=1, backoff=0.01, max_wait=0.02), chats(1))
    assert reply.ok
    assert len(server.sent) == 13


async def test_a_call_that_is_refused_for_longer_than_its_patience_fails():
    with serving(lambda body: refused(429, "slow down")) as server:
        (reply,) = await answers(judge(server, patience=0.3, max_wait=0.05), chats(1))
    assert (reply.outcome, reply.error) == (Outcome.API, "429 Too Many Requests: slow down")
    assert 2 < len(server.sent) < 40


async def test_a_waiting_call_keeps_its_place():
    """With one place, nobody is asked between the attempts of the call that holds it."""
    with serving(lambda body: refused(503) if len(server.sent) in (1, 2, 4) else completed()) as server:
        await answers(judge(server, concurrency=1), chats(4))
    assert [body["messages"][0]["content"][-1] for body in server.sent] == ["0", "0", "0", "1", "1", "2", "3"]


async def test_a_spent_quota_is_nothing_to_wait_for():
    with serving(lambda body: refused(429, "pay", code="insufficient_quota")) as server:
        (reply,) = await answers(judge(server), chats(1))
    assert (reply.outcome, len(server.sent)) == (Outcome.API, 1)


async def test_an_endpoint_that_says_that_nothing_is_left_is_not_asked_before_there_is():
    left = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "500ms"}
    with serving(lambda body: completed(headers=left if len(server.sent) == 1 else {})) as server:
        await answers(judge(server, concurrency=1), chats(3))
    assert server.times[1] - server.times[0] >= 0.5
    assert server.statuses == [200] * 3


async def test_an_error_inside_a_success_has_the_status_that_it_names():
    wrapped = Said({"error": {"message": "Provider returned error", "code": 429}})
    with serving(lambda body: completed() if len(server.sent) > 3 else wrapped) as server:
        (reply,) = await answers(judge(server, attempts=1, max_wait=0.05), chats(1))
    assert reply.ok
    with serving(lambda body: Said({"error": {"message": "no such model", "code": 404}})) as server:
        (reply,) = await answers(judge(server), chats(1))
    assert (reply.error or "").startswith("404 Not Found: no such model")
    assert len(server.sent) == 1


async def test_rpm_spreads_the_requests_evenly():
    with serving(lambda body: completed()) as server:
        await answers(judge(server, rpm=1200), chats(12))
    assert server.times[-1] - server.times[0] >= 11 * 0.05 - 0.01
    assert all(sum(a <= t < a + 0.5 for t in server.times) <= 11 for a in server.times)


async def test_tpm_counts_estimated_tokens_until_the_usage_is_known():
    # 20 tokens are estimated and 120 used, so the second call comes 0.6 s after the first and not 0.1 s.
    with serving(lambda body: completed(tokens=120)) as server:
        await answers(judge(server, tpm=12000, concurrency=1), chats(3, "x" * 78, max_tokens=0))
    gaps = [b - a for a, b in zip(server.times, server.times[1:], strict=False)]
    assert all(gap >= 0.55 for gap in gaps)


CLIENT = """
import asyncio, sys
from latentbench.judges.remote.openai import OpenAIJudge, OpenAIParams
from latentbench.kernel.requests import Chat, Message
async def main(url):
    judge = OpenAIJudge("m", OpenAIParams(base_url=url, rpm=1800, quota="both"))
    print("ready", flush=True)
    sys.stdin.readline()
    replies = await judge.answer([Chat((Message("user", str(i)),)) for i in range(30)])
    await judge.close()
    assert all(r.ok for r in replies)
asyncio.run(main(sys.argv[1]))
"""


def test_two_processes_share_a_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path))
    with serving(lambda body: completed()) as server:
        command, pipe = [sys.executable, "-c", CLIENT, server.url], subprocess.PIPE
        started = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, encoding="utf-8") for _ in range(2)]
        for client in started:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for client in started:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        for client in started:
            client.communicate(timeout=120)
        assert [client.returncode for client in started] == [0, 0]
    # 30 a second for both together, so the last of 60 is seen some two seconds after the first; each alone would be done in one.
    assert len(server.times) == 60
    # A busy server notes the first of them late.
    assert max(server.times) - min(server.times) >= 1.5
    assert set(json.loads((tmp_path / "quotas" / "both.json").read_text(encoding="utf-8"))) == {"requests"}


def test_a_pause_holds_for_all_that_share_a_quota(tmp_path: Path) -> None:
    one, other = (Quota(None, None, tmp_path / "q.json") for _ in range(2))
    assert one.book(1) == 0
    other.pause(20)
    assert 19 < one.book(1) <= 20
    (tmp_path / "q.json").write_text('{"pau', encoding="utf-8")  # torn by a kill
    assert one.book(1) == 0
    (tmp_path / "q.json").write_text(
        json.dumps({"requests": time.time() + 1e6}), encoding="utf-8"
    )  # the clock was set back
    assert one.book(1) == 0


def test_how_an_endpoint_is_reached_is_no_part_of_the_identity() -> None:
    plain = load_judge("openai:m?base_url=http://127.0.0.1:1/v1")
    for params in ("rpm=5&tpm=100&quota=x", "patience=3&concurrency=2&attempts=1"):
        assert load_judge(f"openai:m?base_url=http://127.0.0.1:1/v1&{params}").identity == plain.identity


def test_retry_after_comes_in_many_forms() -> None:
    forms = {
        "20": 20,
        "1.5s": 1.5,
        "120ms": 0.12,
        "6m0s": 360,
        "1h2m": 3720,
        "0": 0,
        "soon": None,
        "": None,
        "5x": None,
    }
    assert {text: seconds(text) for text in forms} == forms
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    assert 27 <= (asked_to_wait({"retry-after": soon}) or 0) <= 31
    assert asked_to_wait({"retry-after": format_datetime(datetime.now(UTC) - timedelta(days=1), usegmt=True)}) == 0
    assert asked_to_wait({"retry-after": "7", "retry-after-ms": "250"}) == 0.25
    resets = {"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "6m0s"}
    assert asked_to_wait(resets) == 360
    assert asked_to_wait(resets | {"x-ratelimit-remaining-tokens": "9"}) == 1
    assert asked_to_wait(resets | {"x-ratelimit-remaining-tokens": "9", "x-ratelimit-remaining-requests": "3"}) == 1
    assert asked_to_wait({}) is None


def test_the_limit_is_halved_and_grows_back_only_where_it_is_used_in_full() -> None:
    limiter = Limiter(16)
    limiter.cut()
    limiter.cut()
    assert limiter.limit == 4
    limiter.success(3)
    assert limiter.limit == 4
    for _ in range(4):
        limiter.success(4)
    assert 4.8 < limiter.limit <= 5.0


def test_calls_that_were_under_way_when_a_pause_began_do_not_slow_down_again() -> None:
    pace = Pace(1.0, 60.0, random.Random(0))
    for i in range(10):
        pace.sent(i / 10)
    assert pace.refused(0.9, 1.0, 2.0)
    until, rate = pace.until, pace.rate
    assert until == 3.0
    assert not pace.refused(0.8, 1.1, None)
    assert pace.until == until
    assert 0.8 * rate < pace.rate < rate  # one call less was taken
    assert pace.refused(3.0, 3.1, None)


def test_pauses_grow_until_a_call_goes_through() -> None:
    pace = Pace(1.0, 60.0, random.Random(0))
    pauses, now = [], 0.0
    for _ in range(6):
        pace.sent(now)
        assert pace.refused(now, now, None)
        pauses.append(pace.until - now)
        now = pace.until
    assert all(0.15 * 2**i <= pause <= 0.3 * 2**i for i, pause in enumerate(pauses))
    pace.sent(now)
    pace.accepted(now)
    pace.sent(now + 1)
    pace.refused(now + 1, now + 1, None)
    assert pace.until - now - 1 <= 0.3


def test_the_rate_does_not_grow_while_it_is_not_used() -> None:
    pace = Pace(1.0, 60.0, random.Random(0))
    for i in range(10):
        pace.sent(i / 10)
    pace.refused(0.9, 1.0, 2.0)
    for second in range(3, 60):
        pace.sent(second)
        pace.accepted(second)
    unused, now = pace.rate, 60.0
    assert unused == pytest.approx(0.95 * pace._allowed)
    for _ in range(60):
        now = max(now, pace.next())
        pace.sent(now)
    assert pace.rate > 1.1 * unused


def test_the_rate_stays_near_what_is_allowed() -> None:
    """Five a second in windows of a second, at a clock of the test's own: few refusals, and little time lost."""
    for seed in range(10):
        rng = random.Random(seed)
        pace, now, taken, windows = Pace(1.0, 60.0, rng), rng.random(), [], {}
        start, said_no = now, 0
        while len(taken) < 300:
            now = max(now, pace.next())
            pace.sent(now)
            windows[int(now)] = windows.get(int(now), 0) + 1
            if windows[int(now)] <= 5:
                taken.append(now)
                pace.accepted(now)
            else:
                said_no += 1
                pace.refused(now, now, None)
            now += 0.003
        assert said_no <= 15
        assert now - start <= 69


async def test_a_cancelled_waiter_gives_its_place_on() -> None:
    limiter = Limiter(1)
    done: list[str] = []

    async def work(name: str, seconds: float) -> None:
        async with limiter.slot():
            await asyncio.sleep(seconds)
            done.append(name)

    tasks = [asyncio.create_task(work(n, 0.02)) for n in "abc"]
    await asyncio.sleep(0.005)
    tasks[1].cancel()
    await asyncio.wait_for(asyncio.wait(tasks), 2)
    assert done == ["a", "c"]


OVERFLOWS = (
    (400, "This model's maximum context length is 8192 tokens. However, your messages resulted in 9000 tokens."),
    (400, "the request exceeds the available context size (512 tokens), try increasing it"),
    (400, "Input length (900) exceeds model's limit of 512 tokens: prompt is too long"),
    (400, "prompt is too long: 210000 tokens > 200000 maximum"),
    (400, "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000"),
    (400, "The input token count (1100000) exceeds the maximum number of tokens allowed (1048576)."),
    (400, "The decoder prompt (length 900) is longer than the maximum model length of 512."),
    (400, "The input (900 tokens) is longer than the model's context length (512 tokens)."),
    (400, "Please reduce the length of the messages or completion."),
    (422, "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 2048. Given: 3000 `inputs` tokens"),
    (413, "Request Entity Too Large"),
    (429, "Request too large for gpt-4 in organization x on tokens per min (TPM): Limit 10000, Requested 12000."),
    (500, "the input length exceeds the context window"),
)


@pytest.mark.parametrize(("status", "said"), OVERFLOWS)
async def test_a_prompt_that_does_not_fit_is_skipped_in_the_words_of_every_server(status: int, said: str) -> None:
    with serving(lambda body: refused(status, said)) as server:
        (reply,) = await answers(judge(server), chats(1))
    assert (reply.outcome, len(server.sent)) == (Outcome.SKIPPED, 1)


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (400, "max_tokens is too large: 5000. This model supports at most 4096 completion tokens."),
        (400, "System role not supported"),
        (404, "no model with a context length of 8192 here"),
        (401, "invalid key"),
    ],
)
async def test_other_refused_requests_are_failed_calls(status: int, said: str) -> None:
    with serving(lambda body: refused(status, said)) as server:
        (reply,) = await answers(judge(server), chats(1))
    assert (reply.outcome, len(server.sent)) == (Outcome.API, 1)
    assert reply.error is not None
    assert f": {said}" in reply.error


async def test_too_many_tokens_a_minute_is_no_prompt_that_does_not_fit() -> None:
    with serving(lambda body: completed() if len(server.sent) > 2 else refused(429, "Too many tokens")) as server:
        (reply,) = await answers(judge(server, attempts=1), chats(1))
    assert reply.ok


async def test_a_connection_that_fails_says_why() -> None:
    asked = OpenAIJudge("m", OpenAIParams(base_url="http://127.0.0.1:9/v1", attempts=1))
    (reply,) = await answers(asked, chats(1))
    assert reply.error is not None
    assert reply.error.startswith("APIConnectionError: Connection error. (")
    assert "refused" in reply.error.lower() or "connect" in reply.error.lower().partition("(")[2]


@pytest.mark.parametrize(
    ("said", "option"),
    [
        ("400 Bad Request: System role not supported", "system=merge"),
        ("400 Bad Request: Only user, assistant and tool roles are supported, got system.", "system=merge"),
        ("400 Bad Request: Conversation roles must alternate user/assistant/user/assistant/...", "system=merge"),
        ("400 Bad Request: Developer instruction is not enabled for models/small-it", "system=merge"),
        ("500 Internal Server Error: jinja2.exceptions.TemplateError: System role not supported", "system=merge"),
        (
            "400 Bad Request: Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens'.",
            "token_field=max_completion_tokens",
        ),
        ("400 Bad Request: Invalid value for 'top_logprobs': must be less than or equal to 5.", "top_logprobs=N"),
        ("400 Bad Request: Expected a value >= 16 for max tokens.", "max_tokens=16"),
        ("400 Bad Request: 'temperature' does not support 0.0 with this model.", "temperature=false"),
        ("400 Bad Request: The last message cannot be from the assistant.", "prefill=merge"),
        ("400 Bad Request: logprobs are not supported", "logprobs=false"),
        ("401 Unauthorized: invalid key", "key_env"),
        ("404 Not Found: no such model", "/v1"),
    ],
)
def test_a_refusal_names_the_option_that_cures_it(said: str, option: str) -> None:
    assert option in advice(said)


async def test_advice_is_a_sentence_of_its_own() -> None:
    with serving(lambda body: refused(400, "System role not supported.")) as server:
        (reply,) = await answers(judge(server), chats(1))
    assert reply.error == "400 Bad Request: System role not supported. Add system=merge to the judge's reference"


def test_what_nobody_can_cure_gets_no_advice() -> None:
    assert advice("500 Internal Server Error: oops") == advice("400 Bad Request: no") == ""
    assert advice("500 Internal Server Error: the system message queue is full") == ""
