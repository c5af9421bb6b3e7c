"""How small a difference an experiment can see, and how many latents another one would need.

"No significant difference" says nothing without the difference that would have been found. It comes from the t test with the
spread of the differences over latents, or of each side where the two sides hold other latents (Welch), which is what the
comparisons themselves draw from. The normal formula n = ((z_a + z_b) sd / d)^2 is the common shortcut; it promises too much below
some thirty latents, and the more so the more comparisons a test is corrected for.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

ALPHA = 0.05
POWER = 0.8
MOST = 10_000_000
"""Latents at which `needed` gives up: more than any subject has."""
WIDER = 1.08
"""How much wider the intervals of `paired_difference` are than Student's, for which power has a formula (docs/statistics.md).
Without it, what is "found in 4 of 5 experiments" is found in 7 of 10."""


def paired_spread(sd: float) -> float:
    """The standard deviation of paired differences with which `detectable` and `needed` say what `paired_difference` finds.

    Whoever says what a comparison could have shown takes it from here, so that no page promises more than another.
    """
    return sd * WIDER


def minimal_detectable_difference(sd: float, n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true difference of paired latents that is found with probability `power`; the units of `sd`.

    Raises:
        ValueError: an argument out of range.
    """
    return detectable((sd,), (n,), alpha, power)


def detectable(sds: Sequence[float], ns: Sequence[int], alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true difference that is found with probability `power`; the units of `sds`.

    Args:
        sds: standard deviation of the paired differences, or of each of two samples; above 0 in at least one.
        ns: latents of each, at least 2.

    Raises:
        ValueError: an argument out of range.
    """
    from scipy.optimize import brentq

    _check(alpha, power)
    error, freedom = standard_error(sds, ns)
    high = 1.0
    while _power(high, freedom, alpha) < power:
        high *= 2
    return error * float(brentq(lambda shift: _power(shift, freedom, alpha) - power, 0.0, high, xtol=1e-10))


def needed(difference: float, sds: Sequence[float], alpha: float = ALPHA, power: float = POWER) -> int | None:
    """Fewest latents (a side) with which a true difference is found with probability `power`; None above `MOST`.

    Args:
        difference: not 0.
        sds: as in `detectable`; both sides get the same number.

    Raises:
        ValueError: an argument out of range.
    """
    if not (math.isfinite(difference) and difference):
        raise ValueError(f"the difference must be finite and not 0, not {difference}.")
    wanted, few, enough = abs(difference), 1, 2
    while detectable(sds, [enough] * len(sds), alpha, power) > wanted:
        few, enough = enough, 2 * enough
        if enough > MOST:
            return None
    while enough - few > 1:
        middle = (few + enough) // 2
        if detectable(sds, [middle] * len(sds), alpha, power) > wanted:
            few = middle
        else:
            enough = middle
    return enough


def chance(difference: float, sds: Sequence[float], ns: Sequence[int], alpha: float = ALPHA) -> float:
    """Probability with which a true difference is found.

    Args:
        sds, ns: as in `detectable`.

    Raises:
        ValueError: an argument out of range.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"0 < alpha < 1 must hold, not {alpha}.")
    error, freedom = standard_error(sds, ns)
    return min(1.0, _power(abs(difference) / error, freedom, alpha))


def detectable_correlation(n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true rank correlation of n latents that is found with probability `power`.

    By Fisher's transformation, whose standard error for Spearman's coefficient is 1.03 / sqrt(n - 3) (Fieller, Hartley and
    Pearson 1957).

    Raises:
        ValueError: an argument out of range.
    """
    from scipy.stats import norm

    _check(alpha, power)
    if n < 4:
        raise ValueError(f"a correlation needs at least 4 latents, not {n}.")
    return math.tanh(1.03 * (norm.ppf(1 - alpha / 2) + norm.ppf(power)) / math.sqrt(n - 3))


def standard_error(sds: Sequence[float], ns: Sequence[int]) -> tuple[float, float]:
    """Standard error of a mean of paired differences, or of a difference of means, and its degrees of freedom (Welch's).

    Raises:
        ValueError: an argument out of range.
    """
    if not all(math.isfinite(sd) and sd >= 0 for sd in sds) or not any(sds):
        raise ValueError(f"sd must be above 0, not {', '.join(str(sd) for sd in sds)}.")
    if min(ns) < 2:
        raise ValueError(f"a test needs at least 2 latents, not {min(ns)}.")
    parts = [sd * sd / n for sd, n in zip(sds, ns, strict=True)]
    return math.sqrt(sum(parts)), sum(parts) ** 2 / sum(v * v / (n - 1) for v, n in zip(parts, ns, strict=True))


def _power(shift: float, freedom: float, alpha: float) -> float:
    """Probability that |T| exceeds its critical value, for T noncentral by `shift` standard errors."""
    from scipy.stats import nct, t

    critical = t.ppf(1 - alpha / 2, freedom)
    found = float(nct.sf(critical, freedom, shift))
    # The wrong side has less than 1e-9 from here on, and scipy's series for it breaks down.
    return found + float(nct.cdf(-critical, freedom, shift)) if shift < 6 else found


def _check(alpha: float, power: float) -> None:
    if not 0 < alpha < power < 1:
        raise ValueError(f"0 < alpha < power < 1 must hold, not alpha {alpha} and power {power}.")
