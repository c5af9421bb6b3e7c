"""How clearly one text shows what an explanation says, in three levels: not at all, in part, clearly.

Three levels and not two, because a judge that must call a doubtful text something calls it the same as a clear one; FADE leaves
the doubtful ones out. A judge that gives log-probabilities is read at the likeliest level, a simulator at thirds of its
probability.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.requests import Capability, Chat, Choice, Reply, Request, Simulate
from latentbench.kernel.trial import Trial
from latentbench.prompts.answers import NO_MASS, masses, read_word, unread
from latentbench.prompts.template import Template, one_line

NONE, PARTLY, CLEARLY = 0, 1, 2
LEVELS = ("none", "partly", "clearly")
NEEDS = (Capability.CHOICE, Capability.CHAT, Capability.SIMULATE)
"""Alternatives; the first that a judge has is used."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A level, and the expected level over 2, in [0, 1]."""

    level: int
    share: float


def rating_request(trial: Trial, answers: tuple[str, ...], template: Template, can: frozenset[Capability]) -> Request:
    """The question about the trial's one window.

    Args:
        answers: words for the levels.
        template: with the fields `explanation` and `window`.

    Raises:
        CapabilityError: a judge that can do none of `NEEDS`.
    """
    (window,) = trial.windows
    messages = template.render(explanation=trial.explanation, window=one_line(window.text))
    if Capability.CHOICE in can:
        return Choice(messages, answers, trial=trial)
    if Capability.CHAT in can:
        return Chat(messages, max_tokens=8, trial=trial)
    if Capability.SIMULATE in can:
        return Simulate(trial)
    raise CapabilityError(f"scorer {trial.task!r} cannot have texts rated by a judge that can only {sorted(can)}.")


def read_rating(reply: Reply, answers: tuple[str, ...]) -> Rating | Reply:
    """The rating, or the failed reply.

    Of equal log-probabilities the lower level counts. By hand: 1/2, 1/4 and 1/4 on the three levels are level 0, and
    1/4 * 1/2 + 1/4 = 0.375.
    """
    if not reply.ok:
        return reply
    if reply.windows is not None:
        p = reply.windows[0]
        return Rating(min(int(p * 3), CLEARLY), p)
    if reply.logprobs is not None:
        logp = reply.logprobs[0]
        mass = masses(logp)
        if mass is None:
            return NO_MASS
        expected = (mass[PARTLY] / 2 + mass[CLEARLY]) / math.fsum(mass)
        return Rating(logp.index(max(logp)), expected)
    level = read_word(reply.text or "", answers)
    return unread(reply.text or "") if level is None else Rating(level, level / 2)
