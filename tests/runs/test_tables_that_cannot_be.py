"""A finished run whose tables say what cannot be is refused by whatever reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from latentbench.kernel.errors import CorruptTable
from latentbench.kernel.tables import EXPLANATIONS, SCORES
from latentbench.runs.finished import load_run

from tests.builders.run_builder import Grid, build_run

Change = Callable[[pd.DataFrame], pd.DataFrame]


def rewritten(run: Path, name: str, schema: pa.Schema, change: Change) -> None:
    path = run / f"{name}.parquet"
    pq.write_table(pa.Table.from_pandas(change(pq.read_table(path).to_pandas()), schema, preserve_index=False), path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: pd.concat([t, t]), "rows twice"),
        (lambda t: t.assign(value=float("inf")), "which cannot be"),
        (lambda t: t.assign(n_judged=t["n_attempted"] + 1), "which cannot be"),
        (lambda t: t.assign(n_judged=-1), "which cannot be"),
    ],
)
def test_scores(tmp_path: Path, change: Change, said: str) -> None:
    run = build_run(tmp_path / "run", Grid())
    rewritten(run, "scores", SCORES, change)
    with pytest.raises(CorruptTable, match=f"scores.parquet.*{said}"):
        load_run(run)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: pd.concat([t, t]), "rows twice"),
        (lambda t: t.assign(outcome="zz"), "the outcome 'zz'"),
        (lambda t: t.assign(latent=[None, *t["latent"][1:]]), "are not of one run"),
    ],
)
def test_explanations(tmp_path: Path, change: Change, said: str) -> None:
    run = build_run(tmp_path / "run", Grid())
    rewritten(run, "explanations", EXPLANATIONS, change)
    with pytest.raises(CorruptTable, match=f"explanations.parquet.*{said}"):
        load_run(run)
