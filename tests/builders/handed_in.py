"""A folder that was handed in, honest or forged by somebody who writes every digest anew."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from latentbench.kernel.identity import digest
from latentbench.kernel.tables import JUDGEMENTS, SCORES
from latentbench.leaderboards.rescored import judged_latents
from latentbench.leaderboards.results import add_results
from latentbench.leaderboards.row import checked, rows
from latentbench.leaderboards.submission.statement import STATEMENT
from latentbench.leaderboards.submission.submission_folder import write_manifest
from latentbench.leaderboards.submission.submitting import submit
from latentbench.runs.finished import load_run
from latentbench.runs.run_tables import latent_scores
from latentbench.scorers.scorer import load_scorer

from tests.builders.signed_runs import copied, signed, unsigned

SAID = """
submitter: somebody, somebody@example.org
about: what the rules say
tuned: []
contamination: {explainer_saw_test_windows: false, judge_trained_on_suite: false, notes: ""}
"""


def handed_in(run: Path, place: Path, said: str = SAID) -> Path:
    """The folder of a run that its submitter has answered everything about."""
    (place / STATEMENT).write_text(said, encoding="utf-8")
    return submit(run, place / "handed-in", place / STATEMENT).folder


def resealed(folder: Path) -> Path:
    """Write the digests of all files anew."""
    name = json.loads((folder / "submission.json").read_text(encoding="utf-8"))["run"]
    (folder / "submission.json").unlink()
    write_manifest(folder, name)
    return folder


def rerun(folder: Path, **changes: Any) -> Path:
    """Make everything in a folder follow from its run, whose record is changed before.

    Args:
        changes: fields of the record.
    """
    run = load_run(signed(folder / "run", **changes))
    shutil.rmtree(folder / "results")
    add_results(checked(rows([run], by_kind=True), {}), folder)
    (folder / "submission.json").unlink()
    write_manifest(folder, run.id)
    return folder


def edited_rows(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> Path:
    """Change the rows and write every digest over them anew."""
    (path,) = (folder / "results").glob("*.json")
    held = json.loads(path.read_text(encoding="utf-8"))
    change(held["rows"])
    held["digest"] = digest(held["rows"])
    path.write_text(json.dumps(held), encoding="utf-8")
    return resealed(folder)


def rejudged(folder: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> Path:
    """Change judgements, and make scores, rows and digests follow from them."""
    run = folder / "run"
    table = change(pq.read_table(run / "judgements.parquet").to_pandas())
    pq.write_table(pa.Table.from_pandas(table, schema=JUDGEMENTS, preserve_index=False), run / "judgements.parquet")
    bare = unsigned(copied(run, folder.parent / f"{folder.name}-bare"))
    loaded = load_run(bare)
    scorers = {s.label: load_scorer(s.model_dump(exclude={"label", "judges"})) for s in loaded.record.spec.scorers}
    cells = {cell.cell: scorers[cell.scorer.label] for cell in loaded.record.cells}
    old = loaded.scores.drop_duplicates(["cell", "latent"]).set_index(["cell", "latent"]).to_dict("index")
    new = [
        {"cell": cell, "latent": latent, **old[cell, latent], "metric": name}
        | dict(zip(("value", "lowest", "highest"), value, strict=True))
        for (cell, latent), judgements in judged_latents(loaded, cells)
        for name, value in latent_scores(cells[cell], judgements)[1].items()
    ]
    scores = pa.Table.from_pandas(pd.DataFrame(new)[SCORES.names], schema=SCORES, preserve_index=False)
    pq.write_table(scores, run / "scores.parquet")
    shutil.rmtree(bare)
    return rerun(folder)
