"""Connections to an endpoint: kept for the next call, and never with anything left on them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest
from latentbench.judges.reference import load_judge
from latentbench.judges.remote import wire
from latentbench.judges.remote.address import read_address
from latentbench.judges.remote.binding import Grant
from latentbench.kernel.requests import Chat, Message, Outcome

from tests.builders.loopback import completed

CALLS = 12


def answer(text: str = "Yes", keep: bool = True) -> bytes:
    body = json.dumps(completed(text).body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return (head + ("" if keep else "Connection: close\r\n") + "\r\n").encode() + body


@dataclass
class Served:
    """What a server saw: its address, connections, and the number of requests on each."""

    url: str = ""
    connections: list[int] = field(default_factory=list)


@asynccontextmanager
async def server(says: Callable[[int], bytes], most: int = 1000, wait: float = 0.0) -> AsyncIterator[Served]:
    """A server that keeps connections.

    Args:
        says: number of the request -> what is written.
        most: requests on one connection, which is closed behind them without a word.
        wait: seconds before an answer.
    """
    found, asked = Served(), 0

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        own = len(found.connections)
        found.connections.append(0)
        try:
            while found.connections[own] < most:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")
                )
                await reader.readexactly(size)
                found.connections[own] += 1
                asked += 1
                await asyncio.sleep(wait)
                writer.write(says(asked))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    try:
        yield found
    finally:
        listening.close()


def question(n: int) -> Chat:
    return Chat((Message("user", f"{n}?"),))


async def one_by_one(url: str, more: str = "&attempts=1") -> list[str | None]:
    judge = load_judge(f"openai:m?base_url={url}&timeout=5&backoff=0{more}")
    try:
        replies = [(await judge.answer([question(n)]))[0] for n in range(CALLS)]
    finally:
        await judge.close()
    assert all(reply.outcome is Outcome.OK for reply in replies), [reply.error for reply in replies]
    return [reply.text for reply in replies]


async def test_calls_one_after_another_share_a_connection() -> None:
    async with server(lambda n: answer(str(n))) as found:
        assert await one_by_one(found.url) == [str(n + 1) for n in range(CALLS)]
    assert found.connections == [CALLS]


async def test_calls_at_once_have_as_many_connections_as_calls_under_way() -> None:
    async with server(lambda n: answer(), wait=0.02) as found:
        judge = load_judge(f"openai:m?base_url={found.url}&concurrency=3")
        replies = await judge.answer([question(n) for n in range(CALLS)])
        await judge.close()
    assert [reply.text for reply in replies] == ["Yes"] * CALLS
    assert len(found.connections) <= 3
    assert sum(found.connections) == CALLS


@pytest.mark.parametrize(
    "left", [answer("No"), b"HTTP/1.1 ", b"\r\n", b"x"], ids=["an answer", "half", "a line", "a byte"]
)
async def test_what_is_left_behind_an_answer_is_never_the_next_one(left: bytes) -> None:
    async with server(lambda n: answer(str(n)) + left) as found:
        assert await one_by_one(found.url) == [str(n + 1) for n in range(CALLS)]
    assert found.connections == [1] * CALLS


async def test_a_server_that_wants_no_connection_kept_has_none() -> None:
    async with server(lambda n: answer(keep=False)) as found:
        await one_by_one(found.url)
    assert len(found.connections) == CALLS


async def test_a_kept_connection_that_was_closed_is_no_failed_call() -> None:
    """Servers close an idle connection just when they like; with a single attempt a run would count that as a failure."""
    async with server(lambda n: answer(str(n)), most=2) as found:
        assert await one_by_one(found.url) == [str(n + 1) for n in range(CALLS)]
    assert found.connections == [2] * (CALLS // 2)


async def test_where_nobody_can_say_what_is_left_each_call_has_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "_nothing_left", lambda response: False)
    async with server(lambda n: answer()) as found:
        await one_by_one(found.url)
    assert found.connections == [1] * CALLS


async def test_a_call_that_ran_out_of_time_leaves_no_connection() -> None:
    """Its answer, when it comes, must not be read as that of the next call."""
    async with server(lambda n: answer(str(n)), wait=0.15) as found:
        judge = load_judge(f"openai:m?base_url={found.url}&timeout=0.1&attempts=1&give_up=0")
        replies = [(await judge.answer([question(n)]))[0] for n in range(3)]
        await judge.close()
    assert [reply.outcome for reply in replies] == [Outcome.TIMEOUT] * 3
    assert len(found.connections) == 3


@pytest.mark.parametrize("asked_before", [False, True])
async def test_a_call_that_is_given_up_at_any_step_is_in_no_other_call_s_way(asked_before: bool) -> None:
    async with server(lambda n: answer(str(n))) as found:
        for steps in range(60):
            carrier = wire.Wire(Grant(read_address(found.url), None, "Authorization"), {}, 1.0, None)
            async with httpx.AsyncClient(transport=carrier, timeout=1.0) as client:
                if asked_before:
                    await client.post(f"{found.url}/x", json={})
                given_up = asyncio.create_task(client.post(f"{found.url}/x", json={}))
                for _ in range(steps):
                    await asyncio.sleep(0)
                ended = given_up.done()
                given_up.cancel()
                await asyncio.wait([given_up])
                before = sum(found.connections)
                reply = (await client.post(f"{found.url}/x", json={})).json()
                assert int(reply["choices"][0]["message"]["content"]) > before, steps
            if ended:
                break
