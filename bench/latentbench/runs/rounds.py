"""Requests -> replies, in rounds: the one loop behind explaining, judging and the report on what a cache holds.

Nearly everyone asks once. Who needs to see a reply before it knows what to ask next (let a text be written, then run the subject
on it) asks again through `more`. All exchanges of a call go through each round together, so a second round is batched like the
first; a scorer that called the judge itself would be shorter and would take the batches away. Where replies come from is the
caller's: a judge, or a cache alone, which has no reply to some requests.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field

from latentbench.kernel.boundary import Fault, attempt
from latentbench.kernel.conform import Mismatch
from latentbench.kernel.forms import AnyOf, words
from latentbench.kernel.requests import NEEDS, Capability, Chat, Choice, Continuation, Outcome, Reply, Request, Simulate
from latentbench.kernel.trial import misshapen

Source = Callable[[Sequence[Request]], Awaitable[Sequence[Reply | None]]]
"""Replies to requests, in order; None where there is none and none will come."""


@dataclass
class Exchange:
    """What is asked about one thing, and what came back so far.

    Attributes:
        owner: the scorer or explainer that asks.
        more: the replies so far -> what to ask next; nothing ends the exchange.
        can: what the judge can; None where nobody answers.
        asking: requests of the round to come.
        replies: what came back to everything asked, in order.
        heard: the request behind each reply, with the number of its round.
        missing: requests without a reply; nothing is asked after them, because what would be asked depends on it.
        fault: what the owner's code raised when it was to say what to ask; nothing is asked after it either.
    """

    owner: object
    more: Callable[[Sequence[Reply]], list[Request]]
    can: frozenset[Capability] | None = None
    asking: list[Request] = field(default_factory=list)
    replies: list[Reply] = field(default_factory=list)
    heard: list[tuple[int, Request]] = field(default_factory=list)
    missing: list[Request] = field(default_factory=list)
    fault: Fault | None = None

    @classmethod
    def begin(
        cls,
        owner: object,
        first: Callable[[], list[Request]],
        more: Callable[[Sequence[Reply]], list[Request]],
        can: frozenset[Capability] | None = None,
    ) -> Exchange:
        """An exchange before its first round.

        Args:
            first: what to ask first; an exchange without any request is over.
        """
        exchange = cls(owner, more, can)
        exchange._ask("requests", first)
        return exchange

    @property
    def asked(self) -> int:
        """How many requests were put to the source."""
        return len(self.replies) + len(self.missing)

    @property
    def fault_outcome(self) -> Outcome:
        """What a fault makes of the exchange: a reply that could not be read, or a question that was never asked."""
        return Outcome.PARSE if self.replies else Outcome.SKIPPED

    def hear(self, new: Sequence[Reply | None]) -> None:
        """Take the replies of a round, one per request of `asking`, and find out what to ask next."""
        turn = self.heard[-1][0] + 1 if self.heard else 0
        self.missing += [request for request, reply in zip(self.asking, new, strict=True) if reply is None]
        self.heard += [(turn, request) for request, reply in zip(self.asking, new, strict=True) if reply is not None]
        self.replies += [reply for reply in new if reply is not None]
        self.asking = []
        if not self.missing:
            self._ask("follow_up", lambda: self.more(list(self.replies)))

    def _ask(self, name: str, what: Callable[[], list[Request]]) -> None:
        found = attempt(self.owner, name, what, list[Request], lambda found: _answerable(found, self.can))
        if isinstance(found, Fault):
            self.fault = found
        else:
            self.asking = found


def _answerable(requests: list[Request], can: frozenset[Capability] | None) -> None:
    """Rule for requests: the judge can answer each, its trial fits together, and one that is answered at places of a text offers
    the words of its trial's form."""
    for i, request in enumerate(requests):
        need = NEEDS[type(request)]
        if can is not None and need not in can:
            raise Mismatch(
                f"[{i}] is a {type(request).__name__}, which takes a judge that can {need.value}; this one can "
                f"{', '.join(sorted(c.value for c in can)) or 'nothing'}"
            )
        told = request.trial if isinstance(request, Chat | Choice | Continuation | Simulate) else None
        if told is not None and (wrong := misshapen(told)):
            raise Mismatch(f"[{i}].trial{wrong}")
        if not isinstance(request, Choice):
            continue
        if len(set(request.answers)) < len(request.answers) or len(request.answers) < 2:
            raise Mismatch(f"[{i}].answers are {request.answers}; a choice is between two or more different answers")
        trial = request.trial
        if trial is None or not trial.windows:
            continue
        allowed = words(trial.form, len(trial.windows))
        if isinstance(trial.form, AnyOf) or sorted(allowed) != sorted(request.answers):
            raise Mismatch(
                f"[{i}] is a choice between {request.answers}, which cannot answer {trial.form}"
                + (
                    f", whose words are {allowed}"
                    if allowed and not isinstance(trial.form, AnyOf)
                    else "; ask for a text (Chat)"
                )
            )


async def converse(exchanges: Sequence[Exchange], source: Source) -> None:
    """Carry exchanges to their ends, one call of `source` per round."""
    while asking := [exchange for exchange in exchanges if exchange.asking]:
        new = iter(await source([request for exchange in asking for request in exchange.asking]))
        for exchange in asking:
            exchange.hear([next(new) for _ in exchange.asking])
