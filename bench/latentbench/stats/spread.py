"""How well a pilot knows the spread of scores over latents.

The number of latents that an experiment needs grows with the square of the spread, so a plan that takes a pilot's standard
deviation as the truth is off by as much as that is, squared. The usual interval of a standard deviation (chi-square) holds for
normal scores alone; scores near an end of their range, or mostly equal, are none, and it is then several times too narrow.
"""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from latentbench.stats.bootstrap import LEVEL, cluster_means

LEAST = 8
"""Latents below which nothing is said of a spread."""


def spread_interval(values: ArrayLike) -> tuple[float, float]:
    """Confidence interval (95 %) of a standard deviation, for scores of any shape with four moments.

    By Bonett's formula (2006, "Approximate confidence interval for standard deviation of nonnormal distributions"), with
    c = n / (n - z) and g the kurtosis about a trimmed mean: ln(c s^2) +- z c sqrt((g - (n - 3) / n) / (n - 1)).

    Args:
        values: [n] one score or difference per latent; NaN is left out.

    Raises:
        ValueError: fewer than `LEAST` values, or all are equal.
    """
    from scipy.stats import norm, trim_mean

    found = cluster_means(values)
    n = len(found)
    if n < LEAST:
        raise ValueError(f"a spread needs at least {LEAST} latents, not {n}.")
    squares = ((found - found.mean()) ** 2).sum()
    if squares <= 0:
        raise ValueError("all values are equal.")
    centre = trim_mean(found, 1 / (2 * math.sqrt(n - 4)))
    kurtosis = n * float(((found - centre) ** 4).sum()) / float(squares) ** 2
    z = float(norm.ppf((1 + LEVEL) / 2))
    c = n / (n - z)
    error = c * math.sqrt(max(0.0, kurtosis - (n - 3) / n) / (n - 1))
    middle = math.log(c * float(squares) / (n - 1))
    return math.exp((middle - z * error) / 2), math.exp((middle + z * error) / 2)
