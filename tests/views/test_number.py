"""Numbers as people read them, by hand."""

from __future__ import annotations

import math

import pytest
from latentbench.views import number as n


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "0.500"), (-0.0001, "0.000"), (99.9994, "99.999"), (123.456, "123.5"), (12345.6, "12,346"), (None, "–")],
)
def test_a_number_has_the_digits_that_say_something(value: float | None, text: str) -> None:
    assert n.number(value) == text
    assert n.number(math.nan) == n.number(math.inf) == "–"


def test_a_difference_has_its_sign_and_no_negative_zero() -> None:
    assert [n.signed(x) for x in (0.25, -0.25, 0.0, -0.0001)] == ["+0.250", "-0.250", "+0.000", "+0.000"]


def test_not_everything_is_never_all() -> None:
    assert [n.percent(x) for x in (1.0, 0.99999, 0.995, 0.5, 0.0, None)] == ["100%", "99.9%", "99.5%", "50%", "0%", "–"]
    assert n.percent(0.1234, 1) == "12.3%"
    assert [n.percent(x) for x in (1 / 1229, 0.005, 0.0051)] == ["<1%", "<1%", "1%"]
    assert [n.percent(x, 1) for x in (1 / 12290, 1 / 1229, 0.0)] == ["<0.1%", "0.1%", "0.0%"]


def test_a_p_value_is_never_0_and_reads_in_a_sentence() -> None:
    assert [n.p(x) for x in (1.0, 0.0123, 0.001, 0.00099, 0.0, None)] == [
        "1.000",
        "0.012",
        "0.001",
        "<0.001",
        "<0.001",
        "–",
    ]
    assert [n.p_is(x) for x in (0.0123, 1e-9)] == ["p = 0.012", "p < 0.001"]


def test_an_estimate_without_bounds_stands_alone() -> None:
    assert n.estimate(0.5, 0.25, 0.75, 2) == "0.50 [0.25, 0.75]"
    assert n.estimate(0.5, None, 0.75) == "0.500"
    assert n.estimate(0.5, 0.4, 0.6, 0, n.percent) == "50% [40%, 60%]"
    assert n.estimate(-0.5, -0.6, -0.4, write=n.signed) == "-0.500 [-0.600, -0.400]"
    assert n.interval(math.nan, 1.0) == "–"


def test_times_ratios_and_counts() -> None:
    assert [n.seconds(x) for x in (1.234, 0.00123, 2e-6, 5e-10, math.nan)] == ["1.23s", "1.23ms", "2us", "0.5ns", "–"]
    assert n.ratio(1.1) == "x1.10"
    assert [n.count(x) for x in (7, 9999, 10_000, None)] == ["7", "9999", "10,000", "–"]
