"""Any OpenAI-compatible endpoint as a judge.

What is asked, and how an answer is read. One call at an endpoint is one request, so batches are only a bound on how many are
under way; how a call gets there, and what becomes of it when it fails, is the endpoint's (`latentbench.judges.remote.endpoint`).
"""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, ClassVar, Literal, TypeVar
from urllib.parse import urlsplit

import openai
import pydantic

from latentbench.judges.judge import DispatchJudge
from latentbench.judges.remote.endpoint import Endpoint, EndpointParams
from latentbench.judges.remote.endpoint import Malformed as _Malformed
from latentbench.kernel.errors import SpecError
from latentbench.kernel.requests import (
    Capability,
    Chat,
    Choice,
    Continuation,
    JudgeIdentity,
    Message,
    Outcome,
    Reply,
    Usage,
)

R = TypeVar("R", Chat, Choice, Continuation)

TOP = 20
"""Number of most likely tokens that chat endpoints report."""
READING = "2"
"""Version of the way from tokens to answers; part of the identity, because cached replies were read in it."""


class OpenAIParams(EndpointParams):
    """Parameters of `openai:MODEL?...`."""

    logprobs: bool = False
    """Whether the endpoint reports `top_logprobs` of chat completions."""
    completions: bool = False
    """Whether the endpoint has completions with echo and logprobs, as vLLM does."""
    tokenizer: str = ""
    """The served model's tokenizer (a folder, a hub id, ...): with `completions`, answers are read exactly and at any places."""
    token_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    """Name by which the endpoint knows the largest number of new tokens."""
    temperature: bool = True
    """Whether the endpoint takes a temperature and seed; some models refuse both."""


