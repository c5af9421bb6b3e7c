"""Thoughts apart from the answer: what a thinking model writes before it answers is no answer.

A server that knows its model gives the thoughts in a field of their own; one that does not leaves them in the text, between the
tags of the model's template. Reading past them is the tempting way - the first list of a text is soon found - and scores what the
model was only considering. So every reply is cut here before any reader sees it, and a thought that does not end leaves nothing.

A tag in quotation marks or backticks is text: an explanation may be about a latent that fires on such tags.
"""

from __future__ import annotations

import re

TAGS: tuple[tuple[str, str], ...] = (
    ("<think>", "</think>"),
    ("<thinking>", "</thinking>"),
    ("<thought>", "</thought>"),
    ("<thoughts>", "</thoughts>"),
    ("<reasoning>", "</reasoning>"),
    ("<reflection>", "</reflection>"),
    ("<scratchpad>", "</scratchpad>"),
    ("<seed:think>", "</seed:think>"),
    ("[THINK]", "[/THINK]"),
    ("◁think▷", "◁/think▷"),
    ("<|think|>", "<|/think|>"),
    ("<|begin_of_thought|>", "<|end_of_thought|>"),
    ("<|START_THINKING|>", "<|END_THINKING|>"),
    ("<unused94>", "<unused95>"),
    ("<|channel>thought", "<channel|>"),
    ("<longcat_think>", "</longcat_think>"),
    ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
    ("<|channel|>commentary<|message|>", "<|channel|>final<|message|>"),
)
"""Opening and closing tags of the templates of thinking models; letters in either case."""

WRAPPERS: tuple[str, ...] = (
    "<|begin_of_solution|>",
    "<|end_of_solution|>",
    "<|START_RESPONSE|>",
    "<|END_RESPONSE|>",
    "<|channel|>final<|message|>",
    "<|return|>",
    "<answer>",
    "</answer>",
)
"""Tags that templates put around the answer itself; taken off where there was a thought."""

QUOTES = "\"'`“”‘’«»"


def parted(text: str) -> tuple[str, str | None, bool]:
    """The answer in a reply, the thoughts in it, and whether a thought does not end, so that nothing stands behind it.

    The answer is the text as it was, to the character, where there is no thought; the thoughts are None then.

    An opening tag is followed to its closing one. A closing tag alone ends a thought that the template itself had opened, which
    begins with the reply. Several thoughts are all cut.
    """
    marks = [m for m in _ANY.finditer(text) if not _quoted(text, m)]
    if not any(m[0].lower() in _KINDS for m in marks):
        return text, None, False
    kept: list[str] = []
    thoughts: list[str] = []
    at, closing = 0, ""
    for mark in marks:
        tag = mark[0].lower()
        if closing:
            if tag == closing:
                thoughts.append(text[at : mark.start()])
                at, closing = mark.end(), ""
        elif tag in _OPENING:
            kept.append(text[at : mark.start()])
            at, closing = mark.end(), _OPENING[tag]
        elif tag in _CLOSING:
            # What stands before it was thought: the template opened the thought, or an answer was taken back.
            thoughts += [*kept, text[at : mark.start()]]
            kept, at = [], mark.end()
    if closing:
        thoughts.append(text[at:])
    else:
        kept.append(text[at:])
    answer = "".join(kept)
    for tag in WRAPPERS:
        answer = re.sub(re.escape(tag), "", answer, flags=re.IGNORECASE)
    reasoning = "\n".join(t.strip() for t in thoughts if t.strip())
    return "" if closing else answer.strip(), reasoning, bool(closing)


_OPENING = {o.lower(): c.lower() for o, c in TAGS}
_CLOSING = {c.lower() for _, c in TAGS} - {"<|channel|>final<|message|>"}
_KINDS = set(_OPENING) | _CLOSING
_ANY = re.compile("|".join(sorted({re.escape(t) for pair in TAGS for t in pair}, key=len, reverse=True)), re.IGNORECASE)


def _quoted(text: str, mark: re.Match[str]) -> bool:
    before, after = text[: mark.start()][-1:], text[mark.end() :][:1]
    return before in QUOTES and before != "" and after in QUOTES and after != ""
