"""Tokens that are single bytes, as tokenizers with byte fallback have them (Llama 2, Mistral, Gemma): `<0xE5>`.

A character without a token of its own is written as the tokens of its bytes. Where a window is cut inside of such a character,
the library's decoder gives up the whole run of byte tokens, one U+FFFD for each, although a single character in it is not whole.
So the bytes of cut characters are found here, and everything else is left to the library. Decoding all of the window here would
be the other way, and would have to know every tokenizer's rules of spaces.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

FILLING = 1
"""A control character, so that no rule of spaces takes it away."""
CHARACTER = re.compile(
    rb"[\x00-\x7f]|[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    rb"|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
"""One character in UTF-8, as the Unicode standard's table of well-formed sequences has it."""
TORN = re.compile(rb"[\x80-\xbf]{1,3}|[\xc2-\xf4][\x80-\xbf]{0,2}|[\x80-\xff]")
"""What is left of a character that was cut: its last bytes, its first ones, or a byte that never stands in UTF-8."""


class ByteTokens:
    """The byte tokens of one tokenizer; none where it has no byte fallback.

    Args:
        tokenizer: a transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        names = [f"<0x{byte:02X}>" for byte in range(256)]
        vocabulary = tokenizer.get_vocab() if hasattr(tokenizer, "get_vocab") else {}
        tokens = [int(vocabulary[name]) for name in names if name in vocabulary]
        # Such names may also be tokens like any other, which are decoded to themselves.
        falls_back = len(tokens) == 256 and tokenizer.decode([tokens[ord("A")]]) == "A"
        self._byte = {token: byte for byte, token in enumerate(tokens)} if falls_back else {}
        self._filling = tokens[FILLING] if falls_back else -1

    def torn(self, ids: Sequence[int]) -> list[range]:
        """Places of the tokens of each character that is not whole, in order."""
        return [found for run, data in self._runs(ids) for found in _torn(run, data)]

    def filled(self, ids: Sequence[int], places: Sequence[range]) -> list[int]:
        """The ids with the token of a character of one byte at each of the places."""
        out = list(ids)
        for found in places:
            for i in found:
                out[i] = self._filling
        return out

    def _runs(self, ids: Sequence[int]) -> Iterator[tuple[int, bytes]]:
        """First place and bytes of each run of byte tokens."""
        if not self._byte:
            return
        start, data = 0, bytearray()
        for i, token in enumerate(ids):
            byte = self._byte.get(token)
            if byte is not None:
                start = i if not data else start
                data.append(byte)
            elif data:
                yield start, bytes(data)
                data.clear()
        if data:
            yield start, bytes(data)


def _torn(start: int, data: bytes) -> Iterator[range]:
    at = 0
    while at < len(data):
        whole = CHARACTER.match(data, at)
        if whole:
            at = whole.end()
            continue
        found = TORN.match(data, at)
        end = found.end() if found else at + 1
        yield range(start + at, start + end)
        at = end
