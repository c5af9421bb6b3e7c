"""Holm's step-down correction for a family of tests.

It controls the probability of any false claim under every dependence of the tests, and is never weaker than Bonferroni, so
Bonferroni has no place here. A false-discovery-rate procedure would allow a table in which one claim in twenty is wrong.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjusted p-values: reject those below alpha.

    Args:
        p: [m] p-values of one family. NaN (a test that could not be made) stays NaN and does not count in m.

    Returns:
        [m]; with p sorted ascending, max over j <= i of min(1, (m - j) p_j), j from 0 (Holm 1979).
    """
    raw = np.asarray(p, dtype=np.float64)
    adjusted = np.full(raw.shape, np.nan)
    places = np.flatnonzero(~np.isnan(raw))
    order = places[np.argsort(raw[places], kind="stable")]
    factors = len(order) - np.arange(len(order))
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(raw[order] * factors))
    return adjusted
