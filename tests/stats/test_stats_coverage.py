"""Every interval covers what it says and every test rejects as rarely as it says, on data of known truth.

The cases are in `stats_simulations`. The reduced size here finds a wrong formula; the full size behind the slow marker finds a
wrong constant.
"""

from __future__ import annotations

import pytest

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
    if c.kind == "coverage":
        assert 0.93 <= found <= 0.97
    else:
        assert 0.035 <= found <= 0.065


@pytest.mark.slow
@pytest.mark.parametrize("c", LIMITS, ids=_name)
def test_what_the_documentation_warns_of_is_so(c: Case) -> None:
    found = c.rate(FULL)
    assert found < 0.93 if c.kind == "coverage" else found > 0.065


def test_a_rate_is_the_same_each_time_and_of_its_own_data() -> None:
    one = next(c for c in CASES if c.name == "Pearson")
    assert one.rate(20) == one.rate(20)
    assert len({c.name + c.data + c.kind for c in CASES}) == len(CASES)
