"""What was asked about one latent and what came back, as data: each text once, and calls that name them by number.

The words are in files of their own, which the page loads when somebody asks for them: with the verdicts they would be most of
what is loaded to look at a latent.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from latentbench.runs.kept import KeptCall


@dataclass(frozen=True, slots=True)
class ShownCall:
    """A call; texts are numbers in `CallList.texts`, of what came back null where nothing did."""

    owner: str
    stage: str
    repeat: int
    trial: str
    part: str
    items: tuple[int, ...]
    round: int
    form: str
    member: str
    messages: tuple[tuple[str, int], ...]
    """Role and text of each."""
    reply: int | None
    reasoning: int | None
    outcome: str
    cause: str
    finish: str
    answers: tuple[str, ...]
    probabilities: tuple[float, ...]
    value: float | None


@dataclass(frozen=True, slots=True)
class CallList:
    """The calls about one latent."""

    latent: str
    texts: tuple[str, ...]
    calls: tuple[ShownCall, ...]


def call_list(latent: str, calls: Iterable[KeptCall]) -> CallList:
    """Calls about a latent as data."""
    number: dict[str, int] = {}

    def place(text: str) -> int:
        return number.setdefault(text, len(number))

    shown = tuple(
        ShownCall(
            owner=call.owner,
            stage=call.stage,
            repeat=call.repeat,
            trial=call.trial,
            part=call.part,
            items=call.items,
            round=call.round,
            form=call.form,
            member=call.member,
            messages=tuple((message.role, place(message.content)) for message in call.messages),
            reply=place(call.reply) if call.reply else None,
            reasoning=place(call.reasoning) if call.reasoning else None,
            outcome=call.outcome.value,
            cause=call.cause,
            finish=call.finish,
            answers=call.answers,
            probabilities=call.probabilities,
            value=call.value,
        )
        for call in calls
    )
    return CallList(latent, tuple(number), shown)
