"""Explanations made elsewhere: a table with the columns `latent` and `text`.

It makes any explainer comparable - another program's, a person's, last year's - without running it. The file's content is part
of the explainer's key and its place is not: moved, it is the same explainer; edited, it is another.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.kernel.errors import CorruptTable, DataError, SpecError
from latentbench.kernel.inputs import lines, parse_json, read_text
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Outcome, Reply

FORMATS = (".jsonl", ".csv", ".parquet")


class FileParams(Params):
    """Parameters of explanations from a file."""

    files: ClassVar[tuple[str, ...]] = ("path",)

    path: str | None = None
    """JSONL, CSV or Parquet file with columns `latent` and `text`; others are ignored. A run's `explanations.parquet` is one."""
    where: dict[str, str | int] = Field(default_factory=dict)
    """Rows used: other columns and the value that they must have, such as `{explainer: llm, repeat: 0}`."""
    extra: bool = False
    """Whether the file may have latents that the suite does not have. They are an error by default: an id that is spelled in
    another way would look like a latent that nobody explained."""


class FileExplainer(Explainer):
    """Looks up; asks nobody."""

    params_model = FileParams

    @property
    def path(self) -> Path:
        """The file.

        Raises:
            SpecError: none is given, or it has none of the known suffixes.
        """
        if self.params.path is None:
            raise SpecError(f"explainer {self.name!r} needs a file: params: {{path: explanations.jsonl}}.")
        path = Path(self.params.path)
        if path.suffix not in FORMATS:
            raise SpecError(f"{path}: the suffix must be one of {', '.join(FORMATS)}.")
        return path

    @cached_property
    def texts(self) -> Mapping[str, str | None]:
        """Latent id -> text; None for a row without one, which in CSV is an empty cell.

        Raises:
            SpecError, DataError: see `path` and `read_texts`.
        """
        return read_texts(self.path, self.params.where)

    def check(self, latents: Collection[str]) -> None:
        """Refuse a file without any latent of the suite, and, unless `extra`, one with latents that are not in it."""
        known = set(latents)
        strange = [latent for latent in self.texts if latent not in known]
        if len(strange) == len(self.texts):
            raise DataError(
                f"{self.path} has no explanation of a latent of this suite. Its ids are like {sorted(strange)[:2]}, the "
                f"suite's are like {sorted(known)[:2]}."
            )
        if strange and not self.params.extra:
            raise DataError(
                f"{self.path} has {len(strange)} latents that the suite does not have, such as {sorted(strange)[0]!r}. Correct "
                "them, or set params: {extra: true} to leave them out."
            )

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The file's text; a latent that it does not have is skipped and stays in every table."""
        text = self.texts.get(latent.id)
        if text is None:
            return Explanation(latent.id, None, Outcome.SKIPPED, error=f"{self.path.name} has no text for {latent.id}")
        return Explanation(latent.id, text)


def read_texts(path: Path, where: Mapping[str, str | int]) -> dict[str, str | None]:
    """Latent id -> text.

    Args:
        where: as in `FileParams`; compared as text, since CSV has no types.

    Raises:
        DataError: the file is missing, a latent has two different texts, or no row is left.
        CorruptTable: it cannot be read or lacks a column.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist. Relative paths start at the folder of the run spec.")
    found: dict[str, str | None] = {}
    try:
        for number, row in enumerate(_rows(path), 1):
            missing = [c for c in ("latent", "text", *where) if c not in row]
            if missing:
                raise CorruptTable(
                    f"{path} row {number} has no column {missing[0]!r}; it has {', '.join(map(str, row))}."
                )
            if any(str(row[column]) != str(value) for column, value in where.items()):
                continue
            latent, text = str(row["latent"]), row["text"]
            if not (text is None or isinstance(text, str)):
                raise CorruptTable(f"{path} row {number}: the text of {latent} is {text!r}, which is no text.")
            if found.setdefault(latent, text) != text:
                raise DataError(
                    f"{path} row {number}: a second text for {latent}. Choose rows by other columns, such as "
                    "params: {where: {explainer: llm, repeat: 0}}."
                )
    except (ValueError, OSError, csv.Error) as e:
        raise CorruptTable(f"{path} cannot be read as {path.suffix[1:]}: {e}") from e
    if not found:
        raise DataError(f"{path} has no rows" + (f" with {dict(where)}." if where else "."))
    return found


def _rows(path: Path) -> Iterable[Mapping[str, Any]]:
    if path.suffix == ".parquet":
        from latentbench.kernel.parquet import read_parquet

        yield from read_parquet(path).to_pylist()
        return
    if path.suffix == ".csv":
        # CSV cannot tell an empty text from a missing one; a run's table without an explanation becomes an empty cell.
        rows = csv.DictReader(io.StringIO(read_text(path), newline=""))
        yield from (row | {"text": row["text"] or None} if "text" in row else row for row in rows)
        return
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            row = parse_json(line)
            if not isinstance(row, Mapping):
                raise CorruptTable(f"{path} line {number} is not an object with `latent` and `text`.")
            yield row
