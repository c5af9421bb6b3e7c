"""Which parameters mattered, with what the number would be if none did.

    y = b0 + sum over parameters of f_p(x_p),    f_p: a level per choice; b1 x + b2 x^2 of a number (of its logarithm for `log`)
    importance of p = (RSS without f_p - RSS) / RSS of the mean alone

that is, the share of the variance between trials that only p accounts for. Forests (fANOVA) and PED-ANOVA, Optuna's choices, need
more trials than a search of paid calls has: at 40 trials of a landscape with three real effects they show fewer of them.
What an additive model cannot see is a parameter that matters only together with another one.

Shares of anything look like a ranking even when nothing matters, so each importance comes with two references:

    range      2.5 to 97.5 % over bootstrap samples of trials and of latents
    chance     95 % quantile if this parameter did nothing; an importance below it has shown nothing

A trial's score is its mean difference to the best trial on the latents that it has, so trials that were stopped early count
without being rewarded for easy latents. An inactive parameter contributes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.kernel.identity import seed_for
from latentbench.tuning.space import Space
from latentbench.tuning.tune_spec import Parameter, Scalar

RESAMPLES = 500
SPARE = 5
"""Trials beyond the model's coefficients; with fewer nothing is said."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """Importance of one parameter: its share of variance, the range over resamples, and the chance level."""

    parameter: str
    importance: float
    low: float
    high: float
    chance: float
    trials: int
    """Number of trials in which the parameter was active."""


def importances(
    settings: Sequence[Mapping[str, Scalar]],
    values: Sequence[Array],
    larger_is_better: bool,
    space: Space,
    seed: int,
    resamples: int = RESAMPLES,
) -> list[Importance]:
    """Importances, largest first; none if there are too few trials.

    Args:
        settings: of each trial.
        values: per trial [latents so far], all in one order of latents; NaN where there is none.
        larger_is_better: direction of the values.
        seed: of the resampling.
    """
    names = [name for name in space if any(name in s for s in settings)]
    blocks = {name: _columns(space[name], [s.get(name, _INACTIVE) for s in settings]) for name in names}
    blocks = {name: block for name, block in blocks.items() if block.shape[1]}
    if len(settings) < 1 + sum(b.shape[1] for b in blocks.values()) + SPARE:
        return []
    whole = max(len(v) for v in values)
    full = np.full((len(values), whole), np.nan)
    for row, v in zip(full, values, strict=True):
        row[: len(v)] = v if larger_is_better else -v
    complete = np.flatnonzero([len(v) == whole for v in values])
    best = complete[np.argmax(np.nanmean(full[complete], axis=1))]
    differences = full - full[best]
    scores = _means(differences, np.ones(whole))
    found = explained(blocks, scores)
    rng = np.random.default_rng(seed_for("importance", seed))
    ranges = []
    for _ in range(resamples):
        weights = np.bincount(rng.integers(0, whole, whole), minlength=whole).astype(float)
        drawn = rng.integers(0, len(settings), len(settings))
        ranges.append(explained({n: b[drawn] for n, b in blocks.items()}, _means(differences, weights)[drawn]))
    chance = _chance(blocks, scores, rng, resamples)
    out = []
    for name in blocks:
        low, high = np.quantile([r[name] for r in ranges], [0.025, 0.975])
        active = sum(name in s for s in settings)
        out.append(Importance(name, found[name], float(low), float(high), chance[name], active))
    return sorted(out, key=lambda i: (-i.importance, i.parameter))


def explained(blocks: Mapping[str, Array], scores: Array) -> dict[str, float]:
    """Share of the variance of `scores` [n] that is lost when a block of columns [n, k] leaves the additive model."""
    total = _rss(_basis({}, len(scores)), scores)
    if total == 0:
        return dict.fromkeys(blocks, 0.0)
    whole = _rss(_basis(blocks, len(scores)), scores)
    return {name: max(0.0, _rss(_without(blocks, name), scores) - whole) / total for name in blocks}


def _chance(blocks: Mapping[str, Array], scores: Array, rng: np.random.Generator, resamples: int) -> dict[str, float]:
    """95 % quantile of each importance if its parameter did nothing and the others did what they did.

    Freedman and Lane (1983): residuals of the model without the parameter are exchanged between trials. Exchanging the scores
    themselves would make the effects of all other parameters part of the noise.
    """
    whole = _basis(blocks, len(scores))
    found = {}
    for name in blocks:
        reduced = _without(blocks, name)
        fitted = reduced @ (reduced.T @ scores)
        drawn = np.stack([fitted + rng.permutation(scores - fitted) for _ in range(resamples)])
        total = ((drawn - drawn.mean(axis=1, keepdims=True)) ** 2).sum(axis=1)
        lost = ((drawn @ whole) ** 2).sum(axis=1) - ((drawn @ reduced) ** 2).sum(axis=1)
        shares = np.divide(lost, total, out=np.zeros(resamples), where=total > 0)
        found[name] = float(np.quantile(shares, 0.95))
    return found


def _basis(blocks: Mapping[str, Array], n: int) -> Array:
    """Orthonormal columns that span the model of these blocks and a constant."""
    u, size, _ = np.linalg.svd(np.hstack([np.ones((n, 1)), *blocks.values()]), full_matrices=False)
    kept: Array = u[:, size > size[0] * 1e-10]
    return kept


def _without(blocks: Mapping[str, Array], name: str) -> Array:
    rest = {n: b for n, b in blocks.items() if n != name}
    return _basis(rest, len(blocks[name]))


def _rss(basis: Array, scores: Array) -> float:
    return float(((scores - basis @ (basis.T @ scores)) ** 2).sum())


_INACTIVE = object()


def _columns(parameter: Parameter, values: Sequence[Any]) -> Array:
    """Columns of one parameter, [trials, k]: centred over the trials in which it is active, 0 in the others."""
    here = np.array([v is not _INACTIVE for v in values])
    active = [v for v in values if v is not _INACTIVE]
    if parameter.values is not None:
        levels = [name for name in parameter.names if any(_same(v, name) for v in active)]
        raw = np.array([[float(_same(v, name)) for name in levels[1:]] for v in active]).reshape(len(active), -1)
    else:
        x = np.array(active, np.float64)
        x = np.log(x) if parameter.log else x
        spread = np.ptp(x) or 1.0
        x = (x - x.mean()) / spread
        raw = np.stack([x, x**2], axis=1)[:, : min(2, len(np.unique(x)) - 1)]
    out = np.zeros((len(values), raw.shape[1]))
    out[here] = raw - raw.mean(axis=0)
    return out


def _same(a: Scalar, b: Scalar) -> bool:
    return a == b and isinstance(a, bool) == isinstance(b, bool)


def _means(differences: Array, weights: Array) -> Array:
    """Weighted mean per trial over the latents it has; the worst for a trial that has none of the drawn ones."""
    there = ~np.isnan(differences)
    total = there @ weights
    summed = np.where(there, differences, 0.0) @ weights
    means: Array = np.divide(summed, total, out=np.full(len(summed), np.nan), where=total > 0)
    means[np.isnan(means)] = np.nanmin(means)
    return means
