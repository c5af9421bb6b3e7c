"""How two groups of latents are compared in a study: paired where the latents are the same, else as two samples.

Which of the two was used stands in the table. A two-sample test on the same latents would throw away most of the power, and a
paired one on other latents would be wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from latentbench.stats.bootstrap import FEWEST, LEVEL, paired_difference

if TYPE_CHECKING:
    import pandas as pd

PAIRED_SHARE = 0.8
"""Latents that must be in both groups, as a share of the smaller one, for a paired comparison."""

PAIRED, TWO_SAMPLES = "paired", "two samples"
"""The designs of a comparison."""

ALPHA = 0.05
"""A corrected p above it is no finding, wherever the interval of that one comparison lies."""


@dataclass(frozen=True)
class LevelContrast:
    """Mean of a - b over latents, or the slope of a trend.

    Attributes:
        estimate, low, high: NaN where there are fewer than two latents on a side.
        p: NaN where there are fewer than `FEWEST`; below `ALPHA` if and only if the interval excludes 0.
        n: pairs, or latents of the smaller group.
        design: `paired` or `two samples`.
        sds: standard deviation of the paired differences, or of each sample; empty where they are not known.
        ns: latents behind each.
    """

    estimate: float
    low: float
    high: float
    p: float
    n: int
    design: str
    sds: tuple[float, ...] = ()
    ns: tuple[int, ...] = ()

    @property
    def sign(self) -> int:
        """1 or -1 where there is a test and its interval is on one side of 0, else 0."""
        return 0 if math.isnan(self.p) else int(self.low > 0) - int(self.high < 0)


def difference(a: pd.Series[float], b: pd.Series[float], seed: int) -> LevelContrast:
    """a - b, each indexed by latent with one value per latent; missing values are left out.

    Paired: as everywhere. Two samples: Welch's t, from `FEWEST` latents on each side.
    """
    a, b = a.dropna(), b.dropna()
    common = a.index.intersection(b.index)
    if len(common) and len(common) >= PAIRED_SHARE * min(len(a), len(b)):
        return paired(a[common].to_numpy(), b[common].to_numpy(), list(common), seed)
    return two_samples(a.to_numpy(dtype=np.float64), b.to_numpy(dtype=np.float64))


def paired(a: Any, b: Any, ids: Sequence[Any], seed: int) -> LevelContrast:
    """The mean of a - b over the same latents."""
    found = paired_difference(a, b, ids, seed=seed)
    i, gaps = found.interval, np.asarray(a, np.float64) - np.asarray(b, np.float64)
    sds = (float(np.std(gaps, ddof=1)),) if len(gaps) > 1 else ()
    return LevelContrast(i.estimate, i.low, i.high, found.p, i.n, PAIRED, sds, (len(gaps),) if sds else ())


def two_samples(a: Any, b: Any) -> LevelContrast:
    """Welch's t-test and interval of mean(a) - mean(b)."""
    from scipy.stats import ttest_ind

    nan, n = math.nan, min(len(a), len(b))
    if n < 2:
        return LevelContrast(nan, nan, nan, nan, n, TWO_SAMPLES)
    estimate = float(np.mean(a) - np.mean(b))
    spread = (float(np.std(a, ddof=1)), float(np.std(b, ddof=1))), (len(a), len(b))
    if n < FEWEST:
        return LevelContrast(estimate, nan, nan, nan, n, TWO_SAMPLES, *spread)
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return LevelContrast(estimate, estimate, estimate, nan, n, TWO_SAMPLES)
    found = ttest_ind(a, b, equal_var=False)
    bounds = found.confidence_interval(LEVEL)
    low, high, p = float(bounds.low), float(bounds.high), float(found.pvalue)
    return LevelContrast(estimate, low, high, p, n, TWO_SAMPLES, *spread)


def trend(table: pd.DataFrame, x: dict[str, float], seed: int) -> LevelContrast:
    """Linear trend of scores over the levels: the slope per unit of x.

    Paired: mean of each latent's own slope. Two samples: regression over all values.

    Args:
        table: [latents, levels], NaN where a latent has no score at a level.
        x: level -> its place on the axis.
    """
    from scipy.stats import linregress, t

    table = table[[c for c in table.columns if c in x]]
    places = np.array([x[str(c)] for c in table.columns])
    whole = table.dropna()
    if len(whole) >= PAIRED_SHARE * table.notna().sum().min() and len(whole) >= 2:
        centred = places - places.mean()
        slopes = whole.to_numpy() @ centred / (centred @ centred)
        return paired(slopes, np.zeros(len(slopes)), list(whole.index), seed)
    values = table.stack().dropna()
    at = np.array([x[str(c)] for c in values.index.get_level_values(1)])
    if len(values) < 3 or np.ptp(at) == 0:
        return LevelContrast(math.nan, math.nan, math.nan, math.nan, len(values), TWO_SAMPLES)
    fit = linregress(at, values.to_numpy())
    latents = values.index.get_level_values(0).nunique()
    if latents < FEWEST:
        return LevelContrast(float(fit.slope), math.nan, math.nan, math.nan, latents, TWO_SAMPLES)
    reach = float(t.ppf((1 + LEVEL) / 2, len(values) - 2)) * float(fit.stderr)
    slope = float(fit.slope)
    return LevelContrast(slope, slope - reach, slope + reach, float(fit.pvalue), len(values), TWO_SAMPLES)


def supported(sign: str, p: float) -> str:
    """What a sentence may say: `same` or `opposite` only where the corrected p supports it, else `unclear`.

    The intervals of a table are not corrected, so among twenty rows without an effect one lies beside 0.
    """
    return "unclear" if sign in ("same", "opposite") and not p < ALPHA else sign


def agrees(ours: LevelContrast, paper: float | None) -> str:
    """Whether a difference has the paper's sign: `same`, `opposite`, `unclear` (the interval has 0), or empty."""
    if paper is None or math.isnan(ours.estimate):
        return ""
    if abs(paper) < 0.005:
        return "paper: none"
    if ours.sign == 0:
        return "unclear"
    return "same" if (ours.sign > 0) == (paper > 0) else "opposite"
