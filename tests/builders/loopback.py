"""A server on the loopback address that answers as a script says and keeps what it was sent."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Said:
    """What the server answers: status, JSON, headers, and seconds until then."""

    body: Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    wait: float = 0.0


def completed(text: str = "Yes", headers: dict[str, str] | None = None, tokens: int = 10) -> Said:
    """A chat completion."""
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    usage = {"prompt_tokens": tokens, "completion_tokens": 0, "total_tokens": tokens}
    body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    return Said(body, headers=headers or {})


def refused(status: int = 429, message: str = "no", headers: dict[str, str] | None = None, **fields: str) -> Said:
    """An error."""
    return Said({"error": {"message": message, **fields}}, status, headers or {})


class Loopback:
    """A running server.

    Attributes:
        script: what is answered to a body; called for one request at a time.
        sent: bodies, in the order in which they came.
        times: when (monotonic).
        statuses: what was answered.
    """

    def __init__(self, script: Callable[[dict[str, Any]], Said]) -> None:
        self.script = script
        self.sent: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.statuses: list[int] = []
        lock = threading.Lock()
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with lock:
                    loopback.sent.append(body)
                    loopback.times.append(time.monotonic())
                    said = loopback.script(body)
                    loopback.statuses.append(said.status)
                time.sleep(said.wait)
                data = json.dumps(said.body).encode()
                try:
                    self.send_response(said.status)
                    for name, value in {"Content-Type": "application/json", **said.headers}.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the client gave up

            def log_message(self, *args: Any) -> None: ...

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # the default is five, and a client then waits a second for its connection

        self.server = Server(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"


@contextmanager
def serving(script: Callable[[dict[str, Any]], Said]) -> Iterator[Loopback]:
    """A server while the block lasts."""
    found = Loopback(script)
    try:
        yield found
    finally:
        found.server.shutdown()
        found.server.server_close()


def rationed(rate: int, per: float = 1.0) -> Callable[[dict[str, Any]], Said]:
    """So many requests in each window of `per` seconds, refused ones included, and 429 without any header for the rest."""
    windows: dict[int, int] = {}

    def script(body: dict[str, Any]) -> Said:
        window = int(time.monotonic() / per)
        windows[window] = windows.get(window, 0) + 1
        return completed() if windows[window] <= rate else refused(429, "Too many requests")

    return script
