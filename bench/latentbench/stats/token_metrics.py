"""How well predicted activations follow true ones. Pure functions on arrays.

Only Pearson is free of the scale. R^2 and the explained absolute deviation take predictions as they are, in the unit of the
truth, so they also say whether a judge's levels mean what they should. Fitting the scale on the judged tokens first is
tempting and adds nothing: after least squares R^2 is pearson^2, after matching mean and variance it is 2 pearson - 1.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def activation_metrics(actual: ArrayLike, predicted: ArrayLike) -> dict[str, float]:
    """Agreement of two vectors over tokens; what is undefined (a constant truth) is left out.

        pearson                        cov(a, p) / (sd a * sd p); 0 for a constant prediction, which knows nothing
        r2                             1 - sum (a - p)^2 / sum (a - mean a)^2
        absolute_deviation_explained   1 - sum |a - p| / sum |a|

    The last one is that of the code of Bills et al. (2023): 0 for the prediction "never". Deviations from the mean instead
    would give that prediction about 1/2 on a sparse latent, because the best constant for absolute errors is the median, not
    the mean. Their R^2 has sum a^2 in its denominator; here the best constant has 0, as usual.

    Worked by hand: a = 0 0 2 6, p = 1 1 2 4 gives sums of squares 6 and 24, so r2 = 3/4; absolute sums 4 and 8, so
    absolute_deviation_explained = 1/2; pearson = 12 / sqrt(24 * 6) = 1.

    Args:
        actual: [n], >= 0, in the unit of `predicted`.
        predicted: [n].

    Raises:
        ValueError: shapes that differ or are no vectors.
    """
    a, p = np.asarray(actual, np.float64), np.asarray(predicted, np.float64)
    if a.shape != p.shape or a.ndim != 1:
        raise ValueError(f"actual {a.shape} and predicted {p.shape} must be vectors of the same length.")
    if not len(a) or np.ptp(a) == 0:
        return {}
    da, dp = a - a.mean(), p - p.mean()
    # A constant's deviations from its rounded mean are not exactly zero, so the spread decides.
    norm = float(np.sqrt((da @ da) * (dp @ dp))) if np.ptp(p) > 0 else 0.0
    return {
        "pearson": float(np.clip((da @ dp) / norm, -1, 1)) if norm else 0.0,
        "r2": float(1 - ((a - p) @ (a - p)) / (da @ da)),
        "absolute_deviation_explained": float(1 - np.abs(a - p).sum() / np.abs(a).sum()),
    }
