"""How far a score is a property of the explanation's latent, and how far of what happened to be drawn.

The runs of a reliability spec are a full factorial, so that the variance of every facet, and of what facets do together, can be
told apart:

    explainer seed     examples shown to the explainer, and its sampling
    draw               test windows, marks, intruders
    order              order of the same windows in prompts that show several
    judge              every judge of the spec that can serve the scorer

Every run is an ordinary run folder with its own seeds, and explanations and answers that runs share come from the
reply cache. A design that varies one thing at a time needs fewer runs and cannot see that a judge matters for one draw only.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, field_validator, model_validator
from rich.console import Console

from latentbench.analysis.entry import ComparedEntry, entries
from latentbench.kernel.config import read_yaml, validate
from latentbench.kernel.errors import RunError, SpecError
from latentbench.runs.finished import Run, load_run
from latentbench.runs.record import read_record
from latentbench.runs.run import begin, resume
from latentbench.runs.run_spec import RunSpec
from latentbench.stats.bootstrap import Array
from latentbench.stats.correlation import retest
from latentbench.stats.dependability import Dependability, dependability
from latentbench.stats.resample import Coefficient
from latentbench.stats.stability import TopK, top_k_stability
from latentbench.stats.variance import VarianceComponents, variance_components
from latentbench.views.number import finite

SEED, DRAW, ORDER, JUDGE = "explainer seed", "draw", "order", "judge"
FACETS = (SEED, DRAW, ORDER, JUDGE)

Place = tuple[int, int, int]
"""(explainer seed, draw, order), from 0."""


RUNS = 10_000
"""Runs that one spec asks for at most."""


class ReliabilitySpec(RunSpec):
    """A run spec, and how often each thing that it draws is drawn."""

    explainer_seeds: int = Field(default=2, ge=1, le=1000)
    """Explanations per latent and explainer."""
    draws: int = Field(default=2, ge=1, le=1000)
    """Draws of test windows."""
    orders: int = Field(default=1, ge=1, le=1000)
    """Orders of the same windows; more than 1 tells something for prompts with several windows only."""
    top_k: int = Field(default=10, ge=1)
    """Size of the top of the ranking of latents that is compared between repeats."""

    @field_validator("repeats")
    @classmethod
    def _one(cls, value: int) -> int:
        if value != 1:
            raise ValueError("repeats redraw everything at once; use explainer_seeds, draws and orders")
        return value

    @model_validator(mode="after")
    def _not_too_many(self) -> Self:
        runs = self.explainer_seeds * self.draws * self.orders
        if runs > RUNS:
            raise ValueError(
                f"{self.explainer_seeds:,} explainer_seeds x {self.draws:,} draws x {self.orders:,} orders are {runs:,} runs, "
                f"more than {RUNS:,}"
            )
        return self


def load_reliability_spec(path: Path) -> ReliabilitySpec:
    """Read and validate a reliability spec."""
    return validate(ReliabilitySpec, read_yaml(path), str(path))


def places(spec: ReliabilitySpec) -> list[Place]:
    """All combinations of what is drawn."""
    return list(itertools.product(range(spec.explainer_seeds), range(spec.draws), range(spec.orders)))


def run_spec(spec: ReliabilitySpec, place: Place) -> RunSpec:
    """Return the run at one combination. The combination (0, 0, 0) asks what the run spec by itself would ask."""
    shared = spec.model_dump(include=set(RunSpec.model_fields), exclude={"name", "seed", "explain_seed", "order"})
    seed, draw, order = place
    first = spec.seed if spec.explain_seed is None else spec.explain_seed
    own = {"seed": spec.seed + draw, "explain_seed": first + seed, "order": spec.order + order}
    return RunSpec.model_validate({"name": f"{spec.name}-e{seed}-d{draw}-o{order}", **shared, **own})


@dataclass(frozen=True)
class Reliability:
    """One explainer under one scorer.

    Attributes:
        explainer, scorer: labels.
        judges: labels, in the order of the facet.
        headline: metric.
        is_floor: the explainer knows nothing of the latent.
        components: of the scores.
        single: dependability of one score.
        whole: dependability of the mean over everything that was repeated.
        pearson, spearman: mean correlation over latents of two scores by the same judge that share nothing that was drawn;
            None where nothing was drawn twice.
        top: agreement on the best latents between such repeats; None as above.
    """

    explainer: str
    scorer: str
    judges: tuple[str, ...]
    headline: str
    is_floor: bool
    components: VarianceComponents
    single: Dependability
    whole: Dependability
    pearson: Coefficient | None
    spearman: Coefficient | None
    top: TopK | None


@dataclass(frozen=True)
class Winner:
    """Which explainer is best under a scorer, over all repeats.

    Attributes:
        scorer: label.
        means: explainer -> mean over latents and repeats; floors included.
        wins: explainer -> share of repeats in which its mean is the best; ties are shared.
    """

    scorer: str
    means: Mapping[str, float]
    wins: Mapping[str, float]


@dataclass(frozen=True)
class ReliabilityReport:
    """Everything that a reliability spec yields.

    Attributes:
        name: of the spec.
        command: reproduces it.
        runs: ids of the run folders.
        results: by scorer, then explainer.
        winners: by scorer with more than one explainer.
        left_out: what has no analysis, and why.
    """

    name: str
    command: str
    runs: tuple[str, ...]
    results: tuple[Reliability, ...]
    winners: tuple[Winner, ...]
    left_out: tuple[str, ...]


@dataclass(frozen=True)
class _Grid:
    """Values of one explainer and scorer: [latents, seeds, draws, orders, judges]."""

    entry: ComparedEntry
    judges: tuple[str, ...]
    latents: tuple[str, ...]
    values: Array = field(repr=False)


def reliability(
    spec_path: Path, out: Path, cache_path: Path | None, console: Console, *, seed: int = 0
) -> ReliabilityReport:
    """Carry out, or go on with, all runs of a spec under `out`, and analyse them.

    Args:
        out: folder of the run folders. Runs that are complete there are read, those that were stopped are gone on with.
        cache_path: reply cache; the user cache by default.
        seed: of bootstraps and generalised draws.

    Raises:
        BenchError: whatever is wrong with the spec or a run.
        RunError: `out` holds a run of another spec.
        SpecError: nothing varies: one seed, one draw, one order and one judge.
    """
    spec = load_reliability_spec(spec_path)
    if len(places(spec)) == 1 and len(spec.judges) == 1:
        raise SpecError(f"{spec_path}: with one explainer seed, draw, order and judge nothing is repeated.")
    command = f"bench reliability {spec_path}"
    runs: dict[Place, Run] = {}
    for place in places(spec):
        wanted = run_spec(spec, place)
        folder = out / wanted.name
        if not (folder / "run.json").exists():
            begin(wanted, spec_path.parent, folder, command, cache_path, console)
        else:
            if read_record(folder).spec != wanted:
                raise RunError(f"{folder} is a run of another spec; give another --out.")
            # Finished runs too: that refuses one of another scorer, explainer or judge than those of now.
            resume(folder, cache_path, console)
        runs[place] = load_run(folder)
    return analyse(spec, runs, command, seed=seed)


def analyse(spec: ReliabilitySpec, runs: Mapping[Place, Run], command: str, *, seed: int = 0) -> ReliabilityReport:
    """Analyse finished runs.

    Args:
        runs: one for each of `places(spec)`.

    Raises:
        RunError: runs differ in their latents, scorers or judges, so that they are no repeats of each other.
    """
    grids, coders = _grids(runs)
    results, left_out = [], []
    for grid in grids:
        name = f"{grid.entry.cell.explainer.label} / {grid.entry.cell.scorer.label}"
        try:
            found = variance_components(grid.values, FACETS, [coders[x] for x in grid.latents], seed=seed)
        except ValueError as e:
            left_out.append(f"{name}: {e}")
            continue
        results.append(_result(grid, found, spec.top_k))
    ids = tuple(run.id for run in runs.values())
    return ReliabilityReport(spec.name, command, ids, tuple(results), tuple(_winners(grids)), tuple(left_out))


def _grids(runs: Mapping[Place, Run]) -> tuple[list[_Grid], dict[str, str]]:
    first = runs[(0, 0, 0)]
    sizes = tuple(max(place[i] for place in runs) + 1 for i in range(3))
    latents = first.record.latents
    coders = {str(k): str(v) for k, v in first.scores.groupby("latent")["coder"].first().items()}
    found: dict[tuple[str, str], dict[tuple[Place, str], ComparedEntry]] = {}
    for place, run in runs.items():
        if run.record.latents != latents or run.record.suite != first.record.suite:
            raise RunError(f"{run.folder} and {first.folder} have different latents; repeats share theirs.")
        for entry in entries(run):
            cells = found.setdefault((entry.cell.scorer.label, entry.cell.explainer.label), {})
            cells[(place, entry.cell.judge.label)] = entry
    grids = []
    for (scorer, _), cells in found.items():
        judges = tuple(dict.fromkeys(judge for _, judge in cells))
        some = next(iter(cells.values()))
        changed = {(e.cell.scorer.key, e.cell.scorer.headline) for e in cells.values()}
        if len(changed) > 1:
            raise RunError(f"scorer {scorer!r} differs between the runs; delete those of the old state and run again.")
        values = np.full((len(latents), *sizes, len(judges)), np.nan)
        for (place, judge), entry in cells.items():
            own = [entry.values.get(latent, np.nan) for latent in latents]
            values[(slice(None), *place, judges.index(judge))] = own
        grids.append(_Grid(some, judges, latents, values))
    return grids, coders


def _result(grid: _Grid, found: VarianceComponents, top_k: int) -> Reliability:
    sizes = grid.values.shape[1:]
    flat = grid.values.reshape(len(grid.values), -1)
    pairs = _independent(sizes)
    better = grid.entry.higher_is_better
    return Reliability(
        grid.entry.cell.explainer.label,
        grid.entry.cell.scorer.label,
        grid.judges,
        grid.entry.cell.scorer.headline,
        grid.entry.cell.explainer.is_floor,
        found,
        dependability(found, {}),
        dependability(found, found.levels),
        retest(flat, pairs, "pearson") if pairs else None,
        retest(flat, pairs, "spearman") if pairs else None,
        top_k_stability(flat.T, top_k, better, pairs) if pairs else None,
    )


def _independent(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Pairs of cells of the same judge that differ in everything that was drawn more than once."""
    cells = list(itertools.product(*(range(s) for s in sizes)))
    drawn = [i for i, s in enumerate(sizes[:-1]) if s > 1]
    return [
        (a, b)
        for (a, x), (b, y) in itertools.combinations(enumerate(cells), 2)
        if drawn and x[-1] == y[-1] and all(x[i] != y[i] for i in drawn)
    ]


