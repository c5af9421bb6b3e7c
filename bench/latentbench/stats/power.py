"""How small a difference an experiment can see.

"No significant difference" says nothing without the difference that would have been found. It comes from the paired
t test with the spread of paired differences over latents, which is what the comparison itself resamples. The normal formula
n = ((z_a + z_b) sd / d)^2 is the common shortcut; it promises too much below some thirty latents.
"""

from __future__ import annotations

import math

ALPHA = 0.05
POWER = 0.8


def power_of(difference: float, sd: float, n: int, alpha: float = ALPHA) -> float:
    """Probability that a two-sided paired t test at `alpha` finds a true difference.

    P(|T| > t_{1 - alpha/2, n-1}) for T noncentral t with n - 1 degrees of freedom and noncentrality sqrt(n) difference / sd
    (Cohen 1988, ch. 2).

    Args:
        difference: true mean of the paired differences.
        sd: their standard deviation over latents, above 0.
        n: latents, at least 2.

    Raises:
        ValueError: an argument out of range.
    """
    from scipy.stats import nct, t

    _check(sd, alpha, POWER, n)
    critical = t.ppf(1 - alpha / 2, n - 1)
    shift = math.sqrt(n) * abs(difference) / sd
    found = float(nct.sf(critical, n - 1, shift))
    # The wrong side has less than 1e-9 from here on, and scipy's series for it breaks down.
    return found + float(nct.cdf(-critical, n - 1, shift)) if shift < 6 else found


def minimal_detectable_difference(sd: float, n: int, alpha: float = ALPHA, power: float = POWER) -> float:
    """Smallest true difference that is found with probability `power`; the units of `sd`.

    Raises:
        ValueError: an argument out of range.
    """
    from scipy.optimize import brentq

    _check(sd, alpha, power, n)
    high = 1.0
    while power_of(high, 1.0, n, alpha) < power:
        high *= 2
    return sd * float(brentq(lambda d: power_of(d, 1.0, n, alpha) - power, 0.0, high, xtol=1e-10))


def _check(sd: float, alpha: float, power: float, n: int) -> None:
    if not (math.isfinite(sd) and sd > 0):
        raise ValueError(f"sd must be above 0, not {sd}.")
    if not 0 < alpha < power < 1:
        raise ValueError(f"0 < alpha < power < 1 must hold, not alpha {alpha} and power {power}.")
    if n < 2:
        raise ValueError(f"a paired test needs at least 2 latents, not {n}.")
