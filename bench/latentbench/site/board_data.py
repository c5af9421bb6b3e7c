"""Ranked tables as the data of a page: every row with its interval, floor, bounds, coverage, price, place and spread.

Ranks, intervals and paired differences are computed here and never in the browser: a page that filters rows and ranks what is
left would give everybody the table in which a favourite is first. A filter hides rows; their ranks stay those of the whole table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentbench.judges.qualification import Mean, Qualification
from latentbench.leaderboards.board import Ranking, interval_of
from latentbench.leaderboards.checks import SELF_REPORTED
from latentbench.leaderboards.row import POOLED, Estimate, Row
from latentbench.stats.bootstrap import FEWEST, LEVEL, RESAMPLES, Interval, holm, intervals_of, student_p
from latentbench.stats.ranks import ranks_from_intervals

BINS = 24
"""Bars of a distribution."""
MOST_DUELS = 20
"""Rows of a table that are put head to head, from the first on: beyond that nobody reads the matrix, and Holm's correction leaves
nothing to see."""
MOST_DRAWN = 1000
"""Latents up to which a p-value is drawn; beyond it is Student's, which differs from it by less than a page shows."""


@dataclass(frozen=True, slots=True)
class Spread:
    """How the latents of a row are spread: counts in the bins of its table, and quartiles."""

    counts: tuple[int, ...]
    quartiles: tuple[float, float, float]
    n: int


@dataclass(frozen=True, slots=True)
class Measure:
    """One metric of a row."""

    name: str
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    floor: float | None

    @classmethod
    def of(cls, name: str, held: Estimate) -> Measure:
        """The metric as a row has it."""
        return cls(name, held.estimate, held.low, held.high, held.n, held.floor)


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One line of a ranked table; see `latentbench.leaderboards.row.Row`."""

    explainer: str
    explainer_id: str
    model: str | None
    is_floor: bool
    run: str
    date: str
    command: str
    status: str
    rank_low: int | None
    rank_high: int | None
    tie: int | None
    score: Measure
    worst: float | None
    best: float | None
    coverage: float | None
    judged: int
    attempted: int
    repeats: int
    metrics: tuple[Measure, ...]
    tokens: float
    dollars: float | None
    seconds: float
    spread: Spread | None


@dataclass(frozen=True, slots=True)
class Duel:
    """Two rows of a table on the same latents: the mean difference with its interval, and p after Holm's correction."""

    first: int
    second: int
    difference: float
    low: float | None
    high: float | None
    n: int
    ahead: float
    """Share of the latents on which the first has the better score, a tie counting half."""
    p: float | None


@dataclass(frozen=True, slots=True)
class BoardTable:
    """Comparable rows, best first."""

    title: str
    conditions: str
    suite: str
    suite_digest: str
    split: str
    coders: str
    kind: str | None
    scorer: str
    judge: str
    qualification: str
    headline: str
    floor: float | None
    higher_is_better: bool
    ranked: bool
    latents: int
    rows: tuple[BoardRow, ...]
    bins: tuple[float, float] | None
    """Ends of the bins of its distributions."""
    duels: tuple[Duel, ...]
    duelled: int
    """Rows that are put head to head, from the first on."""


