"""Token strings that stand in a file as the vocabulary spells them, and the text that they mean.

Tools write tokens as text (` the`) or as their tokenizer's vocabulary has them: `▁the` (SentencePiece; bytes are `<0x0A>`) or
`Ġthe` (byte-level: every byte is a printable character). Judges would be shown `▁the▁cat`. One string does not tell the two
apart, because ▁ and Ġ are characters that a text may have; all strings of a source together do: a source that never has a
blank and has the spelled one instead is spelled.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from functools import cache

BLANK = "\u2581"
"""How SentencePiece spells a blank."""
BYTE = re.compile(r"<0x([0-9A-F]{2})>")
SPELLED_BYTES = ("\u0120", "\u010a")
"""How byte-level vocabularies spell a blank and the end of a line."""


class Spelling(StrEnum):
    """How the tokens of a source are written."""

    PLAIN = "plain"
    SENTENCEPIECE = "sentencepiece"
    BYTE_LEVEL = "byte-level"


def spelling_of(names: Iterable[str]) -> Spelling:
    """How a source writes its tokens, by all its different token strings."""
    held = set(names)
    if any(" " in name for name in held):
        return Spelling.PLAIN
    if any(BLANK in name for name in held):
        return Spelling.SENTENCEPIECE
    alphabet = _bytes()
    if any(name.startswith(SPELLED_BYTES) for name in held) and all(c in alphabet for name in held for c in name):
        return Spelling.BYTE_LEVEL
    return Spelling.PLAIN


def as_text(tokens: Sequence[str], spelling: Spelling) -> tuple[str, ...]:
    """The strings of a window's tokens as text; joined they are the window.

    The last token of a character that several tokens hold carries it. A character that the window cuts is U+FFFD.
    """
    if spelling is Spelling.PLAIN:
        return tuple(tokens)
    out: list[str] = []
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    for token in tokens:
        data = _data(token, spelling)
        if data is not None:
            out.append(decoder.decode(data))
            continue
        # What is left of a character in front of a token that is no byte was cut.
        if rest := decoder.decode(b"", final=True):
            out[-1] += rest
        out.append(token.replace(BLANK, " "))
    if (rest := decoder.decode(b"", final=True)) and out:
        out[-1] += rest
    return tuple(out)


def _data(token: str, spelling: Spelling) -> bytes | None:
    """The bytes that a token stands for; None where it is text."""
    if spelling is Spelling.BYTE_LEVEL:
        return bytes(_bytes()[c] for c in token)
    found = BYTE.fullmatch(token)
    return bytes([int(found[1], 16)]) if found else None


@cache
def _bytes() -> dict[str, int]:
    """Character -> byte of byte-level vocabularies: printable bytes are themselves, the others follow from U+0100 on (GPT-2)."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [b for b in range(0x100) if b not in set(printable)]
    return {chr(b): b for b in printable} | {chr(0x100 + i): b for i, b in enumerate(others)}
