"""Your own windows: a Parquet file with a row for each, for tools that no reader here knows.

    latent        whole number or text: `12`, or `coder/12`, where the coder is one for all rows
    tokens        list of texts, which joined are the window
    activations   list of numbers, one for each token
    split         optional text: `explain` or `test`, for every firing window or for none
    kind          optional text: why a window is silent, such as `random` (drawn at random from text); none where it fires
    document      optional text or number: what the window was cut from; windows of one document stand on one side
    bin           optional number: bin of strength that the window was drawn from, 0 the weakest

Other columns are passed over.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast, get_args

import pyarrow as pa

from latentbench.kernel.errors import DataError, UnknownName
from latentbench.kernel.inputs import Unusable
from latentbench.kernel.kinds import IN_SUITES, RANDOM
from latentbench.kernel.latent import coder_of
from latentbench.kernel.parquet import read_parquet
from latentbench.suites.imported.foreign_files import source_files
from latentbench.suites.imported.foreign_latent import About, ForeignSource, Role
from latentbench.suites.imported.held_windows import Collected, Cutting, whole_index
from latentbench.suites.imported.import_options import ImportOptions, coder_name

FORMAT = "parquet"
NEEDED = ("latent", "tokens", "activations")
OPTIONAL = ("split", "kind", "document", "bin")
BATCH = 1024
UNKNOWN = {
    "subject": "no subject was run and none can be: interventions and `subject:` judges refuse the suite",
    "rates": "on how many tokens a latent fires is not in the file",
    "promoted": "which tokens a latent writes for is not in the file",
    "deciles": "a decile is among the windows of the file",
}


def read_columns(path: Path, options: ImportOptions) -> ForeignSource:
    """Read a file of windows.

    Args:
        path: Parquet file with the columns above.
        options: what is kept, and what the person knows who imports.

    Raises:
        DataError: no such file, a column that is missing, or a row that does not fit.
    """
    table = _table(path)
    collected, coders = Collected(options.wanted), set[str]()
    splits: dict[bool, str] = {}
    random = False
    number = 0
    for batch in table.to_batches(max_chunksize=BATCH):
        for row in batch.to_pylist():
            number += 1
            where = f"{path}, row {number}"
            coder, index = _latent(row["latent"], where)
            coders.add(coder)
            if len(coders) > 1:
                raise DataError(
                    f"{where}: its coder is {ascii(coder)[:80]}, and that of rows before another; import one."
                )
            role, kind = _role(row.get("split"), where), _kind(row.get("kind"), where)
            collected.add(
                index,
                row["tokens"],
                row["activations"],
                where,
                role=role,
                bin=_bin(row.get("bin"), where),
                document=None if row.get("document") is None else str(row["document"])[:1000],
                kind=kind,
            )
            if collected.wants(index) and any(v > 0 for v in row["activations"]):
                splits.setdefault(role is not None, where)
            if len(splits) > 1:
                raise DataError(
                    f"{where}: some windows have a split and some ({splits[False]}) have none; give all one, or none."
                )
            random |= kind == RANDOM
    about = About(
        format=FORMAT,
        place=str(path),
        coder=coder_name(next(iter(coders), ""), "imported"),
        kind=options.kind,
        hookpoint=options.hookpoint or "",
        model=None,
        said={},
        files=source_files(path.parent, [path]),
        silence="random" if random else "given",
        unknown=UNKNOWN,
    )
    return collected.source(about, Cutting(options.window, options.silent_below))


def _table(path: Path) -> pa.Table:
    try:
        table = read_parquet(path, [*NEEDED, *OPTIONAL])
    except FileNotFoundError as e:
        raise DataError(f"{path} does not exist.") from e
    except (Unusable, OSError) as e:
        raise DataError(f"{path} is not a readable Parquet file: {e}.") from e
    missing = [name for name in NEEDED if name not in table.column_names]
    if missing:
        raise DataError(f"{path} has no column {', '.join(missing)}; needed are {', '.join(NEEDED)}.")
    values = table.schema.field("activations").type
    if pa.types.is_list(values) and pa.types.is_float16(values.value_type):
        # Otherwise its numbers come out as NumPy's own, which are no numbers of Python's.
        place = table.column_names.index("activations")
        table = table.set_column(place, "activations", table.column("activations").cast(pa.list_(pa.float32())))
    return table


def _latent(value: Any, where: str) -> tuple[str, int]:
    coder = coder_of(value) if isinstance(value, str) else ""
    return coder, whole_index(value.removeprefix(f"{coder}/") if isinstance(value, str) else value, where)


def _role(value: Any, where: str) -> Role | None:
    if value is None or value in get_args(Role):
        return cast(Role | None, value)
    raise DataError(f"{where}: split is {ascii(value)[:60]}, expected explain or test.")


def _kind(value: Any, where: str) -> str:
    if value in (None, "", "active"):
        return ""
    if value not in IN_SUITES:
        raise DataError(f"{where}: {UnknownName('kind of silent window', str(value)[:60], IN_SUITES)}")
    return str(value)


def _bin(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < float("inf"):
        raise DataError(f"{where}: bin is {ascii(value)[:60]}, expected a finite number.")
    return float(value)
