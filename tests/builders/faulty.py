"""Endpoints that misbehave, kind by kind: on the socket, in HTTP, in time, in size, in JSON and in its schema.

Every kind that says something says a right answer somewhere in it, so a reader that is too kind would score it. What servers say
in a sound body that is no answer stands in tests/judges/test_reply_matrix.py.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import socket
import struct
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

GOOD = json.dumps(
    {
        "id": "1", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Yes"}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11},
    }
).encode()  # fmt: skip
HALF = GOOD[: len(GOOD) // 2]
BIG = b" " * 50_000_000
DRIP = 0.05
"""Seconds between the pieces of a slow reply."""


@dataclass
class Line:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def asked(self) -> bytes:
        """Read the whole request."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        size = next((int(x.split(b":")[1]) for x in head.split(b"\r\n") if x.lower().startswith(b"content-length")), 0)
        return head + await self.reader.readexactly(size)

    async def say(self, data: bytes) -> None:
        """Write some bytes."""
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        """End the connection in the way of a crashed machine."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Behaviour = Callable[[Line], Awaitable[None]]


def head(*headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", "Content-Type: application/json", *headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"


def sized(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    return head(f"Content-Length: {len(body)}", *headers, status=status) + body


def says(data: bytes, then: str = "close") -> Behaviour:
    """Read the request and answer with these bytes; then `close`, `reset`, or `hang`."""

    async def behave(line: Line) -> None:
        await line.asked()
        await line.say(data)
        if then == "hang":
            await asyncio.sleep(60)
        if then == "reset":
            await asyncio.sleep(0.01)
            line.reset()

    return behave


def drips(first: bytes, piece: bytes, every: float = DRIP) -> Behaviour:
    """Answer with these bytes, and then with a piece again and again, for ever."""

    async def behave(line: Line) -> None:
        await line.asked()
        await line.say(first)
        while True:
            await line.say(piece)
            await asyncio.sleep(every)

    return behave


def slowly(data: bytes, every: float = DRIP) -> Behaviour:
    """A sound answer, byte by byte."""

    async def behave(line: Line) -> None:
        await line.asked()
        for k in range(len(data)):
            await line.say(data[k : k + 1])
            await asyncio.sleep(every)

    return behave


def unread(data: bytes, then: str) -> Behaviour:
    """As `says`, without reading the request."""

    async def behave(line: Line) -> None:
        await line.say(data)
        if then == "hang":
            await asyncio.sleep(60)
        if then == "reset":
            line.reset()

    return behave


def body(value: Any) -> Behaviour:
    return says(sized(value if isinstance(value, bytes) else json.dumps(value).encode()))


def status(code: int, *headers: str, text: str = "Said") -> Behaviour:
    return says(sized(GOOD, *headers, status=f"{code} {text}"))


def chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def packed(encoding: str, data: bytes) -> Behaviour:
    return says(sized(data, f"Content-Encoding: {encoding}"))


def bomb(size: int) -> bytes:
    """A small gzip that becomes large, with a sound answer at its end."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join([*(packer.compress(b" " * 1_000_000) for _ in range(size)), packer.compress(GOOD), packer.flush()])


async def half_closed(line: Line) -> None:
    await line.asked()
    line.writer.write_eof()
    await asyncio.sleep(60)


async def continues(line: Line) -> None:
    await line.asked()
    while True:
        await line.say(b"HTTP/1.1 100 Continue\r\n\r\n")
        await asyncio.sleep(0.001)


def choices(value: Any) -> Behaviour:
    return body({**json.loads(GOOD), "choices": value})


def choice(**fields: Any) -> Behaviour:
    return choices([{**json.loads(GOOD)["choices"][0], **fields}])


CHUNKED = head("Transfer-Encoding: chunked")
ELSEWHERE = "http://192.0.2.7:8080/v1/chat/completions"
"""Nobody's address (RFC 5737)."""

SOUND: dict[str, Behaviour] = {
    "with its length": says(sized(GOOD)),
    "in chunks": says(CHUNKED + chunk(HALF) + chunk(GOOD[len(HALF) :]) + b"0\r\n\r\n"),
    "until the end of the connection": says(head() + GOOD),
    "as gzip": packed("gzip", gzip.compress(GOOD)),
    "after 100 Continue": says(b"HTTP/1.1 100 Continue\r\n\r\n" + sized(GOOD)),
    "without a reason": says(b"HTTP/1.1 200\r\nContent-Length: %d\r\n\r\n" % len(GOOD) + GOOD),
}
"""Ways to answer."""

