"""Requests as token sequences, for every judge that reads a language model's probabilities, wherever the model runs.

The same request must be the same tokens in this process, in an engine and at an endpoint, or their numbers do not compare. So
what is read is decided here once, as a row (`latentbench.models.engine.readout`), and a backend differs only in how it reads
one: the in-process engine takes it as it is, a serving engine takes its places one by one (`places`), and an endpoint that can
only echo a text takes it path by path (`paths`). Sending a server the rendered text instead is shorter and leaves the tokens to
it: an answer may then merge with the last characters before it, and its log-probability is gone.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from latentbench.kernel.requests import Chat, Choice, Continuation, Outcome, Reply
from latentbench.models.engine.choices import ChoiceRow, choice_row, endings
from latentbench.models.engine.prefix import Tokens
from latentbench.models.engine.readout import Floats, Query
from latentbench.models.engine.wording import Wording

NO_ANSWER = Reply(Outcome.SKIPPED, error="an answer or the prompt is empty: there is nothing to read")
NO_TEXT = Reply(Outcome.SKIPPED, error="the text or all that stands before it is empty: there is nothing to score")


@dataclass(frozen=True, slots=True)
class TokenPlace:
    """One place of a row.

    Attributes:
        tokens: all that stands before it.
        wanted: the tokens whose log-probabilities are read there.
        readings: for each of them, its index in the row's readings.
    """

    tokens: Tokens
    wanted: Tokens
    readings: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerPath:
    """One text whose last `count` tokens are read, each given all that stands before it."""

    tokens: Tokens
    count: int


def chat_prompts(wording: Wording, requests: Sequence[Chat], context: int) -> list[Tokens | Reply]:
    """The prompt of each request, or why it is skipped.

    Args:
        context: tokens that the model reads, those that it writes included.
    """
    prompts = wording.prompts([wording.render(r.messages) for r in requests])
    return [
        p if 0 < len(p) <= context - r.max_tokens else too_long(len(p), r.max_tokens, context)
        for p, r in zip(prompts, requests, strict=True)
    ]


def choice_rows(wording: Wording, requests: Sequence[Choice], context: int) -> list[ChoiceRow | Reply]:
    """What to read of each request, or why it is skipped.

    An answer's tokens are those that it adds behind its place. Messages, slots and answers are text, whatever they spell; `end`
    may be a control token, such as the end of a turn.
    """
    requests = [
        replace(r, answers=tuple(wording.quoted(a) for a in r.answers), slots=tuple(wording.quoted(s) for s in r.slots))
        for r in requests
    ]
    texts = [wording.render(r.messages) for r in requests]
    prompts = wording.prompts(texts)
    wording.learn(pair for r, t in zip(requests, texts, strict=True) for pair in endings(r, t))
    found: list[ChoiceRow | Reply] = []
    for request, text, prompt in zip(requests, texts, prompts, strict=True):
        row = choice_row(wording, request, text, prompt)
        if row is None:
            found.append(NO_ANSWER)
            continue
        deepest = max(n for slot in row.sizes for n in slot)
        fits = len(row.row.tokens) + deepest - 1 <= context
        found.append(row if fits else too_long(len(row.row.tokens), deepest, context))
    return found


def continuation_rows(wording: Wording, requests: Sequence[Continuation], context: int) -> list[ChoiceRow | Reply]:
    """What to read of each request, as the one answer at one place, or why it is skipped.

    Context and text are tokenised separately, so the sum runs over the same tokens in every context; the first token of the text
    is scored. Without context and start token there is nothing to condition on.
    """
    contexts = wording.raw([r.context for r in requests], start=True)
    texts = wording.raw([r.text for r in requests], start=False)
    found: list[ChoiceRow | Reply] = []
    for before, text in zip(contexts, texts, strict=True):
        whole = before + text
        if len(whole) - 1 > context:
            found.append(too_long(len(whole) - 1, 0, context))
        elif before and text:
            at = np.arange(len(before) - 1, len(whole) - 1, dtype=np.int64)
            row = Query(whole[:-1], len(before) - 1, at, np.array(text, np.int64))
            found.append(ChoiceRow(row, ((len(text),),)))
        else:
            found.append(NO_TEXT)
    return found


def places(row: Query) -> list[TokenPlace]:
    """The places of a row, each once, with all that is read there."""
    found: dict[int, list[int]] = {}
    for k, at in enumerate(row.at.tolist()):
        found.setdefault(at, []).append(k)
    return [TokenPlace(_before(row, at), tuple(row.target[ks].tolist()), tuple(ks)) for at, ks in found.items()]


def paths(choice: ChoiceRow) -> list[AnswerPath]:
    """One text for each answer at each place, in the order of the row's readings."""
    found, k = [], 0
    for count in (n for slot in choice.sizes for n in slot):
        target = tuple(choice.row.target[k : k + count].tolist())
        found.append(AnswerPath(_before(choice.row, int(choice.row.at[k])) + target, count))
        k += count
    return found


def _before(row: Query, at: int) -> Tokens:
    """The tokens of a row up to and with the one at `at`, through the branches that lead there."""
    last: list[int] = []
    while at >= len(row.tokens):
        branch = at - len(row.tokens)
        last.append(row.branches[branch])
        at = row.parents[branch]
    return row.tokens[: at + 1] + tuple(reversed(last))


def total(choice: ChoiceRow, logp: Floats) -> float:
    """The log-probability of a continuation from its readings, in nats."""
    return choice.answers(logp)[0][0]


def too_long(tokens: int, more: int, context: int) -> Reply:
    """The reply to what does not fit, or has no token at all."""
    if not tokens:
        return Reply(Outcome.SKIPPED, error="the prompt is empty")
    return Reply(
        Outcome.SKIPPED,
        error=f"{tokens} tokens and {more} more for the answer do not fit the context of {context}; nothing was cut",
    )


def finished(tokens: int, most: int) -> str:
    """Why a text ends: at the end that the model wrote, which is not counted, or at the limit."""
    return "stop" if tokens < most else "length"


def shares(started: float, tokens: Sequence[int]) -> list[float]:
    """The seconds since `started` (of `time.perf_counter`), shared by computed tokens."""
    spent, computed = time.perf_counter() - started, sum(tokens)
    return [spent * n / computed if computed else 0.0 for n in tokens]
