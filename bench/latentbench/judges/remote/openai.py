"""Any OpenAI-compatible endpoint as a judge.

What is asked, and how an answer is read. One call at an endpoint is one request, so batches are only a bound on how many are
under way; how a call gets there, and what becomes of it when it fails, is the endpoint's (`latentbench.judges.remote.endpoint`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, TypeVar

import pydantic

from latentbench.judges.judge import DispatchJudge
from latentbench.judges.options import set_options
from latentbench.judges.remote.address import KEYS
from latentbench.judges.remote.endpoint import Endpoint, EndpointParams
from latentbench.judges.remote.reading import READING, body_of, chat_reply, choice_reply, continuation_reply
from latentbench.judges.remote.structure import Structure, structured, unwrapped
from latentbench.judges.remote.wire import OWN, PAYING
from latentbench.judges.turns import Turn, merged, unrepeated
from latentbench.kernel.config import JsonObject
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
    Request,
)
from latentbench.kernel.veil import is_secret, is_secret_header

R = TypeVar("R", Chat, Choice, Continuation)


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
    revision: str = "unknown"
    """What only you know of what answers: the version of the weights behind the name."""
    max_tokens: int | None = pydantic.Field(default=None, ge=1)
    """Tokens that every reply may take at least, thoughts included; the scorer's own allowance is for an answer without them."""
    reasoning_effort: str | None = None
    """How much a thinking model is to think, in the endpoint's words."""
    chat_template_kwargs: JsonObject = pydantic.Field(default_factory=dict)
    """For the server's chat template, such as `{"enable_thinking": false}`."""
    extra_body: JsonObject = pydantic.Field(default_factory=dict)
    """Further fields of every request."""
    headers: JsonObject = pydantic.Field(default_factory=dict)
    """Further headers of every request. They say where a call goes and are no part of the identity."""
    system: Turn = "keep"
    """`merge` puts the system text in front of the first user message, for models without that role."""
    prefill: Turn = "keep"
    """`merge` asks for the beginning of a reply in words, for models that take no trailing assistant message."""
    plain: bool = False
    """With `tokenizer`: write the messages one after the other, without roles or template, for a model trained on plain text."""
    top_logprobs: int = pydantic.Field(default=20, ge=1)
    """Number of likeliest first tokens that are asked for; some endpoints report five at most."""
    least_mass: float = pydantic.Field(default=0.1, ge=0, le=1)
    """Share of the first token's probability that must be on the allowed answers; with less, the reply is no answer."""
    structured: Structure = "off"
    """How the endpoint is held to the allowed answers: `json_schema` (`response_format`), `choice` or `regex` (vLLM)."""

    @property
    def chosen(self) -> list[tuple[str, str]]:
        """Options that can change an answer and are not at their default, as the identity holds them. Where a call goes, and with
        which key, changes no answer: the same model at another port is the same judge."""
        return set_options(self, ANSWERING)


ANSWERING = (
    "max_tokens",
    "reasoning_effort",
    "chat_template_kwargs",
    "extra_body",
    "system",
    "prefill",
    "plain",
    "top_logprobs",
    "least_mass",
    "structured",
)
"""Parameters that can change an answer."""
RESERVED = (
    OWN | {name.lower() for name in PAYING} | {"accept-encoding", "expect", "keep-alive", "te", "trailer", "upgrade"}
)
"""Headers that no reference can set: they say what a request is, where it goes, or who pays."""


