"""How often intervals of means, paired tests, ranks, gates and correlations are right, on scores shaped like real ones.

    python tests/builders/mean_simulations.py 4000

prints the tables of docs/statistics.md, through the functions that judge real scores. Whole sets of data are one matrix, so
it takes minutes on one core. Shapes at which the method
fails stay in the table.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterator
from functools import cache

import numpy as np
from latentbench.analysis.gate.decide import Verdict, decide
from latentbench.analysis.gate.evidence import mean_evidence
from latentbench.stats.bootstrap import RESAMPLES, Array, Interval, intervals_of
from latentbench.stats.correlation import Kind, correlation
from latentbench.stats.ranks import Rank, ranks_from_intervals, ranks_from_pairs
from scipy import stats

Rng = np.random.Generator
Shape = Callable[[Rng, tuple[int, ...]], Array]
BLOCK = 500
"""Data sets whose draws are held together."""
DELTA = 0.02


def _some(share: float, values: Shape) -> Shape:
    """`values` on a share of the latents, 0 on the others."""
    return lambda rng, size: values(rng, size) * (rng.random(size) < share)


def _long(rng: Rng, size: tuple[int, ...]) -> Array:
    return np.minimum(1.0, 0.08 * np.exp(rng.normal(size=size)))


SCORES: dict[str, Shape] = {
    "normal": lambda rng, size: rng.normal(0.6, 0.1, size),
    "skewed: beta(.5, 3)": lambda rng, size: rng.beta(0.5, 3, size),
    "skewed: log-normal, cut at 1": _long,
    "near 1: beta(8, .5)": lambda rng, size: rng.beta(8, 0.5, size),
    "tied: 5 levels": lambda rng, size: rng.binomial(4, 0.7, size) / 4,
    "tied: 70 % are 1": lambda rng, size: 1 - (rng.random(size) < 0.3) * 0.1 * rng.integers(1, 4, size),
    "sparse: 20 % above 0": _some(0.2, lambda rng, size: rng.uniform(0.3, 1, size)),
    "sparse: 5 % above 0": _some(0.05, lambda rng, size: rng.uniform(0.3, 1, size)),
}
"""Scores between 0 and 1."""


def _minus(one: Shape, other: Shape) -> Shape:
    return lambda rng, size: one(rng, size) - other(rng, size)


def _lost(share: float, loss: float, noise: float) -> Shape:
    """A loss on a share of the latents, made good by a small gain on the others."""
    return lambda rng, size: (
        np.where(rng.random(size) < share, -loss, loss * share / (1 - share)) + rng.normal(0, noise, size)
    )


def _traded(rng: Rng, size: tuple[int, ...]) -> Array:
    u = rng.random(size)
    return np.select([u < 0.05, u < 0.15], [-0.8, 0.4], 0.0)


DIFFERENCES: dict[str, Shape] = {
    "normal": lambda rng, size: rng.normal(0, 0.1, size),
    "beta(.5, 3) - beta(.5, 3)": _minus(SCORES["skewed: beta(.5, 3)"], SCORES["skewed: beta(.5, 3)"]),
    "beta(.5, 3) - its mean": lambda rng, size: rng.beta(0.5, 3, size) - 0.5 / 3.5,
    "log-normal, cut at 1 - its mean": lambda rng, size: _long(rng, size) - truth("skewed: log-normal, cut at 1"),
    "exponential - 1": lambda rng, size: rng.exponential(0.1, size) - 0.1,
    "5 levels - 5 levels": _minus(SCORES["tied: 5 levels"], SCORES["tied: 5 levels"]),
    "20 % changed, normal": _some(0.2, lambda rng, size: rng.normal(0, 0.3, size)),
    "5 % changed, normal": _some(0.05, lambda rng, size: rng.normal(0, 0.3, size)),
    "5 % lose .8, 10 % gain .4": _traded,
    "5 % lose .8, the others gain .042 +- .05": _lost(0.05, 0.8, 0.05),
}
"""Differences with mean 0."""
SIZES = (24, 48, 100)


@cache
def truth(shape: str) -> float:
    """Mean of a shape of scores: exact but for the one without a formula."""
    exact = {
        "normal": 0.6, "skewed: beta(.5, 3)": 0.5 / 3.5, "near 1: beta(8, .5)": 8 / 8.5, "tied: 5 levels": 0.7,
        "tied: 70 % are 1": 0.94, "sparse: 20 % above 0": 0.13, "sparse: 5 % above 0": 0.0325,
    }  # fmt: skip
    if shape in exact:
        return exact[shape]
    # E min(1, a e^z) = a sqrt(e) N(-log a - 1) + N(log a).
    a = 0.08
    return float(a * math.exp(0.5) * stats.norm.cdf(-math.log(a) - 1) + stats.norm.cdf(math.log(a)))


def rng_of(*what: object) -> Rng:
    """Data of a setting, the same whatever was simulated before."""
    return np.random.default_rng(list(map(ord, "/".join(map(str, what)))))


def found(data: Array, low: float | None, high: float | None, differences: bool) -> tuple[Array, Array, Array]:
    """Lower bounds, upper bounds and p of every row."""
    low_high, p = [], []
    for at in range(0, len(data), BLOCK):
        intervals, own = intervals_of(data[at : at + BLOCK], 0, RESAMPLES, low, high, differences)
        low_high += [(i.low, i.high) for i in intervals]
        p.append(own)
    ends = np.array(low_high)
    return ends[:, 0], ends[:, 1], np.concatenate(p)


def percentile(data: Array) -> tuple[Array, Array]:
    """Bounds of the percentile bootstrap, for comparison."""
    n = data.shape[1]
    counts = np.random.default_rng(0).multinomial(n, np.full(n, 1 / n), size=RESAMPLES) / n
    parts = [np.quantile(data[at : at + BLOCK] @ counts.T, [0.025, 0.975], axis=1) for at in range(0, len(data), BLOCK)]
    low, high = np.hstack(parts)
    return low, high


def student(data: Array) -> tuple[Array, Array]:
    """Bounds of Student's t, for comparison."""
    n = data.shape[1]
    reach = stats.t.ppf(0.975, n - 1) * data.std(axis=1, ddof=1) / math.sqrt(n)
    return data.mean(axis=1) - reach, data.mean(axis=1) + reach


