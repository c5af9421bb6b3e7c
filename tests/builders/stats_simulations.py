"""Simulations with known truth for intervals and tests of bench/latentbench/stats: coverage should be 95 %, size 5 %.

Means, paired differences, ranks and gates are in `mean_simulations`, over many shapes of scores.

Each case is a function of a generator that draws one data set and says whether the interval held the truth (coverage) or the
test rejected a true null (size). Printed as the table of docs/statistics.md by

    python tests/builders/stats_simulations.py 2000
    python tests/builders/stats_simulations.py 2000 limits
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from latentbench.stats.alpha import krippendorff_alpha
from latentbench.stats.correlation import correlation, retest
from latentbench.stats.dependability import dependability
from latentbench.stats.maximum import best_of_k
from latentbench.stats.variance import variance_components
from scipy import stats

N = 96
"""Latents of a data set, where the case does not say otherwise."""

Rng = np.random.Generator


def generator(k: int, name: str) -> Rng:
    """Of data set `k` of a case."""
    return np.random.default_rng([k, *map(ord, name)])


@dataclass(frozen=True)
class Case:
    """One simulated property."""

    name: str
    data: str
    kind: str
    one: Callable[..., bool]
    """Takes a generator, or the number of the data set where several cases share its analysis."""
    numbered: bool = False

    def rate(self, sets: int) -> float:
        """Share of data sets for which it is true."""
        if self.numbered:
            return sum(bool(self.one(k)) for k in range(sets)) / sets
        return sum(bool(self.one(generator(k, self.name + self.data))) for k in range(sets)) / sets


CASES: list[Case] = []


def case(name: str, data: str, kind: str = "coverage", numbered: bool = False) -> Callable[[Any], Any]:
    def add(one: Any) -> Any:
        CASES.append(Case(name, data, kind, one, numbered))
        return one

    return add


def seed(rng: Rng) -> int:
    """One of few, so that the resamples of means come from their cache; the data differ."""
    return int(rng.integers(4))


def holds(interval: object, truth: float) -> bool:
    return interval.low <= truth <= interval.high  # type: ignore[attr-defined]


# --- a choice

case("best of 8 against its null", "8 equal candidates, 40 latents", "size")(
    lambda rng: best_of_k(rng.normal(size=40) + rng.normal(size=(8, 40)), seed=seed(rng), resamples=400).p <= 0.05
)

# --- correlations

TRUTH = {"pearson": lambda r: r, "spearman": lambda r: 6 / math.pi * math.asin(r / 2)}


def _normal(rng: Rng, r: float, n: int = N) -> tuple[np.ndarray, np.ndarray]:
    x, e = rng.normal(size=(2, n))
    return x, r * x + math.sqrt(1 - r * r) * e


def _clustered(rng: Rng, r: float, latents: int = 60, each: int = 3):  # type: ignore[no-untyped-def]
    """Rows of one latent share most of what they are; the correlation of all rows is r."""
    x, y = _normal(rng, r, latents)
    a, b = _normal(rng, r, latents * each)
    ids = np.repeat(np.arange(latents), each)
    return 0.9 * x[ids] + math.sqrt(0.19) * a, 0.9 * y[ids] + math.sqrt(0.19) * b, ids.tolist()


def _fans(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """Spread of y grows with |x|; no correlation."""
    x, e = rng.normal(size=(2, N))
    return x, (0.3 + np.abs(x)) * e


for _kind in ("pearson", "spearman"):
    for _r in (0.3, 0.8):
        case(_kind.capitalize(), f"normal, r {_r}")(
            lambda rng, k=_kind, r=_r: holds(correlation(*_normal(rng, r), k), TRUTH[k](r))
        )
    case(_kind.capitalize(), "independent normal", "size")(
        lambda rng, k=_kind: correlation(*_normal(rng, 0.0), k).p < 0.05
    )
    case(_kind.capitalize(), "uncorrelated, spread of y grows with x", "size")(
        lambda rng, k=_kind: correlation(*_fans(rng), k).p < 0.05
    )
case("Pearson, clustered", "60 latents x 3 explanations, r 0.5")(
    lambda rng: holds(correlation(*(d := _clustered(rng, 0.5))[:2], "pearson", clusters=d[2]), 0.5)
)
case("Spearman, clustered", "60 latents x 3 explanations", "size")(
    lambda rng: correlation(*(d := _clustered(rng, 0.0))[:2], clusters=d[2]).p < 0.05
)
case("Spearman, bootstrap", "normal, r 0.3")(
    lambda rng: holds(correlation(*_normal(rng, 0.3), "spearman", seed=0), TRUTH["spearman"](0.3))
)
case("Spearman, bootstrap", "24 latents, normal, r 0.8")(
    lambda rng: holds(correlation(*_normal(rng, 0.8, 24), "spearman", seed=0), TRUTH["spearman"](0.8))
)
case("Spearman, bootstrap, clustered", "60 latents x 3 explanations", "size")(
    lambda rng: correlation(*(d := _clustered(rng, 0.0))[:2], clusters=d[2], seed=0).p < 0.05
)
case("Spearman, bootstrap, ties", "24 latents, 5 levels, independent", "size")(
    lambda rng: correlation(*np.digitize(rng.normal(size=(2, 24)), [-1, -0.3, 0.4, 1.2]), seed=0).p < 0.05
)
case("Spearman, ties", "5 levels, independent", "size")(
    lambda rng: correlation(*np.digitize(rng.normal(size=(2, N)), [-1, -0.3, 0.4, 1.2])).p < 0.05
)


case("test-retest, Spearman", "3 repeats, r 0.6")(
    lambda rng: holds(
        retest(
            math.sqrt(0.6) * rng.normal(size=(N, 1)) + math.sqrt(0.4) * rng.normal(size=(N, 3)),
            [(0, 1), (0, 2), (1, 2)],
        ),
        TRUTH["spearman"](0.6),
    )
)

# --- agreement: a rating is the unit's own with probability Q, else drawn from P

P, Q = np.array([0.5, 0.3, 0.2]), 0.8
KAPPA = Q**2
"""Two raters agree by having both the unit's own category, else by chance."""


