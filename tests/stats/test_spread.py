"""The interval of a standard deviation holds for shapes that scores have."""

from __future__ import annotations

import math

import numpy as np
import pytest
from latentbench.stats.spread import LEAST, spread_interval

SHAPES = {
    "normal": (lambda rng, n: rng.normal(0, 1, n), 1.0),
    "tied": (lambda rng, n: rng.binomial(4, 0.5, n) / 4, 0.25),
    "skewed": (lambda rng, n: rng.beta(2, 6, n), math.sqrt(2 * 6 / (64 * 9))),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("n", [24, 100])
def test_it_holds_the_true_spread(shape: str, n: int) -> None:
    draw, true = SHAPES[shape]
    rng = np.random.default_rng([1, n])
    held = [low <= true <= high for low, high in (spread_interval(draw(rng, n)) for _ in range(800))]
    assert np.mean(held) > 0.92, np.mean(held)


def test_it_is_of_the_values_scale_and_leaves_out_what_is_missing() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.2, 48)
    low, high = spread_interval(values)
    assert low < values.std(ddof=1) < high
    assert spread_interval([*(10 * values), math.nan]) == pytest.approx((10 * low, 10 * high))


def test_too_few_values_and_equal_ones_have_none() -> None:
    with pytest.raises(ValueError, match=f"at least {LEAST} latents, not 7"):
        spread_interval(np.arange(7.0))
    with pytest.raises(ValueError, match="equal"):
        spread_interval([0.5] * 30)
