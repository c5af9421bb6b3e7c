"""The way to an OpenAI-compatible endpoint and back: when a call is sent, how often, and what its failure means.

What is asked and how a reply is read is the judge's (`latentbench.judges.remote.openai`). A call holds one of the places until it
is over, its waits included: a call that gives its place away while it waits lets the next one in, and soon all calls of a run are
waiting for their retries at once, which an endpoint with a rate never survives. A refusal because of the rate (429) is no failure
of the call that was refused: it holds all calls back, and costs none of them an attempt. Nothing that an endpoint does to a call
raises; an endpoint that answers no call at all ends the run.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import random
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Self

import httpx
import openai
import pydantic

from latentbench.judges.remote.address import OPENAI, read_address
from latentbench.judges.remote.binding import granted
from latentbench.judges.remote.call_quota import LATE, Quota
from latentbench.judges.remote.limiter import Limiter, Pace
from latentbench.judges.remote.reading import Malformed
from latentbench.judges.remote.wire import Refused, Wire
from latentbench.kernel.config import Frozen
from latentbench.kernel.errors import JudgeError, SpecError
from latentbench.kernel.requests import Outcome, Reply
from latentbench.kernel.veil import veiled
from latentbench.models.source import cache_dir

OVERFLOW = re.compile(
    r"context[ _](length|window|size|limit)|(prompt|input|request|conversation)( entity)?( is)? too (long|large)"
    r"|maximum (input|model|sequence) length|input (length|token count)|max_new_tokens`? must be|less than \d+ tokens"
    r"|too many (input |prompt )?tokens|reduce the length",
    re.IGNORECASE,
)
"""A prompt that does not fit, in the words of OpenAI, OpenRouter, Mistral, vLLM, SGLang, llama.cpp, LM Studio, TGI, Ollama,
Anthropic, Gemini, Groq and Cohere."""
CONNECT = 10.0
"""Seconds to wait for a connection: no model has to be computed for one."""
LASTING = 10.0
"""Seconds after which a fault that may heal is one that did not."""
ELSEWHERE = "OPENAI_BASE_URL"
"""Environment variable by which the client library calls another server under the same name."""
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


class EndpointParams(Frozen):
    """How an endpoint is reached. None of it changes an answer, so none is part of a judge's identity."""

    base_url: str | None = None
    """Address of the endpoint, up to and including `/v1`; OpenAI's own by default."""
    key_env: str = ""
    """Which of the variables that your configuration binds to the host holds the key; the first of them by default."""
    concurrency: int = pydantic.Field(default=16, ge=1)
    """Calls under way at most; fewer where the endpoint says that there are too many."""
    timeout: float = pydantic.Field(default=60.0, gt=0)
    """Seconds per attempt, from the connection to the last byte of the reply."""
    max_reply_mb: float | None = pydantic.Field(default=None, gt=0)
    """Largest response that is read, packed or unpacked: 4 MB of a chat by default, 64 of vectors and log-probabilities."""
    attempts: int = pydantic.Field(default=6, ge=1)
    """Attempts per call. A refusal because of the rate (429) is none."""
    backoff: float = pydantic.Field(default=1.0, ge=0)
    """Upper bound of the first random wait in seconds; it doubles with each attempt, and with each 429 in a row."""
    max_wait: float = pydantic.Field(default=60.0, ge=0)
    """Longest wait between attempts, and longest pause after a 429, also where the endpoint asks for more."""
    patience: float = pydantic.Field(default=600.0, ge=0)
    """Seconds after its first 429 after which a call that is refused once more has failed."""
    rpm: float | None = pydantic.Field(default=None, gt=0)
    """Requests a minute, evenly spread; what the endpoint allows is found out by itself, but not without refusals."""
    tpm: float | None = pydantic.Field(default=None, gt=0)
    """Tokens a minute: estimated from the number of characters before a call, corrected by the usage that comes back."""
    give_up: int = pydantic.Field(default=20, ge=0)
    """Requests that fail one after the other, for ten seconds or in a way that does not heal, after which the run is stopped; 0
    for never. A refusal because of the rate is no failure, nor is an answer that cannot be read."""
    quota: str | None = pydantic.Field(default=None, pattern=r"^[\w.-]+$", max_length=100)
    """Name under which all runs on this machine share `rpm`, `tpm` and pauses: a file in the user's cache."""

    def briefly(self) -> Self:
        """Parameters for one call that finds out whether the endpoint answers."""
        once = {"attempts": min(2, self.attempts), "patience": min(8.0, self.patience), "give_up": 0}
        return self.model_copy(update=once)


@dataclass
class _Connection:
    """What belongs to one event loop."""

    client: openai.AsyncOpenAI
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)


