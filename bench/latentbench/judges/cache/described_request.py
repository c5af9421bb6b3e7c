"""A request as the cache explains a miss by it: its text apart from its settings, so that it can say which of the two differs.

The address of a reply (`latentbench.kernel.requests.request_key`) is one digest of all of it, and two digests that differ say
nothing of why.
"""

from __future__ import annotations

from typing import Any

from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    Patched,
    Projected,
    Request,
    Simulate,
    stored,
)


def describe(request: Request, reads_truth: bool, provider: str = "") -> tuple[str, str, str]:
    """Digest of the whole request, digest of its text, and JSON of its settings: what `explain_miss` compares.

    Args:
        reads_truth, provider: of the judge, whose calls differ in what it reads.
    """
    kind, asked = type(request).__name__, stored(request, reads_truth, provider)
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
        case Patched():
            text = request.chat.messages
            settings = {name: value for name, value in asked.items() if name not in ("messages", "question")}
        case Simulate():
            text, settings = asked["question"], {}
        case Activate():
            text, settings = request.text, {"latent": request.latent.id, "origin": request.latent.origin}
        case Projected():
            text, settings = request.text, {"latents": digest(request.latents)}
    if not isinstance(request, Simulate) and asked.get("question") is not None:
        settings["question"] = digest(asked["question"])
    return digest([kind, asked]), digest(text), canonical({"kind": kind, **settings})
