"""A run whose tables stay in their files is the run whose tables are in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.identity import table_digest
from latentbench.kernel.row_groups import RowGroups
from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS
from latentbench.leaderboards.ranked_runs import rank
from latentbench.leaderboards.rescored import rescored
from latentbench.leaderboards.row import rows
from latentbench.leaderboards.run_page import report
from latentbench.runs.finished import Run, load_run
from latentbench.runs.record import read_record, write_record
from latentbench.runs.run import start
from latentbench.runs.run_table import RunTable, opened
from latentbench.tracking.entries import parent
from rich.console import Console

from tests.builders.run_builder import Grid, build_run

SPEC = """
name: tables
suite: planted-1
split: test
limit: 6
repeats: 2
explainers: [tokens, {use: constant, params: {text: a word}}]
scorers:
  - {use: detection, params: {positives: 3, negatives: 3, simulate: never}}
  - {use: simulation, params: {positives: 2, negatives: 2}}
judges: [{use: "mock:label"}]
"""
SCHEMAS = {"explanations": EXPLANATIONS, "judgements": JUDGEMENTS, "scores": SCORES, "seconds": SECONDS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("whole")
    (place / "spec.yaml").write_text(SPEC, encoding="utf-8")
    return start(place / "spec.yaml", place / "run", place / "replies.sqlite", Console(quiet=True))[0]


def split(run: Path, to: Path, size: int = 7, change: Callable[[pa.Table], pa.Table] | None = None) -> Path:
    """The same run in a folder of the same name, in row groups of some rows; digests are of what is written."""
    folder = to / run.name
    shutil.copytree(run, folder)
    tables = dict(read_record(folder).tables)
    for name, schema in SCHEMAS.items():
        path = folder / f"{name}.parquet"
        table = pq.read_table(path, schema=schema)
        if name == "judgements" and change is not None:
            table = change(table)
            tables[name] = table_digest({name: table})
        pq.write_table(table, path, row_group_size=size)
    write_record(read_record(folder).model_copy(update={"tables": tables}), folder)
    return folder


@pytest.fixture
def streamed(whole: Path, tmp_path: Path) -> Run:
    run = load_run(split(whole, tmp_path))
    for name in ("judgements", "scores"):
        assert isinstance(run.table(name)._file, RowGroups), "it was read whole"
    return run


def test_frames_are_equal(whole: Path, streamed: Run) -> None:
    one = load_run(whole)
    for name in ("explanations", "judgements", "scores"):
        pd.testing.assert_frame_equal(getattr(one, name), getattr(streamed, name))
        assert [str(t) for t in getattr(one, name).dtypes] == [str(t) for t in getattr(streamed, name).dtypes]
    assert {"token_scores", "token_truth"} <= set(load_run(streamed.folder, per_token=True).judgements)
    assert not {"token_scores", "token_truth"} & set(streamed.judgements)


def test_rows_of_cells_and_latents(streamed: Run) -> None:
    frame, table = streamed.judgements, streamed.table("judgements")
    assert table.cells == [cell.cell for cell in streamed.record.cells]
    wanted = ["latent", "seconds", "item", "outcome"]
    for cell, rows_ in zip(table.cells, table.each(wanted), strict=True):
        own = frame[frame["cell"] == cell][wanted]
        pd.testing.assert_frame_equal(rows_, own.reset_index(drop=True))
    some = [table.cells[3], table.cells[0], "no such cell"]
    both = frame[frame["cell"].isin(some)][wanted].reset_index(drop=True)
    pd.testing.assert_frame_equal(table.of_cells(some, wanted), both)
    latent = streamed.record.latents[2]
    mine = frame[frame["latent"] == latent].reset_index(drop=True)
    pd.testing.assert_frame_equal(table.of_latent(latent), mine)
    assert not len(table.of_latent("no such latent"))
    pd.testing.assert_series_equal(table.column("seconds"), frame["seconds"])
    assert table.counts("outcome") == frame["outcome"].value_counts().to_dict()


def test_given_frames_do_the_same(streamed: Run) -> None:
    held, stored = RunTable(streamed.scores), streamed.table("scores")
    assert held.cells == stored.cells
    assert held.counts("metric") == stored.counts("metric")
    latent = streamed.record.latents[0]
    columns = ["cell", "metric", "value"]
    for one, two in zip(held.each(columns), stored.each(columns), strict=True):
        pd.testing.assert_frame_equal(one.reset_index(drop=True), two)
    pd.testing.assert_frame_equal(held.of_latent(latent).reset_index(drop=True), stored.of_latent(latent))


def test_cells_that_take_turns(whole: Path, tmp_path: Path) -> None:
    """Rows of a cell that do not follow each other are its rows all the same."""
    mixed = split(whole, tmp_path, change=lambda t: t.take([*range(1, len(t), 2), *range(0, len(t), 2)]))
    run = load_run(mixed)
    # Of columns that miss values in other cells whole numbers are whole numbers here.
    columns = ["cell", "latent", "trial", "item", "outcome", "tokens_in", "cost", "seconds"]
    frame = run.judgements[columns]
    for cell in run.table("judgements").cells:
        own = frame[frame["cell"] == cell].reset_index(drop=True)
        pd.testing.assert_frame_equal(run.table("judgements").of_cells([cell], columns), own)


def test_the_same_pages_and_numbers(whole: Path, streamed: Run) -> None:
    one = load_run(whole)
    for by_coder in (False, True):
        a, b = (rows([run], by_kind=True, by_coder=by_coder, any_split=True) for run in (one, streamed))
        assert [row.model_dump() for row in a] == [row.model_dump() for row in b]
    assert rescored(one) == rescored(streamed)
    assert report(one, None) == report(streamed, None)
    ranked = [rank([run], any_split=True) for run in (one, streamed)]
    assert ranked[0].tables == ranked[1].tables
    assert parent(one, ranked[0].rows) == parent(streamed, ranked[1].rows)


def first(table: pa.Table, name: str, value: Any) -> pa.Table:
    """The table with another value in the last row of a column."""
    values = [*table.column(name).to_pylist()[:-1], value]
    field = table.schema.field(name)
    return table.set_column(table.schema.get_field_index(name), field, pa.array(values, field.type))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: pa.concat_tables([t, t.slice(len(t) - 1)]), "1 rows twice"),
        (lambda t: t.slice(0, len(t) - 1), "judgements.parquet has"),
        (lambda t: first(t, "outcome", "zz"), "the outcome 'zz'"),
        (lambda t: first(t, "tokens_in", -1), "tokens_in = -1"),
        (lambda t: first(t, "explanation", "0" * 16), "is not the one that was judged"),
        (lambda t: first(t, "cell", "other"), "are not of one run"),
        (lambda t: first(t, "latent", None), "are not of one run"),
    ],
)
def test_what_cannot_be_is_found_in_files(
    whole: Path, tmp_path: Path, change: Callable[[pa.Table], pa.Table], said: str
) -> None:
    with pytest.raises(CorruptTable, match=said):
        load_run(split(whole, tmp_path, change=change))


def test_a_file_that_is_another_one(whole: Path, tmp_path: Path) -> None:
    folder = split(whole, tmp_path)
    path = folder / "judgements.parquet"
    pq.write_table(first(pq.read_table(path), "answer", 7), path, row_group_size=7)
    with pytest.raises(DigestMismatch, match="is not what was written"):
        load_run(folder)


def test_seconds_of_another_table(tmp_path: Path) -> None:
    run = build_run(tmp_path / "run", Grid())
    path = run / "seconds.parquet"
    pq.write_table(first(pq.read_table(path, schema=SECONDS), "row", 10**9), path)
    with pytest.raises(CorruptTable, match="is not of judgements.parquet beside it"):
        load_run(run)


def test_a_table_of_other_types_is_brought_into_memory_whatever_its_row_groups(whole: Path, tmp_path: Path) -> None:
    folder = split(whole, tmp_path)
    path = folder / "judgements.parquet"
    table = pq.read_table(path, schema=JUDGEMENTS)
    place = table.schema.get_field_index("repeat")
    other = table.set_column(place, "repeat", table["repeat"].cast(pa.int64()))
    pq.write_table(other, path, row_group_size=7)
    assert isinstance(opened(folder / "scores.parquet", SCORES, read_record(folder).tables["scores"]), RowGroups)
    assert opened(path, JUDGEMENTS, table_digest({path.stem: other})).equals(table)
