"""Explanations of a delphi result folder: a file for each latent, `<hookpoint>_latent<i>.txt`, that holds one JSON string."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.foreign_ids import parse_id
from latentbench.kernel.inputs import read_json

MOST = 1_000_000
"""Files of a folder that are looked at."""


def text_files(folder: Path) -> list[Path]:
    """The explanations of a result folder, or of its folder `explanations`; a hookpoint with a `/` is a folder further down.

    Raises:
        CorruptTable: there are too many.
    """
    place = folder / "explanations" if (folder / "explanations").is_dir() else folder
    found: list[Path] = []
    for path in place.rglob("*.txt"):
        if path.name.startswith("."):  # what a file system or an archiver leaves beside files
            continue
        found.append(path)
        if len(found) > MOST:
            raise CorruptTable(f"{place} has more than {MOST:,} text files; name the folder of one result.")
    return sorted(found)


def read_delphi(folder: Path, files: list[Path]) -> Iterator[FoundText]:
    """The explanations of files.

    Raises:
        CorruptTable: a file's name has no latent, or it does not hold one JSON string; says which.
    """
    place = folder / "explanations" if (folder / "explanations").is_dir() else folder
    for path in files:
        name = path.relative_to(place).with_suffix("").as_posix() if path.suffix == ".txt" else path.name
        if "latent" not in path.stem or parse_id(name) is None:
            raise CorruptTable(f"{path}: the name has no latent, as in layers.9_latent12.txt.")
        try:
            text = read_json(path)
        except (ValueError, OSError) as e:
            raise CorruptTable(f"{path} cannot be read: {e}. delphi writes one JSON string into it.") from e
        if not isinstance(text, str):
            kind = "a list, as a score is" if isinstance(text, list) else f"a {type(text).__name__}"
            raise CorruptTable(f"{path} holds {kind}, expected one JSON string.")
        yield FoundText(name, text, str(path))
