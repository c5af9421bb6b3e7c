"""A Markdown text that must fit where somebody else says how long one may be: cut at a line, and it says so.

GitHub refuses a comment of more than 65,536 characters and a step summary of more than one mebibyte, each as a whole, so the
longest reports, of the worst failures, would be shown to nobody. To be refused is worse than to be cut, and to be cut without a
word is worse than both.
"""

from __future__ import annotations

COMMENT = 65_536
"""Characters of a comment on GitHub."""
SUMMARY = 1 << 20
"""Bytes of all that one step writes to its summary."""
_OPEN, _CLOSE = "<details>", "</details>"


def within(text: str, most: int, where: str) -> str:
    """The text, or its first lines with a note of what is missing.

    Args:
        most: UTF-8 bytes. A character has at least one, so what fits in bytes fits in characters.
        where: the rest can be read, for the note.
    """
    if len(text.encode()) <= most:
        return text
    lines = text.splitlines()

    def told(shown: int) -> str:
        left = len(lines) - shown
        why = f"{left:,} of {len(lines):,} lines are left out, because no more than {most:,} bytes fit"
        return f"\n\n**Cut here: {why}. {where}**\n"

    room = most - len(told(0).encode()) - 64
    shown = size = opened = 0
    for line in lines:
        size += len(line.encode()) + 1
        opened += line.count(_OPEN) - line.count(_CLOSE)
        if size + (len(_CLOSE) + 2) * max(0, opened) > room:
            break
        shown += 1
    kept = lines[:shown]
    still = sum(line.count(_OPEN) - line.count(_CLOSE) for line in kept)
    return "\n".join(kept) + f"\n\n{_CLOSE}" * max(0, still) + told(shown)
