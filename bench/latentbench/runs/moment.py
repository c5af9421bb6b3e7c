"""When something started, as a record says it: ISO 8601, and not in the future.

Tables are sorted by it and a page shows it, so a text that is no time, or one of next year, would put a run where it does not
belong. Clocks of machines differ, so a day is no fault; a moment without a time zone is read as UTC.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated

from pydantic import AfterValidator

SKEW = timedelta(days=1)
"""How far the clock of another machine may be ahead."""


def _past(text: str) -> str:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as e:
        raise ValueError(f"{text!r} is no time in ISO 8601, such as 2026-11-27T18:20:01+00:00") from e
    if (found if found.tzinfo else found.replace(tzinfo=UTC)) > datetime.now(UTC) + SKEW:
        raise ValueError(f"{text!r} has not come yet; correct the time, or the clock of this machine")
    return text


Moment = Annotated[str, AfterValidator(_past)]
"""A start in UTC, ISO 8601."""
