"""A tab that is closed before its answer came is no failure of the server, and says nothing on the terminal."""

from __future__ import annotations

import socket
import struct
import threading

import pytest
from latentbench.site.loopback import LOOPBACK, LoopbackHandler, LoopbackServer

MUCH = b"x" * 20_000_000
"""More than what the machine takes off a sender's hands."""


class _SlowHandler(LoopbackHandler):
    gone = threading.Event()

    def do_GET(self) -> None:  # noqa: N802 (the name that http.server looks for)
        """Answer when the tab has gone, or fail for a reason of the server's own."""
        if self.path == "/fault":
            raise RuntimeError("a fault of the server")
        self.gone.wait(30)
        self.send(200, MUCH)


@pytest.mark.parametrize(("path", "said"), [("/", ""), ("/fault", "a fault of the server")])
def test_a_closed_tab_is_told_from_a_fault(capsys: pytest.CaptureFixture[str], path: str, said: str) -> None:
    _SlowHandler.gone.clear()
    handled = threading.Event()

    class Server(LoopbackServer):
        def shutdown_request(self, request: object) -> None:
            super().shutdown_request(request)  # type: ignore[arg-type]
            handled.set()

    with Server(0, _SlowHandler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        tab = socket.create_connection((LOOPBACK, server.server_port))
        tab.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        tab.sendall(f"GET {path} HTTP/1.1\r\nHost: {LOOPBACK}:{server.server_port}\r\n\r\n".encode())
        if not said:
            tab.close()
            _SlowHandler.gone.set()
        assert handled.wait(30)
        tab.close()
        server.shutdown()
        thread.join()
    err = capsys.readouterr().err
    assert said in err
    assert bool(err) == bool(said)
