"""Files of another tool -> a suite: `bench suite import` and `lb.import_suite`, whose options are the same keys."""

from __future__ import annotations

from pathlib import Path

from latentbench.kernel.config import validate
from latentbench.suites.imported.foreign_formats import read_source
from latentbench.suites.imported.import_options import ImportOptions
from latentbench.suites.imported.import_suite import ImportSettings, import_suite
from latentbench.suites.store import Suite


def import_files(source: Path, format: str, out: Path, **options: object) -> Suite:
    """Make a suite of activations that another tool has published.

    Args:
        source: file or folder.
        format: `neuronpedia`, `delphi`, `openai` or `parquet`.
        out: folder of the suite.
        options: keys of `ImportOptions` and `ImportSettings`; None is the default of `name`, which is the folder's.

    Raises:
        SpecError: an option that is not known, or a value that does not fit.
        UnknownName, DataError, ModelError, DigestMismatch: as `read_source` and `import_suite`.
    """
    own = set(ImportOptions.model_fields)
    name = options.get("name")
    drawn = {key: value for key, value in options.items() if key in ImportSettings.model_fields or key not in own}
    settings = validate(ImportSettings, {**drawn, "name": out.resolve().name if name is None else name}, PLACE)
    read = validate(ImportOptions, {key: value for key, value in options.items() if key in own}, PLACE)
    return import_suite(read_source(source, format, read), settings, out)


PLACE = "suite import"
"""How messages name the options."""
