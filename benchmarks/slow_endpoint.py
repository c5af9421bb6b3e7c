"""An endpoint in a process of its own: so many places, each of which takes a fixed time for a call.

In a thread of the process that asks, it would compute at that process's cost, and what is measured would be the two together.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection


@dataclass(frozen=True)
class Pace:
    """How many calls are under way at once, the seconds of one, and by how much every sixteenth takes longer."""

    places: int
    seconds: float
    slow: int = 4

    def wait(self, number: int) -> float:
        """Seconds of the call of that number."""
        return self.seconds * (self.slow if number % 16 == 0 else 1)


@dataclass
class Served:
    """What an endpoint did: when calls came (monotonic), and how long each took it."""

    url: str
    times: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)


@contextmanager
def slow_endpoint(pace: Pace) -> Iterator[Served]:
    """A running endpoint; what it did is told when the block ends."""
    mine, its = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_serve, args=(pace, its), daemon=True)
    process.start()
    served = Served(f"http://127.0.0.1:{mine.recv()}/v1")
    try:
        yield served
    finally:
        mine.send("end")
        served.times, served.waits = mine.recv()
        process.join()


def _serve(pace: Pace, parent: Connection) -> None:
    asyncio.run(_served(pace, parent))


async def _served(pace: Pace, parent: Connection) -> None:
    times: list[float] = []
    waits: list[float] = []
    places = asyncio.Semaphore(pace.places)

    async def hear(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                size = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
                body = json.loads(await reader.readexactly(size))
                number = len(times)
                times.append(time.monotonic())
                waits.append(pace.wait(number))
                async with places:
                    await asyncio.sleep(waits[number])
                # A text for each prompt that asks for one: equal explanations would be judged once.
                data = json.dumps(_completion("Yes" if _is_question(body) else f"said {number}")).encode()
                headers = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
                writer.write(headers.encode() + data)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(hear, "127.0.0.1", 0, backlog=1024)
    parent.send(server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, parent.recv)
    parent.send((times, waits))


def _is_question(body: dict[str, object]) -> bool:
    """Whether one word is asked for, and no explanation."""
    most = body.get("max_tokens")
    return isinstance(most, int) and most <= 16


def _completion(text: str) -> dict[str, object]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
