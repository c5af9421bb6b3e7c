"""Scores by how many activating windows a latent has, each latent's with the uncertainty that few windows leave.

The interval of a leaderboard is over latents, and noise inside a latent is part of the spread that it sees; so it holds with
few windows too, only wider. What it does not show is whose score is made of three windows. Leaving rare latents out below some
number is the tempting way, and then a table says how explainers do on frequent latents, which are the easy ones. Here every
latent stays, with its number, and the bands say whether the few differ.

The uncertainty of one latent's score is the jackknife over the windows of each class (`latentbench.stats.jackknife`). One window
of a class has none: it is counted, and no number is made up.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

import numpy as np

from latentbench.kernel.requests import Outcome
from latentbench.leaderboards.rescored import judged_latents, same_scorer
from latentbench.runs.finished import Run
from latentbench.runs.run_tables import latent_scores
from latentbench.scorers.example_embedding import ExampleEmbedding
from latentbench.scorers.scorer import Judgement, Scorer
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.stats.jackknife import jackknife_error
from latentbench.views.number import finite
from latentbench.views.page import Block, Prose
from latentbench.views.table import Cell, Column, Table

BANDS: tuple[tuple[int, int | None], ...] = ((0, 0), (1, 1), (2, 4), (5, 19), (20, None))
"""Numbers of activating windows that are shown together, ends included."""
NOTE = (
    "Windows: activating ones that were judged; answers, where one answer is about several. Error: of one latent's score from "
    "its windows (jackknife, root mean square over the latents that have one); a latent with one window of a class has none."
)


@dataclass(frozen=True, slots=True)
class WindowedScore:
    """The headline of one latent under one explainer, scorer and judge.

    Attributes:
        windows: activating windows judged; answers, where an answer is about several windows.
        judged, attempted: judgements.
        value: None where nothing that was judged has a score.
        error: its standard error from the draw of windows; None where a class has one window, and of a scorer whose windows are
            scored by each other.
    """

    explainer: str
    scorer: str
    judge: str
    repeat: int
    latent: str
    windows: int
    judged: int
    attempted: int
    value: float | None
    error: float | None


def windowed_scores(run: Run) -> list[WindowedScore]:
    """Every latent's headline with its windows, in the order of the cells; of scorers that are not here nothing is said."""
    scorers: dict[str, Scorer] = {}
    for entry in run.record.spec.scorers:
        found = same_scorer(entry, run)
        if isinstance(found, Scorer):
            scorers[entry.label] = found
    cells = {c.cell: c for c in run.record.cells if c.scorer.label in scorers}
    rows = []
    for (name, latent), judgements in judged_latents(run, cells):
        cell, scorer = cells[name], scorers[cells[name].scorer.label]
        ok = [j for j in judgements if j.outcome is Outcome.OK]
        classes = _classes(ok)
        value = _headline(scorer, ok)
        # Its windows' scores are comparisons with each other: without a window the others would have other scores.
        alone = value is not None and not isinstance(scorer, ExampleEmbedding)
        error = jackknife_error(ok, classes, partial(_headline, scorer)) if alone else None
        rows.append(
            WindowedScore(
                cell.explainer.label,
                cell.scorer.label,
                cell.judge.label,
                cell.repeat,
                latent,
                sum(c != 0 for c in classes),
                len(ok),
                len(judgements),
                value,
                error,
            )
        )
    return rows


def _classes(judgements: Sequence[Judgement]) -> list[int]:
    """1 and 0 for activating and silent windows; 1 for all where the truth is the number of a group."""
    grouped = any(j.truth not in (0, 1) for j in judgements)
    return [1 if grouped else j.truth for j in judgements]


def _headline(scorer: Scorer, judgements: Sequence[Judgement]) -> float | None:
    if not judgements:
        return None
    value: float | None = finite(latent_scores(scorer, judgements)[1][scorer.headline][0])
    return value


def windows_blocks(rows: Sequence[WindowedScore], seed: int = 0) -> list[Block]:
    """One table for each scorer and judge: explainers by band of windows."""
    blocks: list[Block] = []
    for scorer, judge in dict.fromkeys((r.scorer, r.judge) for r in rows):
        own = [r for r in rows if (r.scorer, r.judge) == (scorer, judge)]
        columns = [
            Column("explainer", "text"),
            Column("windows", "text"),
            Column("latents", "count"),
            Column("without score", "count", brief="none"),
            Column("score", "number"),
            Column("95 % interval", "number", brief="95 % CI"),
            Column("error", "number"),
        ]
        cells = list(_lines(own, seed))
        blocks.append(Table(f"{scorer}, {judge}: by activating windows of a latent", columns, cells))
    return [*blocks, Prose(NOTE, soft=True)]


def _lines(rows: Sequence[WindowedScore], seed: int) -> Iterator[list[Cell]]:
    for explainer in dict.fromkeys(r.explainer for r in rows):
        latents: dict[str, list[WindowedScore]] = {}
        for r in rows:
            if r.explainer == explainer:
                latents.setdefault(r.latent, []).append(r)
        for low, high in BANDS:
            own = [held for held in latents.values() if _in_band(held, low, high)]
            if not own:
                continue
            means = [_mean([r.value for r in held]) for held in own]
            errors = [e for held in own if (e := _mean([r.error for r in held])) is not None]
            known = [v for v in means if v is not None]
            found = bootstrap_mean(np.array(known), seed=seed)
            label = f"{low} or more" if high is None else str(low) if low == high else f"{low} to {high}"
            error = math.sqrt(fmean(e * e for e in errors)) if errors else None
            interval = (finite(found.low), finite(found.high))
            yield [explainer, label, len(own), len(own) - len(known), finite(found.estimate), interval, error]


def _in_band(held: Sequence[WindowedScore], low: int, high: int | None) -> bool:
    n = max(r.windows for r in held)
    return low <= n and (high is None or n <= high)


def _mean(values: Sequence[float | None]) -> float | None:
    """Over the repeats that have a value."""
    known = [v for v in values if v is not None]
    return fmean(known) if known else None


def windows_csv(rows: Sequence[WindowedScore]) -> str:
    """One line for each latent, explainer, scorer, judge and repeat."""
    return Table.of_records(
        [
            {
                "latent": r.latent,
                "explainer": r.explainer,
                "scorer": r.scorer,
                "judge": r.judge,
                "repeat": r.repeat,
                "windows": r.windows,
                "n_judged": r.judged,
                "n_attempted": r.attempted,
                "score": r.value,
                "error": r.error,
            }
            for r in rows
        ]
    ).csv()
