"""Variance components: hand-worked, by definition, against REML, and recovered from simulated designs."""

from __future__ import annotations

import itertools
import math
import warnings

import numpy as np
import pytest
from latentbench.stats.dependability import dependability
from latentbench.stats.variance import variance_components

from tests.builders.stats_simulations import CODERS, CROSSED, NESTED, crossed


def test_one_facet_worked_by_hand():
    # Rows 1 2 / 3 6: grand mean 3; MS latent 9, MS draw 4, MS error 1 -> latent (9 - 1) / 2, draw (4 - 1) / 2, error 1.
    # A third latent is needed, so the same with 2 4 (its mean is the grand mean): df latent 2.
    y = [[1, 2], [3, 6], [2, 4]]
    found = variance_components(y, ["draw"], seed=0, resamples=50)
    latent = 2 * np.var([1.5, 4.5, 3.0], ddof=1)
    draw = 3 * np.var([2, 4], ddof=1)
    residual = [[0.5, -0.5], [-0.5, 0.5], [0, 0]]
    error = np.square(residual).sum() / 2
    assert found["latent"].estimate == pytest.approx((latent - error) / 2)
    assert found["draw"].estimate == pytest.approx((draw - error) / 3)
    assert found[("latent", "draw")].estimate == pytest.approx(error)
    assert [c.degrees for c in found.components] == [2, 1, 2]
    assert [c.name for c in found.components] == ["latent", "draw", "latent x draw"]


def test_components_add_up_to_the_variance_of_a_random_score():
    """The total is half the mean squared difference of scores that share nothing."""
    y = crossed(np.random.default_rng(0), CROSSED, 12, {"draw": 3, "judge": 2})
    found = variance_components(y, ("draw", "judge"), seed=0, resamples=50)
    cells = list(itertools.product(*(range(s) for s in y.shape)))
    apart = [
        (y[a] - y[b]) ** 2 / 2
        for a, b in itertools.combinations(cells, 2)
        if all(i != j for i, j in zip(a, b, strict=True))
    ]
    assert found.total == pytest.approx(np.mean(apart))
    assert sum(c.estimate for c in found.components) == pytest.approx(found.total)
    assert sum(c.share for c in found.components) == pytest.approx(1)


def test_components_are_those_of_reml_where_those_are_positive():
    sm = pytest.importorskip("statsmodels.formula.api")
    import pandas as pd

    y = crossed(np.random.default_rng(0), {("latent",): 1.0, ("draw",): 0.5, ("latent", "draw"): 0.5}, 15, {"draw": 5})
    rows = [{"y": y[i, j], "latent": i, "draw": j, "all": 0} for i in range(15) for j in range(5)]
    model = sm.mixedlm("y ~ 1", pd.DataFrame(rows), groups="all", vc_formula={"l": "0 + C(latent)", "d": "0 + C(draw)"})
    reml = model.fit(reml=True)
    mine = variance_components(y, ["draw"], seed=0, resamples=50)
    draw, latent = reml.vcomp  # in the order of the names
    assert mine["latent"].estimate == pytest.approx(latent, rel=0.01)
    assert mine["draw"].estimate == pytest.approx(draw, rel=0.01)
    assert mine[("latent", "draw")].estimate == pytest.approx(reml.scale, rel=0.01)


@pytest.mark.parametrize(
    ("effects", "levels", "coders"), [(CROSSED, {"draw": 3, "judge": 3}, None), (NESTED, {"draw": 3}, CODERS)]
)
def test_known_components_are_recovered_without_bias(effects, levels, coders):
    n = len(coders) if coders else 30
    found = [
        variance_components(
            crossed(np.random.default_rng([9, k]), effects, n, levels, coders),
            list(levels),
            coders,
            seed=0,
            resamples=20,
        )
        for k in range(150)
    ]
    for effect, truth in effects.items():
        estimates = np.array([f[effect].estimate for f in found])
        error = estimates.std(ddof=1) / math.sqrt(len(estimates))
        assert abs(estimates.mean() - truth) < 3.5 * error, effect
    others = [c.effect for c in found[0].components if not any(set(c.effect) == set(e) for e in effects)]
    for effect in others:  # what was not put in has variance 0
        estimates = np.array([f[effect].estimate for f in found])
        assert abs(estimates.mean()) < 3.5 * estimates.std(ddof=1) / math.sqrt(len(estimates))


