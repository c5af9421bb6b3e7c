"""Agreement of repeats on the top of a ranking, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from latentbench.stats.stability import top_k_stability


def test_shares_of_three_repeats_worked_by_hand():
    # Tops of two: {a, b}, {b, c}, {a, b} -> shares 1/2, 1, 1/2.
    t = top_k_stability([[4, 3, 2, 1], [1, 3, 4, 2], [4, 5, 1, 1]], 2)
    assert (t.mean, t.low, t.high, t.chance) == pytest.approx((2 / 3, 0.5, 1.0, 0.5))
    assert (t.k, t.items, t.repeats) == (2, 4, 3)
    assert top_k_stability([[4, 3, 2, 1], [1, 3, 4, 2], [4, 5, 1, 1]], 2, pairs=[(0, 2)]).mean == 1.0


def test_the_bottom_is_the_top_where_lower_is_better():
    assert top_k_stability([[1, 2, 3], [1, 3, 2]], 1, higher_is_better=False).mean == 1.0
    assert top_k_stability([[1, 2, 3], [1, 3, 2]], 1).mean == 0.0


def test_ties_share_the_places_in_any_order_of_the_items():
    scores = np.array([[2.0, 1.0, 1.0, 0.0], [2.0, 1.0, 0.0, 1.0]])
    # Places of two: (1, 1/2, 1/2, 0) and (1, 1/2, 0, 1/2): 1.5 of 2 shared.
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        assert top_k_stability(scores[:, order], 2).mean == pytest.approx(0.75)


def test_unrelated_rankings_share_what_chance_gives():
    rng = np.random.default_rng(0)
    t = top_k_stability(rng.normal(size=(40, 50)), 10)
    assert t.mean == pytest.approx(t.chance, abs=0.02)


def test_nothing_to_choose_is_nan_and_items_with_gaps_do_not_count():
    assert math.isnan(top_k_stability([[1, 2], [1, 2]], 2).mean)
    assert math.isnan(top_k_stability([[1, 2, 3]], 1).mean)
    assert top_k_stability([[1, 2, 9], [1, 2, math.nan]], 1).items == 2
    with pytest.raises(ValueError, match="at least 1"):
        top_k_stability([[1, 2]], 0)
