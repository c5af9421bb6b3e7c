"""A host beyond this machine, played by a server on it, that keeps whatever reaches it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from httpcore._backends.auto import AutoBackend

from tests.builders.faulty import GOOD

SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    "OPENAI_API_KEY": "sk-proj-0123456789abcdefghij",
    "OPENAI_ADMIN_KEY": "sk-admin-0123456789abcdefghij",
    "OPENAI_ORG_ID": "org-0123456789abcdefghij",
    "OPENAI_PROJECT_ID": "proj_0123456789abcdefghij",
    "OPENAI_CUSTOM_HEADERS": "X-Own: own-0123456789abcdefghij",
    "GITHUB_TOKEN": "ghs_0123456789abcdefghij",
    "HF_TOKEN": "hf_0123456789abcdefghij",
}
"""What an environment holds."""


@dataclass
class Foreign:
    """What was attempted and what arrived.

    Attributes:
        calls: host and port of every connection that was attempted, wherever it was meant to go.
        heads: the headers of every request that arrived, as they came.
        bodies: their bodies.
        url: address of the server by its place on this machine.
    """

    calls: list[tuple[str, int]] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    url: str = ""

    @property
    def silent(self) -> bool:
        """Nothing was attempted, and nothing arrived."""
        return not self.calls and not self.heads

    @property
    def secrets(self) -> set[str]:
        """Names of the secrets that arrived."""
        said = "\n".join(self.heads) + b"\n".join(self.bodies).decode("utf-8", "replace")
        return {name for name, value in SECRETS.items() if value.rpartition(": ")[2] in said}


@contextmanager
def listening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Foreign]:
    """While the block lasts every connection of the client, to whatever host, is noted and ends at this server."""
    found = Foreign()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            found.heads.append(f"{self.requestline}\n{self.headers}")
            found.bodies.append(self.rfile.read(int(self.headers.get("Content-Length", 0))))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(GOOD)))
            self.end_headers()
            self.wfile.write(GOOD)

        def __getattr__(self, name: str) -> Any:
            if name.startswith("do_"):
                return self.do_POST
            raise AttributeError(name)

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    found.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    real = AutoBackend.connect_tcp

    async def noted(self: AutoBackend, host: str, port: int, *args: Any, **more: Any) -> Any:
        found.calls.append((host, port))
        return await real(self, "127.0.0.1", server.server_address[1], *args, **more)

    monkeypatch.setattr(AutoBackend, "connect_tcp", noted)
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