SOCKET: dict[str, Behaviour] = {
    "closed at once": unread(b"", "close"),
    "reset at once": unread(b"", "reset"),
    "silence": unread(b"", "hang"),
    "closed behind the request": says(b""),
    "reset behind the request": says(b"", "reset"),
    "silence behind the request": says(b"", "hang"),
    "half closed": half_closed,
    "closed inside the status line": says(b"HTTP/1.1 2"),
    "reset inside the status line": says(b"HTTP/1.1 2", "reset"),
    "closed inside the headers": says(b"HTTP/1.1 200 OK\r\nContent-Le"),
    "closed behind the headers": says(head(f"Content-Length: {len(GOOD)}")),
    "closed inside the body": says(head(f"Content-Length: {len(GOOD)}") + HALF),
    "reset inside the body": says(head(f"Content-Length: {len(GOOD)}") + HALF, "reset"),
    "closed inside a body without a length": says(head() + HALF),
    "closed inside a chunk": says(CHUNKED + b"fff\r\n" + HALF),
    "reset inside a chunk": says(CHUNKED + b"fff\r\n" + HALF, "reset"),
    "closed inside the size of a chunk": says(CHUNKED + b"ff"),
    "closed without the last chunk": says(CHUNKED + chunk(GOOD)),
    "closed inside the trailers": says(CHUNKED + chunk(GOOD) + b"0\r\nX-Tr"),
    "a banner of SSH": unread(b"SSH-2.0-OpenSSH_9.6\r\n", "hang"),
    "a banner of SMTP": unread(b"220 mail ESMTP\r\n", "hang"),
    "an alert of TLS": unread(b"\x15\x03\x03\x00\x02\x02\x28", "close"),
    "a preface of HTTP/2": unread(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + b"\x00" * 18, "close"),
    "random bytes": unread(os.urandom(4096), "close"),
    "zeros": unread(bytes(4096), "hang"),
    "a body without a head": says(GOOD),
    "an answer to nobody's request": unread(sized(HALF), "close"),
}

