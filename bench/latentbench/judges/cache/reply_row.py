"""A reply as a row of the cache: a value in JSON with a checksum of the whole row, and a vector beside it.

The checksum is over all that a row says and not over its value alone, because a flipped bit in a key or in an outcome is another
reply under the right name. Rows of before there were checksums are read if they are replies at all.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from latentbench.kernel.conform import conform
from latentbench.kernel.requests import Outcome, Reply, Usage
from latentbench.kernel.seal import Seal, check

FIELDS = frozenset(
    ["text", "logprobs", "loglik", "n_tokens", "tokens", "windows", "error", "reasoning", "finish", "usage"]
)
"""Members of a stored value."""


def encode(reply: Reply) -> tuple[str, bytes | None]:
    """JSON of a reply without empty fields, and its vector as little-endian float32."""
    u = reply.usage
    fields: dict[str, Any] = {
        "text": reply.text,
        "logprobs": reply.logprobs,
        "loglik": reply.loglik,
        "n_tokens": reply.n_tokens,
        "tokens": reply.tokens,
        "windows": reply.windows,
        "error": reply.error,
        "reasoning": reply.reasoning,
        "finish": reply.finish,
        "usage": [u.tokens_in, u.tokens_out, u.tokens_cached, round(u.seconds, 6)],
    }
    value = json.dumps({k: v for k, v in fields.items() if v is not None}, separators=(",", ":"), ensure_ascii=False)
    vector = None if reply.vector is None else np.ascontiguousarray(reply.vector, "<f4").tobytes()
    return value, vector


def sealed_with(key: str, outcome: str, vector: bytes | None, stored: float) -> tuple[bytes, ...]:
    """What a row's checksum is of, besides its value."""
    return key.encode(), str(outcome).encode(), vector or b"", repr(stored).encode()


def read_row(key: object, outcome: object, value: object, vector: object, stored: object) -> Reply | None:
    """The reply of a row; None where the row is damaged."""
    if not (isinstance(key, str) and isinstance(outcome, str) and isinstance(value, bytes)):
        return None
    if not (isinstance(stored, float) and (vector is None or isinstance(vector, bytes))):
        return None
    seal = check(value, *sealed_with(key, outcome, vector, stored))
    if seal is Seal.BROKEN:
        return None
    try:
        text = value.decode("utf-8", "surrogatepass")
        # A bit that flips in the name of the checksum makes a row without one.
        if seal is Seal.NONE and not set(json.loads(text)) <= FIELDS:
            return None
        reply = decode(outcome, text, vector)
        return reply if seal is Seal.WHOLE else conform(reply, Reply)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def decode(outcome: str, value: str, vector: bytes | None) -> Reply:
    """A stored reply, marked as cached."""
    found = json.loads(value)
    logprobs, tokens, windows = found.get("logprobs"), found.get("tokens"), found.get("windows")
    return Reply(
        outcome=Outcome(outcome),
        text=found.get("text"),
        logprobs=None if logprobs is None else tuple(map(tuple, logprobs)),
        loglik=found.get("loglik"),
        n_tokens=found.get("n_tokens"),
        vector=None if vector is None else np.frombuffer(vector, "<f4"),
        tokens=None if tokens is None else tuple(map(tuple, tokens)),
        windows=None if windows is None else tuple(windows),
        usage=Usage(*found["usage"]),
        error=found.get("error"),
        reasoning=found.get("reasoning"),
        finish=found.get("finish"),
        cached=True,
    )