class Endpoint:
    """One endpoint and one key.

    The key is read from the environment when the client is built and is kept nowhere else: not in an identity, not in a message
    (endpoints quote it back in theirs).

    Args:
        params: how it is reached.
        seed: of the random parts of waits; a generator of its own, because drawing from the process-wide one would change other
            code.
        headers: of every request.

    Raises:
        SpecError: the user's configuration allows no such call (`latentbench.judges.remote.binding`), or the address is none.
    """

    def __init__(self, params: EndpointParams, seed: str, headers: Mapping[str, str] | None = None) -> None:
        self.params, self.headers = params, headers or {}
        if params.base_url is None and os.environ.get(ELSEWHERE):
            raise SpecError(
                f"{ELSEWHERE} is set, and a reference without `base_url` means {OPENAI}. What answers must be seen in the "
                f"reference: write `base_url=` with the address into it, or unset {ELSEWHERE}."
            )
        self.grant = granted(read_address(OPENAI if params.base_url is None else params.base_url), params.key_env)
        self.grant.key()
        self._jitter = random.Random(f"{seed} {os.getpid()}")
        self.limiter = Limiter(params.concurrency)
        self.pace = Pace(params.backoff, params.max_wait, self._jitter)
        shared = cache_dir() / "quotas" / f"{params.quota}.json" if params.quota else None
        self.quota = Quota(params.rpm, params.tpm, shared)
        self._under_way = self._failing = 0
        self._failing_since = 0.0
        self._connections: dict[asyncio.AbstractEventLoop, _Connection] = {}

    @property
    def address(self) -> str:
        """Where calls go, for messages."""
        return self.grant.address.url

    def problem(self, reply: Reply) -> str | None:
        """What a failed call says of the endpoint; None for any answer, also one that cannot be read."""
        return f"{self.address}: {reply.error}" if reply.outcome in (Outcome.API, Outcome.TIMEOUT) else None

    @property
    def client(self) -> openai.AsyncOpenAI:
        """The client of this event loop."""
        return self._connection.client

    @property
    def _connection(self) -> _Connection:
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            p = self.params
            # The key, and all else that leaves, is the wire's to add.
            wire = Wire(self.grant, self.headers, p.timeout, p.max_reply_mb)
            # openai 3 declares a fork of httpx here, with the same interface; it takes either.
            http: Any = httpx.AsyncClient(
                transport=wire, trust_env=False, follow_redirects=False, event_hooks={"response": [self._heard]}
            )
            client = openai.AsyncOpenAI(
                api_key="none",
                base_url=self.grant.address.url,
                timeout=openai.Timeout(p.timeout, connect=min(CONNECT, p.timeout)),
                max_retries=0,
                http_client=http,
            )
            self._connections[loop] = _Connection(client)
        return self._connections[loop]

    async def close(self) -> None:
        """Close the connections of this event loop. Those of a loop that has ended cannot be closed and are dropped."""
        own = self._connections.pop(asyncio.get_running_loop(), None)
        self._connections.clear()
        if own is not None:
            await own.client.close()

    async def post(self, path: str, body: Mapping[str, object]) -> bytes:
        """The body of the answer to one request, within `call`.

        The client's own methods (`chat.completions.create`) walk through every message by its declared type, to rename fields of
        which none has another name: half of all that a call costs this process. What leaves is the same without.

        Args:
            path: below the address, such as `/chat/completions`.
        """
        answered: httpx.Response = await self.client.post(path, body=dict(body), cast_to=httpx.Response)
        return answered.content

    async def call(self, ask: Callable[[], Awaitable[Reply]], tokens: int) -> Reply:
        """One call with its retries; a failed one is a reply that says so.

        Args:
            ask: sends the request through `post` and reads what comes back.
            tokens: about how many the call will take.

        Raises:
            JudgeError: too many requests have failed one after the other (`give_up`).
        """
        failed = 0
        give_up = float("inf")
        async with self.limiter.slot():
            while True:
                sent = await self._turn(tokens)
                try:
                    return await self._send(ask, sent, tokens)
                except (openai.OpenAIError, Malformed) as e:
                    now = time.monotonic()
                    if isinstance(e, openai.RateLimitError) and self._reply(e).outcome is Outcome.API and not _spent(e):
                        self._refused(e, sent, now)
                        give_up = min(give_up, now + self.params.patience)
                        if self.pace.until < give_up:
                            continue
                    self._count(e, now)
                    failed += 1
                    if failed >= self.params.attempts or not heals(e) or self._reply(e).outcome is Outcome.SKIPPED:
                        return self._reply(e)
                    await asyncio.sleep(self._wait(e, failed))

    async def _turn(self, tokens: int) -> float:
        """Wait until a call may be sent, first come, first served; the time at which it is."""
        async with self._connection.turn:
            start = time.monotonic() + self.quota.book(tokens)
            while (now := time.monotonic()) < (due := max(start, self.pace.next())):
                await asyncio.sleep(due - now)
            self.pace.sent(max(due, now - LATE))
        return now

    async def _send(self, ask: Callable[[], Awaitable[Reply]], sent: float, tokens: int) -> Reply:
        self._under_way += 1
        try:
            reply = await ask()
            self.limiter.success(self._under_way)
        except openai.APIConnectionError as e:
            if isinstance(e.__cause__, Malformed):
                raise e.__cause__ from None
            raise
        except (ValueError, TypeError, AttributeError, IndexError) as e:
            # The client passes a broken body on as whatever its reading of it raises.
            raise Malformed(f"the reply is not in the OpenAI format: {type(e).__name__}: {e}") from e
        finally:
            self._under_way -= 1
        self._failing = 0
        self.pace.accepted(sent)
        used = reply.usage.tokens_in + reply.usage.tokens_out
        self.quota.correct(used - tokens if used else 0)
        return reply

    def _refused(self, error: openai.RateLimitError, sent: float, now: float) -> None:
        if self.pace.refused(sent, now, asked_to_wait(error.response.headers)):
            self.limiter.cut()
            self.quota.pause(self.pace.until - now)

    async def _heard(self, response: httpx.Response) -> None:
        """Look at a response before the client does.

        A gateway may wrap the error of the provider behind it into a success; it gets the status that it would have had. And
        whoever says that nothing is left is not asked again before there is.
        """
        if not response.is_success:
            return
        for refill in _refills(response.headers, "some"):
            self.pace.hold(time.monotonic(), refill)
        await response.aread()
        try:
            body = response.json()
        except (ValueError, RecursionError):
            return
        if isinstance(body, dict) and body.get("error") and not body.get("choices"):
            code = body["error"].get("code") if isinstance(body["error"], dict) else None
            response.status_code = code if isinstance(code, int) and 400 <= code < 600 else 502

    def _wait(self, error: Exception, failed: int) -> float:
        headers = error.response.headers if isinstance(error, openai.APIStatusError) else {}
        drawn = self._jitter.uniform(0, self.params.backoff * 2.0 ** min(30, failed - 1))
        return min(self.params.max_wait, max(drawn, asked_to_wait(headers) or 0.0))

    def _count(self, error: Exception, now: float) -> None:
        """One more request that failed; enough of them in a row mean that the endpoint answers nobody."""
        reply = self._reply(error)
        if reply.outcome not in (Outcome.API, Outcome.TIMEOUT):
            self._failing = 0
            return
        self._failing_since = self._failing_since if self._failing else now
        self._failing += 1
        lasting = now - self._failing_since >= LASTING or not heals(error)
        if 0 < self.params.give_up <= self._failing and lasting:
            raise JudgeError(
                f"{self.address}: {self._failing} requests failed one after the other, the last with {reply.error} (give_up)"
            )

    def _reply(self, error: Exception) -> Reply:
        """A failed call as a reply."""
        if isinstance(error, openai.APITimeoutError):
            said = f"no answer within {self.params.timeout:g} s, {self.params.attempts} attempts"
            return Reply(Outcome.TIMEOUT, error=said)
        line = _line(error)
        key = self.grant.key()
        if key:
            line = line.replace(key, "***")
        line = veiled(line)
        outcome = Outcome.API
        if isinstance(error, openai.APIStatusError):
            code, status = str(error.code or ""), error.status_code
            if "content_filter" in code or "content_policy" in code:
                outcome = Outcome.REFUSAL
            elif status == 413 or (status not in (401, 403, 404) and _overflows(f"{line} {error.body}", status)):
                outcome = Outcome.SKIPPED
        if outcome is Outcome.API and isinstance(error, openai.APIStatusError):
            found = advice(line)
            line = f"{line[:200].rstrip('. ')}{found}" if found else line[:200]
        return Reply(outcome, error=line[:300])