def board_table(ranking: Ranking, status: Mapping[str, str], seed: int = 0) -> BoardTable:
    """A ranking as data.

    Args:
        status: run -> how far its rows were checked.
        seed: of the draws of paired differences.
    """
    first = ranking.rows[0]
    better = first.score.higher_is_better
    ends = _ends(ranking.rows)
    judge = max(ranking.rows, key=lambda row: row.date).qualification
    duelled = ranking.rows[:MOST_DUELS]
    return BoardTable(
        title=ranking.title,
        conditions=ranking.conditions,
        suite=first.suite.id,
        suite_digest=first.suite.digest,
        split=first.split,
        coders=first.coders,
        kind=first.kind,
        scorer=first.scorer.label,
        judge=first.judge.label,
        qualification=judge,
        headline=first.headline,
        floor=first.score.floor,
        higher_is_better=better,
        ranked=not ranking.is_shown_only,
        latents=first.n_latents,
        rows=tuple(
            BoardRow(
                explainer=row.explainer.label,
                explainer_id=row.explainer.id,
                model=row.model,
                is_floor=row.is_floor,
                run=row.run,
                date=row.date,
                command=row.command,
                status=status.get(row.run, _status(row)),
                rank_low=None if rank is None else rank.low,
                rank_high=None if rank is None else rank.high,
                tie=None if rank is None else rank.tie,
                score=Measure.of(row.headline, row.score),
                worst=row.worst,
                best=row.best,
                coverage=row.coverage,
                judged=row.n_judged,
                attempted=row.n_attempted,
                repeats=row.repeats,
                metrics=tuple(Measure.of(name, held) for name, held in row.metrics.items()),
                tokens=row.price.tokens_in + row.price.tokens_out,
                dollars=row.price.dollars,
                seconds=row.price.seconds,
                spread=None if ends is None else _spread(row, ends),
            )
            for row, rank in zip(ranking.rows, ranking.ranks, strict=True)
        ),
        bins=ends,
        duels=tuple(_duels(duelled, better, seed)),
        duelled=len(duelled),
    )


def _status(row: Row) -> str:
    """How far a row is checked of which no check is on record."""
    return "rescored here" if row.evidence is not None and row.evidence.recomputed else SELF_REPORTED


def _ends(rows: Sequence[Row]) -> tuple[float, float] | None:
    values = [value for row in rows for value in row.values.values()]
    if not values:
        return None
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _spread(row: Row, ends: tuple[float, float]) -> Spread | None:
    values = np.array(list(row.values.values()), dtype=np.float64)
    if not len(values):
        return None
    counts, _ = np.histogram(values, bins=BINS, range=ends)
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    return Spread(tuple(counts.tolist()), (low, middle, high), len(values))


def _duels(rows: Sequence[Row], better: bool, seed: int) -> Iterable[Duel]:
    """Paired differences of all rows, over the latents that both of a pair have."""
    pairs = [(i, j) for i in range(len(rows)) for j in range(i + 1, len(rows))]
    gaps: list[NDArray[np.float64]] = []
    for i, j in pairs:
        a, b = rows[i].values, rows[j].values
        gap = np.array([a[latent] - b[latent] for latent in sorted(a.keys() & b.keys())], dtype=np.float64)
        gaps.append(np.where(np.abs(gap) < 1e-12, 0.0, gap))
    known = [place for place, gap in enumerate(gaps) if len(gap)]
    # The smallest p is 2 / (draws + 1): with too few, a large family could never show any difference.
    draws = max(RESAMPLES, math.ceil(4 * len(known) / (1 - LEVEL)))
    tested = [_tested(gaps[place], seed, draws) for place in known]
    adjusted: list[float] = holm([p for _, p in tested]).tolist() if tested else []
    for place, (held, _), p in zip(known, tested, adjusted, strict=True):
        (i, j), gap = pairs[place], gaps[place] if better else -gaps[place]
        ahead = float((gap > 0).mean() + (gap == 0).mean() / 2)
        yield Duel(i, j, held.estimate, held.low, held.high, held.n, ahead, p)


def _tested(gap: NDArray[np.float64], seed: int, draws: int) -> tuple[Interval, float]:
    (held,), (p,) = intervals_of(gap[None, :], seed, RESAMPLES, differences=True)
    if len(gap) < FEWEST:
        return held, math.nan
    alone = float(student_p(gap[None, :])[0])
    # p is never below Student's, so what Student does not see alone needs no more draws.
    if alone < 1 - LEVEL and len(gap) <= MOST_DRAWN and draws > RESAMPLES:
        _, (p,) = intervals_of(gap[None, :], seed, draws, differences=True)
    return held, alone if len(gap) > MOST_DRAWN else float(p)


