"""Bodies of an OpenAI-compatible endpoint -> replies. Pure functions; where a call goes and how often is not their business.

The body is read as the JSON that it is. The client's own types promise fields that servers leave out, send as null, or send in
another form (a text as a list of parts, thoughts in three different fields), and a promise that is not kept raises in the
middle of somebody's reader. What has no reading is a `Malformed` body; what is well formed and no answer is an outcome.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from latentbench.judges.reasoning import parted
from latentbench.kernel.requests import Choice, Continuation, Outcome, Reply, Usage

READING = "3"
"""Version of the way from tokens to answers; part of the identity, because cached replies were read in it."""

FINISHES = {
    "length": "length",
    "max_tokens": "length",
    "max_output_tokens": "length",
    "model_length": "length",
    "stop": "stop",
    "eos": "stop",
    "eos_token": "stop",
    "end_turn": "stop",
    "stop_sequence": "stop",
}
"""Words of servers for why a text ends -> ours; any other word is kept."""

FILTERED = frozenset({"content_filter", "safety", "refusal", "prohibited_content", "recitation", "blocklist"})
MOST_MASS = 1.05
"""Probability of a token's alternatives together; above 1 by no more than the rounding of 16-bit numbers."""
MOST_TOKENS = 10**12
"""A server that reports more than this counted something else."""

SPACES = str.maketrans({"▁": " ", "Ġ": " ", "Ċ": "\n", "ĉ": "\t"})
"""How vocabularies write white space."""
AROUND = " \t\r\n\"'`*_.,:;!([{"
"""What may stand around an answer inside its token."""


class Malformed(Exception):
    """The endpoint answered something that is not its own format."""


def body_of(data: bytes) -> Mapping[str, Any]:
    """The JSON object in a response.

    Raises:
        Malformed: it is none, or it holds an error in place of an answer.
    """
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as e:
        raise Malformed(f"the reply is not JSON ({type(e).__name__}): {data[:80]!r}") from e
    if not isinstance(found, dict):
        raise Malformed(f"the reply is {_kind(found)}, not an object")
    if found.get("error") and not found.get("choices"):
        raise Malformed(f"the reply is an error: {_excerpt(found['error'])}")
    return found


def chat_reply(body: Mapping[str, Any], seconds: float) -> Reply:
    """A chat completion as a reply: text, thoughts, and why it ended.

    Raises:
        Malformed: no completion, or one whose content is no text.
    """
    choice, message = _first(body)
    usage = usage_of(body, seconds)
    text, reasoning, refusal = _content(message.get("content"))
    reasoning = _thoughts(message) or reasoning
    finish = finish_of(choice)
    refused = _refusal(message, refusal, finish)
    thought = "\n".join(reasoning) or None
    if refused:
        return Reply(Outcome.REFUSAL, text=text or None, usage=usage, error=refused, reasoning=thought, finish=finish)
    return Reply(text=text, usage=usage, reasoning=thought, finish=finish)


def choice_reply(body: Mapping[str, Any], request: Choice, least: float, seconds: float) -> Reply:
    """The first token's alternatives of a chat completion as log-probabilities of the allowed answers.

    Args:
        least: share of the mass that must be on answers; with less there is no answer.

    Raises:
        Malformed: no completion, or one without log-probabilities.
    """
    choice, message = _first(body)
    usage, finish = usage_of(body, seconds), finish_of(choice)
    text, thoughts, refusal = _content(message.get("content"))
    refused = _refusal(message, refusal, finish)
    if refused:
        return Reply(Outcome.REFUSAL, usage=usage, error=refused)
    if thoughts or _thoughts(message) or parted(text)[1] is not None:
        error = (
            "the reply begins with a thought, so its first token is no answer; turn thinking off, or use logprobs=false"
        )
        return Reply(Outcome.PARSE, usage=usage, error=error)
    top = _first_tokens(choice.get("logprobs"))
    if any(not math.isfinite(p) and p != -math.inf for _, p in top) or any(p > 1e-3 for _, p in top):
        shown = ", ".join(f"{t!r} {p}" for t, p in top[:4])
        return Reply(
            Outcome.PARSE, usage=usage, error=f"the log-probabilities of the first token are no numbers: {shown}"
        )
    total = math.fsum(math.exp(p) for _, p in top)
    if total > MOST_MASS:
        error = (
            f"the first token's {len(top)} alternatives have {total:.0%} of the probability together, so they are none"
        )
        return Reply(Outcome.PARSE, usage=usage, error=error)
    mass = answer_masses(request.answers, top)
    if math.fsum(mass) < max(least, 1e-300):
        shown = ", ".join(f"{t!r} {math.exp(p):.2%}" for t, p in top[:3])
        error = (
            f"{math.fsum(mass):.2%} of the probability of the first token is on an answer, less than least_mass={least:g}; "
            f"likeliest of {len(top)}: {shown}"
        )
        return Reply(Outcome.PARSE, usage=usage, error=error)
    read = answer_logprobs(request.answers, top)
    return Reply(logprobs=None if read is None else (read,), usage=usage)