ADVICE = (
    (
        r"system (role|message|prompt)|role.{0,20}system|developer (role|message|instruction)|roles? must alternate|got system",
        "system=merge",
    ),
    (r"max_completion_tokens", "token_field=max_completion_tokens"),
    (r"top_logprobs", "top_logprobs=N with the number that it allows (5 is common)"),
    (
        r"(>=|at least|minimum).{0,40}max.{0,12}tokens|max.{0,12}tokens.{0,40}(>=|at least|minimum)",
        "max_tokens=16 or more",
    ),
    (r"temperature|seed", "temperature=false"),
    (r"last message|prefill|assistant message|must end with", "prefill=merge"),
    (r"logprobs", "logprobs=false"),
)
"""What endpoints refuse, in their words -> the option of the reference that leaves it out or says it otherwise."""


def advice(said: str) -> str:
    """What to do about a refusal, as the end of its line; nothing where nobody knows."""
    if said.startswith("401"):
        return ". The key is read from the variable bound to the host (`bench endpoint list`), or that `key_env` names"
    if said.startswith("404"):
        return ". Check the model's name, and whether `base_url` ends in /v1"
    # A chat template that refuses messages is the server's own failure to some servers, which say 500.
    if not said.startswith(("400", "422")) and not (said.startswith("500") and "template" in said.casefold()):
        return ""
    found = next((option for pattern, option in ADVICE if re.search(pattern, said, re.IGNORECASE)), None)
    return f". Add {found} to the judge's reference" if found else ""