def _nominal(rng: Rng, q: float = Q, raters: int = 3) -> np.ndarray:
    own, drawn = rng.choice(3, p=P, size=(N, 1)), rng.choice(3, p=P, size=(N, raters))
    return np.where(rng.random((N, raters)) < q, own, drawn).astype(float)


def _missing(rng: Rng) -> np.ndarray:
    x = _nominal(rng)
    return np.where(rng.random(x.shape) < 0.2, np.nan, x)


def _interval(rng: Rng) -> np.ndarray:
    return math.sqrt(0.7) * rng.normal(size=(N, 1)) + math.sqrt(0.3) * rng.normal(size=(N, 3))


EDGES = [-1, -0.3, 0.4, 1.2]


def _ordinal_truth(r: float = 0.7) -> float:
    """Ordinal alpha of two ratings that are cut from normal variables with correlation r: midranks of the categories."""
    edges = np.array([-8, *EDGES, 8.0])
    cdf = np.array([[stats.multivariate_normal([0, 0], [[1, r], [r, 1]]).cdf([a, b]) for b in edges] for a in edges])
    joint = np.diff(np.diff(cdf, axis=0), axis=1)
    p = np.diff(stats.norm.cdf(edges))
    rank = np.cumsum(p) - p / 2
    apart = np.subtract.outer(rank, rank) ** 2
    return 1 - float((joint * apart).sum() / (np.outer(p, p) * apart).sum())


_ORDINAL: list[float] = []


def _ordinal(rng: Rng, seed: int | None = None) -> bool:
    if not _ORDINAL:
        _ORDINAL.append(_ordinal_truth())
    return holds(krippendorff_alpha(np.digitize(_interval(rng), EDGES), "ordinal", seed=seed), _ORDINAL[0])


case("Krippendorff alpha, nominal", f"3 raters, alpha {KAPPA:.2f}")(
    lambda rng: holds(krippendorff_alpha(_nominal(rng)), KAPPA)
)
case("Krippendorff alpha, nominal", f"a fifth of the ratings missing, alpha {KAPPA:.2f}")(
    lambda rng: holds(krippendorff_alpha(_missing(rng)), KAPPA)
)
case("Krippendorff alpha, ordinal", "5 categories, 3 raters, alpha 0.63")(_ordinal)
case("Krippendorff alpha, ordinal, bootstrap", "5 categories, 3 raters, alpha 0.63")(lambda rng: _ordinal(rng, 0))
case("Krippendorff alpha, interval", "3 raters, alpha 0.70")(
    lambda rng: holds(krippendorff_alpha(_interval(rng), "interval"), 0.7)
)
case("Krippendorff alpha, interval", "3 raters, chance", "size")(
    lambda rng: krippendorff_alpha(rng.normal(size=(N, 3)), "interval").p < 0.05
)

# --- variance components

CROSSED = {
    ("latent",): 1.0,
    ("draw",): 0.1,
    ("judge",): 0.3,
    ("latent", "draw"): 0.2,
    ("latent", "judge"): 0.4,
    ("draw", "judge"): 0.1,
    ("latent", "draw", "judge"): 0.5,
}
NESTED = {("coder",): 0.5, ("latent",): 1.0, ("draw",): 0.1, ("coder", "draw"): 0.1, ("latent", "draw"): 0.5}
CODERS = [0] * 30 + [1] * 26 + [2] * 22 + [3] * 18


def crossed(
    rng: Rng, effects: dict[tuple[str, ...], float], n: int, levels: dict[str, int], coders: list[int] | None = None
):
    """Scores [n, *levels] with normal effects of the given variances."""
    y = np.zeros((n, *levels.values()))
    for effect, variance in effects.items():
        inner = [size if facet in effect else 1 for facet, size in levels.items()]
        rows = n if "latent" in effect else max(coders or [0]) + 1 if "coder" in effect else 1
        drawn = rng.normal(scale=math.sqrt(variance), size=(rows, *inner))
        y = y + (drawn[coders] if "coder" in effect else drawn)
    return y


