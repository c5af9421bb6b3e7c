"""What of a corpus is not read: how many rows, why, and where the first of them stand.

A corpus of millions of rows has a few without text, and a build that ends at the first of them is never finished. Passing over
them in silence is the tempting way, and hides a wrong column. So they are counted by reason, and the first of each are named by
file and line; the names of files and not their folders, so that a suite is the same wherever its text lies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Reason = Literal["missing", "empty", "no text", "half a character", "copy", "near copy"]
"""Why a row is no document: its column is absent or null; it is empty or white space; it holds something else than text (or token
ids); half of a surrogate pair stands in it; an earlier document says the same, word for word or nearly."""

FIRST = 3
"""Places named for each reason."""


@dataclass
class LeftOut:
    """Rows that are left out, counted while a corpus is read.

    Attributes:
        rows: by reason.
        first: where the first few stand, by reason.
    """

    rows: dict[Reason, int] = field(default_factory=dict)
    first: dict[Reason, list[str]] = field(default_factory=dict)

    def add(self, reason: Reason, place: str) -> None:
        """Count a row."""
        self.rows[reason] = self.rows.get(reason, 0) + 1
        places = self.first.setdefault(reason, [])
        if len(places) < FIRST:
            places.append(place)

    def as_dict(self) -> dict[str, Any]:
        """JSON-able: reason -> `rows` and `first`; empty if nothing was left out."""
        return {reason: {"rows": n, "first": self.first[reason]} for reason, n in sorted(self.rows.items())}


def said(left_out: Mapping[str, Any]) -> str:
    """One line on what was left out, as `LeftOut.as_dict` has it."""
    told = [
        f"{found['rows']:,} {reason} ({'; '.join(found['first'])}{'; ...' if found['rows'] > len(found['first']) else ''})"
        for reason, found in left_out.items()
    ]
    return f"rows of the corpus that are no documents: {', '.join(told)}"
