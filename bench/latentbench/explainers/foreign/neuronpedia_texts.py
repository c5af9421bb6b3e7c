"""Explanations of a Neuronpedia export: one object a line, in one file or in the batches of a folder.

Each row is of a latent (`modelId`; `layer`, which is the source and may be called so; `index`, a text) and has a `description`.
Everything else may be missing: files made by different programs have different fields.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.explainers.foreign.json_rows import Row, fits, index_of, json_rows, text_of
from latentbench.kernel.errors import CorruptTable

METHOD = ("typeName", "explanationModelName")
"""Fields that say what made an explanation."""


def is_neuronpedia(row: Row) -> bool:
    """Whether a row is an explanation of Neuronpedia's."""
    return "description" in row and "index" in row


def batches(folder: Path) -> list[Path]:
    """The files of a source's folder or of its folder `explanations`; above these, those of all sources of a model, or of all."""
    own = folder / "explanations" if (folder / "explanations").is_dir() else folder
    for places in ([own], folder.glob("*/explanations"), folder.glob("*/*/explanations")):
        files = [p for place in places if place.is_dir() for p in place.iterdir() if p.is_file()]
        if found := sorted(p for p in files if p.name.endswith((".jsonl", ".jsonl.gz"))):
            return found
    return []


def read_neuronpedia(paths: list[Path], where: Mapping[str, str | int]) -> Iterator[FoundText]:
    """The explanations of files.

    Args:
        where: fields and the values that they must have; a row without the field is left out.

    Raises:
        CorruptTable: a line is no explanation; says which.
    """
    for path in paths:
        for place, row in json_rows(path, finite=False):  # a map of embeddings may have NaN
            if not fits(dict.fromkeys(where) | dict(row), where, place):
                continue
            layer = "layer" if "layer" in row else "source"
            source = "/".join(part for name in ("modelId", layer) if (part := text_of(row, name, place)))
            index = index_of(row, "index", place)
            method = tuple((name, said) for name in METHOD if (said := text_of(row, name, place)) is not None)
            made = _made(row.get("createdAt"), place)
            name = f"{source}/{index}" if source else index
            yield FoundText(name, text_of(row, "description", place), place, method, made)


def _made(value: object, where: str) -> str:
    """When a row was made, as a text that sorts; "" where it does not say. Neuronpedia writes ISO 8601, in several forms.

    Raises:
        CorruptTable: it is no time.
    """
    if value is None or value == "":
        return ""
    try:
        if isinstance(value, int | float) and not isinstance(value, bool):
            # Seconds, or milliseconds as JavaScript has them.
            found = datetime.fromtimestamp(value / (1000 if value > 1e11 else 1), UTC)
        else:
            found = datetime.fromisoformat(str(value).strip())
    except (ValueError, OverflowError, OSError) as e:
        raise CorruptTable(
            f"{where}: createdAt is {repr(value)[:80]}, expected a time such as 2026-01-31T12:00:00Z."
        ) from e
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat(timespec="microseconds")
