"""The numbers of FADE and input success: by hand, against scikit-learn, and against direct loops."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from latentbench.stats.fade import CLEAN, faithfulness, gini, input_success, purity
from sklearn.metrics import average_precision_score, roc_auc_score


def test_gini_by_hand() -> None:
    assert gini([3, 0], [1, 0]) == pytest.approx(0.25)
    assert gini([2, 2], [0, 1, 0]) == 1
    assert gini([0, 0], [1, 5]) == -1
    assert gini([0, 0], [0, 0, 0]) == 0
    assert math.isnan(gini([], [1.0]))
    assert math.isnan(gini([1.0], []))


def test_purity_by_hand() -> None:
    assert purity([5, 0], [3, 0]) == pytest.approx(0.75)
    assert purity([5, 4], [3, 0]) == 1
    # A latent that is silent everywhere: the share rated 2.
    assert purity([0, 0], [0] * 6) == pytest.approx(0.25)
    assert math.isnan(purity([], [1.0]))


@pytest.mark.parametrize("seed", range(5))
def test_gini_and_purity_are_those_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    # Small integers tie often, as silent windows do.
    high, low = rng.integers(0, 5, 17).astype(float).tolist(), rng.integers(0, 4, 29).astype(float).tolist()
    labels, values = [1] * len(high) + [0] * len(low), [*high, *low]
    assert gini(high, low) == pytest.approx(2 * roc_auc_score(labels, values) - 1)
    assert gini(low, high) == pytest.approx(-gini(high, low))
    assert purity(high, low) == pytest.approx(average_precision_score(labels, values))
    pairs = [(a > b) - (a < b) for a, b in product(high, low)]
    assert gini(high, low) == pytest.approx(np.mean(pairs))


def test_input_success_is_a_strict_comparison_of_means() -> None:
    assert input_success([1.0, 0.0], [0.4, 0.4]) == 1
    assert input_success([0.1, 0.2, 0.3], [0.3, 0.2, 0.1]) == 0
    assert input_success([0.0], [0.0]) == 0
    assert input_success([0.0, 0.0], [1.0]) == 0
    assert math.isnan(input_success([], [1.0]))


def test_faithfulness_by_hand() -> None:
    contained = {
        "a": {CLEAN: [0, 0], "weak": [1, 0], "strong": [1, 1]},
        "b": {CLEAN: [1, 0], "weak": [0, 1], "strong": [1, 0]},
    }
    assert faithfulness(contained, ["weak", "strong"]) == pytest.approx(1 / 4)
    assert faithfulness({h: {CLEAN: [0], "weak": [1]} for h in "ab"}, ["weak"]) == 1
    # Steering that removes the concept is no negative faithfulness.
    assert faithfulness({h: {CLEAN: [1, 0], "weak": [0, 0]} for h in "ab"}, ["weak"]) == 0


def test_faithfulness_is_undefined_without_a_choice_or_a_report() -> None:
    assert math.isnan(faithfulness({}, []))
    assert math.isnan(faithfulness({"a": {CLEAN: [0], "weak": [1]}}, ["weak"]))
    assert math.isnan(faithfulness({h: {CLEAN: [1], "weak": [1]} for h in "ab"}, ["weak"]))
    # One half whose clean completions all contain it leaves the other way round.
    one = {"a": {CLEAN: [1], "weak": [1]}, "b": {CLEAN: [0], "weak": [1]}}
    assert faithfulness(one, ["weak"]) == 1


@pytest.mark.parametrize("seed", range(5))
def test_faithfulness_is_that_of_a_direct_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kinds = ["kl:0.1", "kl:1", "kl:3"]
    contained = {h: {k: rng.integers(0, 2, 6).tolist() for k in (CLEAN, *kinds)} for h in "ab"}
    folds = []
    for choose, report in (("a", "b"), ("b", "a")):
        best, share = "", -1.0
        for k in kinds:
            if np.mean(contained[choose][k]) > share:
                best, share = k, float(np.mean(contained[choose][k]))
        p0, pm = np.mean(contained[report][CLEAN]), np.mean(contained[report][best])
        if p0 < 1:
            folds.append(max(0, pm - p0) / (1 - p0))
    assert faithfulness(contained, kinds) == pytest.approx(np.mean(folds))


def test_the_best_strength_is_not_reported_on_the_prompts_that_chose_it() -> None:
    """Coins: the share of the luckiest of eight strengths is far above that of a coin; the reported one is not."""
    rng = np.random.default_rng(0)
    kinds = [f"kl:{k}" for k in range(8)]
    honest, lucky = [], []
    for _ in range(300):
        contained = {h: {k: rng.integers(0, 2, 5).tolist() for k in (CLEAN, *kinds)} for h in "ab"}
        whole = {k: np.mean(contained["a"][k] + contained["b"][k]) for k in (CLEAN, *kinds)}
        # Without the bars at 0, which alone lift a mean of nothing.
        best = {h: max(kinds, key=lambda k, h=h: np.mean(contained[h][k])) for h in "ab"}
        honest.append(np.mean(contained["b"][best["a"]]) - np.mean(contained["b"][CLEAN]))
        lucky.append(max(whole[k] for k in kinds) - whole[CLEAN])
        assert faithfulness(contained, kinds) <= 1
    assert abs(np.mean(honest)) < 0.05
    assert np.mean(lucky) > 0.15
