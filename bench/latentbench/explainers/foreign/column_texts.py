"""Explanations in a table with any names of columns: CSV, TSV, JSON lines, a JSON list or object, Parquet.

Which column is which is said by the user or found by name. Names are compared without case, and the first of a fixed list that
the table has is taken; nothing is guessed from what a column holds, because a column of excerpts reads like one of explanations.
A column whose name ends in `_json` holds each text as a JSON string: CSV has no other way to carry any text unchanged past a
program that takes `=` for a formula.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.explainers.foreign.json_rows import Row, fits, index_of, json_rows, text_of
from latentbench.kernel.errors import CorruptTable, SpecError
from latentbench.kernel.inputs import LINE_BYTES, most, parse_json, read_json, read_text

IDS = ("latent", "latent_id", "feature_id", "feature", "feature_index", "latent_index", "neuron", "unit", "index", "id")
TEXTS = ("text_json", "explanation", "description", "interpretation", "label", "summary", "text")
PLACES = ("coder", "hookpoint", "module", "sae_id", "sae", "source", "layer")
SUFFIXES = (".csv", ".tsv", ".jsonl", ".jsonl.gz", ".json", ".parquet")
AS_JSON = "_json"


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns hold what; None where it is found by name.

    Attributes:
        id: of the latent.
        text: of the explanation.
        place: of the coder or the module, for ids that are an index alone.
    """

    id: str | None = None
    text: str | None = None
    place: str | None = None

    def of(self, names: Iterable[str]) -> Columns | None:
        """The columns of a table; None if it has no id or no text under a known name.

        Raises:
            SpecError: one that the user named is not there.
        """
        held = list(names)
        for wanted in (self.id, self.text, self.place):
            if wanted is not None and wanted not in held:
                raise SpecError(f"there is no column {wanted!r}; there are {', '.join(map(str, held))}.")
        lower = {name.lower(): name for name in reversed(held) if isinstance(name, str)}  # None heads cells without one

        def first(known: tuple[str, ...], taken: str | None = None) -> str | None:
            return next((lower[name] for name in known if lower.get(name, taken) != taken), None)

        if self.id is None and self.text is None and {"latent", "text"} <= set(held) and "text_json" not in held:
            return Columns("latent", "text", self.place)
        name = self.id or first(IDS)
        text = self.text or first(TEXTS, name)
        place = self.place or first(PLACES, name)
        return Columns(name, text, place) if name is not None and text is not None else None


def table_rows(path: Path) -> Iterator[tuple[str, Row]]:
    """Place and content of each row of a table.

    Raises:
        CorruptTable: it cannot be read, or a row is no object.
    """
    try:
        if path.suffix == ".parquet":
            yield from _parquet(path)
        elif path.suffix in (".csv", ".tsv"):
            yield from _csv(path)
        elif path.suffix == ".json":
            yield from _json(path)
        else:
            yield from json_rows(path)
    except (ValueError, OSError, csv.Error) as e:
        raise CorruptTable(f"{path} cannot be read as {path.suffix[1:]}: {e}.") from e


def _parquet(path: Path) -> Iterator[tuple[str, Row]]:
    from latentbench.kernel.parquet import read_parquet

    table = read_parquet(path)
    for batch in table.to_batches(max_chunksize=4096):
        for number, row in enumerate(batch.to_pylist(), 1):
            yield f"{path} row {number}", row


def _csv(path: Path) -> Iterator[tuple[str, Row]]:
    # CSV cannot tell an empty text from a missing one.
    yield from ((place, {name: value or None for name, value in row.items()}) for place, row in csv_rows(path))


def csv_rows(path: Path) -> Iterator[tuple[str, dict[str, str | None]]]:
    """Place and cells of each row of a CSV or TSV file.

    A comma or a quotation mark that is not quoted would cut a text, or join rows, without anybody seeing it; both are refused.

    Raises:
        CorruptTable: two columns have one name, or a row has more cells than the head; says where.
        csv.Error: a quotation that does not end, or goes on behind its end.
        ValueError, OSError: as `read_text`.
    """
    # The reader's own limit is 128 kB for a cell; that of a line is held by `read_text` here.
    csv.field_size_limit(most(LINE_BYTES))
    separator = "\t" if path.suffix == ".tsv" else ","
    rows = csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter=separator, strict=True)
    heads = list(rows.fieldnames or ())
    twice = next((name for name in heads if name and heads.count(name) > 1), None)
    if twice is not None:
        raise CorruptTable(f"{path} has two columns {twice!r}. Rename or remove one.")
    for row in rows:
        place = f"{path} line {rows.line_num}"
        if None in row:
            raise CorruptTable(f"{place} has more cells than the head has names. Put quotation marks around texts.")
        yield place, row


def _json(path: Path) -> Iterator[tuple[str, Row]]:
    value = read_json(path)
    if isinstance(value, Mapping):
        value = [{"latent": name, "text": text} for name, text in value.items()]
    if not isinstance(value, list):
        raise CorruptTable(f"{path} holds neither a list of objects nor an object of texts.")
    for number, row in enumerate(value, 1):
        if not isinstance(row, Mapping):
            raise CorruptTable(f"{path} item {number} is not an object.")
        yield f"{path} item {number}", row


def read_columns(path: Path, columns: Columns, where: Mapping[str, str | int]) -> Iterator[FoundText]:
    """The explanations of a table.

    Args:
        where: other columns and the values that they must have.

    Raises:
        CorruptTable: it cannot be read, or a row has no id or something else than a text; says which.
        SpecError: it has no such columns; says which it has.
    """
    for place, row in table_rows(path):
        found = columns.of(row)
        if found is None or found.id is None or found.text is None:
            raise CorruptTable(
                f"{place} has no column for {'the latent' if columns.id is None else 'the text'} under a known name; it has "
                f"{', '.join(map(str, row))}. Name them: params: {{id_column: ..., text_column: ...}}."
            )
        if fits(row, where, place):
            yield FoundText(_id(row, found, place), _text(row, found.text, place), place)


def _id(row: Row, columns: Columns, place: str) -> str:
    assert columns.id is not None
    name = index_of(row, columns.id, place)
    said: Any = row.get(columns.place) if columns.place is not None else None
    return f"{said}/{name}" if name.isdecimal() and said is not None and str(said).strip() else name


def _text(row: Row, name: str, place: str) -> str | None:
    text = text_of(row, name, place)
    if text is None or not name.lower().endswith(AS_JSON):
        return text
    try:
        return text_of({name: parse_json(text)}, name, place)
    except ValueError as e:
        raise CorruptTable(f"{place}: {name} is no JSON: {e}.") from e
