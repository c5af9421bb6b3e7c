"""Rows that are cut out when they are read, against the same columns converted whole."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.tables import WINDOWS
from latentbench.suites.store import load_suite
from latentbench.suites.stored_columns import DirectionColumn, ListColumn, StoredWindows, TextColumn

TEXTS = st.one_of(st.none(), st.text(max_size=4))
HALVES = st.floats(width=16, allow_nan=False)


@given(st.lists(TEXTS, min_size=1), st.integers(1, 3))
@settings(deadline=None)
def test_texts_are_those_of_the_column(values, chunks):  # type: ignore[no-untyped-def]
    cut = -(-len(values) // chunks)
    parts = [pa.array(values[i : i + cut], pa.string()) for i in range(0, len(values), cut)]
    found = TextColumn(pa.chunked_array(parts))
    assert [found[i] for i in range(len(values))] == values


@pytest.mark.parametrize(
    ("kind", "items"),
    [(pa.string(), TEXTS), (pa.int32(), st.integers(-5, 5)), (pa.float16(), HALVES), (pa.int32(), st.none() | st.integers(0, 5))],
)  # fmt: skip
def test_lists_are_those_of_the_column_missing_ones_too(kind, items):  # type: ignore[no-untyped-def]
    @given(st.lists(st.one_of(st.none(), st.lists(items, max_size=4)), min_size=1))
    @settings(deadline=None, max_examples=60)
    def check(rows):  # type: ignore[no-untyped-def]
        column = pa.chunked_array([pa.array(rows, pa.list_(kind)), pa.array(rows[:1], pa.list_(kind))])
        found = ListColumn(column)
        assert len(found) == len(rows) + 1
        whole = column.to_pylist()
        assert [found[i] for i in range(len(found))] == [None if v is None else tuple(v) for v in whole]
        assert all(isinstance(v, int | float | str | None) for i in range(len(found)) for v in found[i] or ())

    check()


def test_windows_of_a_suite_are_the_rows_of_its_table():
    suite = load_suite("planted-1")
    rows = suite.window_table.to_pylist()
    stored = StoredWindows(suite.window_table)
    for latent in suite.ids[:20]:
        mine = stored.of(latent)
        assert list(mine) == [i for i, row in enumerate(rows) if row["latent"] == latent]
        for i in mine:
            w, row = stored.window(i), rows[i]
            assert (w.id, w.role, w.kind, w.position) == (i, row["role"], row["kind"], row["position"])
            assert (list(w.ids), list(w.tokens)) == (row["ids"], row["tokens"])
            assert list(w.activations) == [float(a) for a in row["activations"]]
    assert list(stored.of("nobody/1")) == []


def test_a_window_of_several_lengths_is_refused():
    row = {"latent": "a/1", "role": "test", "kind": "random", "ids": [1, 2], "tokens": ["x"], "activations": [0.0, 1.0]}
    table = pa.Table.from_pylist(
        [{**row, "activations": np.float16([0, 1]), "position": 0, "context": 0}], schema=WINDOWS
    )
    with pytest.raises(CorruptTable, match="different numbers"):
        StoredWindows(table)


def test_a_direction_cannot_be_written_to():
    column = pa.chunked_array([pa.array([np.float16([1, 2]), np.float16([])], pa.list_(pa.float16()))])
    found = DirectionColumn(column)
    assert found[0].tolist() == [1, 2]
    assert len(found[1]) == 0
    with pytest.raises(ValueError, match="read-only"):
        found[0][0] = 3
