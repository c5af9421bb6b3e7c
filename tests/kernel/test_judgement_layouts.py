"""Judgements of the first layout are read in today's, and journals of it are refused with a reason."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.errors import CorruptTable, RunError
from latentbench.kernel.tables import JUDGEMENTS, RENAMED, read_table
from latentbench.runs.judging import stored
from latentbench.runs.plan import Plan
from latentbench.runs.run_journals import judgement_journal

from tests.builders import equal_runs
from tests.builders.run_builder import Grid, build_run

FIRST = {today: before for before, today in RENAMED.items()}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return build_run(tmp_path / "run", Grid())


def first_layout(run: Path, **changes: pa.Array) -> Path:
    """The run's judgements as the first layout had them."""
    path = run / "judgements.parquet"
    table = pq.read_table(path).drop_columns(["part"])
    for name, values in changes.items():
        table = table.set_column(table.schema.get_field_index(name), name, values)
    pq.write_table(table.rename_columns([FIRST.get(name, name) for name in table.schema.names]), path)
    return path


def test_columns_get_their_names_of_today_and_windows_that_are_none_become_null(run: Path) -> None:
    before = read_table(run / "judgements.parquet", JUDGEMENTS)
    items = [-1, *before.column("item").to_pylist()[1:]]
    after = read_table(first_layout(run, item=pa.array(items, pa.int64())), JUDGEMENTS)
    assert after.schema.equals(before.schema)
    assert after.column("item").to_pylist() == [None, *items[1:]]
    for name in set(JUDGEMENTS.names) - {"item", "part"}:
        assert after.column(name).equals(before.column(name))
    assert set(after.column("part").to_pylist()) == {""}


def test_a_table_of_neither_layout_is_refused(run: Path) -> None:
    path = first_layout(run)
    pq.write_table(pq.read_table(path).drop_columns(["probability"]), path)
    with pytest.raises(CorruptTable, match="score"):
        read_table(path, JUDGEMENTS)


def test_a_run_that_older_code_began_is_not_resumed(tmp_path: Path, run: Path) -> None:
    journal = judgement_journal(tmp_path)
    old = {"cell": "c", "latent": "a", "rows": [{"outcome": "ok", "probability": 0.5, "explanation": "x"}]}
    journal.path.write_text(json.dumps(old) + "\n", encoding="utf-8")
    plan = Plan.__new__(Plan)
    object.__setattr__(plan, "cells", ())
    object.__setattr__(plan, "latents", ())
    with pytest.raises(RunError, match="earlier version.*start the run anew"):
        stored(plan, {}, journal)


def test_runs_of_both_layouts_are_compared_value_by_value(tmp_path: Path, run: Path) -> None:
    other = build_run(tmp_path / "other", Grid())
    first_layout(other)
    assert equal_runs.differences(other, run) == []
    table = pq.read_table(run / "judgements.parquet")
    scores = [0.123, *table.column("score").to_pylist()[1:]]
    changed = table.set_column(table.schema.get_field_index("score"), "score", pa.array(scores, pa.float64()))
    pq.write_table(changed, run / "judgements.parquet")
    (line,) = equal_runs.differences(other, run)
    assert line.startswith("judgements.score: 1 of")
    command = [sys.executable, equal_runs.__file__, str(other), str(run)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, encoding="utf-8")
    assert (done.returncode, done.stdout.strip()) == (1, line)
