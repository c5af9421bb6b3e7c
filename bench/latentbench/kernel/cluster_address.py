"""Whether anybody at the address of a Ray cluster is one, before Ray is asked to connect.

Ray tries an address for minutes, with lines of its own, whether nobody listens there or something else does, because a head may
still be starting. Who gave a wrong address should hear so at once. What is asked is the least that tells the three apart: a
connection, and whether the other side greets as a server of gRPC does (the first frame of HTTP/2 is SETTINGS, RFC 9113, section
3.4). Importing a client of gRPC, or Ray's own private one, would say more and break with their releases.
"""

from __future__ import annotations

import os
import socket

GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""What a client of HTTP/2 begins with: its preface and an empty SETTINGS frame."""
SETTINGS = 4
PATIENCE = 10.0
"""Seconds until an address that does not answer is a dead one."""


def nobody_there(address: str, patience: float = PATIENCE) -> str | None:
    """Why there is no cluster at an address, in plain words; None where there may be one.

    Args:
        address: `auto` (looked up in RAY_ADDRESS), `HOST:PORT` or `ray://HOST:PORT`. Any other is Ray's to judge.
        patience: seconds for the connection and for the answer.
    """
    named = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    host, colon, port = named.removeprefix("ray://").rpartition(":")
    if not (colon and host and port.isdecimal() and 0 < int(port) < 1 << 16):
        return None
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience) as line:
            if os.environ.get("RAY_USE_TLS", "0") not in ("", "0"):
                return None
            line.sendall(GREETING)
            head = line.recv(9, socket.MSG_WAITALL)
    except TimeoutError:
        return f"{host} does not answer on port {port} within {patience:.0f} seconds"
    except OSError as e:
        return f"{host} cannot be reached on port {port} ({e.strerror or e})"
    if len(head) < 9 or head[0] or head[3] != SETTINGS:
        return f"what listens at {host}:{port} is no Ray cluster"
    return None
