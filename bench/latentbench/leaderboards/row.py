"""One line of a leaderboard, as data: what was measured, on what, with which uncertainty, for which price.

A row carries every identity that decides with which others it may be compared, so that a table of committed rows can be built
again, and refused, without the runs. It carries no rank: a rank belongs to a table, and changes when somebody else submits.

The mean of a row is over latents, each averaged over its repeats first, with an interval over latents; judgements of all
latents are never pooled into one average. Failed judgements lower the coverage beside the score and widen the bounds; they never
enter the score.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field

from latentbench.kernel.config import WHOLE, Frozen
from latentbench.kernel.errors import SpecError
from latentbench.kernel.identity import digest
from latentbench.runs.finished import Run, load_runs
from latentbench.runs.moment import Moment
from latentbench.runs.record import UNQUALIFIED, CellRecord, MetricRecord, Named, SuiteRecord
from latentbench.stats.bootstrap import bootstrap_mean
from latentbench.views.number import finite

POOLED = "all"
"""Coder group of a row over all coders of the run."""


Number = Annotated[float | None, BeforeValidator(finite)]


class Estimate(Frozen):
    """A mean over latents with its interval; null where there is none (see `latentbench.stats.bootstrap.Interval`)."""

    counts_to = WHOLE

    estimate: Number
    low: Number
    high: Number
    n: int = Field(ge=0)
    """Latents with a value."""
    floor: Number = None
    """Declared score of an answer that knows nothing."""
    higher_is_better: bool = True


class Price(Frozen):
    """What one latent costs on average, once; calls that came from a cache are counted as if they had been paid."""

    tokens_in: float = Field(ge=0)
    tokens_out: float = Field(ge=0)
    dollars: Annotated[Annotated[float, Field(ge=0)] | None, BeforeValidator(finite)]
    """Estimated from tokens and a price table; null where a model has no price there."""
    seconds: float = Field(ge=0)

    def __add__(self, other: Price) -> Price:
        dollars = None if self.dollars is None or other.dollars is None else self.dollars + other.dollars
        tokens_in, tokens_out = self.tokens_in + other.tokens_in, self.tokens_out + other.tokens_out
        return Price(tokens_in=tokens_in, tokens_out=tokens_out, dollars=dollars, seconds=self.seconds + other.seconds)


class RowEvidence(Frozen):
    """What a row is computed from, with all digits, so that whoever reads the row can compute it again (`restated`)."""

    record: str
    """Digest of the run's `run.json`."""
    tables: dict[str, str]
    """Digests of the run's tables: those of an equal run are equal but for `seconds`."""
    recomputed: bool = False
    """Whether the scores were computed again from the judgements before the row was published."""
    seed: int
    """What the intervals were drawn with."""
    steered: str | None = None
    """Digest of the suite's intervention table, for scorers that read it."""
    latents: tuple[str, ...]
    """Ids, sorted."""
    judged: tuple[Annotated[int, Field(ge=0)], ...]
    """Judgements with an answer per latent, over all repeats."""
    attempted: tuple[Annotated[int, Field(ge=0)], ...]
    ranges: dict[str, tuple[Number, Number]]
    """Metric -> least and greatest value that it can have, null where there is none."""
    values: dict[str, tuple[Number, ...]]
    """Metric -> value per latent, averaged over repeats."""
    worst: tuple[Number, ...] = ()
    """Per latent the least headline that there could have been; empty where the row has no bounds."""
    best: tuple[Number, ...] = ()
    texts: str | None = None
    """Digest of the explanations of the row's latents; null in files of before (see `latentbench.leaderboards.reruns`)."""

    @property
    def answers(self) -> dict[str, str]:
        """Digests of the tables that are the same however long the answers took."""
        return {name: table for name, table in self.tables.items() if name != "seconds"}


