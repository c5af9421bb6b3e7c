"""Asking a judge without being stopped by it: whatever goes wrong in a backend becomes replies that say so.

`Judge.answer` is code of others, or a parser of what others' servers send. An exception in it would end a run of hours for the
sake of one reply, and every resume would end at the same one. Errors of this package (`BenchError`) still end the run: they
say what its owner has to change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from latentbench.judges.judge import Judge
from latentbench.kernel.boundary import Fault, attempt_async
from latentbench.kernel.requests import Outcome, Reply, Request


async def guarded(judge: Judge, requests: Sequence[Request]) -> list[Reply]:
    """One reply per request, whatever the judge does.

    An exception, or another number of replies, fails all requests of the call (`Outcome.API`, asked again on resume): nobody can
    say which of them it was. A judge that wants to lose fewer names a smaller `chunk`.
    """
    found = await attempt_async(judge, lambda: judge.answer(requests))
    if isinstance(found, Fault):
        return [Reply(Outcome.API, error=found.line)] * len(requests)
    if len(found) != len(requests):
        error = f"{judge.identity.label} gave {len(found)} replies to {len(requests)} requests"
        return [Reply(Outcome.API, error=error)] * len(requests)
    return [storable(reply) for reply in found]


def storable(reply: Reply) -> Reply:
    """The reply, or a failed one where its text is none that a file can hold.

    A JSON body may name half of a surrogate pair. Such a text is no Unicode text and no encoder takes it; replacing the half
    would be shorter, and would store a text that nobody wrote.
    """
    error = None if reply.error is None else reply.error.encode("utf-8", "backslashreplace").decode("utf-8")
    try:
        (reply.text or "").encode("utf-8")
    except UnicodeEncodeError as e:
        half = f"\\u{ord((reply.text or '')[e.start]):04x}"
        note = f"the reply is not Unicode text: half of a surrogate pair ({half}) at character {e.start}"
        return Reply(Outcome.PARSE, usage=reply.usage, error=note)
    return reply if error == reply.error else replace(reply, error=error)
