"""The rounds of an explainer that tests itself, as lines: what it said, which texts were written, what fired, what survived.

They are read from the note of the explanation and not from the calls, which a run need not keep. A note of another explainer, or
of a version that wrote it otherwise, gives no lines: what cannot be read is not guessed at.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from latentbench.views.number import count, number, percent


def inquiry_lines(note: object, whole: bool) -> list[str]:
    """Lines about the rounds in a note.

    Args:
        note: JSON of the note, or nothing.
        whole: with every text that was written.
    """
    told = json.loads(note) if isinstance(note, str) else None
    if not isinstance(told, Mapping) or not isinstance(told.get("rounds"), Sequence):
        return []
    try:
        lines = [line for i, one in enumerate(told["rounds"], 1) for line in _round(i, one, whole)]
        return [*lines, *_end(told)]
    except (KeyError, TypeError, AttributeError):
        return []


def _round(place: int, one: Mapping[str, Any], whole: bool) -> Iterator[str]:
    written = [p["text"] for p in one["proposed"] if p["text"] is not None]
    texts = one.get("texts", [])
    fired = sum(text["fires"] for text in texts)
    said = f"round {place}: {_many(len(one['proposed']), 'hypothesis', 'hypotheses')}"
    said += f", {count(len(set(written)))} different" if written else ", none could be read"
    if texts:
        said += f"; {count(fired)} of {_many(len(texts), 'written text')} fired"
        said += f"; {_many(one['windows'], 'explain window')} beside them"
    yield said
    if one["after"] is not None:
        yield f"  revised: {one['after']}"
    for held in one.get("compared", []):
        yield f"  agrees {number(held['agrees'])}, {percent(held['own'])} of its own texts fired: {held['text']}"
    for text in texts if whole else ():
        what = "fired" if text["fires"] else "silent"
        yield f"  {what}, {number(text['activation'])} of the maximum: {text['text']}"


def _end(told: Mapping[str, Any]) -> Iterator[str]:
    spent = told["spent"]
    said = f"{_many(spent['calls'], 'call')}, {_many(spent['passes'], 'pass', 'passes')} of the subject, "
    said += _many(spent["tokens"], "token")
    yield f"ended by {told['ended']}; {said}" if told.get("ended") else said
    if told.get("p") is not None:
        yield (
            f"the best agrees by {number(told['gain'])} more than their mean; choice alone gives "
            f"{number(told['null_gain'])} (p {number(told['p'])})"
        )


def _many(n: int, one: str, several: str = "") -> str:
    return f"{count(n)} {one if n == 1 else several or one + 's'}"
