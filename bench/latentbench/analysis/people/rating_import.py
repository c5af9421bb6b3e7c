"""Ratings that were made elsewhere, from CSV or JSON lines, matched with a run by the words that were rated.

Each row has `rater`, `latent` and `value`, and says which text: `explainer` (with `repeat`, 0 by default) or the words themselves
(`text`); a pair has `other_explainer` or `other_text`, too, and 1, 0 or -1 for "the first is better", "neither", "the second".
A row that fits no explanation of the run is refused with its number. Leaving it out is the tempting way, and agreement is then
computed over whatever rows were spelled right.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from latentbench.analysis.people.given_rating import SCALE, GivenRating, pair_rating
from latentbench.kernel.errors import DataError
from latentbench.kernel.identity import text_digest
from latentbench.kernel.inputs import Unusable, parse_json, read_text
from latentbench.runs.finished import Run

ADVICE = "Mend it and import the file again; nothing of it was taken."


def imported_ratings(path: Path, run: Run) -> list[GivenRating]:
    """The ratings of a file, all or none.

    Args:
        path: `.csv`, or JSON lines by any other name.

    Raises:
        DataError: it cannot be read, a row is no rating, or is of a text that the run does not have; says which row.
    """
    known = _texts(run)
    hashes = {(latent, text) for (latent, _, _), text in known.items()}
    found = []
    for place, row in _rows(path):
        try:
            found.append(_rating(row, known, hashes, path.name))
        except (TypeError, ValueError) as e:
            raise DataError(f"{path} {place}: {e}. {ADVICE}") from e
    if not found:
        raise DataError(f"{path} has no rating. A row has rater, latent, value, and explainer or text.")
    return found


def _texts(run: Run) -> dict[tuple[str, str, int], str]:
    """Latent, explainer and repeat -> hash of the text."""
    told = run.explanations
    kept = told[told["text"].notna()]
    columns = ["latent", "explainer", "repeat", "hash"]
    return {(z, e, int(r)): h for z, e, r, h in kept[columns].itertuples(index=False, name=None)}


def _rating(
    row: Mapping[str, object], known: Mapping[tuple[str, str, int], str], hashes: set[tuple[str, str]], source: str
) -> GivenRating:
    rater, latent = (_word(row, name) for name in ("rater", "latent"))
    value = _whole(row, "value")
    seconds = None if row.get("seconds") in (None, "") else float(str(row["seconds"]))
    first = _hash(row, "", latent, known, hashes)
    if not any(row.get(name) not in (None, "") for name in ("other_explainer", "other_text")):
        return GivenRating(rater, SCALE, latent, first, "", value, seconds, source)
    second = _hash(row, "other_", latent, known, hashes)
    if first == second:
        raise ValueError("both texts of the pair are the same words")
    return pair_rating(rater, latent, (first, second), value, seconds, source)


def _hash(
    row: Mapping[str, object],
    prefix: str,
    latent: str,
    known: Mapping[tuple[str, str, int], str],
    hashes: set[tuple[str, str]],
) -> str:
    text = row.get(f"{prefix}text")
    if text not in (None, ""):
        found = text_digest(str(text))
        if (latent, found) not in hashes:
            raise ValueError(f"latent {latent!r} has no explanation of these words in the run: {str(text)[:60]!r}")
        return found
    explainer = _word(row, f"{prefix}explainer")
    repeat = 0 if row.get(f"{prefix}repeat") in (None, "") else _whole(row, f"{prefix}repeat")
    if (latent, explainer, repeat) not in known:
        raise ValueError(f"the run has no explanation of latent {latent!r} by {explainer!r} in repeat {repeat}")
    return known[latent, explainer, repeat]


def _word(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValueError(f"{name} is missing")
    return value.strip()


def _whole(row: Mapping[str, object], name: str) -> int:
    said = str(row.get(name)).strip()
    try:
        return int(said)
    except ValueError:
        raise ValueError(f"{name} is {said[:40]!r}, expected a whole number") from None


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Each row with its place."""
    try:
        text = read_text(path)
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror or e}.") from e
    except Unusable as e:
        raise DataError(f"{path} cannot be read: {e}.") from e
    if path.suffix.lower() == ".csv":
        try:
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        except csv.Error as e:
            raise DataError(f"{path} is no CSV: {e}. {ADVICE}") from e
        yield from ((f"row {number + 2}", row) for number, row in enumerate(rows))
        return
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            held = parse_json(line)
        except Unusable as e:
            raise DataError(f"{path} line {number} is not JSON: {e}. {ADVICE}") from e
        if not isinstance(held, dict):
            raise DataError(f"{path} line {number} is no JSON object. {ADVICE}")
        yield f"line {number}", held