def heals(error: Exception) -> bool:
    """Worth another attempt: a fault of the server or of the connection, a broken body."""
    if isinstance(error, openai.APIStatusError):
        return error.status_code >= 500 or error.status_code in (408, 409)
    if isinstance(error, Refused):
        return False
    return isinstance(error, openai.APIConnectionError | openai.APIResponseValidationError | Malformed)


def _line(error: Exception) -> str:
    """What happened, on one line: the status and what the endpoint said, or the innermost cause of a connection that failed."""
    if not isinstance(error, openai.APIStatusError):
        inner: BaseException = error
        seen = {id(inner)}  # Causes may go round in a circle: connections are closed while an error is on its way.
        while (deeper := inner.__cause__ or inner.__context__) is not None and id(deeper) not in seen:
            inner = deeper
            seen.add(id(inner))
        cause = f" ({inner})" if isinstance(error, openai.APIConnectionError) and inner is not error else ""
        return " ".join(f"{type(error).__name__}: {error}{cause}".split())
    body = error.body
    said = body.get("message") or body.get("detail") if isinstance(body, Mapping) else body
    try:
        status = f"{error.status_code} {HTTPStatus(error.status_code).phrase}"
    except ValueError:
        status = str(error.status_code)
    return " ".join(f"{status}: {said or error.message}".split())


def _spent(error: openai.RateLimitError) -> bool:
    """A quota that is used up until somebody pays, and nothing to wait for."""
    return "insufficient_quota" in (error.code, error.type)


def _overflows(said: str, status: int) -> bool:
    """Whether a prompt does not fit. "Too many tokens" of a 429 are those of a minute; a request that is too large never fits."""
    return bool(re.search("request too large", said, re.IGNORECASE) if status == 429 else OVERFLOW.search(said))


def asked_to_wait(headers: Mapping[str, str]) -> float | None:
    """Seconds that an endpoint asks to wait; None if it does not say.

    `Retry-After-Ms`, else `Retry-After` in seconds or as a date, else the `X-RateLimit-Reset-*` of what nothing is left of; where
    something is left of all, the shortest, because it is the time until all is there again.
    """
    after = headers.get("retry-after")
    found = seconds(f"{headers.get('retry-after-ms')}ms")
    if found is None and after is not None:
        found = seconds(after)
    if found is None and after is not None:
        try:
            found = (email.utils.parsedate_to_datetime(after) - datetime.now(UTC)).total_seconds()
        except (TypeError, ValueError):
            found = None
    if found is None:
        found = max(_refills(headers, "0"), default=min(_refills(headers, None), default=None))
    return None if found is None else max(0.0, found)


def _refills(headers: Mapping[str, str], unsaid: str | None) -> list[float]:
    """The `X-RateLimit-Reset-*` of requests and tokens of which nothing is left.

    Args:
        unsaid: what is taken to be left where the endpoint does not say; None for the resets whatever is left.
    """
    kinds = [
        k for k in ("requests", "tokens") if unsaid is None or headers.get(f"x-ratelimit-remaining-{k}", unsaid) == "0"
    ]
    found = [seconds(headers.get(f"x-ratelimit-reset-{k}", "")) for k in kinds]
    return [t for t in found if t is not None]


def seconds(text: str) -> float | None:
    """`20`, `1.5s`, `120ms`, `6m0s` or `1h2m` in seconds; None for anything else."""
    text = text.strip()
    if re.fullmatch(r"-?\d+(\.\d*)?", text):
        return float(text)
    if not re.fullmatch(r"(\d+(\.\d*)?(ms|s|m|h|d))+", text):
        return None
    return sum(float(n) * UNITS[unit] for n, unit in re.findall(r"(\d+(?:\.\d*)?)(ms|s|m|h|d)", text))
