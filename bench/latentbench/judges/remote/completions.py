"""Log-probabilities at an endpoint's completions: answers at any places of a text, and given texts, over token ids.

A chat endpoint shows its likeliest tokens at the start of the reply and nothing behind it. Completions take a prompt as token
ids, so with the model's tokenizer here an endpoint reads exactly what `transformers:` and `vllm:` read
(`latentbench.judges.sequences`): the chat template is applied on this side, and no answer merges with what stands before it. The
template could be asked of the server (vLLM's `/tokenize`), but other servers have no such call, it is one more call for each
prompt, and the tokens that an answer adds would still have to be found out.

Two ways to read, and the first call finds out which one the server has:

    named    one token behind every place, with the log-probabilities of named tokens (`logprob_token_ids`, vLLM): the server's
             cache of prefixes holds what stands before it
    echo     every answer behind its prompt, echoed with its log-probabilities: any server with echo, which computes every
             prompt once for each of its answers

The numbers are the same. A wrong tokenizer would not fail but answer nonsense, so that call also lets the server spell a text.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import openai

from latentbench.judges.remote.reading import Malformed, usage_of
from latentbench.judges.sequences import choice_rows, continuation_rows, paths, places, total
from latentbench.judges.worded import WordedParams, enough, worded, wording_of
from latentbench.kernel.identity import digest
from latentbench.kernel.requests import Choice, Continuation, Outcome, Reply, Usage
from latentbench.models.engine.choices import ChoiceRow
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.readout import Floats
from latentbench.models.language_model import load_tokenizer

Create = Callable[[dict[str, Any]], Awaitable[Mapping[str, Any]]]
"""Sends the fields of a completion to the endpoint, and returns the body of its response."""

Call = Callable[[Any, Callable[[Any], Awaitable[Reply]]], Awaitable[Reply]]
"""One request by a function that asks it, with retries and within the endpoint's limit; what the server does is never raised."""

PROMPTS = 512
"""Prompts in one call; vLLM takes 1024."""

WIDTH = 128
"""Named tokens in one call; a limit of vLLM's."""

ECHO = {"max_tokens": 0, "echo": True, "logprobs": 0}
"""Fields of a call that reads its prompts."""

LEAST_ABOVE = 1e-3
"""A log-probability may be above 0 by rounding, and no further."""

SPELLED = "The 3 rivers (Danube, Rhône & Elbe) rise at 47.9° north; see 'sources'."
"""What the server spells: words, digits, signs and characters of two bytes."""

NO_LIMIT = 1 << 30
"""The server says itself what does not fit."""


