"""Endpoints that are broken in every way that could be thought of: no crash, no score, no hang, whatever is asked.

Each kind is asked a chat, a likelihood and vectors, by judges that try twice. The replies of servers that work and answer badly
are in test_reply_matrix.py.
"""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from latentbench.judges.judge import Judge
from latentbench.judges.reference import load_judge
from latentbench.kernel.requests import Chat, Continuation, Embed, Message, Outcome, Reply, Request

from tests.builders.faulty import FAULTS, GOOD, SOUND, Line, misbehaving, says, sized
from tests.judges.test_reply_matrix import KINDS, WORD

ATTEMPTS, TIMEOUT, PAUSE, PATIENCE = 2, 0.3, 0.05, 0.2
SLACK = 20.0
"""Seconds that a busy machine may take on top, with many kinds at once; a hang takes 60 or for ever."""
AT_ONCE = 24

CHAT = Chat((Message("user", "Yes or No?"),))
ASKED: dict[str, tuple[str, str, Request]] = {
    "chat": ("openai", "", CHAT),
    "likelihood": ("openai", "&completions=true", Continuation("One, two", ", three")),
    "vectors": ("embed", "", Embed("One.")),
}


@asynccontextmanager
async def nobody() -> AsyncIterator[str]:
    """A port at which nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


@asynccontextmanager
async def deaf() -> AsyncIterator[str]:
    """A port at which connections are made and never taken."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen(1)
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


@asynccontextmanager
async def encrypted(behaviour: str) -> AsyncIterator[str]:
    """An address with https at which something else is spoken."""
    async with misbehaving(FAULTS[behaviour]) as url:
        yield url.replace("http://", "https://")


PLACES = {
    "socket: nobody listens": nobody,
    "socket: nobody takes the connection": deaf,
    "socket: https where there is a banner": lambda: encrypted("socket: a banner of SSH"),
    "socket: https that is closed": lambda: encrypted("socket: closed at once"),
    "socket: https that is silent": lambda: encrypted("socket: silence"),
    "socket: https that is refused": lambda: encrypted("socket: an alert of TLS"),
    **{name: lambda behave=behave: misbehaving(behave) for name, behave in FAULTS.items()},
}


async def asked(url: str, what: str, timeout: float = TIMEOUT, more: str = "") -> tuple[Reply, float]:
    """The reply to one request, with nothing around the judge that would catch an exception, and the seconds that it took."""
    provider, options, request = ASKED[what]
    reference = (
        f"{provider}:m?base_url={url}&timeout={timeout}&attempts={ATTEMPTS}&backoff=0&max_wait={PAUSE}"
        f"&patience={PATIENCE}{options}{more}"
    )
    judge: Judge = load_judge(reference)
    began = time.monotonic()
    try:
        (reply,) = await judge.answer([request])
    finally:
        took = time.monotonic() - began
        await judge.close()
    return reply, took


async def test_no_kind_of_fault_crashes_hangs_or_is_scored(capsys: pytest.CaptureFixture[str]) -> None:
    places = asyncio.Semaphore(AT_ONCE)
    found: dict[tuple[str, str], tuple[Reply, float]] = {}

    async def tried(kind: str) -> None:
        async with places, PLACES[kind]() as url:
            for what in ASKED:
                found[kind, what] = await asked(url, what)

    await asyncio.gather(*map(tried, PLACES))
    assert len(found) == len(PLACES) * len(ASKED)
    allowed = ATTEMPTS * (TIMEOUT + PAUSE) + PATIENCE + SLACK
    for (kind, what), (reply, took) in found.items():
        assert reply.outcome in (Outcome.API, Outcome.TIMEOUT, Outcome.SKIPPED), (kind, what, reply)
        assert (reply.text, reply.logprobs, reply.loglik, reply.vector) == (None,) * 4, (kind, what)
        assert reply.error, (kind, what)
        assert reply.error.isprintable(), (kind, what, reply.error)
        assert len(reply.error) <= 400, (kind, what)
        assert took <= allowed, (kind, what, took)
    answered_badly = [name for name, kind in KINDS.items() if WORD not in kind.answers]
    with capsys.disabled():
        print(
            f"\n{len(PLACES)} kinds of broken endpoints, and {len(answered_badly)} of working ones that give no answer"
        )
    assert len(PLACES) >= 117


@pytest.mark.parametrize("kind", SOUND)
async def test_the_same_server_can_answer(kind: str) -> None:
    async with misbehaving(SOUND[kind]) as url:
        reply, _ = await asked(url, "chat", timeout=20)
    assert (reply.outcome, reply.text, reply.error) == (Outcome.OK, "Yes", None)


CAUSES = {
    "http: 307 elsewhere": "redirects to 192.0.2.7:8080, which is not followed",
    "http: a redirect to itself": "redirects to 127.0.0.1",
    "size: 50 MB with their length": "larger than 4 MB (max_reply_mb)",
    "size: 50 MB without a length": "larger than 4 MB",
    "size: 50 MB in chunks": "larger than 4 MB",
    "size: a gzip of 200 MB": "larger than 4 MB",
    "size: content of 20 MB": "larger than 4 MB",
    "http: brotli": "packed as 'br', and only gzip was asked for",
    "http: gzip cut off": "cut off inside its gzip",
    "socket: nobody listens": "Connect",
}


@pytest.mark.parametrize("kind", CAUSES)
async def test_the_reason_is_said(kind: str) -> None:
    async with PLACES[kind]() as url:
        reply, _ = await asked(url, "chat", timeout=20)
    assert reply.outcome is Outcome.API
    assert CAUSES[kind] in (reply.error or "")


async def test_a_time_out_bounds_the_attempt_and_not_each_byte() -> None:
    async with PLACES["time: a byte now and then"]() as url:
        reply, took = await asked(url, "chat", timeout=0.4)
    assert (reply.outcome, reply.error) == (Outcome.TIMEOUT, "no answer within 0.4 s, 2 attempts")
    assert took >= 0.8


async def test_the_largest_reply_is_the_user_s_to_say() -> None:
    async with misbehaving(SOUND["with its length"]) as url:
        small, _ = await asked(url, "chat", timeout=20, more="&max_reply_mb=0.0001")
    assert (small.outcome, small.error) == (
        Outcome.API,
        "Refused: the response is larger than 0.0001 MB (max_reply_mb)",
    )
    async with PLACES["size: content of 20 MB"]() as url:
        large, _ = await asked(url, "chat", timeout=60, more="&max_reply_mb=30")
    assert large.ok


async def test_what_is_said_behind_an_answer_is_no_answer_to_the_next_question() -> None:
    async def twice(line: Line) -> None:
        await line.asked()
        await line.say(sized(GOOD) + sized(GOOD.replace(b"Yes", b"another")))
        await line.asked()
        await line.say(sized(GOOD))

    async with misbehaving(twice) as url:
        judge = load_judge(f"openai:m?base_url={url}&timeout=20&attempts=1")
        try:
            replies = [(await judge.answer([CHAT]))[0] for _ in range(3)]
        finally:
            await judge.close()
    assert [r.text for r in replies] == ["Yes"] * 3


async def test_what_would_be_the_same_again_is_asked_once() -> None:
    told: list[int] = []
    elsewhere = says(sized(b"", "Location: http://192.0.2.7/", status="302 Found"))

    async def counted(line: Line) -> None:
        told.append(1)
        await elsewhere(line)

    async with misbehaving(counted) as url:
        await asked(url, "chat", timeout=20)
    assert len(told) == 1