def coverage(shape: str, n: int, sets: int, scores: bool) -> tuple[float, float, float, float, float, float]:
    """Of one shape: shares of intervals that hold the truth (percentile, Student, ours), ours above and below it, mean width to
    Student's."""
    data = (SCORES if scores else DIFFERENCES)[shape](rng_of(shape, n, scores), (sets, n))
    mean = truth(shape) if scores else 0.0
    bounded = (0.0, 1.0) if scores and shape != "normal" else (None, None)
    low, high, _ = found(data, *bounded, not scores)
    others = [float(((a <= mean) & (mean <= b)).mean()) for a, b in (percentile(data), student(data))]
    above, below = float((low > mean).mean()), float((high < mean).mean())
    t_low, t_high = student(data)
    width = float((high - low).mean() / (t_high - t_low).mean())
    return others[0], others[1], 1 - above - below, above, below, width


def separated(ranks: list[Rank]) -> bool:
    """Whether anything in a table is surely better than anything else."""
    return any(r.low > 1 or r.high < len(ranks) for r in ranks)


def false_ranks(shape: str, rows: int, n: int, tables: int, pairs: bool) -> float:
    """Share of tables of equal rows in which anything is separated."""
    rng, hits = rng_of(shape, rows, n), 0
    for _ in range(tables):
        data = SCORES[shape](rng, (rows, n))
        if pairs:
            hits += separated(ranks_from_pairs(data, [str(i) for i in range(n)], seed=0))
            continue
        bounded = (None, None) if shape == "normal" else (0.0, 1.0)
        intervals: list[Interval] = intervals_of(data, 0, RESAMPLES, *bounded)[0]
        hits += separated(ranks_from_intervals(intervals))
    return hits / tables


