"""The error of any coefficient over latents: samples as weights.

Leaving a latent out is a vector of ones with zeros at its rows, and a draw of the Bayesian bootstrap is a vector of exponential
weights. A statistic that takes weights [samples, n] is therefore computed for all samples at once, and the jackknife and the
bootstrap are one function each for all statistics. Passing a subset of the *data* to a statistic is the tempting interface: it is
a Python loop over latents.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentbench.stats.bootstrap import FEWEST, LEVEL, RESAMPLES, Array

Statistic = Callable[[Array], Array]
"""Weights [b, n] of n rows -> [b]; NaN where it is undefined. Equal weights of one are the sample itself."""

CHUNK = 2_000_000
"""Weights held at a time: 16 MB."""
LINE = 1 - 1e-12
"""Beyond this a coefficient is that of perfect agreement, and the rest is rounding."""


@dataclass(frozen=True, slots=True)
class Coefficient:
    """A coefficient of correlation or agreement over latents, with its interval.

    Attributes:
        estimate: NaN where it is undefined, as where one side does not vary.
        low, high: confidence bounds; NaN where leaving a latent out leaves nothing to compute or a straight line, and with fewer
            than `FEWEST` latents.
        p: two-sided p of "no more than chance"; NaN as the bounds.
        n: rows that count.
        clusters: latents among them.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int
    clusters: int
    level: float = LEVEL


@dataclass(frozen=True, slots=True)
class Jackknife:
    """A statistic with its delete-one-latent standard error.

    Attributes:
        estimate: on the whole sample.
        error: standard error; NaN with fewer than three clusters, or where leaving one out leaves the statistic undefined.
        clusters: clusters left out in turn.
    """

    estimate: float
    error: float
    clusters: int


def codes(clusters: Sequence[Any] | None, n: int) -> NDArray[np.int64]:
    """Numbers 0..m-1 of the clusters of `n` rows, by first appearance; each row its own cluster by default.

    Raises:
        ValueError: not one cluster per row.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise ValueError(f"{len(clusters)} clusters for {n} rows.")
    numbers: dict[Any, int] = {}
    return np.array([numbers.setdefault(c, len(numbers)) for c in clusters], dtype=np.int64)


def jackknife(
    statistic: Statistic,
    n: int,
    clusters: Sequence[Any] | None = None,
    transform: Callable[[Array], Array] | None = None,
) -> Jackknife:
    """Delete-one-cluster jackknife (Efron and Stein 1981): error^2 = (m - 1) / m * sum (theta_i - mean theta_i)^2.

    Args:
        statistic: see `Statistic`.
        n: rows.
        clusters: [n] latent of every row; rows of one latent are left out together.
        transform: scale on which estimate and error are wanted, such as arctanh.
    """
    scale = transform or (lambda values: values)
    groups = codes(clusters, n)
    m = int(groups.max()) + 1 if n else 0
    estimate = float(scale(statistic(np.ones((1, n))))[0]) if n else float("nan")
    if m < 3:
        return Jackknife(estimate, float("nan"), m)
    step = max(1, CHUNK // n)
    parts = [
        scale(statistic((groups[None, :] != np.arange(at, min(at + step, m))[:, None]).astype(np.float64)))
        for at in range(0, m, step)
    ]
    left_out = np.concatenate(parts)
    error = float(np.sqrt((m - 1) / m * ((left_out - left_out.mean()) ** 2).sum()))
    return Jackknife(estimate, error, m)


def bootstrap_error(
    statistic: Statistic,
    groups: NDArray[np.int64],
    seed: int,
    transform: Callable[[Array], Array],
    draws: int = RESAMPLES,
) -> float:
    """Standard deviation of a statistic over draws of the Bayesian bootstrap (Rubin 1981) over clusters.

    Args:
        statistic: see `Statistic`.
        groups: [n] cluster of every row, 0 to m - 1; rows of one cluster are weighted together.
        seed: of the weights.
        transform: scale on which the error is wanted.
        draws: how many.

    Returns:
        NaN where a draw leaves the statistic undefined.
    """
    m, n = int(groups.max()) + 1, len(groups)
    rng = np.random.default_rng(seed)
    parts = []
    step = max(1, CHUNK // n)
    for at in range(0, draws, step):
        drawn = rng.exponential(size=(min(step, draws - at), m))[:, groups]
        # Whole numbers would add up to n, and alpha asks how many ratings there are.
        parts.append(transform(statistic(drawn * (n / drawn.sum(axis=1, keepdims=True)))))
    return float(np.concatenate(parts).std(ddof=1))


def fisher(values: Array) -> Array:
    """Fisher's scale; NaN on a straight line, whose infinity (or what rounding leaves of it) is no distance from the others."""
    found: Array = np.arctanh(np.where(np.abs(values) > LINE, np.nan, values))
    return found


def coefficient(
    statistic: Statistic, n: int, groups: NDArray[np.int64], floor: float, seed: int | None = None
) -> Coefficient:
    """A coefficient with its interval on Fisher's scale and its p.

    z = arctanh(estimate), low and high = tanh(z -+ t se), p from t = z / se, with se from leaving out one cluster at a time (or,
    with a seed, from the bootstrap over clusters) and m - 1 degrees of freedom for m clusters (Arvesen 1969; Hinkley 1978 for the
    correlation). So p < 0.05 if and only if the interval excludes 0. se is at least floor / sqrt(m - 3), the error of independent
    clusters without a relation: where most values are equal, no latent left out changes anything, and the jackknife alone is sure
    of whatever the few others say.

    Args:
        n: rows.
        groups: [n] latent of each row, as a number.
        floor: 1 for a Pearson correlation.
        seed: of the bootstrap; None for the jackknife.
    """
    nan = math.nan
    m = len(set(groups.tolist()))
    estimate = float(statistic(np.ones((1, n)))[0]) if n > 1 else nan
    if abs(estimate) > LINE:
        estimate = float(round(estimate))
    if m < FEWEST or not abs(estimate) < 1:
        return Coefficient(estimate, nan, nan, nan, n, m)
    from scipy.stats import t

    if seed is None:
        found = jackknife(statistic, n, groups.tolist(), fisher)
        z, error = found.estimate, found.error
    else:
        z, error = math.atanh(estimate), bootstrap_error(statistic, codes(groups.tolist(), n), seed, fisher)
    if not math.isfinite(error):
        return Coefficient(estimate, nan, nan, nan, n, m)
    error = max(error, floor / math.sqrt(m - 3))
    reach = float(t.ppf((1 + LEVEL) / 2, m - 1)) * error
    p = float(2 * t.sf(abs(z) / error, m - 1))
    return Coefficient(estimate, math.tanh(z - reach), math.tanh(z + reach), p, n, m)
