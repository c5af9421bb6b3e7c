"""Where the variance of a score comes from: latents, draws, seeds, judges, coders, and what they do to each other.

Every latent is scored under every combination of the facets (draw x explainer seed x judge ...), so the design is a full
factorial and the analysis of variance has a closed form: expected mean squares, solved from the top interaction downwards. It
is unbiased and needs no optimiser. REML maximises a likelihood that is the same for positive estimates of a balanced design,
takes minutes with crossed factors, and cuts negative estimates at 0, after which components no longer add up to the total.
A negative estimate here is one of a component that is small against its error, and its interval says so.

Two intervals, because each is weak where the other is strong. The *generalised* one counts the levels seen as a sample of
levels: what would other judges add? With two judges it is enormous, and that is the answer. It assumes normal effects. The
*bootstrap* over latents assumes no distribution, but it draws latents only, so it is given for effects of latents only: for a
judge's own effect it would be an interval for these judges, several times too narrow for judges.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, combinations
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from latentbench.stats.bootstrap import LEVEL, RESAMPLES, Array
from latentbench.stats.resample import codes

LATENT, CODER = "latent", "coder"


@dataclass(frozen=True, slots=True)
class Component:
    """Variance of one effect.

    Attributes:
        effect: names of what varies together, such as ("latent", "judge"); `latent` stands for a latent of its coder.
        estimate: unbiased, so it may be negative.
        share: estimate / total.
        low, high: generalised interval (levels are a sample), at least 0.
        degrees: degrees of freedom of the effect's mean square.
        boot_low, boot_high: BCa bootstrap over latents; NaN for effects without latents.
    """

    effect: tuple[str, ...]
    estimate: float
    share: float
    low: float
    high: float
    degrees: int
    boot_low: float
    boot_high: float

    @property
    def name(self) -> str:
        """`latent x judge`."""
        return " x ".join(self.effect)


@dataclass(frozen=True)
class VarianceComponents:
    """All components of a design.

    Attributes:
        components: sum to `total`; the last is the interaction of everything, which contains the error of a single score.
        total: variance of a score of a random latent under a random level of every facet.
        levels: facet -> number of levels, those with more than one.
        constant: facets with one level: what they do cannot be told from the mean.
        latents: used.
        dropped: latents left out because a cell of theirs has no score.
        draws: [generalised draws, components], for intervals of what is computed from components.
    """

    components: tuple[Component, ...]
    total: float
    levels: Mapping[str, int]
    constant: tuple[str, ...]
    latents: int
    dropped: int
    level: float
    draws: Array = field(repr=False, compare=False)

    def __getitem__(self, effect: str | tuple[str, ...]) -> Component:
        wanted = frozenset((effect,) if isinstance(effect, str) else effect)
        return next(c for c in self.components if frozenset(c.effect) == wanted)


def variance_components(
    values: ArrayLike,
    facets: Sequence[str],
    coders: Sequence[Any] | None = None,
    *,
    seed: int,
    resamples: int = RESAMPLES,
) -> VarianceComponents:
    """Random-effects analysis of variance, one score per cell.

    Latents are crossed with the facets and nested in coders, of which each may have another number of latents. With K_U the
    product of the numbers of levels of the facets outside U (Searle, Casella and McCulloch 1992, ch. 4; Brennan 2001, ch. 3):

        E MS(latent, T) = sum over U >= T of K_U s2(latent, U)
        E MS(coder, T)  = sum over U >= T of K_U (s2(latent, U) + n0 s2(coder, U))
        E MS(T)         = sum over U >= T of K_U (s2(latent, U) + n1 s2(coder, U) + n s2(U))

    with n latents, n_c of coder c out of C, n1 = sum n_c^2 / n and n0 = (n - n1) / (C - 1). Generalised intervals put
    SS / chi2(df) in the place of each mean square (Weerahandi 1995); they assume normal effects.

    Args:
        values: [latents, levels of facet 1, levels of facet 2, ...]. Latents with a missing cell are left out and counted.
        facets: names of the axes after the first.
        coders: [latents] coder of every latent; one coder by default.
        seed: of the generalised draws and the bootstrap.
        resamples: number of draws of each.

    Raises:
        ValueError: shapes do not fit, a name is used twice, or fewer than two complete latents beyond one per coder.
    """
    table = np.asarray(values, dtype=np.float64)
    names = (LATENT, CODER, *facets)
    if table.ndim != 1 + len(facets) or len(set(names)) != len(names):
        raise ValueError(
            f"values {table.shape} need one axis for latents and one for each of the facets {list(facets)}."
        )
    group = codes([0] * len(table) if coders is None else list(coders), len(table))
    whole = np.isfinite(table.reshape(len(table), -1)).all(axis=1)
    dropped = int((~whole).sum())
    used, group = table[whole], codes(group[whole].tolist(), int(whole.sum()))
    n, n_coders = len(used), len(set(group.tolist()))
    if n - n_coders < 2:
        raise ValueError(
            f"{n} latents of {n_coders} coders have a score in every cell; their variance needs at least two more than coders."
        )
    constant = tuple(f for f, size in zip(facets, used.shape[1:], strict=True) if size == 1)
    kept = [f for f in facets if f not in constant]
    used = used.reshape(n, *(s for s in used.shape[1:] if s > 1))
    design = _Design(used, kept, group)

    sums = design.sums(np.ones((1, n)))[0]
    estimates = design.solve @ (sums / design.degrees)
    total = float(estimates.sum())
    rng = np.random.default_rng(seed)
    draws = (sums / rng.chisquare(design.degrees, size=(resamples, len(sums)))) @ design.solve.T
    tails = np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    expanded = _expanded(n - n_coders)
    ends = np.maximum(np.quantile(draws, tails, axis=0), 0.0)

    weights = np.zeros((resamples, n))
    for c in range(n_coders):
        own = np.flatnonzero(group == c)
        weights[:, own] = rng.multinomial(len(own), np.full(len(own), 1 / len(own)), size=resamples)
    found = (design.sums(weights) / design.degrees) @ design.solve.T
    left_out = (design.sums(1 - np.eye(n)) / design.degrees) @ design.solve.T
    components = []
    for i, effect in enumerate(design.effects):
        boot_low = boot_high = math.nan
        if LATENT in effect and np.ptp(found[:, i]) > 0:
            places = _bca_tails(left_out[:, i].mean() - left_out[:, i], found[:, i], float(estimates[i]), expanded)
            boot_low, boot_high = (float(b) for b in np.quantile(found[:, i], places))
        components.append(
            Component(
                effect,
                float(estimates[i]),
                float(estimates[i]) / total if total > 0 else math.nan,
                float(ends[0, i]),
                float(ends[1, i]),
                int(design.degrees[i]),
                boot_low,
                boot_high,
            )
        )
    levels = dict(zip(kept, used.shape[1:], strict=True))
    return VarianceComponents(tuple(components), total, levels, constant, n, dropped, LEVEL, draws)


def _bca_tails(influence: Array, resampled: Array, estimate: float, tails: Array) -> Array:
    """Quantiles of the resamples to read instead of `tails` (Efron 1987, eq. 2.3 and 6.6).

    Args:
        influence: [n] of each cluster on the estimate, up to a positive factor; sums to about 0. Gives the acceleration.
        resampled: [resamples] values of the statistic; their median against `estimate` gives the bias z0.
        estimate: of the sample.
        tails: nominal quantiles.
    """
    from scipy.special import ndtr, ndtri

    share = float(((resampled < estimate).mean() + (resampled <= estimate).mean()) / 2)
    z0 = ndtri(min(max(share, 0.5 / len(resampled)), 1 - 0.5 / len(resampled)))
    spread = (influence**2).sum() ** 1.5
    acceleration = (influence**3).sum() / (6 * spread) if spread > 0 else 0.0
    z = z0 + ndtri(tails)
    adjusted: Array = ndtr(z0 + z / (1 - acceleration * z))
    return adjusted


def _expanded(degrees: int) -> Array:
    """Tails of a bootstrap interval, widened for what resampling forgets in a small sample (Hesterberg 2015, section 4.2).

    A resample varies by (n - 1) / n of what a sample does, and the error is itself estimated: the nominal normal quantile
    becomes sqrt(n / (n - 1)) times Student's.
    """
    from scipy.special import ndtr
    from scipy.stats import t

    reach = np.sqrt((degrees + 1) / degrees) * t.ppf((1 + LEVEL) / 2, degrees)
    return np.array([ndtr(-reach), ndtr(reach)])


class _Design:
    """Sums of squares of a design, and the linear map from mean squares to components.

    Attributes:
        effects: in the order of all arrays.
        degrees: [effects].
        solve: [effects, effects], components = solve @ mean squares.
    """

    def __init__(self, values: Array, facets: Sequence[str], group: NDArray[np.int64]) -> None:
        n, sizes = len(values), values.shape[1:]
        self._group = np.eye(int(group.max()) + 1)[group]
        per_coder = self._group.sum(axis=0)
        n_coders = len(per_coder)
        n1 = float((per_coder**2).sum() / n)
        n0 = (n - n1) / (n_coders - 1) if n_coders > 1 else math.nan
        subsets = list(chain.from_iterable(combinations(range(len(sizes)), r) for r in range(len(sizes) + 1)))
        self._parts: list[tuple[float, Array]] = []
        """Per subset T of facets: K_T, and the contrasts [latents, combinations of levels of T]."""
        strata: list[tuple[str, tuple[int, ...]]] = []
        degrees: list[int] = []
        for subset in subsets:
            z = values
            for axis, size in enumerate(sizes, 1):
                mean = z.mean(axis=axis, keepdims=True)
                z = z - mean if axis - 1 in subset else mean
                assert size > 1
            outside = math.prod(s for i, s in enumerate(sizes) if i not in subset)
            self._parts.append((float(outside), z.reshape(n, -1)))
            own = math.prod(sizes[i] - 1 for i in subset)
            strata += [(LATENT, subset)]
            degrees.append((n - n_coders) * own)
            if n_coders > 1:
                strata.append((CODER, subset))
                degrees.append((n_coders - 1) * own)
            if subset:
                strata.append(("", subset))
                degrees.append(own)
        place = {stratum: i for i, stratum in enumerate(strata)}
        self._place, self._n_coders = place, n_coders
        # Expected mean squares as a matrix; it is triangular in supersets, so the inverse is exact.
        expected = np.zeros((len(strata), len(strata)))
        for (kind, t), row in place.items():
            for (what, u), column in place.items():
                if not set(u) >= set(t):
                    continue
                outside = math.prod(s for i, s in enumerate(sizes) if i not in u)
                factor = {
                    LATENT: {LATENT: 1.0},
                    CODER: {LATENT: 1.0, CODER: n0},
                    "": {LATENT: 1.0, CODER: n1, "": float(n)},
                }
                expected[row, column] = outside * factor[kind].get(what, 0.0)
        order = sorted(range(len(strata)), key=lambda i: (len(self._effect(strata[i], facets)), strata[i][0] == "", i))
        self._order = order
        self.effects = [self._effect(strata[i], facets) for i in order]
        self.degrees = np.array(degrees, dtype=np.float64)[order]
        self.solve = np.linalg.inv(expected)[np.ix_(order, order)]

    @staticmethod
    def _effect(stratum: tuple[str, tuple[int, ...]], facets: Sequence[str]) -> tuple[str, ...]:
        return (*((stratum[0],) if stratum[0] else ()), *(facets[i] for i in stratum[1]))

    def sums(self, weights: Array) -> Array:
        """Sums of squares [b, effects] of weighted samples [b, latents]."""
        n = weights.sum(axis=1)
        size = weights @ self._group
        found = np.zeros((len(weights), len(self._place)))
        for (outside, z), subset in zip(self._parts, self._subsets(), strict=True):
            square = weights @ (z**2).sum(axis=1)
            within = np.zeros(len(weights))
            whole = np.zeros((len(weights), z.shape[1]))
            for c in range(self._n_coders):
                mine = self._group[:, c] > 0
                part = weights[:, mine] @ z[mine]
                square_sum = (part**2).sum(axis=1)
                # A coder whose only latent is left out adds nothing.
                within += np.divide(square_sum, size[:, c], out=np.zeros_like(square_sum), where=size[:, c] > 0)
                whole += part
            mean = (whole**2).sum(axis=1) / n
            found[:, self._place[(LATENT, subset)]] = outside * (square - within)
            if self._n_coders > 1:
                found[:, self._place[(CODER, subset)]] = outside * (within - mean)
            if subset:
                found[:, self._place[("", subset)]] = outside * mean
        ordered: Array = np.maximum(found, 0.0)[:, self._order]
        return ordered

    def _subsets(self) -> list[tuple[int, ...]]:
        return [subset for kind, subset in self._place if kind == LATENT]
