"""How two calls are compared: all that a request asks, its parts, and in which fields two of them differ.

None of this decides under what a reply is kept. It says why a call is not answered from the cache, and gives mocks something to
draw their errors by; inside of the requests' own file it would be read as part of their identity.
"""

from __future__ import annotations

from typing import Any

from latentbench.kernel.identity import canonical, digest
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Direct,
    Embed,
    Request,
    Simulate,
    content,
    stored,
)


def whole(request: Direct, named: bool = False) -> str:
    """Canonical JSON of all that a request asks, truth included. Mocks draw failures and nonsense by it, so its fields stay as
    they are.

    Args:
        named: with the kind of the request before it.
    """
    fields = stored(request, False)
    if not isinstance(request, Embed | Activate):
        fields["question"] = None if request.trial is None else content(request.trial)
    return canonical([type(request).__name__, fields] if named else fields)


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
        case Simulate():
            text, settings = asked["question"], {}
        case Activate():
            text, settings = request.text, {"latent": request.latent.id, "origin": request.latent.origin}
    if not isinstance(request, Simulate) and asked.get("question") is not None:
        settings["question"] = digest(asked["question"])
    return digest([kind, asked]), digest(text), canonical({"kind": kind, **settings})


def changes(old: dict[str, Any], new: dict[str, Any], what: str = "judge ") -> list[str]:
    """One phrase per field that differs; parameters are compared one by one."""

    def flat(value: dict[str, Any]) -> dict[str, Any]:
        rest = {k: v for k, v in value.items() if k != "params"}
        return {**rest, **dict(value.get("params") or [])}

    a, b = flat(old), flat(new)
    return [
        f"{what}{name} differs: {a.get(name, 'absent')} stored, {b.get(name, 'absent')} asked"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
