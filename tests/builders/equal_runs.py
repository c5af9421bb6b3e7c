"""Do two runs say the same, value by value? For changes of the code that may move no number.

    python tests/builders/equal_runs.py BEFORE AFTER

Both are run folders of one spec. Tables are compared column by column after columns of an earlier layout have got their names of
today; a key may change with the code that gives it, and columns that only one layout has cannot be compared: these are left
out. Comparing files by their bytes would be shorter and would fail with every release of pyarrow.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, LATER, SCORES, read_table

TABLES = {"explanations": EXPLANATIONS, "judgements": JUDGEMENTS, "scores": SCORES}
LEFT_OUT = frozenset({"explainer_key"})


def differences(before: Path, after: Path) -> list[str]:
    """One line for each column that differs, and for each table with another number of rows."""
    found = []
    for name, schema in TABLES.items():
        tables = [read_table(folder / f"{name}.parquet", schema) for folder in (before, after)]
        rows = [table.num_rows for table in tables]
        if rows[0] != rows[1]:
            found.append(f"{name}: {rows[0]} rows before, {rows[1]} after")
            continue
        for column in schema.names:
            held = [_held(folder / f"{name}.parquet", column) for folder in (before, after)]
            if column not in LEFT_OUT and all(held):
                found += _column(name, column, *(table.column(column) for table in tables))
    return found


def _held(path: Path, column: str) -> bool:
    """Whether a table says something in a column: one that its layout did not have is filled on reading."""
    return column not in ("part", *LATER) or column in pq.read_schema(path).names


def _column(table: str, column: str, before: pa.ChunkedArray, after: pa.ChunkedArray) -> list[str]:
    pairs = list(zip(before.to_pylist(), after.to_pylist(), strict=True))
    # NaN is no value of any table, so equality of Python objects is what is meant.
    rows = [i for i, (x, y) in enumerate(pairs) if x != y]
    if not rows:
        return []
    x, y = pairs[rows[0]]
    return [f"{table}.{column}: {len(rows)} of {len(pairs)} rows differ, the first is row {rows[0]}: {x!r} and {y!r}"]


def main(arguments: Sequence[str]) -> int:
    """Print the differences; 1 if there are any."""
    before, after = map(Path, arguments)
    found = differences(before, after)
    print("\n".join(found) or f"{before} and {after}: equal")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
