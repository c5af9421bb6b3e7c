"""Explanations of SAEBench's autointerp evaluation: `eval_result_unstructured` of `<release>_<sae>_eval_results.json`.

A file holds one result, or several by the name of their release. Latents are indices alone; the SAE's id is their place.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from latentbench.explainers.foreign.found_texts import FoundText
from latentbench.explainers.foreign.json_rows import index_of, text_of
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.inputs import read_json

DETAILS = "eval_result_unstructured"
END = "_eval_results.json"


def is_saebench(value: Any) -> bool:
    """Whether a JSON file's value is a result, or an object of results."""
    return bool(_results(value))


def result_files(folder: Path) -> list[Path]:
    """The results of a folder."""
    return sorted(p for p in folder.rglob(f"*{END}") if p.is_file())


def read_saebench(paths: list[Path]) -> Iterator[FoundText]:
    """The explanations of files.

    Raises:
        CorruptTable: a file is no result, or has a latent without an index; says where.
    """
    for path in paths:
        try:
            results = _results(read_json(path, finite=False))
        except (ValueError, OSError) as e:
            raise CorruptTable(f"{path} cannot be read: {e}.") from e
        if not results:
            raise CorruptTable(f"{path} is no result of SAEBench: it has no {DETAILS}.")
        for result in results:
            yield from _of_result(path, result)


def _results(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, Mapping):
        return []
    if DETAILS in value:
        return [value]
    return [found for found in value.values() if isinstance(found, Mapping) and DETAILS in found]


def _of_result(path: Path, result: Mapping[str, Any]) -> Iterator[FoundText]:
    details = result[DETAILS]
    place = text_of(result, "sae_lens_id", str(path)) or ""
    if details is None:
        return
    if not isinstance(details, Mapping):
        raise CorruptTable(f"{path}: {DETAILS} is a {type(details).__name__}, expected an object by latent.")
    for name, row in details.items():
        where = f"{path}, {DETAILS}, {name!r}"
        if not isinstance(row, Mapping):
            raise CorruptTable(f"{where} is a {type(row).__name__}, expected an object.")
        index = index_of({"latent": name} | dict(row), "latent", where)
        yield FoundText(f"{place}/{index}" if place else index, text_of(row, "explanation", where), where)
