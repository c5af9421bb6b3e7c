"""Every interval covers what it says and every test rejects as rarely as it says, on data of known truth.

The cases are in `stats_simulations` and `mean_simulations`. The reduced size here finds a wrong formula; the full size behind the
slow marker finds a wrong constant.
"""

from __future__ import annotations

import pytest
from latentbench.analysis.gate.decide import Verdict
from scipy import stats

from tests.builders import mean_simulations as means
from tests.builders.stats_simulations import CASES, LIMITS, Case

REDUCED, FULL = 60, 2000


def _name(c: Case) -> str:
    return f"{c.kind} {c.name}: {c.data}"


@pytest.mark.parametrize("c", CASES, ids=_name)
def test_the_rate_is_near_nominal(c: Case) -> None:
    # 60 sets: standard error 2.8 %, and 3.5 of them.
    found = c.rate(REDUCED)
    if c.kind == "coverage":
        assert found >= 0.85
    else:
        assert found <= 0.15


@pytest.mark.slow
@pytest.mark.parametrize("c", CASES, ids=_name)
def test_the_rate_is_nominal_at_full_size(c: Case) -> None:
    found = c.rate(FULL)
    # Coefficients never have less than the textbook error, so they are careful where the jackknife would be smaller.
    if c.kind == "coverage":
        assert 0.93 <= found <= 0.985
    else:
        assert 0.015 <= found <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("c", LIMITS, ids=_name)
def test_what_the_documentation_warns_of_is_so(c: Case) -> None:
    found = c.rate(FULL)
    assert found < 0.93 if c.kind == "coverage" else found > 0.065


def test_a_rate_is_the_same_each_time_and_of_its_own_data() -> None:
    one = next(c for c in CASES if c.name == "Pearson")
    assert one.rate(20) == one.rate(20)
    assert len({c.name + c.data + c.kind for c in CASES}) == len(CASES)


# --- means, ranks and gates on shapes of scores: rates are below what a binomial of the stated rate passes 999 times in 1000

SETS = 300
HARD = "skewed: log-normal, cut at 1"
UNSEEN = "5 % lose .8, the others gain .042 +- .05"


def most(rate: float, sets: int) -> float:
    return float(stats.binom.ppf(0.999, sets, rate)) / sets


@pytest.mark.parametrize("n", [24, 48])
@pytest.mark.parametrize("shape", means.SCORES)
def test_intervals_of_means_hold_the_truth(shape: str, n: int) -> None:
    missed = 1 - means.coverage(shape, n, SETS, True)[2]
    assert missed <= most(0.08 if shape == HARD else 0.065, SETS)


@pytest.mark.parametrize("n", [24, 48])
@pytest.mark.parametrize("shape", [s for s in means.DIFFERENCES if s != UNSEEN])
def test_paired_tests_reject_a_true_null_as_rarely_as_they_say(shape: str, n: int) -> None:
    rejected = 1 - means.coverage(shape, n, SETS, False)[2]
    assert rejected <= most(0.07 if shape.startswith("log-normal") else 0.06, SETS)


@pytest.mark.parametrize("pairs", [False, True])
@pytest.mark.parametrize("shape", ["normal", HARD, "tied: 5 levels"])
def test_ten_equal_rows_are_rarely_separated(shape: str, pairs: bool) -> None:
    assert means.false_ranks(shape, 10, 24, 60, pairs) <= most(0.06, 60)


def test_a_gate_fails_by_chance_as_rarely_as_it_says_and_passes_a_rare_loss_only_unseen() -> None:
    for shape, rate in (("normal", 0.01), ("5 levels - 5 levels", 0.01), ("beta(.5, 3) - its mean", 0.02)):
        assert means.gates(means.DIFFERENCES[shape], 31, SETS, 2000)[Verdict.FAIL] <= most(rate, SETS)
    lost = means.gates(means.LOST["5 % lose .8"], 31, SETS, 2000)
    untouched = 0.95**31
    assert lost[Verdict.PASS] == pytest.approx(untouched, abs=3.3 * (untouched * (1 - untouched) / SETS) ** 0.5)


@pytest.mark.parametrize("what", [w for w in means.INDEPENDENT if w != "spread of y grows with x"])
def test_no_correlation_is_rarely_claimed(what: str) -> None:
    assert means.false_correlations(what, "pearson", 24, 150) <= most(0.05, 150)
    assert means.false_correlations(what, "spearman", 24, 150) <= most(0.05, 150)
