"""What a judge is: an identity, what it can do, and replies to lists of requests, one for each, in order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    Reply,
    Request,
    Simulate,
)


@runtime_checkable
class Judge(Protocol):
    """A backend. Each method answers every request, in order, and raises only for faults of the program itself."""

    identity: JudgeIdentity
    can: frozenset[Capability]
    reads_truth: bool
    """True for mocks: their cache key includes the question's truth."""

    async def generate(self, requests: Sequence[Chat]) -> list[Reply]:
        """Assistant messages."""

    async def choose(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers."""

    async def loglik(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts."""

    async def embed(self, requests: Sequence[Embed]) -> list[Reply]:
        """Vectors."""

    async def simulate(self, requests: Sequence[Simulate]) -> list[Reply]:
        """Probabilities of being active."""

    async def activate(self, requests: Sequence[Activate]) -> list[Reply]:
        """Activations of latents on texts."""

    async def close(self) -> None:
        """Release what is held."""


class BaseJudge:
    """Default bodies: a judge overrides what it `can` do; the rest is an error of the plan, not of a call."""

    identity: JudgeIdentity
    can: frozenset[Capability] = frozenset()
    reads_truth: bool = False
    in_flight: int = 1
    """Batches that may be under way at once; a remote judge takes more, so that it does not idle at batch ends."""

    async def generate(self, requests: Sequence[Chat]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.CHAT)

    async def choose(self, requests: Sequence[Choice]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.CHOICE)

    async def loglik(self, requests: Sequence[Continuation]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.TEXT)

    async def embed(self, requests: Sequence[Embed]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.EMBED)

    async def simulate(self, requests: Sequence[Simulate]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.SIMULATE)

    async def activate(self, requests: Sequence[Activate]) -> list[Reply]:
        """See `Judge`."""
        raise self._cannot(Capability.ACTIVATE)

    async def close(self) -> None:
        """Release connections; nothing by default."""

    def _cannot(self, capability: Capability) -> Exception:
        from latentbench.kernel.errors import CapabilityError

        return CapabilityError(f"judge {self.identity.label} cannot {capability.value}; it can {sorted(self.can)}.")


async def ask(judge: Judge, requests: Sequence[Request]) -> list[Reply]:
    """Send requests of any mix of types, one batch per type, and give the replies back in the order asked."""
    replies: list[Reply | None] = [None] * len(requests)
    methods: dict[type, Any] = {
        Chat: judge.generate,
        Choice: judge.choose,
        Continuation: judge.loglik,
        Embed: judge.embed,
        Simulate: judge.simulate,
        Activate: judge.activate,
    }
    for kind, method in methods.items():
        places = [i for i, r in enumerate(requests) if isinstance(r, kind)]
        if places:
            for i, reply in zip(places, await method([requests[i] for i in places]), strict=True):
                replies[i] = reply
    return [r for r in replies if r is not None]
