"""What a check made of handed-in rows, as a file beside them, and what a leaderboard says of rows for it.

    leaderboards/checks/RUN.json     written by `bench submit check DIR --publish leaderboards`

Rows never say of themselves that somebody checked them: that is the sentence that everybody would write. So a row's status is
read from a file that whoever checks has written, and holds only for the rows that were checked: the file names their digest,
and once the rows are others it says nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from latentbench.kernel.config import Frozen
from latentbench.kernel.digested import read_digested
from latentbench.kernel.identity import digest
from latentbench.leaderboards.row import Row
from latentbench.leaderboards.submission.asked_again import AskedAgain
from latentbench.runs.moment import Moment
from latentbench.views.number import rounded

CHECKS = "checks"
"""Files of checks, beside the results."""
Status = Literal["refused", "self-reported", "rescored", "reproduced"]
SELF_REPORTED: Status = "self-reported"


class CheckRecord(Frozen):
    """Content of one file of a check."""

    layout: Literal[1] = 1
    digest: str = ""
    """Digest of everything else in the file."""
    status: Status
    run: str
    """Id of the run, "" where the folder does not say."""
    submission: str
    """Digest in the folder's `submission.json`, "" where it has none."""
    rows: str
    """Digest of the rows that were checked, "" where there are none."""
    checked: Moment
    """When, ISO 8601."""
    version: str
    """Version of the package that checked."""
    asked: AskedAgain | None = None
    """What a judge said again."""
    reasons: tuple[str, ...] = ()
    """Why it is refused."""
    remarks: tuple[str, ...] = ()
    """What readers of the rows should know."""


def rows_digest(rows: Iterable[Row]) -> str:
    """Digest of what rows say, whatever their order, the layout of their file and the record that they were computed from."""
    dumped = [row.model_dump(mode="json", exclude={"evidence": {"recomputed", "record", "texts"}}) for row in rows]
    return digest(sorted(rounded(dumped), key=digest))


def now() -> str:
    """This moment, as a record has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def read_check(path: Path) -> CheckRecord:
    """A check as it was written.

    Raises:
        DataError: not JSON. SpecError: it does not fit the schema. DigestMismatch: it was edited.
    """
    return read_digested(CheckRecord, path, "Restore it, or check the rows again.")


def statuses(rows: Iterable[Row], place: Path) -> dict[str, CheckRecord]:
    """Run -> its check, for runs whose rows are all those that were checked.

    Args:
        place: folder of checks.

    Raises:
        DataError, SpecError, DigestMismatch: see `read_check`.
    """
    by_run: dict[str, list[Row]] = {}
    for row in rows:
        by_run.setdefault(row.run, []).append(row)
    found = {}
    for path in sorted(place.glob("*.json")):
        record = read_check(path)
        own = by_run.get(record.run)
        if path.stem == record.run and own is not None and rows_digest(own) == record.rows:
            found[record.run] = record
    return found


def status_notes(rows: Iterable[Row], known: Mapping[str, CheckRecord]) -> list[str]:
    """What a page says of how far its rows were checked; nothing where none was."""
    if not known:
        return []
    said = [
        f"Status: {run} is {record.status}" + (f" ({record.asked.summary})." if record.asked is not None else ".")
        for run, record in sorted(known.items())
    ]
    others = sorted({row.run for row in rows} - known.keys())
    said += [f"Status: {', '.join(others)}: {SELF_REPORTED}."] if others else []
    said += [f"{run}: {remark}" for run, record in sorted(known.items()) for remark in record.remarks]
    return [*said, STATUS_NOTE]


STATUS_NOTE = (
    "Rescored: whoever keeps this page has computed the scores again from the judgements. Reproduced: and a judge of theirs, "
    "the same one, gave the same scores to a sample of the latents. Self-reported: neither."
)
