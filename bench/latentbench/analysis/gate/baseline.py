"""What a run was, small enough to commit: per-latent scores, agreement, identities, coverage, cost, and questions to its judges.

The head of a comparison is put into the same form before anything is compared, so the gate has one input type and knows no run
folder. A baseline that held only means would be smaller, but without the latents nothing can be paired, and what they differ by,
which is most of the spread, would stand in every comparison.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from latentbench.analysis.gate.evidence import Array, correlations, pairs_of
from latentbench.kernel.config import WHOLE, Frozen, validate
from latentbench.kernel.errors import DataError, DigestMismatch, UnknownName
from latentbench.kernel.files import plain, write_text
from latentbench.kernel.identity import digest, joined
from latentbench.kernel.inputs import read_json
from latentbench.leaderboards.row import Number, Price, Row
from latentbench.leaderboards.row import rows as leaderboard_rows
from latentbench.runs.finished import Run
from latentbench.runs.record import CellRecord, JudgeRecord, Named, SuiteRecord
from latentbench.scorers.scorer import is_outside
from latentbench.views.number import rounded

LAYOUT = 2
TOLERANCE = 1e-5
"""By how much a correlation of values with six digits may differ from that which was written with six."""
PLANTED = "planted"
"""Coder of latents whose truth is known."""


class JudgeId(Frozen):
    """A judge of the run."""

    label: str
    key: str
    provider: str
    model: str
    revision: str

    @property
    def name(self) -> str:
        """What makes it another judge, and its scores not comparable: provider, model and weights."""
        return f"{self.provider}:{self.model} ({self.revision})"


class BaselineScores(Frozen):
    """One metric of one explainer under one scorer and judge."""

    counts_to = WHOLE

    explainer: Named
    null: bool
    """The explainer knows nothing of the latent."""
    scorer: Named
    judge: JudgeId
    metric: str
    headline: bool
    higher_is_better: bool
    values: list[Number]
    """Per latent, in the order of `Baseline.latents`, averaged over repeats; null where nothing was judged."""
    repeats: int = Field(ge=1)
    n_judged: int = Field(ge=0)
    n_attempted: int = Field(ge=0)
    steered: str | None = Field(default=None, exclude_if=lambda value: value is None)
    """Digest of the suite's intervention table, for scorers that read it; left out for the others."""
    low: Number = Field(default=None, exclude_if=lambda value: value is None)
    """Least value that the metric can have; left out where there is none, and in baselines of before ranges were kept."""
    high: Number = Field(default=None, exclude_if=lambda value: value is None)
    explaining: Price
    """Cost of explaining, per latent."""
    judging: Price

    @property
    def measure(self) -> tuple[str, str]:
        """Labels of scorer and judge."""
        return self.scorer.label, self.judge.label

    @property
    def cell(self) -> tuple[str, str, str]:
        """Labels of explainer, scorer and judge."""
        return self.explainer.label, *self.measure

    @property
    def id(self) -> tuple[str, str, str, str]:
        """Labels and metric that identify the row on both sides of a comparison."""
        return *self.cell, self.metric


class BaselineAgreement(Frozen):
    """Spearman correlations of the measures' headlines over latents and real explainers; null where undefined."""

    measures: list[tuple[str, str]]
    spearman: list[list[Number]]


class Probe(Frozen):
    """A question that a judge was asked when the baseline was frozen."""

    kind: str
    """Type of the request."""
    request: dict[str, Any]
    answers: dict[str, dict[str, Any]]
    """Judge label -> its answer, as `latentbench.analysis.gate.drift` stores it."""


class Baseline(Frozen):
    """A frozen run."""

    layout: Literal[2]
    run: str
    command: str
    date: str
    spec: dict[str, Any]
    """The run's spec: what `bench gate` carries out again."""
    suite: SuiteRecord
    split: str
    latents: list[str]
    planted: list[str]
    """Those of them whose truth is known."""
    hardware: dict[str, Any]
    scores: list[BaselineScores] = Field(min_length=1)
    agreement: BaselineAgreement
    probes: list[Probe] = Field(default_factory=list)
    noise: dict[str, float] = Field(default_factory=dict)
    """Judge label -> distance of two answers of the same judge to the same questions, one after the other."""

    @property
    def measures(self) -> list[tuple[str, str]]:
        """(scorer, judge) labels in the order of the run."""
        return list(dict.fromkeys(s.measure for s in self.scores))

    def headlines(self) -> list[BaselineScores]:
        """Headline metrics of the explainers that know something."""
        return [s for s in self.scores if s.headline and not s.null]


