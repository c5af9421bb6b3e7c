"""Alpha and kappas, against published examples and other implementations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from bench.stats.agreement import cohen_kappa, fleiss_kappa, krippendorff_alpha

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
    assert found.low < alpha < found.high <= 1


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


def test_cohens_kappa_is_sklearns():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    a = rng.integers(0, 4, size=60)
    b = np.where(rng.random(60) < 0.6, a, rng.integers(0, 4, size=60))
    for weighting in (None, "linear", "quadratic"):
        direct = metrics.cohen_kappa_score(a, b, weights=weighting)
        assert cohen_kappa(a, b, weighting).estimate == pytest.approx(direct)


def test_kappas_and_their_errors_are_near_statsmodels():
    rater = pytest.importorskip("statsmodels.stats.inter_rater")
    rng = np.random.default_rng(0)
    x = rng.integers(0, 3, size=(400, 3))
    x[:, 1:] = np.where(rng.random((400, 2)) < 0.5, x[:, :1], x[:, 1:])
    table = np.zeros((3, 3))
    np.add.at(table, (x[:, 0], x[:, 1]), 1)
    theirs, mine = rater.cohens_kappa(table), cohen_kappa(x[:, 0], x[:, 1])
    assert mine.estimate == pytest.approx(theirs.kappa)
    assert (mine.low, mine.high) == pytest.approx((theirs.kappa_low, theirs.kappa_upp), abs=0.003)
    assert fleiss_kappa(x).estimate == pytest.approx(rater.fleiss_kappa(rater.aggregate_raters(x)[0]))


def test_fleiss_kappa_worked_by_hand():
    # Two units, three raters: AAB and BBB. P = (1/3 + 1) / 2 = 2/3; p_A = 1/3, P_e = 1/9 + 4/9 = 5/9; kappa = 1/4.
    assert fleiss_kappa([[0, 0, 1], [1, 1, 1]]).estimate == pytest.approx(0.25)
    with pytest.raises(ValueError, match="krippendorff_alpha"):
        fleiss_kappa([[0, NONE], [1, 1]])


def test_perfect_chance_and_no_variation():
    perfect = krippendorff_alpha([[1, 1], [2, 2], [3, 3], [1, 1], [2, 2]])
    assert (perfect.estimate, perfect.low, perfect.high, perfect.p) == (1.0, 1.0, 1.0, 0.0)
    assert math.isnan(krippendorff_alpha([[1, 1], [1, 1], [1, 1], [1, 1]]).estimate)
    assert math.isnan(krippendorff_alpha([[1, NONE], [NONE, 2]]).estimate)
    assert math.isnan(cohen_kappa([1, 1], [1, 1]).estimate)
    offset = np.random.default_rng(0).normal(size=(80, 1)) * [1, 1] + [0, 2]
    assert krippendorff_alpha(offset, "interval").estimate < 0.1  # r = 1, but never the same value


def test_units_of_one_latent_are_left_out_together():
    rng = np.random.default_rng(0)
    once = rng.integers(0, 3, size=(40, 2)).astype(float)
    latents = [i for i in range(40) for _ in range(3)]
    together = cohen_kappa(*np.repeat(once, 3, axis=0).T, clusters=latents)
    alone = cohen_kappa(*once.T)
    assert (together.low, together.high) == pytest.approx((alone.low, alone.high))
    assert (together.n, together.clusters) == (120, 40)
