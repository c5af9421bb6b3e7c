"""Run folder -> one value with its record and tables, checked once; everything after this reads no file.

A run that has not ended is refused: its tables are missing, and a leaderboard over the latents that happened to be done first
would compare explainers on different latents.

`run.json` has a digest of each table as the run wrote it, over the content and not over the bytes of the file. Bytes are quicker
to hash, and would tie what a result is to the release of pyarrow that wrote it: equal runs have equal digests, so a result that
is quoted with them can be had again elsewhere. Records of before have none; what they can be caught at is said by their numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.kernel.errors import BenchError, CorruptTable, DigestMismatch, RunError
from latentbench.kernel.identity import text_digest
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import RECORD, RunRecord, read_record
from latentbench.scorers.scorer import SLACK

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

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
    from latentbench.kernel.tables import EXPLANATIONS, JUDGEMENTS, SCORES, SECONDS, read_table

    record = read_record(folder)
    if not record.ended:
        raise RunError(f"{folder} has not ended (status {record.status!r}). Finish it first: bench resume {folder}")

    def table(name: str, schema: pa.Schema) -> pa.Table:
        return read_table(folder / f"{name}.parquet", schema, record.tables.get(name))

    explanations, judgements = table("explanations", EXPLANATIONS), table("judgements", JUDGEMENTS)
    if not per_token:
        judgements = judgements.drop_columns(["token_scores", "token_truth"])
    frames = {"explanations": explanations.to_pandas(), "judgements": judgements.to_pandas()}
    if not all("seconds" in frame for frame in frames.values()):
        times = table("seconds", SECONDS).to_pandas()
        frames = {name: _timed(folder, name, frame, times) for name, frame in frames.items()}
    run = Run(folder, record, frames["explanations"], frames["judgements"], table("scores", SCORES).to_pandas())
    _opinions_as_written(run)
    _belong_together(run)
    return run


def _opinions_as_written(run: Run) -> None:
    """Compare the table of a panel's members, which is read where it is shown, with what the run wrote.

    Raises:
        CorruptTable, DigestMismatch: it is missing or another one, or the run wrote none.
    """
    from latentbench.panels.panel_table import PANEL, read_opinions

    path, frozen = run.folder / PANEL, run.record.tables.get("panel")
    if frozen is not None:
        read_opinions(run.folder, frozen)
    elif run.record.verified and path.exists():
        raise DigestMismatch(f"{path} is not of this run, which asked no panel. Remove it.")


def _timed(folder: Path, name: str, table: pd.DataFrame, times: pd.DataFrame) -> pd.DataFrame:
    """The table with its seconds, which are in a table of their own but in older runs."""
    if "seconds" in table:
        return table
    times = times[times["table"] == name].set_index("row")
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
    # A text that a judge wrote is no window, and a trial may have several of one kind.
    windows = run.judgements[run.judgements["item"].notna()]
    _once(run.folder / "judgements.parquet", windows, ["cell", "latent", "trial", "part", "item", "kind"])
    _sound(run)
    _counted(run)
    _in_range(run)


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
        for column in ("tokens_in", "tokens_out", "tokens_cached", "cost", "seconds"):
            wrong = table[(table[column] < 0) | np.isinf(table[column].to_numpy(dtype=np.float64, na_value=np.nan))]
            if len(wrong):
                row = wrong.iloc[0]
                raise CorruptTable(
                    f"{run.folder / name}.parquet says of latent {row['latent']!r}: {column} = {row[column]:g}, which cannot be. "
                    "Restore it."
                )
    coders = scores.groupby("latent")["coder"].nunique()
    if (coders > 1).any():
        raise CorruptTable(
            f"{run.folder / 'scores.parquet'} has latent {coders.idxmax()!r} under {coders.max()} coders. Restore it."
        )
    _texts(run)


def _texts(run: Run) -> None:
    """Explanations have the digests of their texts, and what was judged is what was explained.

    Raises:
        CorruptTable: the message names the first explanation that is another one.
    """
    told = run.explanations
    hashes = [text_digest(text if isinstance(text, str) else "") for text in told["text"]]
    wrong = told[told["hash"] != hashes]
    if not len(wrong):
        key = ["explainer", "repeat", "latent"]
        judged = run.judgements[[*key, "explanation"]].drop_duplicates()
        both = judged.merge(told[[*key, "hash"]], on=key, how="left")
        wrong = both[both["explanation"] != both["hash"]]
    if len(wrong):
        row = wrong.iloc[0]
        raise CorruptTable(
            f"{run.folder / 'explanations.parquet'}: the explanation of {row['latent']!r} by {row['explainer']!r} is not the one "
            "that was judged. Restore it."
        )


def _counted(run: Run) -> None:
    """Every latent of every cell has its headline, and its counts are those of its judgements: a latent that did badly is not
    left out, and none has more weight or coverage than was judged.

    Raises:
        CorruptTable: the message names the first that does not.
    """
    place, at = run.folder / "scores.parquet", ["cell", "latent"]
    headlines = {cell.cell: cell.scorer.headline for cell in run.record.cells}
    headline = run.scores[run.scores["metric"] == run.scores["cell"].map(headlines)].set_index(at)
    owed = len(run.record.cells) * len(set(run.record.latents))
    if len(headline) != owed:
        raise CorruptTable(
            f"{place} has the headline of {len(headline)} latents in its cells, and owes {owed}. Restore it."
        )
    answered = run.judgements["outcome"] == Outcome.OK.value
    found = answered.groupby([run.judgements[name] for name in at], sort=False).agg(["sum", "size"])
    said = run.scores.set_index(at)[["n_judged", "n_attempted"]]
    both = said.join(found).fillna(0)
    wrong = both[(both["n_judged"] != both["sum"]) | (both["n_attempted"] != both["size"])]
    if len(wrong):
        (cell, latent), row = wrong.index[0], wrong.iloc[0]
        raise CorruptTable(
            f"{place} says of cell {cell!r}, latent {latent!r} that {row['n_judged']:g} of {row['n_attempted']:g} were judged, "
            f"and judgements.parquet has {row['sum']:g} of {row['size']:g}. Restore the one that was changed."
        )


def _in_range(run: Run) -> None:
    """No value, nor what it might have been, is outside the range that its metric declares.

    Raises:
        CorruptTable: the message names the first that is.
    """
    ranges = {
        (label, metric): scorer.range(metric)
        for label, scorer in run.record.scorers.items()
        for metric in run.scores.loc[run.scores["scorer"] == label, "metric"].unique()
    }
    kinds = list(zip(run.scores["scorer"], run.scores["metric"], strict=True))
    low, high = (np.array([ranges[kind][end] for kind in kinds], dtype=np.float64) for end in (0, 1))
    for name in ("value", "lowest", "highest"):
        values = run.scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
        wrong = np.flatnonzero((values < low - SLACK) | (values > high + SLACK))
        if len(wrong):
            row = run.scores.iloc[wrong[0]]
            ends = " to ".join("..." if end is None else f"{end:g}" for end in ranges[kinds[wrong[0]]])
            raise CorruptTable(
                f"{run.folder / 'scores.parquet'}: {name} of {row['metric']} is {row[name]:g} in cell {row['cell']!r}, latent "
                f"{row['latent']!r}; it lies within {ends}. Restore it."
            )


def _distinct(table: pd.DataFrame, columns: list[str]) -> Iterator[tuple[object, ...]]:
    return table[columns].drop_duplicates().itertuples(index=False, name=None)


def _same(place: Path, what: str, found: set[Any], wanted: set[Any]) -> None:
    for some, where, other in ((found - wanted, place.name, RECORD), (wanted - found, RECORD, place.name)):
        if some:
            first = min(some, key=str)
            label = first[0] if isinstance(first, tuple) else first
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