class Completions:
    """Reads an endpoint's log-probabilities by token ids.

    Args:
        tokenizer: reference of the served model's tokenizer, as in `latentbench.models.language_model.load_tokenizer`.
        asked: how prompts are worded, as they are in this process.
        create: see `Create`.
        call: see `Call`.

    Raises:
        ModelError: there is no tokenizer.
    """

    def __init__(self, tokenizer: str, asked: WordedParams, create: Create, call: Call) -> None:
        self.reference, self._asked = tokenizer, asked
        self.wording = wording_of(load_tokenizer(tokenizer), asked)
        self._create, self._call = create, call
        self._named: bool | None = None

    @property
    def identity(self) -> tuple[tuple[str, str], ...]:
        """What decides the tokens, template and vocabulary, and the least mass of an answer if there is one."""
        vocabulary = digest(self.wording.tokenizer.get_vocab())
        least = self._asked.least_mass
        mass = (("exact_mass", f"{least:g}"),) if least else ()
        return (("wording", self.wording.identity), ("tokenizer", vocabulary), *mass)

    async def choices(self, requests: Sequence[Choice]) -> list[Reply]:
        """Log-probabilities of the allowed answers at every place; `end` is scored with its answer."""
        return await self._answer(requests, self._choice)

    async def continuations(self, requests: Sequence[Continuation]) -> list[Reply]:
        """Log-probabilities of given texts, the same tokens in every context."""
        return await self._answer(requests, self._continuation)

    async def _answer(
        self, requests: Sequence[Choice] | Sequence[Continuation], ask: Callable[[Any], Awaitable[Reply]]
    ) -> list[Reply]:
        if self._named is None:
            learnt = await self._call(None, self._learn)
            if not learnt.ok:
                return [learnt] * len(requests)
        return await asyncio.gather(*(self._call(r, ask) for r in requests))

    async def _learn(self, _: None) -> Reply:
        """Let the server spell a text, and find out how it reads; a failed reply where this is not its tokenizer."""
        (ids,) = self.wording.raw([SPELLED], start=False)
        (echoed,), _usage = await self._ask([ids], ECHO)
        theirs, ours = str(echoed.get("text")).strip(), self.wording.decode(ids).strip()
        if theirs != ours:
            error = f"{self.reference} is not the tokenizer of the served model, which reads {theirs[:60]!r} in {ours[:60]!r}"
            return Reply(Outcome.API, error=error)
        try:
            (choice,), _usage = await self._ask([ids], _naming(ids[:2]))
        except openai.BadRequestError:
            self._named = False
        else:
            self._named = {_name(i) for i in ids[:2]} <= set(_top(choice))
        return Reply()

    async def _choice(self, request: Choice) -> Reply:
        (found,) = choice_rows(self.wording, [worded(request, self._asked)], NO_LIMIT)
        if isinstance(found, Reply):
            return found
        values, usage = await (self._at_places(found) if self._named else self._along_paths(found))
        return enough(Reply(logprobs=found.answers(values), usage=usage), self._asked.least_mass)

    async def _continuation(self, request: Continuation) -> Reply:
        (found,) = continuation_rows(self.wording, [request], NO_LIMIT)
        if isinstance(found, Reply):
            return found
        values, usage = await self._along_paths(found)
        return Reply(loglik=total(found, values), n_tokens=len(values), usage=usage)

    async def _at_places(self, choice: ChoiceRow) -> tuple[Floats, Usage]:
        own = places(choice.row)
        names = list(dict.fromkeys(token for place in own for token in place.wanted))
        values = np.full(len(choice.row.at), np.nan, np.float32)
        spent = Usage()
        for k in range(0, len(names), WIDTH):
            named = names[k : k + WIDTH]
            asked = [place for place in own if not set(named).isdisjoint(place.wanted)]
            found, usage = await self._ask([place.tokens for place in asked], _naming(named))
            for place, top in zip(asked, map(_top, found), strict=True):
                for at, token in zip(place.readings, place.wanted, strict=True):
                    if token not in named:
                        continue
                    values[at] = _number(top.get(_name(token)))
            spent += usage
        return values, spent

    async def _along_paths(self, choice: ChoiceRow) -> tuple[Floats, Usage]:
        texts = paths(choice)
        found, usage = await self._ask([path.tokens for path in texts], ECHO)
        values: list[float] = []
        for path, given in zip(texts, found, strict=True):
            logp = _logprobs(given).get("token_logprobs")
            if not isinstance(logp, list) or len(logp) != len(path.tokens):
                raise Malformed(f"the endpoint echoed no log-probability for each of {len(path.tokens)} tokens")
            values += map(_number, logp[-path.count :])
        return np.array(values, np.float32), usage

    async def _ask(self, prompts: Sequence[Tokens], asked: Mapping[str, Any]) -> tuple[list[Mapping[str, Any]], Usage]:
        """The completion of each prompt, in order."""
        started, spent = time.perf_counter(), Usage()
        choices: list[Mapping[str, Any]] = []
        for k in range(0, len(prompts), PROMPTS):
            part = [list(tokens) for tokens in prompts[k : k + PROMPTS]]
            body = await self._create({"prompt": part, "temperature": 0.0, **asked})
            given = body.get("choices")
            own = [c for c in given if isinstance(c, dict)] if isinstance(given, list) else []
            if sorted(str(c.get("index")) for c in own) != sorted(map(str, range(len(part)))):
                raise Malformed(f"{len(own)} completions of {len(part)} prompts, or not one for each")
            choices += sorted(own, key=lambda c: int(c["index"]))
            spent += usage_of(body, 0.0)
        return choices, replace(spent, tokens_out=0, seconds=time.perf_counter() - started)


def _logprobs(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    found = choice.get("logprobs")
    return found if isinstance(found, dict) else {}


def _top(choice: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a completion says of the alternatives of its first token."""
    found = _logprobs(choice).get("top_logprobs")
    return found[0] if isinstance(found, list) and found and isinstance(found[0], dict) else {}


def _number(value: object) -> float:
    """A log-probability as the endpoint gives it.

    Raises:
        Malformed: it is none.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not value <= LEAST_ABOVE:
        raise Malformed(f"a log-probability that was asked for is {value!r}")
    return float(value)


def _name(token: int) -> str:
    """How a server shows a token by its id."""
    return f"token_id:{token}"


def _naming(tokens: Sequence[int]) -> dict[str, Any]:
    """Fields of a call that reads named tokens behind its prompts."""
    more = {"logprob_token_ids": list(tokens), "return_tokens_as_token_ids": True}
    return {"max_tokens": 1, "logprobs": 1, **more}
