"""What every judge that words prompts for a language model in this process or in its engine has in common.

Some models know no system role, some think before they answer unless their template is told otherwise, and one that thinks needs
room. These are options of the judge, in its reference and in its identity where they are not at their defaults, as at an endpoint
(`latentbench.judges.remote.openai`), so that one model is asked the same wherever it runs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, overload

import pydantic

from latentbench.judges.judge import DispatchJudge
from latentbench.judges.options import set_options
from latentbench.judges.reasoning import TAGS
from latentbench.judges.turns import Turn, merged
from latentbench.kernel.config import Frozen, JsonObject
from latentbench.kernel.requests import Chat, Choice, Outcome, Patched, Reply, Request
from latentbench.models.engine.wording import Wording

KEPT = frozenset({*(tag for pair in TAGS for tag in pair), "<|channel|>", "<|message|>", "<|channel>"})
"""Control tokens that stay in a written reply, because thoughts are cut by them."""


class WordedParams(Frozen):
    """How a language model is asked."""

    system: Turn = "keep"
    """`merge` puts the system text in front of the first user message, for models without that role."""
    chat_template_kwargs: JsonObject = pydantic.Field(default_factory=dict)
    """For the chat template, such as `{"enable_thinking": false}`."""
    plain: bool = False
    """Write the messages one after the other, without roles or template, for a model that was trained on plain text."""
    max_tokens: int | None = pydantic.Field(default=None, ge=1)
    """Tokens that every reply may take at least, thoughts included; the scorer's own allowance is for an answer without them."""
    least_mass: float = pydantic.Field(default=0.0, ge=0, le=1)
    """Share of the probability that must be on the allowed answers at each place. Here all of them are known exactly, so a small
    share still ranks, and none is asked for."""

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """Options that are not at their default, as the identity holds them."""
        return set_options(self, WordedParams.model_fields)


class WordedJudge(DispatchJudge):
    """A judge whose requests are worded by its options before they are answered."""

    params: WordedParams

    async def answer(self, requests: Sequence[Request]) -> list[Reply]:
        """One reply per request, in order."""
        replies = await super().answer([worded(r, self.params) for r in requests])
        return [enough(reply, self.params.least_mass) for reply in replies]


def wording_of(tokenizer: Any, params: WordedParams) -> Wording:
    """The text side of a model that is asked with these options."""
    return Wording(tokenizer, params.chat_template_kwargs, KEPT, params.plain)


@overload
def worded(request: Choice, params: WordedParams) -> Choice: ...
@overload
def worded(request: Request, params: WordedParams) -> Request: ...
def worded(request: Request, params: WordedParams) -> Request:
    """The request as the options say that it is put."""
    if isinstance(request, Chat):
        room = max(request.max_tokens, params.max_tokens or 0)
        return replace(request, messages=merged(request.messages, params.system, "keep"), max_tokens=room)
    if isinstance(request, Patched):
        chat = worded(request.chat, params)
        return replace(request, chat=chat) if isinstance(chat, Chat) else request
    if isinstance(request, Choice):
        return replace(request, messages=merged(request.messages, params.system, "keep"))
    return request


def enough(reply: Reply, least: float) -> Reply:
    """The reply, or none where the allowed answers have too little of the probability at some place."""
    for slot in reply.logprobs or ():
        share = math.fsum(map(math.exp, slot))
        if share < least:
            error = f"{share:.2%} of the probability is on an answer, less than least_mass={least:g}"
            return Reply(Outcome.PARSE, usage=reply.usage, error=error)
    return reply
