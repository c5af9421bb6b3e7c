"""What every server of this package has in common: it listens on this machine only, and answers to its own address only.

A page of another site that was given the address (DNS rebinding) asks for another host and gets nothing. A check in each server
is the tempting way, and the next server is the one that lacks it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from latentbench.kernel.errors import DataError

LOOPBACK = "127.0.0.1"


class LoopbackServer(ThreadingHTTPServer):
    """Listens on this machine.

    Args:
        port: 0 for any that is free.
        handler: answers requests.

    Raises:
        DataError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, port: int, handler: type[LoopbackHandler]) -> None:
        try:
            super().__init__((LOOPBACK, port), handler)
        except OSError as e:
            raise DataError(f"port {port} cannot be listened on: {e.strerror or e}. Name another with --port.") from e

    @property
    def address(self) -> str:
        """Where the page is."""
        return f"http://{LOOPBACK}:{self.server_port}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report what went wrong with a request; a tab that was closed before its answer came is nothing that did."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)

    @property
    def hosts(self) -> frozenset[str]:
        """Names that this server is asked for by."""
        return frozenset(f"{host}:{self.server_port}" for host in (LOOPBACK, "localhost"))


class LoopbackHandler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: LoopbackServer

    def refused(self) -> bool:
        """Whether another host was asked for, which has been answered then."""
        if self.headers.get("Host", "") in self.server.hosts:
            return False
        self.send(403, b"This server answers to its own address only.\n")
        return True

    def send(self, status: int, data: bytes, kind: str = "text/plain", more: Mapping[str, str] | None = None) -> None:
        """Send an answer.

        Args:
            kind: media type of the data, which is UTF-8.
            more: further headers.
        """
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(data)))
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Cache-Control", "no-store")
        for name, value in (more or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: a page that follows a run asks every two seconds, and an address may have a token in it."""
