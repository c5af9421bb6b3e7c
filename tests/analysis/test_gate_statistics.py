"""The gate's statistics against direct computations, and its error rates by simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from latentbench.analysis.gate.decide import Verdict, decide, needed
from latentbench.analysis.gate.evidence import (
    Evidence,
    agreement_differences,
    bounds,
    correlations,
    evidence,
    mean_evidence,
    pairs_of,
    quantiles,
    resampled,
)
from latentbench.kernel.identity import digest
from scipy import stats

from tests.builders.gate_characteristics import Setting, differences, simulate

NAN = math.nan


def test_quantiles_are_numpys():
    draws = np.random.default_rng(5).normal(size=(101, 4))
    levels = (0.0, 0.013, 0.5, 0.99, 1.0)
    for found, level in zip(quantiles(draws, levels), levels, strict=True):
        assert found == pytest.approx(np.quantile(draws, level, axis=0))


def test_blocks_change_nothing(monkeypatch):
    scores = np.random.default_rng(0).normal(size=(9, 1, 2))
    statistic = correlations(scores, [(0, 1)], np.ones(scores.shape, bool))
    whole = resampled(statistic, 9, seed=1, resamples=50)
    monkeypatch.setattr("latentbench.analysis.gate.evidence.BLOCK", 9 * 7)
    assert np.array_equal(resampled(statistic, 9, seed=1, resamples=50), whole, equal_nan=True)


@pytest.mark.parametrize("explanations", [1, 3])
def test_correlations_are_those_of_resampled_latents_ranked_anew(explanations):
    rng = np.random.default_rng(1)
    m, k = 12, 3
    # Few distinct values, so that ties matter.
    scores = rng.integers(0, 5, size=(m, explanations, k)).astype(float)
    known = np.ones(scores.shape, bool)
    known[3, 0, 1] = False
    pairs = [(0, 1), (0, 2), (1, 2)]
    found = resampled(correlations(scores, pairs, known), m, seed=2, resamples=30)
    drawn = np.random.default_rng(2).integers(0, m, size=(30, m))
    for b in range(30):
        rows = scores[drawn[b]].reshape(-1, k)
        used = known[drawn[b]].reshape(-1, k)
        for place, (i, j) in enumerate(pairs):
            both = used[:, i] & used[:, j]
            expected = stats.spearmanr(rows[both, i], rows[both, j]).statistic
            assert found[b, place] == pytest.approx(expected, nan_ok=True)


def test_agreement_uses_only_what_both_sides_have():
    rng = np.random.default_rng(4)
    base, head = rng.normal(size=(2, 20, 1, 2))
    head[:5, 0, 1] = NAN
    was, now = agreement_differences(base, head, [(0, 1)])
    one = np.ones((1, 20))
    assert was(one)[0, 0] == pytest.approx(stats.spearmanr(base[5:, 0, 0], base[5:, 0, 1]).statistic)
    assert now(one)[0, 0] == pytest.approx(stats.spearmanr(head[5:, 0, 0], head[5:, 0, 1]).statistic)


def test_pairs_share_a_scorer_or_a_judge():
    names = [("detection", "a"), ("detection", "b"), ("fuzzing", "a"), ("fuzzing", "b")]
    assert pairs_of(names) == [(0, 1), (0, 2), (1, 3), (2, 3)]


@pytest.mark.parametrize("n", [24, 31, 300])
def test_bounds_say_a_little_less_than_student_where_the_differences_are_normal(n):
    data = np.random.default_rng(n).normal(0.1, 1.0, size=(200, n))
    low, high, p, error = bounds(data, 0, 4000)
    se = data.std(axis=1, ddof=1) / math.sqrt(n)
    assert error == pytest.approx(se)
    beyond_low = (data.mean(axis=1) - stats.t.ppf(0.95, n - 1) * se - low) / se
    beyond_high = (high - data.mean(axis=1) - stats.t.ppf(0.99, n - 1) * se) / se
    for beyond in (beyond_low, beyond_high):
        assert (beyond >= -1e-9).all()
        assert beyond.mean() < 0.4
    assert (p >= stats.t.cdf(data.mean(axis=1) / se, n - 1) - 1e-12).all()


def test_losses_without_a_gain_are_judged_by_their_signs():
    """Five equal losses among 40: each could as well have been a gain, so p is 2^-5; Student says 0.01."""
    loss = np.r_[np.full(5, -0.8), np.zeros(35)][None, :]
    (_,), (_,), (p,), _ = bounds(loss, 0, 40_000)
    assert p == pytest.approx(2.0**-5, rel=0.1)


def test_a_tail_beyond_the_draws_is_read_from_t():
    data = np.random.default_rng(0).normal(-3.0, 1.0, size=(50, 1))
    (found,) = mean_evidence(np.zeros((50, 1)), data, [1.0], 0, 1000)
    assert found.p == pytest.approx(float(stats.t.cdf(found.estimate / found.error, 49)))
    assert found.p < 1e-20


def test_means_are_over_the_latents_that_both_sides_have():
    base, head = np.random.default_rng(2).normal(size=(2, 40, 3))
    base[:4, 1] = NAN
    head[2:7, 1] = NAN
    head[:, 2] = NAN
    one, two, lost = mean_evidence(base, head, [1.0, -1.0, 1.0], 0, 500)
    assert (one.n, two.n, lost.n) == (40, 33, 0)
    assert two.estimate == pytest.approx(-(head[7:, 1] - base[7:, 1]).mean())
    assert two.head == pytest.approx(head[7:, 1].mean())
    assert lost.base == pytest.approx(base[:, 2].mean())
    assert math.isnan(lost.head)
    alone = mean_evidence(base[:, :1], head[:, :1], [1.0], 0, 500)[0]
    assert (alone.low, alone.p) == pytest.approx((one.low, one.p))


def test_evidence_of_nothing_changed_is_certain():
    found = evidence(np.zeros(100), 30, 0.7, 0.7)
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1)
    # A correlation that most resamples leave undefined, and that did not change in the others.
    assert evidence(np.r_[np.zeros(10), np.full(90, NAN)], 30, 0.9, 0.9).low == 0
    assert math.isnan(evidence(np.r_[np.arange(10.0), np.full(90, NAN)], 30, 0.9, 0.8).low)


def test_a_metric_of_which_less_is_better_is_turned():
    draws = np.random.default_rng(0).normal(0.1, 0.01, 2000)
    found = evidence(draws, 50, 0.3, 0.4, sign=-1.0)
    assert found.estimate == pytest.approx(-0.1)
    assert found.low < found.estimate < found.high < 0


def a(estimate: float, error: float, p: float, n: int = 300) -> Evidence:
    reach = 1.65 * error
    return Evidence(n, 0.7, 0.7 + estimate, estimate, error, estimate - reach, estimate + 2.33 * error, p)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (a(0.0, 0.01, 0.5), Verdict.PASS),  # bound -.0165
        (a(0.0, 0.0125, 0.5), Verdict.INCONCLUSIVE),  # bound -.0206
        (a(-0.015, 0.002, 1e-9), Verdict.PASS),  # surely worse, surely by less than delta
        (a(-0.019, 0.002, 1e-9), Verdict.INCONCLUSIVE),  # surely worse; by how much is open
        (a(-0.021, 0.002, 1e-9), Verdict.FAIL),
        (a(-0.04, 0.012, 0.0004), Verdict.FAIL),
        (a(-0.04, 0.020, 0.0228), Verdict.INCONCLUSIVE),
        (a(0.05, 0.2, 0.6), Verdict.INCONCLUSIVE),
        # Too few to decide anything by statistics; equal values are equal.
        (Evidence(23, 0.7, 0.7, 0.0, 0.0, 0.0, 0.0, 1.0), Verdict.PASS),
        (Evidence(23, 0.7, 0.71, 0.01, 0.001, 0.008, 0.012, 1.0), Verdict.INCONCLUSIVE),
        (Evidence(23, 0.7, 0.2, -0.5, 0.0, -0.5, -0.5, 1e-9), Verdict.INCONCLUSIVE),
        (Evidence(30, 0.7, NAN, NAN, NAN, NAN, NAN, NAN), Verdict.FAIL),
        (Evidence(30, 0.7, 0.2, -0.5, 0.0, -0.5, -0.5, 0.0), Verdict.FAIL),
    ],
)
def test_the_rule(found, verdict):
    (decision,) = decide([found], [0.02])
    assert decision.verdict is verdict


def test_holm_over_the_family():
    """0.004 fails alone and among two, not among six; a second strong one helps the first."""
    weak, same = a(-0.04, 0.015, 0.004), a(0.0, 0.01, 0.5)
    assert [d.verdict for d in decide([weak], [0.02])] == [Verdict.FAIL]
    assert decide([weak, same], [0.02] * 2)[0].verdict is Verdict.FAIL
    alone = decide([weak, *[same] * 5], [0.02] * 6)[0]
    assert (alone.verdict, alone.p_holm) == (Verdict.INCONCLUSIVE, pytest.approx(0.024))
    # PASS is not corrected: six tests pass on the same bound as one.
    assert {d.verdict for d in decide([same] * 6, [0.02] * 6)} == {Verdict.PASS}
    strong = a(-0.2, 0.015, 1e-9)
    assert decide([weak, strong, same], [0.02] * 3)[0].verdict is Verdict.FAIL


def test_a_delta_must_be_positive():
    with pytest.raises(ValueError, match="positive"):
        decide([a(0, 0.1, 0.5)], [0.0])


@pytest.mark.parametrize("estimate", [0.01, 0.0, -0.015, -0.03, -0.05])
def test_the_number_of_latents_named_decides_it(estimate):
    """The same differences, as if there were more latents of the same kind: undecided just below the number, decided at it."""
    found = Evidence(60, 0.7, 0.7 + estimate, estimate, 0.03, NAN, NAN, 0.2)
    n = needed(found, 0.02, tests=5)
    assert n is not None
    for latents, decided in ((n - 1, False), (n, True)):
        error = 0.03 * math.sqrt(60 / latents)
        low = estimate - stats.t.ppf(0.95, latents - 1) * error
        p = float(stats.t.cdf(estimate / error, latents - 1))
        other = Evidence(latents, 0.7, 0.7 + estimate, estimate, error, low, NAN, p)
        fine = Evidence(latents, 0.7, 0.7, 0.0, 0.001, -0.002, NAN, 0.5)
        verdict = decide([other, *[fine] * 4], [0.02] * 5)[0].verdict
        assert (verdict is not Verdict.INCONCLUSIVE) is decided


def test_no_number_is_named_where_the_difference_is_on_the_limit():
    assert needed(Evidence(60, 0.7, 0.68, -0.02 + 1e-7, 0.03, NAN, NAN, 0.2), 0.02) is None


def test_the_same_input_gives_the_same_evidence():
    data = differences(Setting(latents=40), 5, np.random.default_rng(0)).T
    runs = [bounds(data, 7, 500) for _ in range(2)]
    assert digest([x.tolist() for x in runs[0]]) == digest([x.tolist() for x in runs[1]])


# --- operating characteristics: sd of the paired differences .20, delta .02, 300 latents


def test_a_drop_of_twice_delta_is_caught_and_no_change_rarely_fails():
    simulations = 1000
    drop = simulate(Setting(drop=0.04), simulations, seed=1)
    assert drop.failed >= 0.8
    assert drop.passed <= 0.005
    none = simulate(Setting(drop=0.0), simulations, seed=1)
    # At most 1 % in truth: no more than 99.9 % of binomials with 1 % have.
    assert none.failed * simulations <= stats.binom.ppf(0.999, simulations, 0.01)


def test_a_family_fails_by_chance_no_more_often_than_one_test():
    gates = 200
    found = simulate(Setting(family=5, worse=5), gates, seed=2, resamples=4000)
    assert found.false * gates <= stats.binom.ppf(0.999, gates, 0.01)


@pytest.mark.slow
@pytest.mark.parametrize("shape", ["normal", "sparse"])
def test_operating_characteristics_in_full(shape):
    simulations = 20_000
    none = simulate(Setting(shape=shape), simulations, seed=3)
    assert none.failed <= 0.01 + 3 * math.sqrt(0.01 / simulations)
    drop = simulate(replace(Setting(shape=shape), drop=0.04), simulations, seed=3)
    assert drop.failed >= 0.8
