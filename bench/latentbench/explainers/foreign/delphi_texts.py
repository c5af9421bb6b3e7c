"""Explanations of a delphi result folder: a file for each latent, `<hookpoint>_latent<i>.txt`, that holds one JSON string.

The scores beside them have the same names and other contents, so they are left alone wherever there is a folder `explanations`,
one level down or several: results lie side by side in a folder, and an export has its one below explainer and judge. Of several
results none is the right one, so they are named and not mixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.kernel.errors import CorruptTable, DataError
from latentbench.kernel.foreign_ids import parse_id
from latentbench.kernel.inputs import read_json

MOST = 1_000_000
"""Files of a folder that are looked at."""
RESULT = "explanations"
"""Folder of a result that has its explanations."""


def text_files(folder: Path) -> list[Path]:
    """The explanations of a result folder, of its folder `explanations`, or of a folder with one result somewhere below; a
    hookpoint with a `/` is a folder further down.

    Raises:
        CorruptTable: there are too many. DataError: there are several results below.
    """
    place = folder / RESULT if (folder / RESULT).is_dir() else folder
    found: list[Path] = []
    for path in place.rglob("*.txt"):
        if path.name.startswith("."):  # what a file system or an archiver leaves beside files
            continue
        found.append(path)
        if len(found) > MOST:
            raise CorruptTable(f"{place} has more than {MOST:,} text files; name the folder of one result.")
    place = _place(folder, found)
    return sorted(path for path in found if path.is_relative_to(place))


def _place(folder: Path, files: Sequence[Path]) -> Path:
    """Where the names of latents begin: the folder `explanations` that there is, or the folder itself."""
    if (folder / RESULT).is_dir():
        return folder / RESULT
    n = len(folder.parts)
    places = {Path(*p.parts[: p.parts.index(RESULT, n) + 1]) for p in files if RESULT in p.parts[n:-1]}
    if len(places) > 1:
        first = ", ".join(found.parent.relative_to(folder).as_posix() for found in sorted(places)[:3])
        raise DataError(f"{folder} has {len(places)} results of delphi, {first}. Name the folder of one of them.")
    return places.pop() if places else folder


def read_delphi(folder: Path, files: list[Path]) -> Iterator[FoundText]:
    """The explanations of files.

    Raises:
        CorruptTable: a file's name has no latent, or it does not hold one JSON string; says which.
    """
    place = _place(folder, files)
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
