"""The ratings of a run: append-only lines while people rate, one table when the session has ended.

Every answer is a line of its own with a checksum, written before the page goes on, so a closed tab or a killed server costs at
most the answer that was on its way. Saving at the end of a session is the tempting way, and sessions end by a lid that is shut.
When a session ends its lines go into the table; a kill between the two leaves both, and reading both gives each rating once.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path

from latentbench.analysis.people.given_rating import RATINGS, GivenRating, RatingKey, rating_line, rating_unit
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.files import writing
from latentbench.kernel.tables import read_table, write_table
from latentbench.runs.journal import Journal
from latentbench.runs.ownership import owned
from latentbench.runs.row_writer import table_from

FOLDER = "ratings"
TABLE, LINES = "ratings.parquet", "ratings.jsonl"


def read_ratings(run: Path) -> list[GivenRating]:
    """The ratings of a run folder, each with its last value, sorted by rater, latent and text; none where nobody has rated.

    Raises:
        CorruptTable: the table or its journal cannot be read, or holds what is no rating.
    """
    return _sorted(_of_table(run / FOLDER / TABLE), _journal(run).units())


@contextmanager
def rating_session(run: Path) -> Iterator[RatingSession]:
    """Have the ratings of a run for writing; at the end, whatever ended it, the table holds them all.

    Raises:
        RunError: another process is rating this run. DataError: the folder cannot be written.
    """
    with owned(run / FOLDER):
        session = RatingSession(run)
        try:
            yield session
        finally:
            session.settle()


class RatingSession:
    """Ratings that are being made. Get one from `rating_session`."""

    def __init__(self, run: Path) -> None:
        self._folder, self._journal = run / FOLDER, _journal(run)
        self._held: dict[RatingKey, GivenRating] = {r.key: r for r in read_ratings(run)}

    def add(self, rating: GivenRating) -> None:
        """Write a rating; it replaces one of the same rater and texts.

        Raises:
            DataError: it cannot be written.
        """
        self._journal.append(rating)
        self._held[rating.key] = rating

    def of(self, rater: str) -> dict[RatingKey, GivenRating]:
        """What a rater has said so far."""
        return {key: r for key, r in self._held.items() if r.rater == rater}

    def settle(self) -> None:
        """Put all ratings into the table and drop the journal."""
        self._journal.close()
        if not self._held:
            return
        # Read back and not taken from memory: what the table gets is what the disk has.
        ratings = read_ratings(self._folder.parent)
        columns = {name: (lambda *row, i=i: row[i]) for i, name in enumerate(RATINGS.names)}
        write_table(table_from([astuple(r) for r in ratings], columns, RATINGS), self._folder / TABLE)
        with writing(self._folder / LINES):
            (self._folder / LINES).unlink(missing_ok=True)


def _journal(run: Path) -> Journal[GivenRating]:
    return Journal(run / FOLDER / LINES, rating_line, rating_unit)


def _of_table(path: Path) -> Iterator[GivenRating]:
    if not path.exists():
        return
    for number, row in enumerate(read_table(path, RATINGS).to_pylist()):
        try:
            yield GivenRating(**row)
        except (TypeError, ValueError) as e:
            raise CorruptTable(f"{path} row {number + 1} is no rating: {e}. Restore it.") from e


def _sorted(*sources: Iterable[GivenRating]) -> list[GivenRating]:
    found: dict[RatingKey, GivenRating] = {}
    for source in sources:
        found |= {rating.key: rating for rating in source}
    return [found[key] for key in sorted(found)]