class OpenAIJudge(DispatchJudge):
    """A judge behind an endpoint that speaks OpenAI's protocol.

    Args:
        model: name of the model at the endpoint.
        params: how the endpoint is reached.

    Raises:
        SpecError: no key in the environment and no endpoint of one's own.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = OpenAIParams
    chunk = 1
    in_flight = 4

    def __init__(self, model: str, params: OpenAIParams | None = None) -> None:
        super().__init__()
        self.params = p = params or OpenAIParams()
        self.model = model
        if not os.environ.get(p.key_env) and p.base_url is None:
            raise SpecError(
                f"judge openai:{model}: the environment variable {p.key_env} is not set; put the key there."
            )
        self.serve(Chat, self._texts)
        if p.logprobs:
            self.serve(Choice, self._choices)
        if p.completions:
            self.serve(Continuation, self._continuations)
        settings = [("endpoint", _without_login(p.base_url)), ("temperature", str(p.temperature)), ("reading", READING)]
        if p.tokenizer:
            settings += self._read_by_tokens(p.tokenizer)
        self.identity = JudgeIdentity("openai", model, "unknown", "remote", tuple(settings))
        self.endpoint = Endpoint(p, model)

    def _read_by_tokens(self, tokenizer: str) -> tuple[tuple[str, str], ...]:
        """Read choices and continuations by token ids instead; returns what of the tokenizer is part of the identity."""
        if not self.params.completions:
            raise SpecError(f"judge openai:{self.model}: `tokenizer` is read with `completions=true` only; add it.")
        from latentbench.judges.remote.completions import Completions

        reader = Completions(tokenizer, self._completions, self._call)
        self.serve(Choice, reader.choices, Capability.SLOTS)
        self.serve(Continuation, reader.continuations)
        return reader.identity

    async def _completions(self, **asked: Any) -> Any:
        return await self._client().completions.create(model=self.model, **asked)

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        return await asyncio.gather(*(self._call(r, self._chat) for r in requests))

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers.

        They are read from the first token of the reply, so answers must differ there: a request in which one answer begins
        another, or with several slots, is skipped. `end` cannot be asked for.

        An answer that is not among the 20 most likely tokens gets an upper bound: the smallest of them, or all mass outside
        them if that is less. If none is among them, the reply is no answer.
        """
        return await asyncio.gather(*(self._call(r, self._choice) for r in requests))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts.

        The endpoint tokenises context and text together; a token across the boundary counts as text.
        """
        return await asyncio.gather(*(self._call(r, self._continuation) for r in requests))

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self.endpoint.close()

    def _client(self) -> openai.AsyncOpenAI:
        return self.endpoint.client

    async def _call(self, request: R, ask: Callable[[R], Awaitable[Reply]]) -> Reply:
        """One request with its retries; never raises for what the endpoint does."""
        return await self.endpoint.call(lambda: ask(request), _size(request))

    async def _chat(self, request: Chat) -> Reply:
        asked: dict[str, Any] = {self.params.token_field: request.max_tokens}
        if self.params.temperature:
            asked["temperature"] = request.temperature
            if request.temperature > 0:
                asked["seed"] = request.seed
        choice, usage = await self._complete(request.messages, asked)
        refusal = _refusal(choice)
        if refusal is not None:
            return Reply(Outcome.REFUSAL, text=choice.message.content, usage=usage, error=refusal)
        return Reply(text=choice.message.content or "", usage=usage)

    async def _choice(self, request: Choice) -> Reply:
        if len(request.slots) > 1 or request.slots[0]:
            return Reply(
                Outcome.SKIPPED, error="a chat endpoint reads one answer at the start of its reply, not several slots"
            )
        if any(a != b and b.startswith(a) for a in request.answers for b in request.answers):
            return Reply(Outcome.SKIPPED, error="one answer begins another; the first token cannot tell them apart")
        asked: dict[str, Any] = {self.params.token_field: 1, "logprobs": True, "top_logprobs": TOP}
        if self.params.temperature:
            asked["temperature"] = 0.0
        choice, usage = await self._complete(request.messages, asked)
        refusal = _refusal(choice)
        if refusal is not None:
            return Reply(Outcome.REFUSAL, usage=usage, error=refusal)
        content = choice.logprobs.content if choice.logprobs else None
        if not content or not content[0].top_logprobs:
            raise _Malformed("the endpoint reported no logprobs; use it without `logprobs=true`")
        top = [(t.token, t.logprob) for t in content[0].top_logprobs]
        read = answer_logprobs(request.answers, top)
        if read is None:
            return Reply(
                Outcome.PARSE,
                usage=usage,
                error=f"no answer is among the {len(top)} likeliest first tokens: {', '.join(repr(t) for t, _ in top[:3])}, ...",
            )
        return Reply(logprobs=(read,), usage=usage)

    async def _complete(self, messages: Sequence[Message], asked: dict[str, Any]) -> tuple[Any, Usage]:
        started = time.perf_counter()
        rendered: Any = [{"role": m.role, "content": m.content} for m in messages]
        found: Any = await self._client().chat.completions.create(model=self.model, messages=rendered, **asked)
        choices = getattr(found, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise _Malformed(f"the reply is not a chat completion: {str(found)[:100]!r}")
        return choices[0], self._usage(found, started)

    async def _continuation(self, request: Continuation) -> Reply:
        started = time.perf_counter()
        found: Any = await self._client().completions.create(
            model=self.model,
            prompt=request.context + request.text,
            max_tokens=0,
            echo=True,
            logprobs=0,
            temperature=0.0,
        )
        choices = getattr(found, "choices", None)
        logprobs = getattr(choices[0], "logprobs", None) if choices else None
        if logprobs is None or not logprobs.tokens or not logprobs.text_offset or logprobs.token_logprobs is None:
            raise _Malformed("the endpoint echoed no logprobs; use it without `completions=true`")
        ends = [o + len(t) for o, t in zip(logprobs.text_offset, logprobs.tokens, strict=True)]
        # Counted from the end, because a start token that the endpoint shows would shift offsets from the front.
        boundary = ends[-1] - len(request.text)
        values = [p for p, e in zip(logprobs.token_logprobs, ends, strict=True) if e > boundary]
        usage = self._usage(found, started)
        if not values or None in values:
            return Reply(
                Outcome.SKIPPED, usage=usage, error="nothing stands before the first token: it has no log-probability"
            )
        return Reply(loglik=math.fsum(values), n_tokens=len(values), usage=usage)

    def _usage(self, found: Any, started: float) -> Usage:
        usage = getattr(found, "usage", None)
        cached = getattr(getattr(usage, "prompt_tokens_details", None), "cached_tokens", None)
        return Usage(
            getattr(usage, "prompt_tokens", None) or 0,
            getattr(usage, "completion_tokens", None) or 0,
            cached or 0,
            time.perf_counter() - started,
        )


def _without_login(url: str | None) -> str:
    """An endpoint's address without a user name or password in it."""
    if url is None:
        return "default"
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _refusal(choice: Any) -> str | None:
    refusal = getattr(choice.message, "refusal", None)
    if refusal:
        return f"refused: {refusal[:200]}"
    return "stopped by a content filter" if choice.finish_reason == "content_filter" else None


def _size(request: Chat | Choice | Continuation) -> int:
    """About how many tokens a call takes: four characters are one, and an answer is as long as it may be."""
    if isinstance(request, Continuation):
        return 1 + (len(request.context) + len(request.text)) // 4
    answer = request.max_tokens if isinstance(request, Chat) else 1
    return answer + sum(len(m.content) for m in request.messages) // 4


def answer_logprobs(answers: Sequence[str], top: Sequence[tuple[str, float]]) -> tuple[float, ...] | None:
    """Log-probability per answer from the most likely first tokens; None if no answer has a token.

    A token belongs to the answer that it begins (leading white space aside), if it begins only one; several tokens of one answer
    add up. An answer without token gets min(1 - mass of all reported tokens, the least of them), an upper bound on what it can
    have.
    """
    mass = [0.0] * len(answers)
    for token, logprob in top:
        text = token.strip()
        fitting = [i for i, a in enumerate(answers) if text and a.strip().startswith(text)]
        if len(fitting) == 1:
            mass[fitting[0]] += math.exp(logprob)
    if not any(mass):
        return None
    rest = max(1e-12, min(1.0 - math.fsum(math.exp(p) for _, p in top), *(math.exp(p) for _, p in top)))
    return tuple(math.log(m) if m > 0 else math.log(rest) for m in mass)
