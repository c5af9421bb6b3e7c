"""Run folder -> one value with its record and tables, checked once; everything after this reads no file.

A run that has not ended is refused: its tables are missing, and a leaderboard over the latents that happened to be done first
would compare explainers on different latents.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentbench.kernel.errors import BenchError, RunError

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.suites.store import Suite

COMPLETE = "complete"
NEEDED = ("id", "name", "command", "started", "seconds", "split", "suite", "cells", "latents")


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it was read from.
        record: `run.json`.
        explanations, judgements, scores: its tables, schemas EXPLANATIONS, JUDGEMENTS (without the per-token columns), SCORES.
    """

    folder: Path
    record: Mapping[str, Any]
    explanations: pd.DataFrame = field(repr=False, compare=False)
    judgements: pd.DataFrame = field(repr=False, compare=False)
    scores: pd.DataFrame = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """Name of the run folder."""
        return str(self.record["id"])


def load_run(folder: Path) -> Run:
    """Read a run folder.

    Raises:
        RunError: no run there, it has not ended, or `run.json` lacks what every run has.
        CorruptTable: a table that cannot be read.
    """
    from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, read_table

    path = folder / "run.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as e:
        raise RunError(f"{folder} is not a run folder: it has no run.json.") from e
    except ValueError as e:
        raise RunError(f"{path} is not JSON: {e}.") from e
    missing = [name for name in NEEDED if name not in record]
    if missing:
        raise RunError(f"{path} has no {', '.join(missing)}; it was written by another version or program.")
    if record.get("status", COMPLETE) != COMPLETE:
        raise RunError(f"{folder} has not ended (status {record['status']!r}). Finish it first: bench resume {folder}")
    judgements = read_table(folder / "judgements.parquet", JUDGEMENTS).drop_columns(["predicted", "actual"])
    return Run(
        folder,
        record,
        read_table(folder / "explanations.parquet", EXPLANATIONS).to_pandas(),
        judgements.to_pandas(),
        read_table(folder / "scores.parquet", SCORES).to_pandas(),
    )


def load_runs(folders: Iterable[Path]) -> list[Run]:
    """Read several run folders; a run that is named twice is read once, so that it cannot tie with itself.

    Raises:
        RunError: as `load_run`, or two of them have one id.
    """
    found: dict[str, Run] = {}
    for folder in {f.resolve(): f for f in folders}.values():
        run = load_run(folder)
        if run.id in found:
            raise RunError(
                f"{found[run.id].folder} and {folder} are both run {run.id!r}, and rows are named after it; leave one out."
            )
        found[run.id] = run
    return list(found.values())


def suite_of(run: Run, folder: Path | None = None) -> Suite | None:
    """The suite that a run used, or None where it is not on this machine or is another one by now.

    A report or a tracking server is the better for the suite but must not depend on it.

    Args:
        folder: where to look; else the suite that the run's spec names, by name or relative to the spec.
    """
    from latentbench.suites.store import load_suite

    named = str(run.record.get("spec", {}).get("suite", run.record["suite"]["name"]))
    beside = Path(str(run.record.get("base", "."))) / named
    candidates = [str(folder)] if folder else [str(beside), named] if beside.is_dir() else [named]
    for candidate in candidates:
        try:
            suite = load_suite(candidate)
        except BenchError:
            continue
        if suite.digest == run.record["suite"]["digest"]:
            return suite
    return None
