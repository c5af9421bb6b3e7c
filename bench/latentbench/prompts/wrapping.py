"""What a model puts around what it says: a fence, a JSON object, a label, emphasis, quotation marks.

A wrapper is taken off where it encloses all that is said, and what stands inside stays as it was. Replacing the signs wherever
they stand is the tempting way, and an explanation may be about a latent that fires on them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

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
