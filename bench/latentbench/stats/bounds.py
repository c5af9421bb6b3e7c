"""What a mean score could have been, had the missing judgements been answered.

A failed call is no answer, so it must not be scored; but a judge that fails on the hard windows would look better for failing.
The bounds fill the missing judgements with the worst and with the best value, assuming nothing about why they are missing.
Scoring failures as wrong is the tempting shortcut: it gives only the lower end and calls it the score.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def missing_bounds(scores: ArrayLike, coverage: ArrayLike, low: float = 0.0, high: float = 1.0) -> tuple[float, float]:
    """Worst-case and best-case mean over latents.

    Per latent with score s over the share c of its judgements: s c + low (1 - c) and s c + high (1 - c) (Manski 1989).
    Exact for scores that are means over judgements (accuracy). For ranking metrics (AUROC, average precision) and balanced
    accuracy under uneven failures a missing judgement also moves the others' ranks or weights, and the numbers are
    indicative only.

    Args:
        scores: [n] per latent, in [low, high]; NaN where nothing was judged.
        coverage: [n] judged / attempted, in [0, 1]. A latent with NaN score counts as coverage 0.
        low: smallest possible score.
        high: largest possible score.

    Returns:
        (worst, best); (NaN, NaN) for no latents.

    Raises:
        ValueError: lengths differ, or a coverage outside [0, 1].
    """
    s, c = np.asarray(scores, dtype=np.float64), np.asarray(coverage, dtype=np.float64)
    if s.shape != c.shape:
        raise ValueError(f"scores and coverage must be of one shape, not {s.shape} and {c.shape}.")
    if ((c < 0) | (c > 1) | np.isnan(c)).any():
        raise ValueError("coverage must lie between 0 and 1.")
    if not s.size:
        return float("nan"), float("nan")
    c = np.where(np.isnan(s), 0.0, c)
    known = np.where(np.isnan(s), 0.0, s) * c
    return float((known + low * (1 - c)).mean()), float((known + high * (1 - c)).mean())