HTTP: dict[str, Behaviour] = {
    # status lines
    "another protocol": says(sized(GOOD).replace(b"HTTP/1.1", b"ICY")),
    "a status of two digits": says(sized(GOOD, status="99 Odd")),
    "a status of four digits": says(sized(GOOD, status="2000 OK")),
    "a status in words": says(sized(GOOD, status="OK")),
    "no status line": says(b"\r\n" + sized(GOOD).partition(b"\r\n")[2]),
    # statuses
    **{f"{code}": status(code) for code in (
        201 + 199, 401, 402, 403, 404, 405, 406, 407, 408, 409, 410, 411, 413, 415, 418, 422, 425, 426, 429, 431, 451,
        500, 501, 502, 503, 504, 505, 507, 511, 520, 524, 529, 599,
    )},
    "999": status(999),
    "204 with nothing": says(head(status="204 No Content")),
    "205 with nothing": says(sized(b"", status="205 Reset Content")),
    "206 with a half": says(sized(HALF, status="206 Partial Content")),
    "304": says(head(status="304 Not Modified")),
    "101": says(head("Upgrade: websocket", "Connection: Upgrade", status="101 Switching Protocols"), "hang"),
    "100 for ever": continues,
    "103 for ever": drips(b"", b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", 0.001),
    # redirects
    **{f"{code} elsewhere": status(code, f"Location: {ELSEWHERE}") for code in (300, 301, 302, 303, 307, 308)},
    "a redirect to itself": status(307, "Location: /v1/chat/completions"),
    "a redirect to a file": status(302, "Location: file:///etc/hostname"),
    "a redirect to nothing": status(302, "Location: http://"),
    "a redirect to a broken address": status(307, "Location: http://[::1"),
    "a redirect without a target": status(302),
    # headers
    "two lengths": says(head("Content-Length: 5", f"Content-Length: {len(GOOD)}") + GOOD),
    "a negative length": says(head("Content-Length: -1") + GOOD),
    "a length in words": says(head("Content-Length: many") + GOOD),
    "a length of a hundred digits": says(head("Content-Length: 1" + "0" * 100) + GOOD),
    "a length that is too short": says(head(f"Content-Length: {len(GOOD) - 7}") + GOOD),
    "a length that is too long": says(head(f"Content-Length: {len(GOOD) + 7}") + GOOD, "hang"),
    "an unknown transfer encoding": says(head("Transfer-Encoding: odd") + GOOD),
    "two transfer encodings": says(head("Transfer-Encoding: gzip, chunked") + chunk(gzip.compress(GOOD)) + b"0\r\n\r\n"),
    "a header without a colon": says(sized(GOOD, "Odd")),
    "a header with a space before its colon": says(sized(GOOD, "Odd : x")),
    "a header with a zero": says(sized(GOOD, "X: a\x00b")),
    "a header of a megabyte": says(sized(GOOD, "X: " + "a" * 1_000_000)),
    "a hundred thousand headers": says(sized(GOOD, *(f"X-{k}: a" for k in range(100_000)))),
    "headers for ever": drips(b"HTTP/1.1 200 OK\r\n", b"X-More: " + b"a" * 100 + b"\r\n", 0.001),
    "one header for ever": drips(b"HTTP/1.1 200 OK\r\nX: ", b"a" * 1000, 0.001),
    "503 for a thousand years": status(503, "Retry-After: 31536000000"),
    "429 for a thousand years": status(429, "Retry-After: 31536000000"),
    "429 for a time that is none": status(429, "Retry-After: soon"),
    "429 since yesterday": status(429, "Retry-After: -86400"),
    # chunks
    "a chunk of no number": says(CHUNKED + b"xyz\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "a chunk of a negative size": says(CHUNKED + b"-5\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "a chunk of 2^80 bytes": says(CHUNKED + b"1" + b"0" * 20 + b"\r\n" + GOOD),
    "a chunk that is longer than it says": says(CHUNKED + b"5\r\n" + GOOD + b"\r\n0\r\n\r\n"),
    "an extension of a chunk for ever": drips(CHUNKED + b"5;", b"a" * 1000, 0.001),
    "trailers for ever": drips(CHUNKED + chunk(GOOD) + b"0\r\n", b"X-More: a\r\n", 0.001),
    # packing
    "gzip that is none": packed("gzip", GOOD),
    "gzip cut off": packed("gzip", gzip.compress(GOOD)[:-12]),
    "gzip with a wrong sum": packed("gzip", gzip.compress(GOOD)[:-8] + bytes(8)),
    "gzip in gzip": packed("gzip, gzip", gzip.compress(gzip.compress(GOOD))),
    "gzip of gzip": packed("gzip", gzip.compress(gzip.compress(GOOD))),
    "gzip that nobody named": says(sized(gzip.compress(GOOD))),
    "an empty gzip": packed("gzip", b""),
    "deflate": packed("deflate", zlib.compress(GOOD)),
    "brotli": packed("br", b"\x0b\x02\x80Yes\x03"),
    "zstandard": packed("zstd", b"\x28\xb5\x2f\xfd\x04\x00\x19\x00\x00Yes"),
    "an unknown packing": packed("odd", GOOD),
}  # fmt: skip

SIZE: dict[str, Behaviour] = {
    "a gzip of 5 MB": packed("gzip", bomb(5)),
    "a gzip of 200 MB": packed("gzip", bomb(200)),
    "50 MB with their length": says(sized(BIG + GOOD)),
    "50 MB without a length": says(head() + BIG + GOOD),
    "50 MB in chunks": says(CHUNKED + chunk(BIG) + chunk(GOOD) + b"0\r\n\r\n"),
    "a length of a terabyte": says(head("Content-Length: 1000000000000") + GOOD, "hang"),
    "white space for ever": drips(head(), b" " * 100_000, 0.0),
    "chunks for ever": drips(CHUNKED, chunk(b" " * 100_000), 0.0),
    "an error of 50 MB": says(sized(BIG + GOOD, status="500 Odd")),
    "content of 20 MB": choice(message={"role": "assistant", "content": "Yes " * 5_000_000}),
    "a million choices": choices([{}] * 2_000_000),
    "a hundred thousand choices": choices([{}] * 100_000),
}

TIME: dict[str, Behaviour] = {
    "a byte now and then": slowly(sized(GOOD)),
    "a head and then a byte now and then": drips(head(f"Content-Length: {len(GOOD)}"), b" "),
    "a chunk now and then": drips(CHUNKED, chunk(b" ")),
    "silence behind the head": says(head(f"Content-Length: {len(GOOD)}"), "hang"),
    "silence behind half of the body": says(head(f"Content-Length: {len(GOOD)}") + HALF, "hang"),
    "silence behind a chunk": says(CHUNKED + chunk(GOOD), "hang"),
    "silence behind 100 Continue": says(b"HTTP/1.1 100 Continue\r\n\r\n", "hang"),
    "comments of a stream now and then": drips(head(), b": PROCESSING\n\n"),
    "102 now and then": drips(b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "empty lines now and then": drips(b"", b"\r\n"),
}

JSON: dict[str, Behaviour] = {
    "an empty body": body(b""),
    "half of the JSON": body(HALF),
    "JSON and more": body(GOOD + b" trailing"),
    "two answers": body(GOOD + b"\n" + GOOD),
    "JSON with a comment": body(b"// here\n" + GOOD),
    "JSON in a function": body(b"callback(" + GOOD + b")"),
    "JSON in single quotes": body(GOOD.replace(b'"', b"'")),
    "a stream of events": body(b"data: " + GOOD + b"\n\ndata: [DONE]\n\n"),
    "XML": body(b"<?xml version='1.0'?><answer>Yes</answer>"),
    "a login page": body(b"<!doctype html><title>Sign in</title>"),
    "YAML": body(b"choices:\n- message: {content: Yes}\n"),
    "the word": body(b"Yes"),
    "Latin-1": body(GOOD.replace(b"Yes", b"Y\xe9s")),
    "zeros inside": body(GOOD.replace(b"Yes", b"Y\x00s")),
    "an integer of 10,000 digits": body(GOOD.replace(b'"Yes"', b"1" * 10_000)),
    "a deep object": body(b'{"choices":' * 50_000 + b"1" + b"}" * 50_000),
    "a deep content": body(GOOD.replace(b'"Yes"', b"[" * 50_000 + b"]" * 50_000)),
    "null alone": body(None),
    "true alone": body(True),
    "a number alone": body(1),
    "an array of choices": body(json.loads(GOOD)["choices"]),
}

SCHEMA: dict[str, Behaviour] = {
    "an empty object": body({}),
    "a status": body({"status": "ok", "content": "Yes"}),
    "a detail": body({"detail": "Not Found"}),
    "a message": body({"message": "Yes"}),
    "an error that is a text": body({"error": "model is loading", "estimated_time": 20.0}),
    "an error that is a list": body({"error": ["busy"]}),
    "an error of JSON-RPC": body({"jsonrpc": "2.0", "id": 1, "error": {"code": -32601, "message": "no method"}}),
    "errors of GraphQL": body({"data": None, "errors": [{"message": "Yes"}]}),
    "a ticket": body({"id": "1", "object": "batch", "status": "queued"}),
    "the form of Anthropic": body({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Yes"}]}),
    "the form of Gemini": body({"candidates": [{"content": {"parts": [{"text": "Yes"}]}}]}),
    "the form of Ollama": body({"model": "m", "message": {"role": "assistant", "content": "Yes"}, "done": True}),
    "the form of TGI": body([{"generated_text": "Yes"}]),
    "the form of Responses": body({"object": "response", "output": [{"content": [{"text": "Yes"}]}]}),
    "the form of completions": choices([{"index": 0, "text": "Yes", "finish_reason": "stop"}]),
    "a piece of a stream": choices([{"index": 0, "delta": {"content": "Yes"}}]),
    "the question itself": body({"model": "m", "messages": [{"role": "user", "content": "Yes"}]}),
    "choices that are an object": choices({"0": json.loads(GOOD)["choices"][0]}),
    "choices that are a text": choices("Yes"),
    "choices that are a number": choices(1),
    "a choice that is a text": choices(["Yes"]),
    "a choice that is a list": choices([["Yes"]]),
    "a message that is a text": choice(message="Yes"),
    "a message that is a list": choice(message=[{"content": "Yes"}]),
    "content that is a list of lists": choice(message={"content": [["Yes"]]}),
    "content that is a list of numbers": choice(message={"content": [1, 2]}),
    "a part whose text is a number": choice(message={"content": [{"type": "text", "text": 1}]}),
    "a part of an unknown kind": choice(message={"content": [{"type": "audio", "text": "Yes"}]}),
}  # fmt: skip

FAULTS: dict[str, Behaviour] = {
    f"{level}: {name}": behave
    for level, kinds in {
        "socket": SOCKET, "http": HTTP, "size": SIZE, "time": TIME, "json": JSON, "schema": SCHEMA,
    }.items()
    for name, behave in kinds.items()
}  # fmt: skip


@asynccontextmanager
async def misbehaving(behave: Behaviour) -> AsyncIterator[str]:
    """A server on the loopback address; its address up to `/v1`."""
    lines: set[asyncio.Task[Any]] = set()

    async def met(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        lines.add(task)
        try:
            await behave(Line(reader, writer))
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the client went away
        except asyncio.CancelledError:
            pass  # the test is over
        finally:
            lines.discard(task)
            writer.close()

    server = await asyncio.start_server(met, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for line in list(lines):
            line.cancel()
        await asyncio.gather(*lines, return_exceptions=True)
