"""What the record and the tables of a finished run say of each other and of themselves, compared when it is read.

A digest says that a file is what was written, and nothing of what cannot be: two rows for one latent, a headline that is missing,
a count of judgements that nobody made. Each of these is looked for a cell at a time, so that a run is checked in the memory of
its largest cell. Frames of whole tables would be fewer lines, and grow with the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.kernel.errors import CorruptTable, DigestMismatch
from latentbench.kernel.identity import text_digest
from latentbench.kernel.requests import Outcome
from latentbench.runs.record import RECORD
from latentbench.scorers.scorer import SLACK

if TYPE_CHECKING:
    import pandas as pd

    from latentbench.runs.finished import Run

_NAMED = ["cell", "explainer", "scorer", "judge", "repeat"]
_SPENT = ["tokens_in", "tokens_out", "tokens_cached", "cost", "seconds"]


def opinions_as_written(run: Run) -> None:
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


def belong_together(run: Run) -> None:
    """Every cell and latent of the record has scores and every explainer its explanations, and no table has anything else.

    Raises:
        CorruptTable: an edited `run.json`, or a table of another run; the message names the first that has no counterpart.
    """
    record = run.record
    cells = {(c.cell, *c.labels, c.repeat) for c in record.cells}
    latents = set(record.latents)
    for name in ("scores", "judgements"):
        found: set[tuple[object, ...]] = set()
        seen: set[Any] = set()
        for rows in run.table(name).each([*_NAMED, "latent"]):
            found.update(_distinct(rows, _NAMED))
            seen.update(rows["latent"].unique())
        _same(run.folder / f"{name}.parquet", "cell", found, cells)
        _same(run.folder / f"{name}.parquet", "latent", seen, latents)
    place, told = run.folder / "explanations.parquet", run.explanations
    explained = {(c.explainer.label, c.repeat) for c in record.cells}
    _same(place, "explainer", set(_distinct(told, ["explainer", "repeat"])), explained)
    _same(place, "latent", set(told["latent"].unique()), latents)
    _once(run.folder / "scores.parquet", run.table("scores").each(["cell", "latent", "metric"]))
    _once(place, iter([told[["explainer", "repeat", "latent"]]]))
    # A text that a judge wrote is no window, and a trial may have several of one kind.
    judged = run.table("judgements").each(["cell", "latent", "trial", "part", "item", "kind"])
    _once(run.folder / "judgements.parquet", (rows[rows["item"].notna()] for rows in judged))
    _sound(run)
    _counted(run)
    _in_range(run)


def _once(place: Path, tables: Iterator[pd.DataFrame]) -> None:
    """No two rows of a table are equal in these columns; equal rows are of one cell."""
    n, named = 0, ""
    for rows in tables:
        twice = rows[rows.duplicated()]
        if len(twice) and not n:
            named = ", ".join(f"{name} {twice.iloc[0][name]!r}" for name in rows.columns)
        n += len(twice)
    if n:
        raise CorruptTable(f"{place} has {n} rows twice, the first for {named}. Restore it.")


def _sound(run: Run) -> None:
    """Counts and values that can be: a share of judgements is at most all of them, and a mean is a number."""
    import pandas as pd

    place, known = run.folder / "scores.parquet", pd.DataFrame({"latent": [], "coder": []}, dtype="str")
    for scores in run.table("scores").each(["latent", "coder", "metric", "value", "n_judged", "n_attempted"]):
        few, most = scores["n_judged"], scores["n_attempted"]
        wrong = scores[(few < 0) | (few > most) | np.isinf(scores["value"])]
        if len(wrong):
            row = wrong.iloc[0]
            raise CorruptTable(
                f"{place} says of latent {row['latent']!r}: {row['metric']} = {row['value']}, "
                f"{row['n_judged']} of {row['n_attempted']} judged, which cannot be. Restore it."
            )
        known = pd.concat([known, scores[["latent", "coder"]].drop_duplicates()]).drop_duplicates()
    _spent(run.folder / "judgements.parquet", run.table("judgements").each(["latent", "outcome", *_SPENT]))
    _spent(run.folder / "explanations.parquet", iter([run.explanations]))
    coders = known.groupby("latent")["coder"].nunique()
    if (coders > 1).any():
        raise CorruptTable(f"{place} has latent {coders.idxmax()!r} under {coders.max()} coders. Restore it.")
    _texts(run)


def _spent(place: Path, tables: Iterator[pd.DataFrame]) -> None:
    """Outcomes are those that there are, and nothing took less than nothing."""
    outcomes = {o.value for o in Outcome}
    for table in tables:
        unknown = set(table["outcome"].unique()) - outcomes
        if unknown:
            raise CorruptTable(
                f"{place} has the outcome {min(unknown, key=str)!r}; known: {', '.join(sorted(outcomes))}. Restore it."
            )
        for column in _SPENT:
            wrong = table[(table[column] < 0) | np.isinf(table[column].to_numpy(dtype=np.float64, na_value=np.nan))]
            if len(wrong):
                row = wrong.iloc[0]
                raise CorruptTable(
                    f"{place} says of latent {row['latent']!r}: {column} = {row[column]:g}, which cannot be. Restore it."
                )


def _texts(run: Run) -> None:
    """Explanations have the digests of their texts, and what was judged is what was explained.

    Raises:
        CorruptTable: the message names the first explanation that is another one.
    """
    told = run.explanations
    hashes = [text_digest(text if isinstance(text, str) else "") for text in told["text"]]
    wrong = told[told["hash"] != hashes]
    key = ["explainer", "repeat", "latent"]
    owed = dict(iter(told[[*key, "hash"]].groupby(key[:2], sort=False)))
    judged = run.table("judgements").each([*key, "explanation"])
    while not len(wrong) and (rows := next(judged, None)) is not None:
        rows = rows.drop_duplicates()
        # One cell, so one explainer and repeat.
        both = rows.merge(owed[rows["explainer"].iloc[0], rows["repeat"].iloc[0]], on=key, how="left")
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
    place, scores, judgements = run.folder / "scores.parquet", run.table("scores"), run.table("judgements")
    headlines = {cell.cell: cell.scorer.headline for cell in run.record.cells}
    there = sum(int((t["metric"] == t["cell"].map(headlines)).sum()) for t in scores.each(["cell", "metric"]))
    owed = len(run.record.cells) * len(set(run.record.latents))
    if there != owed:
        raise CorruptTable(f"{place} has the headline of {there} latents in its cells, and owes {owed}. Restore it.")
    for cell in scores.cells:
        said = scores.of_cells([cell], ["latent", "n_judged", "n_attempted"]).set_index("latent")
        judged = judgements.of_cells([cell], ["latent", "outcome"])
        answered = judged["outcome"] == Outcome.OK.value
        both = said.join(answered.groupby(judged["latent"], sort=False).agg(["sum", "size"])).fillna(0)
        wrong = both[(both["n_judged"] != both["sum"]) | (both["n_attempted"] != both["size"])]
        if len(wrong):
            latent, row = wrong.index[0], wrong.iloc[0]
            raise CorruptTable(
                f"{place} says of cell {cell!r}, latent {latent!r} that {row['n_judged']:g} of {row['n_attempted']:g} were "
                f"judged, and judgements.parquet has {row['sum']:g} of {row['size']:g}. Restore the one that was changed."
            )


def _in_range(run: Run) -> None:
    """No value, nor what it might have been, is outside the range that its metric declares.

    Raises:
        CorruptTable: the message names the first that is.
    """
    for scores in run.table("scores").each(["cell", "latent", "scorer", "metric", "value", "lowest", "highest"]):
        kinds = list(zip(scores["scorer"], scores["metric"], strict=True))
        ranges = {kind: run.record.scorers[kind[0]].range(kind[1]) for kind in dict.fromkeys(kinds)}
        low, high = (np.array([ranges[kind][end] for kind in kinds], dtype=np.float64) for end in (0, 1))
        for name in ("value", "lowest", "highest"):
            values = scores[name].to_numpy(dtype=np.float64, na_value=np.nan)
            wrong = np.flatnonzero((values < low - SLACK) | (values > high + SLACK))
            if len(wrong):
                row = scores.iloc[wrong[0]]
                ends = " to ".join("..." if end is None else f"{end:g}" for end in ranges[kinds[wrong[0]]])
                raise CorruptTable(
                    f"{run.folder / 'scores.parquet'}: {name} of {row['metric']} is {row[name]:g} in cell {row['cell']!r}, "
                    f"latent {row['latent']!r}; it lies within {ends}. Restore it."
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
