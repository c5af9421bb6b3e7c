"""Alpha against published examples and its definition."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from latentbench.stats.alpha import krippendorff_alpha

NONE = math.nan
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", section C: four observers, twelve units, missing data.
OBSERVERS = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NONE, NONE, NONE],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NONE, 3],
        [NONE, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NONE],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NONE],
    ]
).T


@pytest.mark.parametrize(("scale", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_krippendorffs_example(scale, alpha):
    found = krippendorff_alpha(OBSERVERS, scale)
    assert found.estimate == pytest.approx(alpha, abs=5e-4)
    assert found.n == 11  # the last unit has one rating
    assert math.isnan(found.low)  # eleven units are too few


@pytest.mark.parametrize("scale", ["nominal", "interval"])
def test_alpha_is_its_definition_by_pairs(scale):
    rng = np.random.default_rng(0)
    ratings = rng.integers(0, 4, size=(15, 3)).astype(float)
    ratings[rng.random(ratings.shape) < 0.2] = np.nan
    delta = (lambda a, b: float(a != b)) if scale == "nominal" else (lambda a, b: (a - b) ** 2)
    units = [u[~np.isnan(u)] for u in ratings]
    units = [u for u in units if len(u) > 1]
    pooled = np.concatenate(units)
    observed = sum(delta(a, b) / (len(u) - 1) for u in units for a, b in itertools.permutations(u, 2)) / len(pooled)
    expected = sum(delta(a, b) for a, b in itertools.permutations(pooled, 2)) / (len(pooled) * (len(pooled) - 1))
    assert krippendorff_alpha(ratings, scale).estimate == pytest.approx(1 - observed / expected)


def test_perfect_chance_and_no_variation():
    perfect = krippendorff_alpha([[1, 1], [2, 2], [3, 3], [1, 1], [2, 2]])
    assert perfect.estimate == 1.0
    assert all(math.isnan(v) for v in (perfect.low, perfect.high, perfect.p))
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1], [1, 1], [1, 1]]).estimate)
    assert math.isnan(krippendorff_alpha([[1, NONE], [NONE, 2]]).estimate)
    offset = np.random.default_rng(0).normal(size=(80, 1)) * [1, 1] + [0, 2]
    assert krippendorff_alpha(offset, "interval").estimate < 0.1  # r = 1, but never the same value


def test_units_of_one_latent_are_left_out_together():
    rng = np.random.default_rng(0)
    once = rng.integers(0, 3, size=(40, 2)).astype(float)
    latents = [i for i in range(40) for _ in range(3)]
    thrice = np.repeat(once, 3, axis=0)
    together, alone = krippendorff_alpha(thrice, clusters=latents), krippendorff_alpha(once)
    # Alpha itself depends on the number of ratings, through the n - 1 of D_e.
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high), abs=0.02)
    apart = krippendorff_alpha(thrice)
    assert together.high - together.low > 1.5 * (apart.high - apart.low)
    assert (together.n, together.clusters) == (120, 40)