def snapshot(run: Run, metrics: Sequence[str] = ()) -> Baseline:
    """A finished run as a baseline without probes.

    Args:
        metrics: beside the headlines; a scorer that lacks one is left as it is.

    Raises:
        UnknownName: a metric that no scorer of the run has.
    """
    record = run.record
    known = {m.name for scorer in record.scorers.values() for m in scorer.metrics}
    for name in metrics:
        if name not in known:
            raise UnknownName("metric", name, known)
    latents = list(record.latents)
    values = run.means.set_index(["explainer", "scorer", "judge", "metric", "latent"])["value"].to_dict()
    grid = record.grid
    found = [
        scores
        for row in leaderboard_rows([run], any_split=True)
        for scores in _scores(
            row, grid[row.explainer.label, row.scorer.label, row.judge.label][0], values, latents, metrics
        )
    ]
    planted = set(run.scores.loc[run.scores["coder"] == PLANTED, "latent"])
    content = Baseline(
        layout=LAYOUT,
        run=run.id,
        command=record.command,
        date=record.started,
        spec=record.spec.model_dump(mode="json"),
        suite=record.suite,
        split=record.split,
        latents=latents,
        planted=[latent for latent in latents if latent in planted],
        hardware=record.hardware.model_dump(mode="json") if record.hardware is not None else {},
        scores=found,
        agreement=_agreement(found, len(latents)),
    )
    # Both sides of a comparison go through the same rounding, so an unchanged score is exactly unchanged.
    return Baseline.model_validate(rounded(content.model_dump()))


def table(
    scores: Sequence[BaselineScores], measures: Sequence[tuple[str, str]], explainers: Sequence[str], m: int
) -> Array:
    """Headlines as [m latents, explainers, measures], signed so that higher is better; NaN where there is none."""
    out = np.full((m, len(explainers), len(measures)), np.nan)
    for s in scores:
        if s.headline and s.explainer.label in explainers and s.measure in measures:
            sign = 1.0 if s.higher_is_better else -1.0
            out[:, explainers.index(s.explainer.label), measures.index(s.measure)] = sign * array(s)
    return out


def array(scores: BaselineScores) -> Array:
    """Values [latents], NaN where there is none."""
    return np.array([np.nan if v is None else v for v in scores.values], dtype=np.float64)


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write one latent's numbers a line at most, with a digest over the content.

    A baseline is reviewed as a diff, so it has line breaks, but not one per number.
    """
    data = baseline.model_dump()
    content = {"digest": digest(data), **data}
    text = ",\n".join(f" {json.dumps(k)}: {_folded(v)}" for k, v in content.items())
    write_text(path, "{\n" + text + "\n}\n")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        DataError: missing, not JSON, or of another layout.
        SpecError: does not fit the schema.
        DigestMismatch: a number was edited, or the numbers do not fit together.
    """
    try:
        data = read_json(path)
    except FileNotFoundError as e:
        raise DataError(f"{path} does not exist. Freeze one: bench baseline freeze RUN -o {path}") from e
    except (ValueError, OSError) as e:
        raise DataError(f"{path} is not a baseline: {e}.") from e
    if not isinstance(data, dict) or data.get("layout") != LAYOUT:
        found = data.get("layout") if isinstance(data, dict) else None
        raise DataError(f"{path} has layout {found}; this version reads {LAYOUT}. Freeze it again from a run.")
    frozen = data.pop("digest", None)
    baseline = validate(Baseline, data, str(path))
    now = digest(baseline.model_dump())
    if now != frozen:
        raise DigestMismatch(f"{path}: the content hashes to {now}, not to {frozen}. Restore it or freeze it again.")
    if wrong := _faults(baseline):
        raise DigestMismatch(f"{path}: {wrong[0]}, which cannot be. Restore it or freeze it again.")
    return baseline