def continuation_reply(body: Mapping[str, Any], request: Continuation, seconds: float) -> Reply:
    """An echoed completion as the log-likelihood of the request's text.

    The endpoint tokenises context and text together; a token across the boundary counts as text.

    Raises:
        Malformed: nothing was echoed, or not with a log-probability for each token.
    """
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    held = first.get("logprobs") if isinstance(first, dict) else None
    names = ("tokens", "text_offset", "token_logprobs")
    tokens, offsets, values = (held.get(n) if isinstance(held, dict) else None for n in names)
    if not (isinstance(tokens, list) and isinstance(offsets, list) and isinstance(values, list) and tokens):
        raise Malformed("the endpoint echoed no log-probabilities; use it without `completions=true`")
    if not len(tokens) == len(offsets) == len(values):
        raise Malformed(f"the endpoint echoed {len(tokens)} tokens with {len(values)} log-probabilities")
    ends = [_count(o) + len(t) if isinstance(t, str) else 0 for o, t in zip(offsets, tokens, strict=True)]
    # Counted from the end, because a start token that the endpoint shows would shift offsets from the front.
    boundary = ends[-1] - len(request.text)
    own = [p for p, e in zip(values, ends, strict=True) if e > boundary]
    usage = usage_of(body, seconds)
    if not own or None in own:
        return Reply(
            Outcome.SKIPPED, usage=usage, error="nothing stands before the first token: it has no log-probability"
        )
    if not all(isinstance(p, int | float) and math.isfinite(p) for p in own):
        return Reply(Outcome.PARSE, usage=usage, error=f"log-probabilities of the text are no numbers: {own[:4]}")
    return Reply(loglik=math.fsum(own), n_tokens=len(own), usage=usage)


def answer_masses(answers: Sequence[str], top: Sequence[tuple[str, float]]) -> list[float]:
    """Probability of each allowed answer, over all its spellings among the likeliest first tokens.

    A token belongs to the answer that it begins or is, if it is only one. Case, white space and quotation marks around it do not
    count, as in a written answer (`latentbench.prompts.answers.read_word`), unless answers differ in case alone.
    """
    bare = [a.strip(AROUND) for a in answers]
    folded = [a.casefold() for a in bare]
    names = folded if len(set(folded)) == len(folded) else bare
    mass = [0.0] * len(answers)
    for token, logprob in top:
        text = token.translate(SPACES).strip(AROUND)
        text = text.casefold() if names is folded else text
        fitting = [i for i, a in enumerate(names) if text and a.startswith(text)]
        if len(fitting) == 1:
            mass[fitting[0]] += math.exp(logprob)
    return mass


def answer_logprobs(answers: Sequence[str], top: Sequence[tuple[str, float]]) -> tuple[float, ...] | None:
    """Log-probability per answer from the likeliest first tokens; None if no answer has a token.

    One without token gets min(1 - mass of all reported tokens, the least of them), an upper bound on what it can have.
    """
    mass = answer_masses(answers, top)
    if not any(mass):
        return None
    reported = [math.exp(p) for _, p in top]
    rest = max(1e-12, min(1.0 - math.fsum(reported), *reported))
    return tuple(math.log(min(1.0, m)) if m > 0 else math.log(rest) for m in mass)


def usage_of(body: Mapping[str, Any], seconds: float) -> Usage:
    """What a call used; 0 for whatever the server does not say or says in another form."""
    usage = body.get("usage")
    usage = usage if isinstance(usage, dict) else {}
    details = usage.get("prompt_tokens_details")
    cached = details.get("cached_tokens") if isinstance(details, dict) else None
    sent = _count(usage.get("prompt_tokens"))
    return Usage(sent, _count(usage.get("completion_tokens")), min(sent, _count(cached)), seconds)


