"""Written answers of judges, read strictly: what has no single legal reading has none.

Guessing is tempting - fill a short list with zeros, take the first number - and it turns a judge that does not follow the
format into one that seems to answer "no". Whatever is not exactly one answer of the asked size is outcome `parse`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from latentbench.kernel.requests import Outcome, Reply
from latentbench.prompts.wrapping import word

LIST = re.compile(r"\[([^\[\]]*)\]")
NUMBER = re.compile(r"\D*(\d+)\D*")
ZERO_ONE = re.compile(r"\s*[01](\s*,\s*[01])*\s*")
REFUSAL = re.compile(
    r"^\W*(i'?m sorry|i am sorry|sorry,|i apologi[sz]e|as an ai\b|i can('|no|’)?t (help|assist|answer|comply|do that)"
    r"|i('m| am) (unable|not able) to (help|assist|answer|comply))",
    re.IGNORECASE,
)


def refused(text: str) -> bool:
    """Whether a text opens with one of few unmistakable refusals; a doubtful one counts as unreadable instead."""
    return REFUSAL.match(text) is not None


def read_list(text: str, n: int) -> tuple[int, ...] | None:
    """The one list of exactly `n` zeros and ones in a text, or None.

    `[1, 0, 1]` may stand in a sentence. Two lists, a list of another length, or one with other values have no reading.
    """
    lists = LIST.findall(text)
    if len(lists) != 1 or not ZERO_ONE.fullmatch(lists[0]):
        return None
    values = tuple(int(v) for v in lists[0].split(","))
    return values if len(values) == n else None


def read_word(text: str, answers: tuple[str, ...]) -> int | None:
    """Index of the one allowed answer that a short text is, without regard to case and final punctuation, or None."""
    bare = word(text).strip().strip(".!\"'`*").lower()
    hits = [i for i, a in enumerate(answers) if a.strip().lower() == bare]
    return hits[0] if len(hits) == 1 else None


def read_number(text: str, answers: Sequence[str]) -> int | None:
    """The one number in a text, if it is one of the allowed answers, or None."""
    match = NUMBER.fullmatch(word(text))
    return int(match[1]) if match is not None and match[1] in answers else None


def masses(logprobs: Sequence[float]) -> list[float] | None:
    """Masses of answers relative to the likeliest; None where no answer has any, or one is not a number."""
    top = max(logprobs)
    if not math.isfinite(top) or any(math.isnan(x) for x in logprobs):
        return None
    return [math.exp(x - top) for x in logprobs]


NO_MASS = Reply(Outcome.PARSE, error="no mass on any answer")
"""The failed reply that log-probabilities without a reading count as."""


def unread(text: str) -> Reply:
    """The failed reply that an answer without a reading counts as."""
    shown = " ".join(text.split())
    return Reply(Outcome.REFUSAL if refused(text) else Outcome.PARSE, error=f"answered {shown[:200]!r}")