class Row(Frozen):
    """One explainer under one scorer and judge, on one group of latents."""

    counts_to = WHOLE

    run: str
    """Id of the run."""
    date: Moment
    """Start of the run, ISO 8601."""
    command: str
    """Reproduces the run."""
    suite: SuiteRecord
    split: str
    coders: str
    """Name of the coder, or `all`."""
    kind: str | None = None
    """Kind of coder that all latents have, as the suite names it; null where kinds are mixed or not on record."""
    latents: str
    """Digest of the ids of the latents: tables never mix different ones."""
    explainer: Named
    model: str | None = None
    """Label of the judge that generated for the explainer."""
    is_floor: bool
    """The explainer knows nothing of the latent."""
    scorer: Named
    headline: str
    """Name of the metric in `score`."""
    judge: Named
    qualification: str = UNQUALIFIED
    """What is known of the judge's ability for the task."""
    score: Estimate
    worst: Number = None
    """The least mean that there could have been; null when coverage is complete or the extremes are not known."""
    best: Number = None
    n_latents: int = Field(ge=0)
    repeats: int = Field(ge=1)
    n_judged: int = Field(ge=0)
    n_attempted: int = Field(ge=0)
    metrics: dict[str, Estimate]
    """The scorer's other metrics."""
    explaining: Price
    judging: Price
    values: dict[str, float] = Field(default_factory=dict, repr=False)
    """Headline per latent, averaged over repeats: what others need to compare with this row; empty in files of before."""
    evidence: RowEvidence | None = Field(default=None, repr=False)
    """None for runs of before there were digests, and in files of before."""

    @property
    def price(self) -> Price:
        """Explaining and judging one latent."""
        return self.explaining + self.judging

    @property
    def coverage(self) -> float | None:
        """Judged / attempted; None if nothing was attempted."""
        return self.n_judged / self.n_attempted if self.n_attempted else None

    @property
    def table(self) -> tuple[str, ...]:
        """What must be equal for two rows to stand in one ranked table."""
        return (
            self.suite.digest,
            self.split,
            self.coders,
            self.kind or "",
            self.latents,
            self.scorer.key,
            self.headline,
            self.judge.key,
        )

    @property
    def name(self) -> tuple[str, ...]:
        """What identifies the row for good: the same run never has two scores for it."""
        return (self.run, self.explainer.label, self.scorer.label, self.judge.label, self.coders, self.kind or "")


if TYPE_CHECKING:
    import pandas as pd

    from latentbench.leaderboards.rescored import Rescored

LEADERBOARD_SPLIT = "test"
_SCORED = ["latent", "metric", "value", "n_judged", "n_attempted", "lowest", "highest"]
_SPENT = ["tokens_in", "tokens_out", "cost", "seconds"]


@dataclass(frozen=True)
class Group:
    """Latents that share a row: those of one coder, of all coders of one kind, or of the run (neither is named)."""

    kind: str | None = None
    coder: str | None = None


def groups(run: Run, by_kind: bool, by_coder: bool) -> list[Group]:
    """The groups that have rows: the run; where that is asked for, each kind of coder and each coder if there are several."""
    coders = list(dict.fromkeys(_latents(run)["coder"]))
    kinds = run.record.kinds if by_kind else {}
    found = list(dict.fromkeys(kinds.get(coder) for coder in coders))
    if len(found) == 1:
        return [Group(found[0]), *(Group(found[0], coder) for coder in coders if by_coder and len(coders) > 1)]
    return [Group(), *(Group(kind) for kind in found if kind), *(Group(kinds.get(c), c) for c in coders if by_coder)]


def _latents(run: Run) -> pd.DataFrame:
    """Every latent of the scores with its coder, in the order in which they come."""
    import pandas as pd

    found = pd.DataFrame({"latent": [], "coder": []}, dtype="str")
    for rows in run.table("scores").each(["latent", "coder"]):
        found = pd.concat([found, rows.drop_duplicates()]).drop_duplicates()
    return found


def read_rows(
    folders: Iterable[Path], *, by_kind: bool = False, by_coder: bool = False, any_split: bool = False, seed: int = 0
) -> list[Row]:
    """Rows of run folders; `rows` after reading them."""
    return rows(load_runs(folders), by_kind=by_kind, by_coder=by_coder, any_split=any_split, seed=seed)