class OpenAIJudge(DispatchJudge):
    """A judge behind an endpoint that speaks OpenAI's protocol.

    Args:
        model: name of the model at the endpoint.
        params: how the endpoint is reached.

    Raises:
        SpecError: no key in the environment and no endpoint of one's own; an endpoint, or a header, that is not allowed.
    """

    params_model: ClassVar[type[pydantic.BaseModel]] = OpenAIParams
    chunk = 1
    in_flight = 4

    def __init__(self, model: str, params: OpenAIParams | None = None) -> None:
        super().__init__()
        self.params = p = params or OpenAIParams()
        self.model = model
        self.endpoint = Endpoint(p, model, headers_of(p.headers))
        refuse_secrets(p.extra_body, "extra_body")
        refuse_secrets(p.chat_template_kwargs, "chat_template_kwargs")
        if p.base_url is None and self.endpoint.grant.key() is None:
            raise SpecError(
                f"judge openai:{model}: the environment variable {self.endpoint.grant.variable} is not set; put the key there."
            )
        self.serve(Chat, self._texts)
        if p.logprobs:
            self.serve(Choice, self._choices)
        if p.completions:
            self.serve(Continuation, self._continuations)
        settings = [("temperature", str(p.temperature)), ("reading", READING), *p.chosen]
        if p.plain and not p.tokenizer:
            raise SpecError(f"judge openai:{model}: `plain` is read with a `tokenizer` only; add it.")
        if p.tokenizer:
            settings += self._read_by_tokens(p.tokenizer)
        self.identity = JudgeIdentity("openai", model, p.revision, "remote", tuple(settings))

    def _read_by_tokens(self, tokenizer: str) -> tuple[tuple[str, str], ...]:
        """Read choices and continuations by token ids instead; returns what of the tokenizer is part of the identity."""
        if not self.params.completions:
            raise SpecError(f"judge openai:{self.model}: `tokenizer` is read with `completions=true` only; add it.")
        from latentbench.judges.remote.completions import Completions
        from latentbench.judges.worded import WordedParams

        p = self.params
        # The default share is for the few likeliest tokens of a chat; here every answer is read exactly, so it must be asked for.
        least = p.least_mass if "least_mass" in p.model_fields_set else 0.0
        asked = WordedParams(
            system=p.system, chat_template_kwargs=p.chat_template_kwargs, plain=p.plain, least_mass=least
        )
        reader = Completions(tokenizer, asked, self._completions, self._call)
        self.serve(Choice, reader.choices, Capability.SLOTS)
        self.serve(Continuation, reader.continuations)
        return reader.identity

    async def _completions(self, asked: dict[str, Any]) -> Mapping[str, Any]:
        p = self.params
        body = {"model": self.model, "prompt": asked["prompt"], **p.extra_body, **asked}
        return body_of(await self.endpoint.post("/completions", body))

    async def _texts(self, requests: Sequence[Chat]) -> list[Reply]:
        return await asyncio.gather(*(self._call(r, self._chat) for r in requests))

    async def _choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers.

        They are read from the first token of the reply, so answers must differ there: a request in which one answer begins
        another, or with several slots, is skipped. `end` cannot be asked for.

        An answer that is not among the likeliest tokens gets an upper bound: the smallest of them, or all mass outside them if
        that is less. With too little mass on all answers together (`least_mass`) the reply is none.
        """
        return await asyncio.gather(*(self._call(r, self._choice) for r in requests))

    async def _continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts.

        The endpoint tokenises context and text together; a token across the boundary counts as text.
        """
        return await asyncio.gather(*(self._call(r, self._continuation) for r in requests))

    async def probe(self, request: Request) -> str | None:
        """Why a call like this one fails: the same roles and limits, a greeting as content, and a judge that tries only twice."""
        judge = OpenAIJudge(self.model, self.params.briefly())
        try:
            (reply,) = await judge.answer([_greeting(request)])
        finally:
            await judge.close()
        return self.endpoint.problem(reply)

    async def close(self) -> None:
        """Close the connections of this event loop."""
        await self.endpoint.close()

    async def _call(self, request: R, ask: Callable[[R], Awaitable[Reply]]) -> Reply:
        """One request with its retries; never raises for what the endpoint does."""
        return await self.endpoint.call(lambda: ask(request), _size(request))

    async def _chat(self, request: Chat) -> Reply:
        p = self.params
        asked: dict[str, Any] = {p.token_field: max(request.max_tokens, p.max_tokens or 0)}
        if p.temperature:
            asked["temperature"] = request.temperature
            if request.temperature > 0:
                asked["seed"] = request.seed
        form = structured(request, p.structured)
        started = time.perf_counter()
        body = await self._complete(request.messages, asked, form)
        reply = chat_reply(body, time.perf_counter() - started)
        if not reply.ok:
            return reply
        text = unrepeated(request.messages, reply.text or "", p.prefill)
        return replace(reply, text=unwrapped(text) if p.structured == "json_schema" else text)

    async def _choice(self, request: Choice) -> Reply:
        if len(request.slots) > 1 or request.slots[0]:
            return Reply(
                Outcome.SKIPPED, error="a chat endpoint reads one answer at the start of its reply, not several slots"
            )
        if any(a != b and b.startswith(a) for a in request.answers for b in request.answers):
            return Reply(Outcome.SKIPPED, error="one answer begins another; the first token cannot tell them apart")
        p = self.params
        asked: dict[str, Any] = {p.token_field: 1, "logprobs": True, "top_logprobs": p.top_logprobs}
        if p.temperature:
            asked["temperature"] = 0.0
        started = time.perf_counter()
        body = await self._complete(request.messages, asked, {})
        return choice_reply(body, request, p.least_mass, time.perf_counter() - started)

    async def _complete(
        self, messages: Sequence[Message], asked: Mapping[str, Any], form: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        p = self.params
        turns = merged(messages, p.system, p.prefill)
        rendered = [{"role": m.role, "content": m.content} for m in turns]
        more = {**p.extra_body, **form}
        if p.chat_template_kwargs:
            more["chat_template_kwargs"] = p.chat_template_kwargs
        if p.reasoning_effort is not None:
            more["reasoning_effort"] = p.reasoning_effort
        body = {"model": self.model, "messages": rendered, **asked, **more}
        return body_of(await self.endpoint.post("/chat/completions", body))

    async def _continuation(self, request: Continuation) -> Reply:
        started = time.perf_counter()
        asked = {"max_tokens": 0, "echo": True, "logprobs": 0, "temperature": 0.0}
        body = {"model": self.model, "prompt": request.context + request.text, **asked}
        found = body_of(await self.endpoint.post("/completions", body))
        return continuation_reply(found, request, time.perf_counter() - started)


def headers_of(given: Mapping[str, Any]) -> dict[str, str]:
    """Headers that a reference names.

    Raises:
        SpecError: one that holds a key, says where the call goes, or can stand in no request; its value is not repeated.
    """
    for name, value in given.items():
        if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", name):
            raise SpecError(f"headers: {name[:80]!r} is no name of a header.")
        if is_secret_header(name):
            raise SpecError(
                f"headers: {name} holds a key, which does not belong into a reference. {KEYS} (and --key-header)"
            )
        if name.lower() in RESERVED:
            raise SpecError(f"headers: {name} is set by the client; leave it out.")
        if not isinstance(value, str) or not value.isascii() or not value.isprintable():
            raise SpecError(f"headers: the value of {name} must be a text of printable ASCII characters.")
    return dict(given)


def refuse_secrets(given: Any, where: str) -> None:
    """Refuse a field of a reference, at any depth, that holds a key.

    Raises:
        SpecError: one does, by its name; its value is not repeated.
    """
    pairs = given.items() if isinstance(given, dict) else enumerate(given) if isinstance(given, list) else ()
    for name, value in pairs:
        if isinstance(name, str) and is_secret(name) and isinstance(value, str):
            raise SpecError(f"{where}: {name[:80]!r} holds a key, which does not belong into a reference. {KEYS}")
        refuse_secrets(value, where)


def _greeting(request: Request) -> Request:
    """A request of the same kind and shape that says nothing."""
    if isinstance(request, Continuation):
        return Continuation("One, two", ", three")
    if isinstance(request, Chat | Choice):
        return replace(request, messages=tuple(Message(m.role, "Hello.") for m in request.messages))
    return request


def _size(request: Chat | Choice | Continuation | None) -> int:
    """About how many tokens a call takes: four characters are one, and an answer is as long as it may be; 1 for a call that asks
    nothing of a user's."""
    if request is None:
        return 1
    if isinstance(request, Continuation):
        return 1 + (len(request.context) + len(request.text)) // 4
    answer = request.max_tokens if isinstance(request, Chat) else 1
    return answer + sum(len(m.content) for m in request.messages) // 4