@dataclass(frozen=True, slots=True)
class ExamRow:
    """What was measured of a judge by one scorer on latents whose truth is known; chance is 0.5."""

    judge: str
    scorer: str
    suite: str
    distribution: str
    latents: int
    judgements: int
    coverage: float
    near: Measure
    """Share of the latents on which the truth beats its near misses."""
    unrelated: Measure
    paraphrase: Measure | None
    """Headline of the truth minus that of its paraphrase; 0 is best."""
    yes_bias: Measure | None
    tokens: float
    dollars: float | None
    seconds: float
    date: str
    command: str


def exam_row(row: Qualification) -> ExamRow:
    """A row of judges as data."""
    return ExamRow(
        judge=row.judge,
        scorer=row.scorer_label,
        suite=row.suite,
        distribution=row.distribution,
        latents=row.latents,
        judgements=row.judgements,
        coverage=row.coverage,
        near=_share("near", row.truth_over["near"]),
        unrelated=_share("unrelated", row.truth_over["unrelated"]),
        paraphrase=None if row.paraphrase_gap is None else _share("paraphrase gap", row.paraphrase_gap, 0.0),
        yes_bias=None if row.yes_bias is None else _share("yes bias", row.yes_bias, 0.0),
        tokens=row.tokens,
        dollars=row.dollars,
        seconds=row.seconds,
        date=row.date,
        command=row.command,
    )


def _share(name: str, held: Mean, floor: float = 0.5) -> Measure:
    return Measure(name, held.estimate, held.low, held.high, held.n, floor)


@dataclass(frozen=True, slots=True)
class CoderRow:
    """One coder under one explainer, scorer and judge. Coders have different latents, so the samples are independent."""

    coder: str
    kind: str | None
    run: str
    rank_low: int
    rank_high: int
    tie: int
    score: Measure
    coverage: float | None
    judged: int
    attempted: int


@dataclass(frozen=True, slots=True)
class CoderBoard:
    """The coders of one suite under one explainer, scorer and judge, best first."""

    suite: str
    split: str
    explainer: str
    is_floor: bool
    scorer: str
    judge: str
    headline: str
    floor: float | None
    rows: tuple[CoderRow, ...]


def coder_boards(rows: Iterable[Row]) -> list[CoderBoard]:
    """Coders beside each other, wherever rows by coder are there, ranked by their intervals."""
    groups: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        if row.coders != POOLED and row.evidence is not None:
            at = (row.suite.digest, row.split, row.explainer.key, row.scorer.key, row.judge.key, row.headline, row.run)
            groups.setdefault(at, []).append(row)
    return [_coder_board(group) for group in groups.values() if len(group) > 1]


def _coder_board(group: Sequence[Row]) -> CoderBoard:
    first = group[0]
    better = first.score.higher_is_better
    held = [interval_of(row) for row in group]
    ranked = sorted(
        zip(group, ranks_from_intervals(held, better), strict=True),
        key=lambda pair: (
            math.inf if pair[0].score.estimate is None else (-1 if better else 1) * pair[0].score.estimate,
            pair[0].coders,
        ),
    )
    return CoderBoard(
        suite=first.suite.id,
        split=first.split,
        explainer=first.explainer.label,
        is_floor=first.is_floor,
        scorer=first.scorer.label,
        judge=first.judge.label,
        headline=first.headline,
        floor=first.score.floor,
        rows=tuple(
            CoderRow(
                coder=row.coders,
                kind=row.kind,
                run=row.run,
                rank_low=rank.low,
                rank_high=rank.high,
                tie=rank.tie,
                score=Measure.of(row.headline, row.score),
                coverage=row.coverage,
                judged=row.n_judged,
                attempted=row.n_attempted,
            )
            for row, rank in ranked
        ),
    )