def _winners(grids: Sequence[_Grid]) -> list[Winner]:
    by_scorer: dict[str, list[_Grid]] = {}
    for grid in grids:
        by_scorer.setdefault(grid.entry.cell.scorer.label, []).append(grid)
    found = []
    for scorer, own in by_scorer.items():
        # Explainers are compared on the latents that all of them have, repeat by repeat.
        stacked = np.stack([g.values.reshape(len(g.values), -1) for g in own])
        whole = np.isfinite(stacked).all(axis=(0, 2))
        if len(own) < 2 or not whole.any():
            continue
        means = stacked[:, whole].mean(axis=1)
        signed = means if own[0].entry.higher_is_better else -means
        best = signed >= signed.max(axis=0) - 1e-12
        wins = (best / best.sum(axis=0)).mean(axis=1)
        labels = [g.entry.cell.explainer.label for g in own]
        found.append(
            Winner(
                scorer,
                dict(zip(labels, means.mean(axis=1).tolist(), strict=True)),
                dict(zip(labels, wins.tolist(), strict=True)),
            )
        )
    return found


def as_json(report: ReliabilityReport) -> dict[str, Any]:
    """The report as plain data, without the generalised draws; what is not a number is null."""
    found = asdict(report)
    for result in found["results"]:
        del result["components"]["draws"]
    plain: dict[str, Any] = finite(found)
    return plain
