"""The formats that a suite can be imported from, by name."""

from __future__ import annotations

from pathlib import Path

from latentbench.kernel.errors import DataError, UnknownName
from latentbench.suites.imported.foreign_latent import ForeignSource
from latentbench.suites.imported.import_options import ImportOptions

FORMATS = ("neuronpedia", "delphi", "openai", "parquet")


def read_source(path: Path, format: str, options: ImportOptions) -> ForeignSource:
    """Read a source.

    Args:
        path: file or folder.
        format: one of `FORMATS`.
        options: what is kept, and what the person knows who imports.

    Raises:
        UnknownName: no such format. DataError: no such file or folder, or one of another format.
        ModelError: a tokenizer that is needed is not here.
    """
    if format not in FORMATS:
        raise UnknownName("format of activations", format, FORMATS)
    if not path.exists():
        raise DataError(f"{path} does not exist.")
    if format == "neuronpedia":
        from latentbench.suites.imported.neuronpedia_export import read_neuronpedia

        return read_neuronpedia(path, options)
    if format == "delphi":
        from latentbench.suites.imported.delphi_cache import read_delphi

        return read_delphi(path, options)
    if format == "openai":
        from latentbench.suites.imported.neuron_records import read_neuron_records

        return read_neuron_records(path, options)
    from latentbench.suites.imported.window_columns import read_columns

    return read_columns(path, options)