def finish_of(choice: Mapping[str, Any]) -> str | None:
    """Why a text ends, in our words where we have one."""
    said = choice.get("finish_reason")
    return FINISHES.get(said.lower(), said) if isinstance(said, str) and said else None


def _first(body: Mapping[str, Any]) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    choices = body.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise Malformed(f"the reply is not a chat completion: {_excerpt(body)}")
    if first.get("error"):
        raise Malformed(f"the reply is an error: {_excerpt(first['error'])}")
    message = first.get("message")
    if not isinstance(message, dict):
        raise Malformed(f"the reply is not a chat completion: {_excerpt(body)}")
    return first, message


def _content(content: Any) -> tuple[str, list[str], str]:
    """Text, thoughts and refusal in a message's content: null, a text, or a list of parts."""
    if content is None:
        return "", [], ""
    if isinstance(content, str):
        return content, [], ""
    if not isinstance(content, list):
        raise Malformed(f"the content of the reply is {_kind(content)}, not a text")
    texts: list[str] = []
    thoughts: list[str] = []
    refusal = ""
    for part in content:
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("thinking", "reasoning", "reasoning_text"):
            thoughts.append(_part(part, "thinking", "reasoning", "text"))
        elif kind == "refusal":
            refusal = _part(part, "refusal")
        elif kind in (None, "text", "output_text") and isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        else:
            raise Malformed(f"the content of the reply holds a part that is no text: {_excerpt(part)}")
    return "".join(texts), thoughts, refusal


def _part(part: Mapping[str, Any], *names: str) -> str:
    found = next((part[n] for n in names if part.get(n) is not None), "")
    if isinstance(found, list):
        return "".join(p["text"] for p in found if isinstance(p, dict) and isinstance(p.get("text"), str))
    return found if isinstance(found, str) else ""


def _thoughts(message: Mapping[str, Any]) -> list[str]:
    """Thoughts in a field of their own."""
    for name in ("reasoning_content", "reasoning", "thinking"):
        if isinstance(message.get(name), str) and message[name].strip():
            return [message[name]]
    return _details(message.get("reasoning_details"))


def _details(details: Any) -> list[str]:
    if not isinstance(details, list):
        return []
    return [text for d in details if isinstance(d, dict) and (text := _part(d, "text", "summary"))]


def _refusal(message: Mapping[str, Any], part: str, finish: str | None) -> str:
    said = message.get("refusal") or part
    if said:
        return f"refused: {' '.join(str(said).split())[:200]}"
    return f"stopped by a content filter ({finish})" if finish is not None and finish.lower() in FILTERED else ""


def _first_tokens(logprobs: Any) -> list[tuple[str, float]]:
    """The alternatives of the first token, in the form of chat completions or in that of completions."""
    held = logprobs if isinstance(logprobs, dict) else {}
    content = held.get("content")
    first = content[0] if isinstance(content, list) and content else None
    top: list[tuple[Any, Any]] = []
    if isinstance(first, dict):
        listed = first.get("top_logprobs")
        entries = [first, *(listed if isinstance(listed, list) else [])]
        top = [(e.get("token"), e.get("logprob")) for e in entries if isinstance(e, dict)]
    elif (
        isinstance(held.get("top_logprobs"), list)
        and held["top_logprobs"]
        and isinstance(held["top_logprobs"][0], dict)
    ):
        top = list(held["top_logprobs"][0].items())
    # The token that was drawn stands among its alternatives again.
    found: dict[str, float] = {}
    for token, value in top:
        if isinstance(token, str):
            number = isinstance(value, int | float) and not isinstance(value, bool)
            found[token] = float(value) if number else math.nan
    if not found:
        raise Malformed("the endpoint reported no log-probabilities; use it without `logprobs=true`")
    return sorted(found.items(), key=lambda pair: -pair[1] if not math.isnan(pair[1]) else -math.inf)


def _count(value: Any) -> int:
    whole = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MOST_TOKENS
    return int(value) if whole else 0


def _kind(value: Any) -> str:
    return "null" if value is None else f"a {type(value).__name__}"


def _excerpt(value: Any) -> str:
    return repr(value)[:160]