GATED: dict[str, Shape] = {
    **DIFFERENCES,
    "5 % gain .8, the others lose .042 +- .05": lambda rng, size: -_lost(0.05, 0.8, 0.05)(rng, size),
}
LOST: dict[str, Shape] = {
    "5 % lose .8": lambda rng, size: -0.8 * (rng.random(size) < 0.05),
    "5 % lose .8, noise .05": lambda rng, size: -0.8 * (rng.random(size) < 0.05) + rng.normal(0, 0.05, size),
}


def gates(differences: Shape, n: int, sets: int, draws: int = 4000) -> dict[Verdict, float]:
    """Share of each verdict on one metric."""
    data = differences(rng_of("gate", n), (n, sets))
    counted = dict.fromkeys(Verdict, 0)
    for at in range(0, sets, BLOCK):
        part = data[:, at : at + BLOCK]
        for e in mean_evidence(np.zeros_like(part), part, [1.0] * part.shape[1], 0, draws):
            counted[decide([e], [DELTA])[0].verdict] += 1
    return {v: k / sets for v, k in counted.items()}


def _pairs(rng: Rng, n: int, what: str) -> tuple[Array, Array]:
    x, y = rng.normal(size=(2, n))
    if what == "skewed":
        return rng.beta(0.5, 3, n), rng.beta(0.5, 3, n)
    if what == "tied":
        return (x < -0.5).astype(float), (y < -0.5).astype(float)
    if what == "sparse":
        return np.where(x < -1.28, 1 - rng.random(n) * 0.7, 0), np.where(y < -1.28, 1 - rng.random(n) * 0.7, 0)
    return x, (0.3 + np.abs(x)) * y if what == "spread of y grows with x" else y


INDEPENDENT = ("normal", "skewed", "tied", "sparse", "spread of y grows with x")


def false_correlations(what: str, kind: Kind, n: int, sets: int) -> float:
    """Share of uncorrelated data sets for which a correlation is claimed."""
    rng = rng_of(what, kind, n)
    return sum(correlation(*_pairs(rng, n, what), kind).p < 0.05 for _ in range(sets)) / sets


def report(sets: int) -> Iterator[str]:
    """Lines of all tables, in Markdown."""
    for title, shapes in (("scores", SCORES), ("differences", DIFFERENCES)):
        yield f"| {title} | latents | percentile bootstrap | Student's t | here | missed above | missed below | width to t |"
        yield "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |"
        for shape in shapes:
            for n in (12, *SIZES):
                *rates, width = coverage(shape, n, sets, shapes is SCORES)
                yield f"| {shape} | {n} | {' | '.join(f'{x:.1%}' for x in rates)} | {width:.2f} |"
        yield ""
    yield "| equal rows | latents | rows | from intervals | from pairs |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for shape in (
        "normal",
        "skewed: log-normal, cut at 1",
        "near 1: beta(8, .5)",
        "tied: 5 levels",
        "sparse: 20 % above 0",
    ):
        for n in (24, 48):
            for rows in (2, 10, 20):
                one = false_ranks(shape, rows, n, sets // 4, False)
                two = false_ranks(shape, rows, n, max(sets // (4 if rows < 20 else 20), 10), True)
                yield f"| {shape} | {n} | {rows} | {one:.1%} | {two:.1%} |"
    yield ""
    yield "| differences | latents | PASS | INCONCLUSIVE | FAIL |"
    yield "| --- | ---: | ---: | ---: | ---: |"
    for name, shape_of in {**GATED, **LOST}.items():
        for n in (24, 31, 100):
            g = gates(shape_of, n, sets)
            shown = (g[v] for v in (Verdict.PASS, Verdict.INCONCLUSIVE, Verdict.FAIL))
            yield f"| {name} | {n} | {' | '.join(f'{x:.1%}' for x in shown)} |"
    yield ""
    yield "| uncorrelated | latents | Pearson | Spearman |"
    yield "| --- | ---: | ---: | ---: |"
    for what in INDEPENDENT:
        for n in (24, 48):
            rates = [false_correlations(what, kind, n, sets // 4) for kind in ("pearson", "spearman")]
            yield f"| {what} | {n} | {' | '.join(f'{x:.1%}' for x in rates)} |"


if __name__ == "__main__":
    began = time.perf_counter()
    for line in report(int(sys.argv[1]) if len(sys.argv) > 1 else 4000):
        print(line, flush=True)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
