"""Run folder -> one value with its record and tables, checked once; everything after this reads no file.

A run that has not ended is refused: its tables are missing, and a leaderboard over the latents that happened to be done first
would compare explainers on different latents.

`run.json` has a digest of each table as the run wrote it, over the content and not over the bytes of the file. Bytes are quicker
to hash, and would tie what a result is to the release of pyarrow that wrote it: equal runs have equal digests, so a result that
is quoted with them can be had again elsewhere. Records of before have none; what they can be caught at is said by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from latentbench.kernel.errors import BenchError, RunError
from latentbench.runs.record import RunRecord, read_record
from latentbench.runs.run_table import TABLES, RunTable, TableField, opened, seconds_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from latentbench.kernel.row_groups import RowGroups
    from latentbench.suites.store import Suite

KEYS = ["explainer", "scorer", "judge", "latent", "coder"]
"""Columns of the scores that name one latent under one explainer, scorer and judge."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it was read from.
        record: `run.json`.
        explanations, judgements, scores: its tables as frames, schemas EXPLANATIONS, JUDGEMENTS (see `load_run`), SCORES. The
            first two have a column `seconds` besides. `table` has them without holding them whole.
    """

    folder: Path
    record: RunRecord
    explanations: TableField = field(default=TableField(), repr=False, compare=False)
    judgements: TableField = field(default=TableField(), repr=False, compare=False)
    scores: TableField = field(default=TableField(), repr=False, compare=False)

    @property
    def id(self) -> str:
        """Name of the run folder."""
        return self.record.id

    def table(self, name: str) -> RunTable:
        """A table of the run, for whoever goes through it a cell at a time."""
        held: RunTable = self.__dict__[f"_{name}"]
        return held

    @cached_property
    def means(self) -> pd.DataFrame:
        """Every metric of every latent, averaged over the repeats that have one: columns KEYS, `metric`, `value`.

        The only mean over repeats; whatever compares latents starts here.
        """
        return self.scores.groupby([*KEYS, "metric"], sort=False)["value"].mean().reset_index()

    @cached_property
    def calls(self) -> pd.DataFrame:
        """Every call that the run kept, with prompt and reply: columns as `latentbench.runs.kept.KeptCall`.

        Raises:
            CorruptTable, DigestMismatch: the kept calls cannot be read, or are not what the run wrote.
        """
        from latentbench.runs.kept import calls_frame

        return calls_frame(self)

    def per_latent(self, metrics: Mapping[str, str] | None = None) -> pd.DataFrame:
        """One row for each latent under each explainer, scorer and judge.

        A latent without the metric keeps its row, with a missing value, as long as its scorer left any row of it.

        Args:
            metrics: scorer label -> metric; scorers that are not named are left out. The headline of every scorer by default.

        Returns:
            Columns KEYS, `value` (mean over repeats), and `judged` and `attempted` judgements over all repeats.
        """
        wanted = metrics if metrics is not None else {s.label: s.headline for s in self.record.scorers.values()}
        own = self.scores[self.scores["scorer"].isin(wanted)]
        counted = own.drop_duplicates([*KEYS, "repeat"]).groupby(KEYS, sort=False)[["n_judged", "n_attempted"]].sum()
        counted.columns = ["judged", "attempted"]
        means = self.means[self.means["metric"] == self.means["scorer"].map(wanted)]
        return counted.join(means.set_index(KEYS)["value"]).reset_index()


def load_run(folder: Path, *, per_token: bool = False) -> Run:
    """Read a run folder.

    Args:
        per_token: keep the per-token columns of the judgements, which are most of their size.

    Raises:
        RunError: no run there, it has not ended, or `run.json` cannot be read.
        CorruptTable: a table that cannot be read, or that is not of the cells and latents of `run.json`.
        DigestMismatch: `run.json` or a table is not what the run wrote; a record of before there were digests is not compared
            (`RunRecord.verified`).
    """
    from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS
    from latentbench.runs.run_checks import belong_together, opinions_as_written

    record = read_record(folder)
    if not record.ended:
        raise RunError(f"{folder} has not ended (status {record.status!r}). Finish it first: bench resume {folder}")
    schemas = dict(zip(TABLES, (EXPLANATIONS, JUDGEMENTS, SCORES), strict=True)) | {"seconds": SECONDS}

    def stored(name: str) -> pa.Table | RowGroups:
        return opened(folder / f"{name}.parquet", schemas[name], record.tables.get(name))

    sources = {name: stored(name) for name in TABLES[:2]}
    times = None if all("seconds" in s.schema.names for s in sources.values()) else stored("seconds")
    tables = []
    for name, source in sources.items():
        own = times is None or "seconds" in source.schema.names
        took = None if own else seconds_of(name, times, source.num_rows, folder / "seconds.parquet")
        tables.append(RunTable(source, took, () if per_token else ("token_scores", "token_truth")))
    run = Run(folder, record, tables[0], tables[1], RunTable(stored("scores")))
    opinions_as_written(run)
    belong_together(run)
    return run


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

    named = run.record.spec.suite
    beside = Path(run.record.base) / named
    candidates = [str(folder)] if folder else [str(beside), named] if beside.is_dir() else [named]
    for candidate in candidates:
        try:
            suite = load_suite(candidate)
        except BenchError:
            continue
        if suite.digest == run.record.suite.digest:
            return suite
    return None