def rows(
    runs: Iterable[Run], *, by_kind: bool = False, by_coder: bool = False, any_split: bool = False, seed: int = 0
) -> list[Row]:
    """One row per run x explainer x scorer x judge and group of latents (`groups`).

    Args:
        by_kind: also one row per kind of coder, where a run has several: a mean over SAE latents and neurons tells of neither.
        by_coder: also one row per coder, where a run has several.
        any_split: let runs on other latents than `test` through; their tables are headed "not for the leaderboard".
        seed: of the bootstrap. All rows share it, so explainers on the same latents see the same resamples.

    Raises:
        SpecError: a run on another split than `test`.
    """
    found: list[Row] = []
    for run in runs:
        split = run.record.split
        if split != LEADERBOARD_SPLIT and not any_split:
            raise SpecError(
                f"{run.folder} ran on the {split!r} latents; leaderboards take {LEADERBOARD_SPLIT!r} only, because prompts are "
                f"tuned on the others. Run the spec with `split: {LEADERBOARD_SPLIT}`, or show it with --tune, "
                "marked as not for the leaderboard."
            )
        found += _rows(run, groups(run, by_kind, by_coder), seed)
    return found


@dataclass(frozen=True)
class _Explained:
    """A group of latents with what was said of them.

    Attributes:
        latents: ids, sorted.
        whole: whether these are all latents of the run.
        spent: tokens, cost and seconds of each explainer.
        texts: digest of the explanations of each explainer.
    """

    group: Group
    latents: list[str]
    whole: bool
    spent: pd.DataFrame
    texts: Mapping[str, str]

    def of(self, table: pd.DataFrame) -> pd.DataFrame:
        """The rows about these latents."""
        return table if self.whole else table[table["latent"].isin(self.latents)]


def _explained(run: Run, group: Group, coders: pd.DataFrame) -> _Explained:
    kinds = run.record.kinds
    inside = [group.coder in (None, c) and group.kind in (None, kinds.get(c)) for c in coders["coder"]]
    latents = sorted(set(coders["latent"][inside]))
    told = run.explanations if all(inside) else run.explanations[run.explanations["latent"].isin(latents)]
    said = told.groupby("explainer", sort=False)[["latent", "repeat", "hash", "outcome"]]
    texts = {str(label): digest(sorted(rows.itertuples(index=False, name=None))) for label, rows in said}
    return _Explained(group, latents, all(inside), _sums(told, "explainer"), texts)


def _rows(run: Run, chosen: Sequence[Group], seed: int) -> list[Row]:
    """Rows over groups of latents, those of one group after the other; of the tables a cell with its repeats is held."""
    coders = _latents(run)
    explained = [_explained(run, group, coders) for group in chosen]
    found: list[list[Row]] = [[] for _ in explained]
    for cells in run.record.grid.values():
        ids = [cell.cell for cell in cells]
        scores = run.table("scores").of_cells(ids, _SCORED)
        judged = run.table("judgements").of_cells(ids, ["cell", "latent", *_SPENT])
        for own, to in zip(explained, found, strict=True):
            to.append(_row(run, own, cells, own.of(scores), _sums(own.of(judged), "cell"), seed))
    return [row for some in found for row in some]


def _row(
    run: Run, of: _Explained, cells: Sequence[CellRecord], scores: pd.DataFrame, spent: pd.DataFrame, seed: int
) -> Row:
    """One row.

    Args:
        scores: of these cells and latents.
        spent: tokens, cost and seconds of each cell.
    """
    import pandas as pd

    explainer, scorer, judge = cells[0].explainer, cells[0].scorer, cells[0].judge
    latents, group = of.latents, of.group
    own = scores[scores["metric"] == scorer.headline]
    # As in `Run.means`, over the repeats that have one.
    per_latent = scores.groupby(["latent", "metric"], sort=False)["value"].mean().unstack("metric").reindex(latents)
    headline = per_latent.get(scorer.headline, pd.Series(index=latents, dtype=float))
    units = max(1, len(latents) * len(cells))
    others = {m.name: m for m in scorer.metrics if m.name in per_latent and per_latent[m.name].notna().any()}
    declared = {scorer.headline: scorer.ranking, **others}
    counts = own.groupby("latent")[["n_judged", "n_attempted"]].sum().reindex(latents, fill_value=0)
    worst, best = (tuple(end.reindex(latents).tolist()) for end in _bounds(own))
    evidence = RowEvidence(
        record=run.record.digest,
        tables=run.record.tables,
        seed=seed,
        steered=scorer.steered,
        latents=tuple(latents),
        judged=tuple(map(int, counts["n_judged"])),
        attempted=tuple(map(int, counts["n_attempted"])),
        ranges={name: (m.low, m.high) for name, m in declared.items()},
        values={name: tuple(per_latent.get(name, headline).tolist()) for name in declared},
        worst=worst,
        best=best,
        texts=of.texts[explainer.label],
    )
    return Row(
        run=run.id,
        date=run.record.started,
        command=run.record.command,
        suite=run.record.suite,
        split=run.record.split,
        coders=group.coder or POOLED,
        kind=group.kind,
        explainer=Named(label=explainer.label, id=explainer.id, key=explainer.key),
        model=explainer.model,
        is_floor=explainer.is_floor,
        scorer=Named(label=scorer.label, id=scorer.id, key=scorer.key),
        headline=scorer.headline,
        judge=Named(label=judge.label, id=judge.identity.label, key=judge.key),
        qualification=judge.qualification,
        repeats=len(cells),
        explaining=_price(of.spent, [explainer.label], units),
        judging=_price(spent, [c.cell for c in cells], units),
        evidence=evidence if run.record.verified else None,
        **_stated(evidence, declared, scorer.headline),
    )


