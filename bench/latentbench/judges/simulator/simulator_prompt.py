"""The text that a simulator reads, as token ids: description, window, match.

Prefix, window and suffix are tokenised apart and joined as ids. Tokenising the whole text at once would be shorter, but a
tokenizer may merge the last character of the description with the first of the window; then no two windows share exactly the
same prefix, and what was computed of it once would not be what a plain forward pass sees.

The window is cut into the *base's* pieces, which need not be the subject's tokens: a value per piece becomes a value per window
token through the characters that both cover.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

PROMPT_VERSION = 1
"""Part of an artifact: changes whenever a token id that a simulator reads changes."""

BEFORE = "Description: "
BETWEEN = "\nText:"
AFTER = "\nMatch:"

Range = tuple[int, int]
"""Half-open range of base pieces."""


def prefix_ids(tokenizer: Any, explanation: str) -> list[int]:
    """`Description: {explanation}` and the head of the text, with the start token if the tokenizer adds one by itself."""
    bos = tokenizer.bos_token_id
    start = [bos] if bos is not None and tokenizer("x")["input_ids"][0] == bos else []
    return start + _plain(tokenizer, f"{BEFORE}{explanation}{BETWEEN}")


def suffix_ids(tokenizer: Any) -> list[int]:
    """What follows the window; the window's own logit is read at its last piece."""
    return _plain(tokenizer, AFTER)


def window_ids(tokenizer: Any, tokens: Sequence[str]) -> tuple[list[int], list[Range]]:
    """A window's pieces, and which of them overlap each of its tokens.

    The text is preceded by one space unless it starts with white space, as a text that follows `Text:` is.

    Args:
        tokenizer: a fast tokenizer of the base (offsets are needed).
        tokens: the window's token strings; joined they are its text.

    Returns:
        Piece ids, and per window token the half-open range of pieces that share a character with it. A token without
        characters of its own (part of a split character) has an empty range.
    """
    text = "".join(tokens)
    if not text:
        return [], [(0, 0)] * len(tokens)
    shift = 0 if text[0].isspace() else 1
    found = tokenizer(
        " " * shift + text,
        add_special_tokens=False,
        split_special_tokens=True,
        return_offsets_mapping=True,
        verbose=False,
    )
    ids, offsets = list(found["input_ids"]), found["offset_mapping"]
    ends = [int(end) for _, end in offsets]
    # A tokenizer that leaves white space out of its offsets has gaps; the gap belongs to the piece behind it.
    starts = [min(int(start), before) for (start, _), before in zip(offsets, [0, *ends], strict=False)]
    edges = list(accumulate((len(t) for t in tokens), initial=shift))
    ranges = []
    for a, b in pairwise(edges):
        low, high = bisect_right(ends, a), bisect_left(starts, b)
        ranges.append((low, high) if a < b and low < high else (0, 0))
    return ids, ranges


def per_token(values: Sequence[float] | np.ndarray[Any, Any], ranges: Sequence[Range]) -> np.ndarray[Any, Any]:
    """The largest value among the pieces of each window token; 0 for a token without pieces.

    Args:
        values: per piece, [pieces]; probabilities, so that 0 is "not active".
        ranges: of `window_ids`, one per window token.

    Returns:
        float64 [tokens].
    """
    known = np.asarray(values, dtype=np.float64)
    return np.array([known[a:b].max() if b > a else 0.0 for a, b in ranges], dtype=np.float64)


def _plain(tokenizer: Any, text: str) -> list[int]:
    """Ids of a text whose special tokens, if someone wrote any, are text and nothing else."""
    return list(tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"])