def _faults(baseline: Baseline) -> list[str]:
    """What no run can have been, whatever digest was written over it; empty if all can be."""
    m, named, planted = len(baseline.latents), set(baseline.latents), set(baseline.planted)
    found = []
    if len(named) < m or not planted <= named:
        found.append("it has a latent twice, or a planted one that is not among its latents")
    rows: dict[tuple[str, ...], BaselineScores] = {}
    said: dict[tuple[str, ...], tuple[object, ...]] = {}
    for s in baseline.scores:
        name = joined(s.id, " / ")
        known = [v for v in s.values if v is not None]
        if rows.setdefault(s.id, s) is not s:
            found.append(f"{name} is there twice")
        if len(s.values) != m:
            found.append(f"{name} has {len(s.values)} values for {m} latents")
        if s.n_judged > s.n_attempted:
            found.append(f"{name} says that {s.n_judged} of {s.n_attempted} were judged")
        if s.n_judged < len(known):
            found.append(f"{name} has values of {len(known)} latents from {s.n_judged} judgements")
        outside = [v for v in known if is_outside(v, s.low, s.high)]
        if outside:
            found.append(f"{name} has the value {outside[0]}, outside its range")
        # What a metric means is the scorer's to say, so all explainers under it have it alike.
        means = (s.scorer.key, s.headline, s.higher_is_better, s.low, s.high)
        if said.setdefault((*s.measure, s.metric), means) != means:
            found.append(f"{name} says of its metric what others under {' / '.join(s.measure)} do not")
    headlines = [s.cell for s in baseline.scores if s.headline]
    if sorted(headlines) != sorted({s.cell for s in baseline.scores}):
        found.append("an explainer under a scorer and judge has not one headline")
    return found or _disagreement(baseline, m)


def _disagreement(baseline: Baseline, m: int) -> list[str]:
    again = _agreement(baseline.scores, m)
    if again.measures != baseline.agreement.measures:
        return ["its agreement is of other scorers and judges than its scores"]
    n = len(again.measures)
    if [len(row) for row in baseline.agreement.spearman] != [n] * n:
        return [f"its agreement is no table of {n} by {n}"]
    for i, j in np.ndindex(n, n):
        ours, theirs = again.spearman[i][j], baseline.agreement.spearman[i][j]
        if (ours is None) != (theirs is None) or (
            ours is not None and theirs is not None and abs(ours - theirs) > TOLERANCE
        ):
            both = " with ".join(joined(again.measures[k], " / ") for k in (i, j))
            return [f"the agreement of {both} is {rounded(ours)} by its scores, and it says {theirs}"]
    return []


def _folded(value: Any) -> str:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"  {_line(v)}" for v in value) + "\n ]"
    return _line(value)


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=plain)


def _judge(judge: JudgeRecord) -> JudgeId:
    i = judge.identity
    return JudgeId(label=judge.label, key=judge.key, provider=i.provider, model=i.model, revision=i.revision)


def _scores(
    row: Row, cell: CellRecord, values: Mapping[Any, float], latents: Sequence[str], metrics: Sequence[str]
) -> list[BaselineScores]:
    """The metrics of a leaderboard row that are kept: its headline first, then those of `metrics` that it has."""
    declared = {m.name: m for m in cell.scorer.metrics}
    return [
        BaselineScores(
            explainer=row.explainer,
            null=row.is_floor,
            scorer=row.scorer,
            judge=_judge(cell.judge),
            metric=metric,
            headline=metric == row.headline,
            higher_is_better=declared[metric].higher_is_better,
            # Rounded before anything is computed from them: (0.7 + 0.9) / 2 and 0.8 are a tie, for a rank as for a reader.
            values=[
                rounded(values.get((row.explainer.label, row.scorer.label, row.judge.label, metric, latent)))
                for latent in latents
            ],
            repeats=row.repeats,
            n_judged=row.n_judged,
            n_attempted=row.n_attempted,
            steered=cell.scorer.steered,
            low=declared[metric].low,
            high=declared[metric].high,
            explaining=row.explaining,
            judging=row.judging,
        )
        for metric in dict.fromkeys([row.headline, *(m for m in metrics if m in declared)])
    ]


def _agreement(scores: Sequence[BaselineScores], m: int) -> BaselineAgreement:
    real = [s for s in scores if s.headline and not s.null]
    measures = list(dict.fromkeys(s.measure for s in real))
    explainers = list(dict.fromkeys(s.explainer.label for s in real))
    found: list[list[float | None]] = [[1.0 if i == j else None for j in measures] for i in measures]
    pairs = pairs_of(measures)
    if pairs and m:
        held = table(real, measures, explainers, m)
        values = correlations(held, pairs, ~np.isnan(held))(np.ones((1, m)))[0]
        for (i, j), value in zip(pairs, values.tolist(), strict=True):
            found[i][j] = found[j][i] = None if np.isnan(value) else value
    return BaselineAgreement(measures=measures, spearman=found)
