"""Token ids -> one string per token, such that the strings joined are the text.

Decoding each id alone is the tempting way and is wrong for byte-level tokenizers: an emoji or a rare CJK character is split over
tokens, none of which is a character, so each becomes U+FFFD and the judge reads garbage. Here the table of single ids is only the
fast path; every window is compared with the tokenizer's own decoding, and where they differ the window's strings are cut out of
that decoding at the prefix lengths. The last token of a split character carries it, the earlier ones are empty strings.

Of a character that the window cuts through there are only some bytes. It is one U+FFFD, on the last of its tokens, and all that
is whole stays as it is (`latentbench.suites.build.byte_tokens` says for which tokenizers this takes work). The decoder of
byte-level tokenizers has one for each byte that a window begins with in the middle of a character; this is left as it is, because
the windows of suites that were built before have these strings.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from latentbench.suites.build.byte_tokens import ByteTokens

CUT = "\ufffd"
"""A character of which a window holds only some bytes."""


class TokenStrings:
    """Token strings of windows for one tokenizer; remembers single ids and is otherwise without state.

    Args:
        tokenizer: a transformers tokenizer.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._single: dict[int, str] = {}
        self._bytes = ByteTokens(tokenizer)

    def one(self, token: int) -> str:
        """The string of a token on its own; U+FFFD where it is only part of a character."""
        if token not in self._single:
            self._single[token] = self._decode([[token]])[0]
        return self._single[token]

    def of(self, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        """Strings of each window's tokens; `"".join` of each is the window's text, U+FFFD for a character cut at its edge."""
        torn = [self._bytes.torn(ids) for ids in windows]
        if not any(torn):
            return self._of(windows)
        # With a character of one byte for each of its tokens the window is whole, and the library decodes all the rest.
        filled = [self._bytes.filled(ids, places) for ids, places in zip(windows, torn, strict=True)]
        return [_with_cuts(strings, places) for strings, places in zip(self._of(filled), torn, strict=True)]

    def _of(self, windows: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
        new = sorted({t for ids in windows for t in ids} - self._single.keys())
        self._single.update(zip(new, self._decode([[t] for t in new]), strict=True))
        texts = self._decode(windows)
        out = []
        for ids, text in zip(windows, texts, strict=True):
            strings = tuple(self._single[t] for t in ids)
            out.append(strings if "".join(strings) == text else self._cut(ids, text))
        return out

    def _cut(self, ids: Sequence[int], text: str) -> tuple[str, ...]:
        cuts = [0]
        for prefix in self._decode([ids[:end] for end in range(1, len(ids))]):
            # What a prefix says beyond its agreement with the whole is a character that is not complete yet.
            cuts.append(max(cuts[-1], _agreement(prefix, text)))
        cuts.append(len(text))
        return tuple(text[a:b] for a, b in pairwise(cuts))

    def _decode(self, windows: Sequence[Sequence[int]]) -> list[str]:
        if not windows:
            return []
        texts: list[str] = self._tokenizer.batch_decode(
            [list(ids) for ids in windows], skip_special_tokens=False, clean_up_tokenization_spaces=False
        )
        return texts


def _with_cuts(strings: tuple[str, ...], places: Sequence[range]) -> tuple[str, ...]:
    """The strings with U+FFFD on the last token of each cut character and nothing on the others."""
    out = list(strings)
    for found in places:
        for i in found:
            out[i] = ""
        out[found[-1]] = CUT
    return tuple(out)


def _agreement(a: str, b: str) -> int:
    """Length of the common prefix."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
