"""Tools and their files: which a file is of is found by looking at names and first rows, or said by the user.

Looking is by what only that tool writes (`scored_explanations`, `eval_result_unstructured`, `_latent12.txt`). A reader that takes
whatever it can find in any file is shorter, and reads half of a file that it does not know.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from latentbench.explainers.foreign.column_texts import SUFFIXES, Columns, read_columns, table_rows
from latentbench.explainers.foreign.delphi_texts import read_delphi, text_files
from latentbench.explainers.foreign.found_texts import FoundTexts, one_method, one_text
from latentbench.explainers.foreign.json_rows import Row, json_rows
from latentbench.explainers.foreign.neuronpedia_texts import batches, is_neuronpedia, read_neuronpedia
from latentbench.explainers.foreign.openai_texts import is_openai, neuron_files, read_openai
from latentbench.explainers.foreign.saebench_texts import END, is_saebench, read_saebench, result_files
from latentbench.kernel.errors import CorruptTable, DataError, SpecError
from latentbench.kernel.inputs import read_json

Layout = Literal["rows", "columns", "neuronpedia", "delphi", "saebench", "openai"]
"""`rows` is this project's own: columns `latent` and `text`, of which nothing is found by name."""
OWN = "explanations.parquet"


def layout_of(path: Path, columns: Columns) -> Layout:
    """Tool that a file or folder is of.

    Raises:
        DataError: there is none, or a folder holds nothing that is known.
        CorruptTable: the first of it cannot be read.
        SpecError: a suffix that is not known.
    """
    if path.is_dir():
        return _of_folder(path)
    if not path.is_file():
        raise DataError(f"{path} does not exist. Relative paths start at the folder of the run spec.")
    if path.suffix == ".txt" and "_latent" in path.stem:
        return "delphi"
    if not path.name.endswith(SUFFIXES):
        raise SpecError(f"{path}: the suffix must be one of {', '.join(SUFFIXES)}, or it is a folder of another tool.")
    if columns != Columns():
        return "columns"
    if path.suffix == ".json":
        return "saebench" if _is_result(path) else "columns"
    # OpenAI writes NaN; whether a number may be one is for the reader of the layout to say.
    rows = json_rows(path, finite=False) if path.name.endswith((".jsonl", ".jsonl.gz")) else table_rows(path)
    row = next((row for _, row in rows), None)
    return "rows" if row is None else _of_row(path, row, columns)


def _of_row(path: Path, row: Row, columns: Columns) -> Layout:
    if is_openai(row):
        return "openai"
    if "text_json" in row:
        return "columns"
    own = {"latent", "text"} <= set(row) or columns.of(row) is None
    if own and path.suffix in (".jsonl", ".csv", ".parquet"):
        return "rows"
    return "neuronpedia" if is_neuronpedia(row) and path.suffix in (".jsonl", ".gz") else "columns"


def _is_result(path: Path) -> bool:
    try:
        return is_saebench(read_json(path, finite=False))
    except (ValueError, OSError) as e:
        raise CorruptTable(f"{path} cannot be read: {e}.") from e


def _of_folder(path: Path) -> Layout:
    if (path / OWN).is_file():
        return "rows"
    if found := batches(path):
        row = next((row for _, row in json_rows(found[0], finite=False)), {})
        return "openai" if is_openai(row) else "neuronpedia"
    for layout, files in (
        ("openai", neuron_files(path)),
        ("saebench", result_files(path)),
        ("delphi", text_files(path)),
    ):
        if files:
            return layout  # type: ignore[return-value]
    raise DataError(
        f"{path} is a folder without explanations: expected batches of Neuronpedia (*.jsonl.gz), files of delphi "
        f"(*_latent12.txt), results of SAEBench (*{END}), neurons of OpenAI (LAYER/NEURON.jsonl), or {OWN}."
    )


def files_of(path: Path, layout: Layout) -> list[Path]:
    """The files that are read of a file or folder, in the order in which they are.

    Raises:
        DataError: a folder holds none of that layout.
    """
    if not path.is_dir():
        return [path]
    if layout == "neuronpedia":
        found = batches(path)
    elif layout == "openai":
        found = batches(path) or neuron_files(path)
    elif layout == "saebench":
        found = result_files(path)
    elif layout == "delphi":
        found = text_files(path)
    else:
        found = [path / OWN] if (path / OWN).is_file() else []
    if not found:
        raise DataError(f"{path} holds no files of the layout {layout}.")
    return found


def read_layout(path: Path, layout: Layout, columns: Columns, where: Mapping[str, str | int]) -> FoundTexts:
    """The explanations of a file or folder of any layout but `rows`.

    Raises:
        DataError, CorruptTable, SpecError: as the reader for it; `where` for a layout that has no columns.
    """
    files = files_of(path, layout)
    if where and layout not in ("neuronpedia", "columns"):
        raise SpecError(f"{path}: files of the layout {layout} have no columns to choose rows by; leave `where` out.")
    if layout == "neuronpedia":
        return one_method(path, layout, read_neuronpedia(files, where))
    if layout == "openai":
        return one_method(path, layout, read_openai(files))
    if layout == "saebench":
        return one_text(path, layout, read_saebench(files))
    if layout == "delphi":
        return one_text(path, layout, read_delphi(path if path.is_dir() else path.parent, files))
    return one_text(path, layout, (found for file in files for found in read_columns(file, columns, where)))
