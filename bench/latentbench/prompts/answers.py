"""Written answers of judges, read strictly: what has no single legal reading has none.

Guessing is tempting - fill a short list with zeros, take the first number - and it turns a judge that does not follow the
format into one that seems to answer "no". Whatever is not exactly one answer of the asked size is outcome `parse`.

What a model puts around what it says (a fence, a JSON object, a label, emphasis, quotation marks) is taken off where it encloses
all that is said, and what stands inside stays as it was. Replacing the signs wherever they stand is the tempting way, and an
explanation may be about a latent that fires on them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from latentbench.kernel.requests import Outcome, Reply

LIST = re.compile(r"\[([^\[\]]*)\]")
NUMBER = re.compile(r"\D*(\d+)\D*")
NONE = "none"
NUMBERS = re.compile(r"\d{1,4}(\s*,\s*\d{1,4})*")
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


def read_numbers(text: str, n: int) -> frozenset[int] | None:
    """Different numbers of 1..n, separated by commas, or the word `none`; None for anything else.

    A list of zeros and ones is not taken for numbers: with more than one 1, or any 0, it has no reading.
    """
    bare = word(text).strip("\"'`*.! \n")
    if bare.lower() in (NONE, "[]"):
        return frozenset()
    if bare.startswith("[") and bare.endswith("]"):
        bare = bare[1:-1].strip()
    if not NUMBERS.fullmatch(bare):
        return None
    values = [int(v) for v in bare.split(",")]
    return frozenset(values) if len(set(values)) == len(values) and all(1 <= v <= n for v in values) else None


def text_alone(reply: Reply) -> str | None:
    """What was written, without the quotation marks that writers like to put around it; None for a refusal or nothing."""
    text = (reply.text or "").strip()
    if len(text) > 1 and text[0] == text[-1] == '"' and '"' not in text[1:-1]:
        text = text[1:-1].strip()
    return text if reply.ok and text and not refused(text) else None


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


FENCE = re.compile(r"(`{3,}|~{3,})(?:[\w+-]*[ \t]*\r?\n|json\b)?((?:(?!\1).)*)\1[ \t]*(?=\r?\n|$)", re.DOTALL)
"""A fence that opens a text, up to the line that closes it."""
OPEN_FENCE, LAST_FENCE = re.compile(r"`{3,}[\w+-]*[ \t]*\r?\n"), re.compile(r"\r?\n[ \t]*`{3,}$")
NAMES = "explanation|description|interpretation|summary|answer"
LABEL = re.compile(
    rf"[#>*_\s]*(?:(?:the|my|a|short|brief|final)\s+)*"
    rf"(?:\[(?:{NAMES})\]|(?:{NAMES}))"
    rf"(?:\s+(?:of|for)\s+(?:the\s+|this\s+)?(?:latent|feature|neuron|pattern|marked\s+words))?(?:\s+\d+)?"
    rf"[*_]*(?:\s*[:：][*_]*|\s+[-–—](?=\s)|(?<=\])[*_]*|[ \t]*(?=\n|$))\s*"
    r"|(?:\*{2,3}|__)\s+",
    re.IGNORECASE,
)
"""`**Explanation:**`, `Final answer -`, `[EXPLANATION]`, a heading; or the end of the emphasis of one that was cut off."""
MARKS = (
    *((m, m) for m in ("**", "__", "*", '"', "'", "`")),
    ("“", "”"),
    ("‘", "’"),
    ("«", "»"),
    ("„", "“"),
    ("„", "”"),
)
"""Emphasis and quotation marks, opening and closing."""
_JSON = json.JSONDecoder(object_pairs_hook=tuple, strict=False)
"""An object is a tuple of its pairs, so that a name that stands twice is seen."""

Layer = Callable[[str, bool], str]


def word(text: str) -> str:
    """What a short answer says inside a fence, or in the only field of a JSON object; any other text as it is."""
    text = text.strip()
    fence = FENCE.fullmatch(text)
    text = fence[2].strip() if fence else text
    found, rest = _json(text)
    if isinstance(found, tuple) and not rest and len(found) == 1:
        value = found[0][1]
        return str(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else text
    return text


def unfenced(text: str, cut: bool) -> str:
    """The inside of a fence that the text begins with; a fence alone is the rest of one that encloses it."""
    fence = FENCE.match(text)
    if fence is not None:
        return fence[2]
    return LAST_FENCE.sub("", OPEN_FENCE.sub("", text, 1) if OPEN_FENCE.match(text) else text)


def unboxed(text: str, cut: bool) -> str:
    """The one text in a JSON object that the text begins with, or the one that is named as explanations are."""
    found, rest = _json(text)
    if found is None and cut and text.startswith("{"):
        found, rest = _json(text.rstrip("\\") + '"}')
    if not isinstance(found, tuple) or (rest.strip() and not rest.lstrip(" \t\r").startswith("\n")):
        return text
    texts = [(str(name), value) for name, value in found if isinstance(value, str)]
    named = [pair for pair in texts if re.fullmatch(rf"(final[ _]?)?({NAMES})", pair[0].strip(), re.IGNORECASE)]
    one = texts if len(texts) == 1 else named
    return one[0][1] if len(one) == 1 else text


def unlabelled(text: str, cut: bool) -> str:
    """The text behind a label."""
    label = LABEL.match(text)
    return text[label.end() :] if label else text


def unquoted(text: str, cut: bool) -> str:
    """The text between two marks that stand nowhere in it, or in a JSON string; behind the opening one if it was cut off."""
    found, rest = _json(text)
    if isinstance(found, str) and not rest:
        return found
    for opening, closing in MARKS:
        inner = text.removeprefix(opening)
        if inner != text and inner.endswith(closing):
            inner = inner.removesuffix(closing)
        elif not cut or (len(opening) == 1 and opening in "*'`"):
            continue
        if inner != text and inner and opening not in inner and closing not in inner:
            return inner
    return text


FRAMES: tuple[Layer, ...] = (unfenced, unboxed, unlabelled)
"""What makes a text of its own of what it encloses."""
AROUND: tuple[Layer, ...] = (unfenced, unboxed, unquoted)
"""What may enclose a marker that the prompt asks for."""


def unwrapped(text: str, cut: bool = False, layers: Sequence[Layer] = (*AROUND, unlabelled)) -> str:
    """A text without what encloses it, whatever encloses what.

    Args:
        cut: whether the text was cut off at a limit, so that what was opened may not be closed.
        layers: what is taken off.
    """
    while True:
        before = text = text.strip()
        for layer in layers:
            text = layer(text, cut).strip()
        if text == before:
            return text


def _json(text: str) -> tuple[Any, str]:
    """The JSON value that a text begins with and what follows it; None where there is none."""
    try:
        found, end = _JSON.raw_decode(text)
    except (ValueError, RecursionError):
        return None, ""
    return found, text[end:]