@cache
def _components(k: int) -> tuple[dict[tuple[str, ...], bool], bool]:
    """Which intervals of data set `k` hold the truth: by component, and for dependability."""
    rng = generator(k, "crossed")
    y = crossed(rng, CROSSED, N, {"draw": 4, "judge": 3})
    found = variance_components(y, ("draw", "judge"), seed=seed(rng), resamples=1000)
    return {e: holds(found[e], v) for e, v in CROSSED.items()}, holds(dependability(found, {}).relative, 1 / 2.1)


for _effect in CROSSED:
    case(f"variance of {' x '.join(_effect)}, generalised", "96 latents x 4 draws x 3 judges, normal", numbered=True)(
        lambda k, e=_effect: _components(k)[0][e]
    )
case("dependability for ranks, one score", "96 latents x 4 draws x 3 judges, normal", numbered=True)(
    lambda k: _components(k)[1]
)


@cache
def _nested(k: int) -> dict[tuple[str, ...], bool]:
    rng = generator(k, "nested")
    y = crossed(rng, NESTED, N, {"draw": 3}, CODERS)
    found = variance_components(y, ("draw",), CODERS, seed=seed(rng), resamples=1000)
    return {e: holds(found[e], v) for e, v in NESTED.items()}


for _effect in NESTED:
    if "coder" in _effect:
        case(
            f"variance of {' x '.join(_effect)}, generalised",
            "30, 26, 22, 18 latents of 4 coders x 3 draws",
            numbered=True,
        )(lambda k, e=_effect: _nested(k)[e])


@case("variance of latent, bootstrap", "beta(5, 3) latents x 3 draws")
def _boot_latent(rng: Rng) -> bool:
    y = rng.beta(5, 3, size=(N, 1)) + rng.normal(scale=0.1, size=(N, 3))
    c = variance_components(y, ("draw",), seed=seed(rng), resamples=1000)["latent"]
    return c.boot_low <= 15 / (64 * 9) <= c.boot_high


@case("variance of latent x draw, bootstrap", "normal, 96 latents x 3 draws")
def _boot_error(rng: Rng) -> bool:
    y = crossed(rng, {("latent",): 1.0, ("latent", "draw"): 0.5}, N, {"draw": 3})
    c = variance_components(y, ("draw",), seed=seed(rng), resamples=1000)[("latent", "draw")]
    return c.boot_low <= 0.5 <= c.boot_high


# --- where an interval does not hold: beside the others in the documentation, so that nobody has to find out

LIMITS: list[Case] = []


def limit(name: str, data: str, kind: str = "coverage") -> Callable[[Any], Any]:
    def add(one: Any) -> Any:
        LIMITS.append(Case(name, data, kind, one))
        return one

    return add


def _exponential(rng: Rng):  # type: ignore[no-untyped-def]
    y = rng.exponential(size=(N, 1)) + rng.normal(scale=0.5, size=(N, 3))
    return variance_components(y, ("draw",), seed=seed(rng), resamples=1000)["latent"]


@limit("Pearson, tails without bound", "log-normal, r 0.5 of the logarithms")
def _heavy(rng: Rng) -> bool:
    x, y = _normal(rng, 0.5)
    # Corr(exp X, exp Y) = (exp r - 1) / (e - 1) for standard normal X, Y with correlation r.
    return holds(correlation(np.exp(x), np.exp(y), "pearson"), (math.exp(0.5) - 1) / (math.e - 1))


limit("Fisher's z with 1 / sqrt(n - 3), for comparison", "uncorrelated, spread of y grows with x", "size")(
    lambda rng: abs(math.atanh(np.corrcoef(*_fans(rng))[0, 1])) * math.sqrt(N - 3) > 1.96
)
limit("Spearman of rows as if independent, for comparison", "60 latents x 3 explanations", "size")(
    lambda rng: correlation(*_clustered(rng, 0.0)[:2]).p < 0.05
)
limit("variance of latent, generalised", "exponential latents")(lambda rng: holds(_exponential(rng), 1.0))
limit("variance of latent, bootstrap", "exponential latents")(
    lambda rng: (c := _exponential(rng)).boot_low <= 1.0 <= c.boot_high
)


def main(sets: int, cases: Sequence[Case]) -> None:
    """Print the table."""
    print("| statistic | data | sets | rate | should be |")
    print("| --- | --- | ---: | ---: | --- |")
    began = time.perf_counter()
    for c in cases:
        found = c.rate(sets)
        wanted = "95 % cover" if c.kind == "coverage" else "5 % rejected"
        print(f"| {c.name} | {c.data} | {sets:,} | {found:.1%} | {wanted} |", flush=True)
    print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)


if __name__ == "__main__":
    main(int(sys.argv[1]), LIMITS if "limits" in sys.argv else CASES)
