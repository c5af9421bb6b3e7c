"""Replies and requests as what the cache stores.

Floats go through JSON's shortest representation, which is exact; vectors are float32 bytes. A pickle would be shorter and would
make a cache file something that one must trust.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    Outcome,
    Reply,
    Request,
    Simulate,
    Usage,
    stored,
)


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
        "usage": [u.tokens_in, u.tokens_out, u.tokens_cached, round(u.seconds, 6)],
    }
    value = json.dumps({k: v for k, v in fields.items() if v is not None}, separators=(",", ":"), ensure_ascii=False)
    vector = None if reply.vector is None else np.ascontiguousarray(reply.vector, "<f4").tobytes()
    return value, vector


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
        cached=True,
    )


def describe(request: Request, reads_truth: bool) -> tuple[str, str, str]:
    """Digest of the whole request, digest of its text, and JSON of its settings: what `explain_miss` compares.

    Args:
        reads_truth: of the judge, whose calls differ in what it reads.
    """
    kind, asked = type(request).__name__, stored(request, reads_truth)
    settings: dict[str, Any]
    match request:
        case Chat():
            text: Any = request.messages
            settings = {"max_tokens": request.max_tokens, "temperature": request.temperature, "seed": request.seed}
        case Choice():
            text = request.messages
            settings = {"answers": request.answers, "slots": digest(request.slots), "end": request.end}
        case Continuation():
            text, settings = [request.context, request.text], {}
        case Embed():
            text, settings = request.text, {"query": request.query}
        case Simulate():
            text, settings = asked["question"], {}
        case Activate():
            text, settings = request.text, {"latent": request.latent.id, "origin": request.latent.origin}
    if not isinstance(request, Simulate) and asked.get("question") is not None:
        settings["question"] = digest(asked["question"])
    return digest([kind, asked]), digest(text), canonical({"kind": kind, **settings})
