"""A table that is written as its rows come is the one that is written at once."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.tables import read_table, write_table
from latentbench.runs import row_writer
from latentbench.runs.row_writer import RowWriter, table_from

SCHEMA = pa.schema([("name", pa.string()), ("n", pa.int64()), ("values", pa.list_(pa.float32()))])
COLUMNS = {
    "name": lambda i: None if i % 7 == 3 else f"name {i % 5}",
    "n": lambda i: i,
    "values": lambda i: [i / 4] * (i % 3),
}


def written(path: Path, rows: int) -> str | None:
    with RowWriter(path, COLUMNS, SCHEMA) as writer:
        for i in range(rows):
            writer.add(i)
    return writer.digest


@pytest.mark.parametrize("rows", [0, 1, 7, 8, 100])
def test_a_table_of_one_group_has_the_same_bytes(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "OBJECTS", 8)
    whole = write_table(table_from([(i,) for i in range(rows)], COLUMNS, SCHEMA), tmp_path / "a" / "t.parquet")
    assert written(tmp_path / "b" / "t.parquet", rows) == whole
    assert (tmp_path / "b" / "t.parquet").read_bytes() == (tmp_path / "a" / "t.parquet").read_bytes()


@pytest.mark.parametrize("rows", [64, 65, 100, 128])
def test_a_table_of_several_groups_has_the_same_digest(
    rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(row_writer, "OBJECTS", 8)
    monkeypatch.setattr(row_writer, "GROUP", 32)
    whole = write_table(table_from([(i,) for i in range(rows)], COLUMNS, SCHEMA), tmp_path / "a" / "t.parquet")
    assert written(tmp_path / "b" / "t.parquet", rows) == whole
    assert pq.ParquetFile(tmp_path / "b" / "t.parquet").num_row_groups == -(-rows // 32)
    assert read_table(tmp_path / "b" / "t.parquet", SCHEMA, whole).column("n").to_pylist() == list(range(rows))


def test_a_table_that_was_not_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(row_writer, "OBJECTS", 2)
    monkeypatch.setattr(row_writer, "GROUP", 2)
    (tmp_path / "t.parquet").write_bytes(b"the old one")
    writer = RowWriter(tmp_path / "t.parquet", COLUMNS, SCHEMA)
    with suppress(ZeroDivisionError), writer:
        for i in range(9):
            writer.add(i)
        assert len(list(tmp_path.iterdir())) == 2, "nothing was begun"
        1 / 0  # noqa: B018
    assert (tmp_path / "t.parquet").read_bytes() == b"the old one"
    assert [p.name for p in tmp_path.iterdir()] == ["t.parquet"]


def test_a_table_without_rows_is_left_out_where_it_is_not_wanted(tmp_path: Path) -> None:
    with RowWriter(tmp_path / "t.parquet", COLUMNS, SCHEMA, empty=False) as writer:
        pass
    assert writer.digest is None
    assert not list(tmp_path.iterdir())
