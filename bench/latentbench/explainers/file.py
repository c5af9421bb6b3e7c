"""Explanations made elsewhere: a table with the columns `latent` and `text`, or what another tool wrote.

It makes any explainer comparable - another program's, a person's, last year's - without running it. The file's content is part
of the explainer's key and its place is not: moved, it is the same explainer; edited, it is another. Tables of this project are
read here, files of others by `latentbench.explainers.foreign`. Ids that are not the suite's are translated when the suite is
known (`meet`), and what did not meet is counted on both sides.
"""

from __future__ import annotations

import csv
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from latentbench.explainers.explainer import Explainer, Explanation, Others, Params
from latentbench.explainers.foreign.column_texts import Columns, csv_rows
from latentbench.explainers.foreign.found_texts import FoundTexts
from latentbench.explainers.foreign.layouts import Layout, files_of, layout_of, read_layout
from latentbench.explainers.matched import Matched, matched
from latentbench.kernel.errors import CorruptTable, DataError, SpecError
from latentbench.kernel.foreign_ids import KnownCoder
from latentbench.kernel.identity import digest
from latentbench.kernel.inputs import content_hash, lines, parse_json, understood
from latentbench.kernel.latent import LatentView, coder_of
from latentbench.kernel.requests import Outcome, Reply


class FileParams(Params):
    """Parameters of explanations from a file."""

    files: ClassVar[tuple[str, ...]] = ("path",)
    later: ClassVar[tuple[str, ...]] = ("layout", "id_column", "text_column", "place_column", "coders")

    path: str | None = None
    """JSONL, CSV or Parquet file with columns `latent` and `text`; others are ignored. A run's `explanations.parquet` is one. Or
    a file or folder of another tool (see `layout`)."""
    where: dict[str, str | int] = Field(default_factory=dict)
    """Rows used: other columns and the value that they must have, such as `{explainer: llm, repeat: 0}`."""
    extra: bool = False
    """Whether the file may have latents that the suite does not have. They are an error by default: an id that is spelled in
    another way would look like a latent that nobody explained. Files of other tools may always have them; they are counted."""
    layout: Literal["auto"] | Layout = "auto"
    """Tool that the file is of: found by looking (`auto`), or said."""
    id_column: str | None = None
    """Column with the ids of the latents; by default the first of `latent`, `latent_id`, `feature`, `index` and so on."""
    text_column: str | None = None
    """Column with the explanations; by default the first of `explanation`, `description`, `label`, `text` and so on."""
    place_column: str | None = None
    """Column with the coder or the module, for ids that are an index alone."""
    coders: dict[str, str] = Field(default_factory=dict)
    """Place in the file's ids -> coder of the suite, such as `{20-gemmascope-res-16k: res20}`; `*` is every other place."""


class FileExplainer(Explainer):
    """Looks up; asks nobody."""

    params_model = FileParams

    _met: Mapping[str, str | None] | None = None

    @property
    def path(self) -> Path:
        """The file or folder.

        Raises:
            SpecError: none is given.
        """
        if self.params.path is None:
            raise SpecError(f"explainer {self.name!r} needs a file: params: {{path: explanations.jsonl}}.")
        return Path(self.params.path)

    @property
    def _columns(self) -> Columns:
        return Columns(self.params.id_column, self.params.text_column, self.params.place_column)

    @cached_property
    def layout(self) -> Layout:
        """Tool that the file is of.

        Raises:
            SpecError, DataError, CorruptTable: see `layout_of`.
        """
        said: Literal["auto"] | Layout = self.params.layout
        return layout_of(self.path, self._columns) if said == "auto" else said

    @cached_property
    def found(self) -> FoundTexts:
        """The file's texts by the ids that it has; None for a row without one, which in CSV is an empty cell.

        Raises:
            SpecError, DataError, CorruptTable: see `path`, `read_texts` and `read_layout`.
        """
        if self.layout != "rows":
            return read_layout(self.path, self.layout, self._columns, self.params.where)
        path = files_of(self.path, "rows")[0]
        return FoundTexts("rows", read_texts(path, self.params.where))

    def meet(self, coders: Sequence[KnownCoder], latents: Collection[str], asked: Collection[str]) -> Matched:
        """Translate the file's ids into those of a suite. Refused are a file without any latent of the suite, and, unless
        `extra`, one of this project's own layout with latents that are not in it."""
        found = self.found
        self._met, met = matched(found.layout, found.texts, coders, latents, asked, self.params.coders)
        if met.strange == len(found.texts):
            raise DataError(
                f"{self.path} has no explanation of a latent of this suite. Its ids are like {sorted(found.texts)[:2]}, the "
                f"suite's are like {sorted(latents)[:2]}. If they are of the same coder under another name, say which: params: "
                "{coders: {PLACE: CODER}}."
            )
        if met.strange and found.layout == "rows" and not self.params.extra:
            raise DataError(
                f"{self.path} has {met.strange} latents that the suite does not have, such as {met.strange_like[0]!r}. Correct "
                "them, or set params: {extra: true} to leave them out."
            )
        if met.without == met.asked:
            others = sum(text is not None for text in self._met.values())
            raise DataError(
                f"{self.path} has no text for any of the {met.asked:,} latents of this run, such as {met.without_like[0]!r}. "
                f"It has one for {others:,} others of the suite: change limit, coders or split."
            )
        return met.model_copy(update={"method": dict(found.method), "aside": found.aside})

    def check(self, latents: Collection[str]) -> None:
        """`meet`, for a suite of which only the ids are known."""
        self.meet([KnownCoder(name) for name in sorted({coder_of(latent) for latent in latents})], latents, latents)

    def parse(self, latent: LatentView, replies: Sequence[Reply], seed: int, others: Others) -> Explanation:
        """The file's text; a latent that it does not have is skipped and stays in every table."""
        text = (self.found.texts if self._met is None else self._met).get(latent.id)
        if text is None:
            return Explanation(latent.id, None, Outcome.SKIPPED, error=f"{self.path.name} has no text for {latent.id}")
        return Explanation(latent.id, text)

    def content(self, path: str | None) -> str | None:
        """What identifies a folder is what is read of it, by name; a file's own name is no part of what it is."""
        place = Path(path) if path is not None else None
        if place is None or not place.is_dir():
            return super().content(path)
        found: dict[str, str] = {}
        for file in files_of(place, self.layout):
            with understood(file, CorruptTable, "Restore it."):
                found[file.relative_to(place).as_posix()] = content_hash(file)
        return digest(found)


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
        rows = (row for _, row in csv_rows(path))
        yield from (row | {"text": row["text"] or None} if "text" in row else row for row in rows)
        return
    for number, line in enumerate(lines(path), 1):
        if line.strip():
            row = parse_json(line)
            if not isinstance(row, Mapping):
                raise CorruptTable(f"{path} line {number} is not an object with `latent` and `text`.")
            yield row