def _stated(evidence: RowEvidence, declared: Mapping[str, MetricRecord | Estimate], headline: str) -> dict[str, Any]:
    """The fields of a row that follow from its evidence.

    Args:
        declared: metric -> its floor and direction.
    """
    known = {name: _estimate(evidence, name, means) for name, means in declared.items()}
    latents = list(evidence.latents)
    values = zip(latents, evidence.values[headline], strict=True)
    return {
        "latents": digest([latents, evidence.steered] if evidence.steered is not None else latents),
        "n_latents": len(latents),
        "score": known[headline],
        "metrics": {name: estimate for name, estimate in known.items() if name != headline},
        "worst": _mean(evidence.worst),
        "best": _mean(evidence.best),
        "n_judged": sum(evidence.judged),
        "n_attempted": sum(evidence.attempted),
        "values": {latent: value for latent, value in values if value is not None},
    }


def checked(rows: Iterable[Row], found: Mapping[str, Rescored]) -> list[Row]:
    """Rows that say whether their scores were computed again.

    Args:
        found: id of a run -> what became of computing its scores again; runs that are not there were not tried.
    """
    return [
        row.model_copy(update={"evidence": row.evidence.model_copy(update={"recomputed": True})})
        if row.evidence is not None and row.run in found and row.scorer.label not in found[row.run].without
        else row
        for row in rows
    ]


def restated(row: Row, evidence: RowEvidence) -> Row:
    """The row with everything that follows from its evidence computed again."""
    declared = {row.headline: row.score, **row.metrics}
    return Row.model_validate(row.model_dump(exclude={"evidence"}) | _stated(evidence, declared, row.headline))


def _estimate(evidence: RowEvidence, name: str, means: MetricRecord | Estimate) -> Estimate:
    low, high = evidence.ranges[name]
    values = np.array([np.nan if v is None else v for v in evidence.values[name]], dtype=np.float64)
    i = bootstrap_mean(values, seed=evidence.seed, low=low, high=high)
    return Estimate(
        estimate=i.estimate, low=i.low, high=i.high, n=i.n, floor=means.floor, higher_is_better=means.higher_is_better
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _bounds(asked: pd.DataFrame) -> tuple[pd.Series[float], pd.Series[float]]:
    """Each latent's headline if every missing judgement had come out for the worst and for the best; none when nothing is
    missing, or where the extremes of a latent are not known: a guess would bound nothing."""
    whole = asked["n_judged"] == asked["n_attempted"]
    ends = [asked[end].where(~whole, asked["value"]) for end in ("lowest", "highest")]
    if whole.all() or ends[0][~whole].isna().any():
        ends = [end.iloc[:0] for end in ends]
    low, high = (end.groupby(asked["latent"]).mean() for end in ends)
    return low, high


def _sums(table: pd.DataFrame, by: str) -> pd.DataFrame:
    """Tokens, cost and seconds of each group. One call without a known price makes the cost of its group unknown (NaN)."""
    groups = table.groupby(by, sort=False)
    sums = groups[_SPENT].sum()
    unpriced = table["cost"].isna().groupby(table[by], sort=False).any()
    sums["cost"] = sums["cost"].mask(unpriced)
    return sums


def _price(sums: pd.DataFrame, names: list[str], units: int) -> Price:
    total = sums.reindex(names, fill_value=0).sum(skipna=False) / units
    return Price(
        tokens_in=total["tokens_in"], tokens_out=total["tokens_out"], dollars=total["cost"], seconds=total["seconds"]
    )