def test_offsets_of_a_judge_are_its_own_component_only():
    y = crossed(np.random.default_rng(0), {("latent",): 1.0, ("latent", "judge"): 0.1}, 20, {"judge": 2})
    plain = variance_components(y, ["judge"], seed=0, resamples=50)
    shifted = variance_components(y + np.array([0.0, 3.0]), ["judge"], seed=0, resamples=50)
    for effect in ("latent", ("latent", "judge")):
        assert shifted[effect].estimate == pytest.approx(plain[effect].estimate)
    assert shifted["judge"].estimate > plain["judge"].estimate + 3


def test_latents_with_a_gap_are_counted_and_facets_of_one_level_named():
    y = np.random.default_rng(0).normal(size=(12, 3, 1))
    y[4, 1, 0] = np.nan
    found = variance_components(y, ["draw", "judge"], seed=0, resamples=50)
    assert (found.latents, found.dropped, found.constant, found.levels) == (11, 1, ("judge",), {"draw": 3})
    whole = variance_components(np.delete(y, 4, axis=0), ["draw", "judge"], seed=0, resamples=50)
    assert found.components == whole.components


def test_same_seed_same_intervals():
    y = np.random.default_rng(0).normal(size=(12, 3))
    one, two = (variance_components(y, ["draw"], seed=3, resamples=100) for _ in range(2))
    assert one == two
    assert one.components != variance_components(y, ["draw"], seed=4, resamples=100).components


def test_a_coder_with_one_latent_leaves_the_intervals_of_the_others_as_they_are():
    """Around its coder's mean such a latent does not vary, so it tells nothing of the variance of latents."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=(21, 1)) + 0.5 * rng.normal(size=(21, 3))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = variance_components(y, ["draw"], ["a"] * 20 + ["b"], seed=0, resamples=20_000)
    assert all(math.isfinite(x) for c in found.components for x in (c.estimate, c.share, c.low, c.high))
    alone = variance_components(y[:20], ["draw"], seed=0, resamples=20_000)
    for effect in ("latent", ("latent", "draw")):
        one, other = found[effect], alone[effect]
        assert one.estimate == pytest.approx(other.estimate)
        # Without the acceleration of BCa the ends for latents would be 16 and 13 % lower.
        assert (one.boot_low, one.boot_high) == pytest.approx((other.boot_low, other.boot_high), rel=0.03)


def test_scores_that_never_vary_have_no_share():
    found = variance_components(np.ones((6, 2)), ["draw"], seed=0, resamples=50)
    assert found.total == 0
    assert all(math.isnan(c.share) for c in found.components)
    assert math.isnan(dependability(found, {}).relative.estimate)


@pytest.mark.parametrize(
    ("shape", "facets", "coders", "message"),
    [
        ((5, 2), ["a", "b"], None, "one for each of the facets"),
        ((5, 2), ["latent"], None, "one for each of the facets"),
        ((2, 2), ["a"], [0, 1], "at least two more than coders"),
        ((5, 2), ["a"], [0, 1], "2 clusters for 5 rows"),
    ],
)
def test_a_design_that_cannot_be_analysed_is_refused(shape, facets, coders, message):
    with pytest.raises(ValueError, match=message):
        variance_components(np.random.default_rng(0).normal(size=shape), facets, coders, seed=0)


def test_dependability_worked_from_its_components():
    y = crossed(np.random.default_rng(0), {("latent",): 2.0, ("draw",): 1.0, ("latent", "draw"): 1.0}, 40, {"draw": 4})
    found = variance_components(y, ["draw"], seed=0, resamples=200)
    latent, draw, error = (found[e].estimate for e in ("latent", "draw", ("latent", "draw")))
    one, four = dependability(found, {}), dependability(found, {"draw": 4})
    assert one.relative.estimate == pytest.approx(latent / (latent + error))
    assert four.relative.estimate == pytest.approx(latent / (latent + error / 4))
    assert four.absolute.estimate == pytest.approx(latent / (latent + error / 4 + draw / 4))
    assert one.relative.low < one.relative.estimate < one.relative.high
    with pytest.raises(ValueError, match="of the facets"):
        dependability(found, {"judge": 2})
