"""The one door through which a judge's replies come, before they are cached, read or counted.

What passes is a `Reply` of the right types that holds what its kind of request asked for, in numbers that mean something and in
text that a file can hold, without what the model thought before it answered. Whatever else a judge gives is an outcome with a
line that says why. A reader that meets a missing field later would raise in the name of the scorer, and a cache that stored the
reply first would give it back for ever.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from latentbench.judges.reasoning import parted
from latentbench.kernel.boundary import blame, encodable, one_line
from latentbench.kernel.conform import Mismatch, conform, half_pair
from latentbench.kernel.forms import Write
from latentbench.kernel.requests import (
    Activate,
    Chat,
    Choice,
    Continuation,
    Embed,
    Outcome,
    Patched,
    Projected,
    Reply,
    Request,
    Simulate,
    Usage,
)


def received(judge: object, request: Request, reply: Any) -> Reply:
    """The reply to a request, or a failed one in its place; one whose reading raises fails alone.

    A reply of wrong types or without what was asked for is a fault of the judge's code (`API`: asked again on resume, never
    stored). Half of a surrogate pair in the text, or numbers that are no log-probabilities, are what the model said and no
    answer (`PARSE`).
    """
    try:
        return _received(judge, request, reply)
    except Exception as e:
        return Reply(Outcome.API, error=f"the reply cannot be read: {blame(e, type(judge))}")


def _received(judge: object, request: Request, reply: Any) -> Reply:
    if isinstance(reply, Reply):
        # Replacing the half would be shorter, and would store a text that nobody wrote.
        half = half_pair(reply.text) if isinstance(reply.text, str) else ""
        if half:
            usage = reply.usage if isinstance(reply.usage, Usage) else Usage()
            return Reply(Outcome.PARSE, usage=usage, error=f"the reply is {half}")
        # No answer is read from these, so they may be written out with escapes.
        reply = replace(
            reply, error=_line(reply.error), reasoning=_escaped(reply.reasoning), finish=_line(reply.finish)
        )
    try:
        found = conform(reply, Reply)
        if found.ok:
            _complete(request, found)
    except Mismatch as e:
        return Reply(Outcome.API, error=f"{type(judge).__module__}.{type(judge).__qualname__}.answer: {e}")
    if not found.ok:
        return found
    wrong = _no_numbers(found)
    if wrong:
        return Reply(Outcome.PARSE, usage=found.usage, error=wrong)
    asked = request.chat if isinstance(request, Patched) else request
    return _answer(asked, found) if isinstance(asked, Chat) else found


def _answer(request: Chat, reply: Reply) -> Reply:
    """A written reply without its thoughts, or a failed one where no answer is left.

    A text that was cut off at the limit is no answer to a trial unless the answer closes itself, as a list does: "1" may have
    been going to be "12". What a writer wrote (`Write`, explanations) its reader takes as far as it goes.
    """
    answer, thoughts, unended = parted(reply.text or "")
    thought = thoughts if reply.reasoning is None else reply.reasoning
    found = replace(reply, text=answer, reasoning=thought)
    cut = reply.finish == "length"
    ended = f"finish_reason {reply.finish}, {reply.usage.tokens_out} tokens" if reply.finish else "no reason given"
    if unended:
        error = (
            f"the reply ends inside its reasoning ({ended}); give it more tokens (max_tokens=) or turn reasoning off: "
            f"{thought or ''!r:.100}"
        )
    elif not answer.strip():
        spent = "; all of it went into reasoning, so give it more tokens (max_tokens=)" if thought and cut else ""
        error = f"the reply is empty ({ended}{spent})"
    elif cut and request.trial is not None and not isinstance(request.trial.form, Write) and "]" not in answer:
        error = f"the reply was cut off at its limit ({ended}): {answer.strip()!r:.100}"
    else:
        return found
    return replace(found, outcome=Outcome.PARSE, text=None, error=error)


def _line(text: str | None) -> str | None:
    return one_line(text) if isinstance(text, str) else text


def _escaped(text: str | None) -> str | None:
    return encodable(text) if isinstance(text, str) else text


def _complete(request: Request, reply: Reply) -> None:
    """Whether an ok reply holds what its request asks for, in the right shape."""
    match request:
        case Chat() | Patched():
            _held("text", reply.text)
        case Choice():
            rows = _held("logprobs", reply.logprobs)
            _sizes("logprobs", rows, [len(request.answers)] * len(request.slots), "[slot][answer]")
        case Continuation():
            _held("loglik", reply.loglik)
            if _held("n_tokens", reply.n_tokens) < 1:
                raise Mismatch(f".n_tokens is {reply.n_tokens}, not 1 or more")
        case Embed():
            if _held("vector", reply.vector).ndim != 1:
                raise Mismatch(
                    f".vector has the shape {reply.vector.shape if reply.vector is not None else ()}, not [d]"
                )
        case Simulate():
            shown = request.trial.windows
            _sizes("tokens", _held("tokens", reply.tokens), [len(w.tokens) for w in shown], "[window][token]")
            if len(_held("windows", reply.windows)) != len(shown):
                raise Mismatch(f".windows has {len(reply.windows or ())} values for {len(shown)} windows")
        case Projected():
            _sizes("windows", [_held("windows", reply.windows)], [len(request.latents)], "[latent]")
        case Activate():
            if len(_held("tokens", reply.tokens)) != 1:
                raise Mismatch(f".tokens has {len(reply.tokens or ())} rows, not one")


def _held(name: str, value: Any) -> Any:
    if value is None:
        raise Mismatch(f".{name} is missing from a reply that is ok")
    return value


def _sizes(name: str, rows: Sequence[Sequence[float]], wanted: Sequence[int], axes: str) -> None:
    if [len(row) for row in rows] != list(wanted):
        raise Mismatch(f".{name} has rows of {[len(r) for r in rows][:8]} values, not {list(wanted)[:8]} {axes}")


def _no_numbers(reply: Reply) -> str:
    """Says which numbers of an ok reply are none; "" if all are. An answer may have no mass at all (-inf)."""
    for row in reply.logprobs or ():
        if any(math.isnan(p) or p > _LOG_ONE for p in row) or all(p == -math.inf for p in row):
            return f"the reply holds no log-probabilities: {row[:6]}"
    loglik = reply.loglik
    if loglik is not None and not math.isfinite(loglik):
        return f"the reply's log-likelihood is {loglik}"
    if not all(map(math.isfinite, _flat(reply))):
        return "the reply holds values that are not finite"
    if reply.vector is not None and not np.isfinite(reply.vector).all():
        return "the vector of the reply is not finite"
    return ""


_LOG_ONE = 1e-3
"""The logarithm of a probability of one, and rounding."""


def _flat(reply: Reply) -> Iterable[float]:
    for row in reply.tokens or ():
        yield from row
    yield from reply.windows or ()
