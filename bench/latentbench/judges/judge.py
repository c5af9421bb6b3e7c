"""What a judge is: an identity, what it can do, and one method that answers requests of every kind, one reply each, in order.

One method per kind of request reads well in a backend and is paid for everywhere else: every wrapper repeats all of them, and a
new kind changes every wrapper. So the interface has one method, and a backend that answers several kinds declares a function for
each (`DispatchJudge`). Whatever the harness reads of a judge stands in `Judge`; nothing is looked up by name.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

import pydantic

from latentbench.judges.received import received
from latentbench.kernel.boundary import Fault, attempt, attempt_async
from latentbench.kernel.config import Frozen
from latentbench.kernel.conform import Mismatch
from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.requests import NEEDS, Capability, JudgeIdentity, Outcome, Reply, Request

R = TypeVar("R", bound=Request)


@runtime_checkable
class Judge(Protocol):
    """A backend, or a wrapper around one.

    Attributes:
        identity: everything that can change an answer.
        can: the kinds of requests that it answers; it is never sent another.
        reads_truth: True for mocks; their cache key includes the question's truth.
        in_flight: calls of `answer` that may be under way at once; a remote judge takes more, so that it does not idle at the
            end of each.
        chunk: requests per call that the cache sends and stores together; a killed run has paid for one chunk in vain.
    """

    identity: JudgeIdentity
    can: frozenset[Capability]
    reads_truth: bool
    in_flight: int
    chunk: int

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order. A call that fails is a reply that says so; an exception means a fault of the judge."""

    async def probe(self, request: Request) -> str | None:
        """Why no request like this one can succeed, on one line; None where nothing is known to be wrong. Asked before a run."""

    async def close(self) -> None:
        """Release what is held."""


class JudgeClass(Protocol):
    """What is registered under a provider's name: a class that builds a judge from the two parts of a reference.

    Attributes:
        params_model: pydantic model of what may stand behind the `?` of a reference.
        default_model: the model of a reference that names none; "" where it must name one.
    """

    params_model: type[pydantic.BaseModel]
    default_model: str

    def __call__(self, model: str, params: Any) -> Judge:
        """The judge; `params` is an instance of `params_model`."""


class NoParams(Frozen):
    """Parameters of a judge that has none: each that a reference gives is an error."""


class BaseJudge(ABC):
    """A judge without settings that holds nothing: what a subclass leaves as it is. It has an identity and answers."""

    params_model: ClassVar[type[pydantic.BaseModel]] = NoParams
    default_model: ClassVar[str] = ""
    identity: JudgeIdentity
    can: frozenset[Capability] = frozenset()
    reads_truth: bool = False
    in_flight: int = 1
    chunk: int = 256

    @abstractmethod
    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order, as `Judge` says."""

    async def probe(self, request: Request) -> str | None:
        """Why no request like this one can succeed. Nothing by default: what computes in this process is loaded already."""
        return None

    async def close(self) -> None:  # noqa: B027 - optional, and most judges hold nothing
        """Release connections; nothing by default."""


def misdeclared(judge: Judge) -> Fault | None:
    """What is wrong with that which a judge says of itself, if anything."""

    def positive(n: int) -> None:
        if n < 1:
            raise Mismatch(f"is {n}, not 1 or more")

    for found in (
        attempt(judge, "identity", lambda: judge.identity, JudgeIdentity),
        attempt(judge, "can", lambda: judge.can, frozenset[Capability]),
        attempt(judge, "reads_truth", lambda: judge.reads_truth, bool),
        attempt(judge, "in_flight", lambda: judge.in_flight, int, positive),
        attempt(judge, "chunk", lambda: judge.chunk, int, positive),
    ):
        if isinstance(found, Fault):
            return found
    return None


async def closed(judge: Judge) -> Fault | None:
    """Close a judge; what goes wrong then is told, and costs no answer that was paid."""
    found = await attempt_async(judge, "close", judge.close, object)
    return found if isinstance(found, Fault) else None


async def guarded(judge: Judge, requests: Sequence[Request]) -> list[Reply]:
    """One reply per request, whatever the judge does.

    An exception, or another number of replies, fails all requests of the call (`Outcome.API`, asked again on resume): nobody can
    say which of them it was. A judge that wants to lose fewer names a smaller `chunk`. A single reply that answers nothing fails
    alone (`latentbench.judges.received`).
    """
    found = await attempt_async(judge, "answer", lambda: judge.answer(list(requests)), list[Any])
    if isinstance(found, Fault):
        return [Reply(Outcome.API, error=found.line)] * len(requests)
    if len(found) != len(requests):
        error = f"{judge.identity.label} gave {len(found)} replies to {len(requests)} requests"
        return [Reply(Outcome.API, error=error)] * len(requests)
    return [received(judge, request, reply) for request, reply in zip(requests, found, strict=True)]


class DispatchJudge(BaseJudge):
    """A judge that is put together with `serve`. A subclass may take abilities out of `can`, and is then not asked for them."""

    def __init__(self) -> None:
        self._functions: dict[type, Callable[[Sequence[Any]], Awaitable[list[Reply]]]] = {}

    def serve(
        self, kind: type[R], function: Callable[[Sequence[R]], Awaitable[list[Reply]]], *more: Capability
    ) -> None:
        """Declare the function that answers a kind of request.

        Args:
            kind: type of the requests.
            function: one reply per request, in order.
            more: what it can beyond the plain request (`Capability.SLOTS`).
        """
        self._functions[kind] = function
        self.can = self.can | {NEEDS[kind], *more}

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order. Each kind goes to its function in one call, so that it shares what it can.

        Raises:
            CapabilityError: a request of a kind that this judge does not answer.
        """
        kinds = [kind for kind in NEEDS if any(isinstance(r, kind) for r in requests)]
        for kind in kinds:
            if kind not in self._functions or NEEDS[kind] not in self.can:
                raise CapabilityError(
                    f"judge {self.identity.label} cannot {NEEDS[kind].value}; it can {sorted(self.can)}."
                )
        found: dict[type, Iterator[Reply]] = {}
        for kind in kinds:
            found[kind] = iter(await self._functions[kind]([r for r in requests if isinstance(r, kind)]))
        return [next(found[type(r)]) for r in requests]
