"""Suites that are read by row groups, against the same suites in memory."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.kernel import parquet, row_groups
from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.identity import table_digest
from latentbench.kernel.parquet import read_parquet
from latentbench.kernel.row_groups import RowGroups, streamed_digest
from latentbench.kernel.tasks import find
from latentbench.suites import suite_files
from latentbench.suites.store import load_suite


@pytest.fixture
def large(tmp_path, monkeypatch) -> Path:
    """A suite whose file of windows counts as large, in groups of 700 rows, so that latents lie across two."""
    folder = Path(shutil.copytree(find("suites", "planted-1"), tmp_path / "suite"))
    windows = pq.read_table(folder / "windows.parquet")
    pq.write_table(windows, folder / "windows.parquet", row_group_size=700, write_page_checksum=True)
    monkeypatch.setattr(suite_files, "LARGE", 0)
    monkeypatch.setenv("LATENTBENCH_CACHE", str(tmp_path / "cache"))
    return folder


def test_a_large_suite_is_the_same_suite(large, monkeypatch):
    found = load_suite(large)
    monkeypatch.setattr(suite_files, "LARGE", 1 << 40)
    small = load_suite("planted-1")
    assert isinstance(small.stored, pa.Table)
    assert isinstance(found.stored, RowGroups)
    assert len(found.stored) == 7
    assert found.digest == small.digest
    assert [v.id for v in found.latents()] == small.ids
    for a, b in zip(found.latents(), small.latents(), strict=True):
        assert (a.explain, a.test, a.contrast) == (b.explain, b.test, b.contrast)
    assert found.test_kinds == small.test_kinds
    assert found.window_table.equals(small.window_table)


def test_bytes_that_were_found_right_are_not_decoded_again_and_others_are(large, monkeypatch):
    found = load_suite(large)
    decoded = []
    monkeypatch.setattr(suite_files, "streamed_digest", lambda tables: decoded.append(1) or streamed_digest(tables))
    assert load_suite(large).digest == table_digest({"latents": found.latent_table, "windows": found.window_table})
    assert decoded == []
    windows = pq.read_table(large / "windows.parquet")
    pq.write_table(pa.concat_tables([windows.slice(1), windows.slice(0, 1)]), large / "windows.parquet")
    with pytest.raises(DigestMismatch):
        load_suite(large)
    assert decoded == [1]


def test_a_manifest_with_a_path_for_a_digest_is_vouched_for_by_nothing(large):
    digest = load_suite(large).digest
    manifest = large / "manifest.json"
    manifest.write_text(manifest.read_text(encoding="utf-8").replace(digest, f"x/{digest}"), encoding="utf-8")
    with pytest.raises(DigestMismatch):
        load_suite(large)


@pytest.mark.parametrize("damage", ["truncate", "remove", "garbage", "column"])
def test_a_broken_large_file_is_a_corrupt_table(large, damage):
    file = large / "windows.parquet"
    if damage == "truncate":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "remove":
        file.unlink()
    elif damage == "garbage":
        file.write_bytes(b"PAR1 is not enough")
    else:
        pq.write_table(pq.read_table(file).drop_columns(["activations"]), file)
    with pytest.raises(CorruptTable, match=r"windows\.parquet"):
        load_suite(large)


def test_a_table_in_several_row_groups_is_read_whole_through_its_dictionaries(large, monkeypatch):
    monkeypatch.setattr(parquet, "FREE_BYTES", 0)
    assert read_parquet(large / "windows.parquet").equals(load_suite("planted-1").window_table)


ROW = st.fixed_dictionaries(
    {
        "text": st.none() | st.text(max_size=3),
        "words": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "ids": st.none() | st.lists(st.none() | st.integers(0, 9), max_size=3),
        "number": st.none() | st.floats(width=32, allow_nan=False),
        "said": st.none() | st.booleans(),
    }
)
SCHEMA = pa.schema(
    [
        ("text", pa.string()),
        ("words", pa.list_(pa.string())),
        ("ids", pa.list_(pa.int32())),
        ("number", pa.float32()),
        ("said", pa.bool_()),
    ]
)


@pytest.mark.parametrize("held", [0, row_groups.HELD])
def test_the_digest_is_that_of_the_whole_table(held, tmp_path, monkeypatch):
    monkeypatch.setattr(row_groups, "HELD", held)

    @given(st.lists(ROW, max_size=8), st.integers(1, 4))
    @settings(deadline=None, max_examples=80)
    def check(rows, size):
        table = pa.Table.from_pylist(rows, schema=SCHEMA)
        pq.write_table(table, tmp_path / "t.parquet", row_group_size=size)
        assert streamed_digest({"t": RowGroups(tmp_path / "t.parquet", SCHEMA)}) == table_digest({"t": table})
        assert streamed_digest({"t": pa.concat_tables([table, table])}) == table_digest(
            {"t": pa.concat_tables([table, table])}
        )

    check()
