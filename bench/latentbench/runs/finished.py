"""Run folder -> one value with its record and tables, checked once; everything after this reads no file.

A run that has not ended is refused: its tables are missing, and a leaderboard over the latents that happened to be done first
would compare explainers on different latents.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.kernel.errors import BenchError, CorruptTable, RunError
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import RECORD, RunRecord, read_record

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.suites.store import Suite

KEYS = ["explainer", "scorer", "judge", "latent", "coder"]
"""Columns of the scores that name one latent under one explainer, scorer and judge."""


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it was read from.
        record: `run.json`.
        explanations, judgements, scores: its tables, schemas EXPLANATIONS, JUDGEMENTS (see `load_run`), SCORES. The first two
            have a column `seconds` besides.
    """

    folder: Path
    record: RunRecord
    explanations: pd.DataFrame = field(repr=False, compare=False)
    judgements: pd.DataFrame = field(repr=False, compare=False)
    scores: pd.DataFrame = field(repr=False, compare=False)

    @property
    def id(self) -> str:
        """Name of the run folder."""
        return self.record.id

    @cached_property
    def means(self) -> pd.DataFrame:
        """Every metric of every latent, averaged over the repeats that have one: columns KEYS, `metric`, `value`.

        The only mean over repeats; whatever compares latents starts here.
        """
        return self.scores.groupby([*KEYS, "metric"], sort=False)["value"].mean().reset_index()

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
    """
    from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, read_table

    record = read_record(folder)
    if not record.ended:
        raise RunError(f"{folder} has not ended (status {record.status!r}). Finish it first: bench resume {folder}")
    judgements = read_table(folder / "judgements.parquet", JUDGEMENTS)
    if not per_token:
        judgements = judgements.drop_columns(["token_scores", "token_truth"])
    run = Run(
        folder,
        record,
        _timed(folder, "explanations", read_table(folder / "explanations.parquet", EXPLANATIONS).to_pandas()),
        _timed(folder, "judgements", judgements.to_pandas()),
        read_table(folder / "scores.parquet", SCORES).to_pandas(),
    )
    _belong_together(run)
    return run


def _timed(folder: Path, name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The table with its seconds, which are in a table of their own but in older runs."""
    from latentbench.kernel.tables import SECONDS, read_table

    if "seconds" in table:
        return table
    times = read_table(folder / "seconds.parquet", SECONDS).to_pandas().query("table == @name").set_index("row")
    if not set(times.index) <= set(table.index) or not times.index.is_unique:
        raise CorruptTable(
            f"{folder / 'seconds.parquet'} is not of {name}.parquet beside it. Restore the one that was changed."
        )
    return table.assign(seconds=times["seconds"].reindex(table.index, fill_value=0.0))


def _belong_together(run: Run) -> None:
    """Every cell and latent of the record has scores and every explainer its explanations, and no table has anything else.

    Raises:
        CorruptTable: an edited `run.json`, or a table of another run; the message names the first that has no counterpart.
    """
    record = run.record
    cells = {(c.cell, *c.labels, c.repeat) for c in record.cells}
    explained = {(c.explainer.label, c.repeat) for c in record.cells}
    named = ["cell", "explainer", "scorer", "judge", "repeat"]
    for name, table, columns, wanted in (
        ("scores", run.scores, named, cells),
        ("judgements", run.judgements, named, cells),
        ("explanations", run.explanations, ["explainer", "repeat"], explained),
    ):
        place = run.folder / f"{name}.parquet"
        _same(place, "cell" if "cell" in columns else "explainer", set(_distinct(table, columns)), wanted)
        _same(place, "latent", set(table["latent"].unique()), set(record.latents))
    _once(run.folder / "scores.parquet", run.scores, ["cell", "latent", "metric"])
    _once(run.folder / "explanations.parquet", run.explanations, ["explainer", "repeat", "latent"])
    _sound(run)


def _once(place: Path, table: pd.DataFrame, key: list[str]) -> None:
    twice = table[table.duplicated(key)]
    if len(twice):
        named = ", ".join(f"{name} {twice.iloc[0][name]!r}" for name in key)
        raise CorruptTable(f"{place} has {len(twice)} rows twice, the first for {named}. Restore it.")


def _sound(run: Run) -> None:
    """Counts and values that can be: a share of judgements is at most all of them, and a mean is a number."""
    scores, outcomes = run.scores, {o.value for o in Outcome}
    wrong = scores[(scores["n_judged"] < 0) | (scores["n_judged"] > scores["n_attempted"]) | np.isinf(scores["value"])]
    if len(wrong):
        row = wrong.iloc[0]
        raise CorruptTable(
            f"{run.folder / 'scores.parquet'} says of latent {row['latent']!r}: {row['metric']} = {row['value']}, "
            f"{row['n_judged']} of {row['n_attempted']} judged, which cannot be. Restore it."
        )
    for name, table in (("judgements", run.judgements), ("explanations", run.explanations)):
        unknown = set(table["outcome"].unique()) - outcomes
        if unknown:
            raise CorruptTable(
                f"{run.folder / name}.parquet has the outcome {min(unknown, key=str)!r}; known: {', '.join(sorted(outcomes))}. "
                "Restore it."
            )


def _distinct(table: pd.DataFrame, columns: list[str]) -> Iterator[tuple[object, ...]]:
    return table[columns].drop_duplicates().itertuples(index=False, name=None)


def _same(place: Path, what: str, found: set[Any], wanted: set[Any]) -> None:
    for some, where, other in ((found - wanted, place.name, RECORD), (wanted - found, RECORD, place.name)):
        if some:
            first = min(some, key=str)
            label = first if isinstance(first, str) else first[0]
            raise CorruptTable(
                f"{place} and {RECORD} are not of one run: {where} has the {what} {label!r} and {other} has not, or says "
                "otherwise of it. Restore the one that was changed."
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
