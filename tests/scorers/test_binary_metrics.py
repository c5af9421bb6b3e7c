"""Metrics of yes/no judgements against scikit-learn and numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest
from latentbench.scorers.metrics.yes_no import auroc, average_precision, binary_metrics
from sklearn import metrics as sk


@pytest.mark.parametrize("levels", [2, 3, 7, 1000])
def test_ranking_metrics_equal_sklearn_with_ties(levels: int) -> None:
    rng = np.random.default_rng(levels)
    for _ in range(50):
        n = int(rng.integers(4, 60))
        y = rng.integers(0, 2, n)
        y[:2] = [0, 1]
        s = rng.integers(0, levels, n) / levels
        assert auroc(y, s) == pytest.approx(sk.roc_auc_score(y, s), abs=1e-12)
        assert average_precision(y, s) == pytest.approx(sk.average_precision_score(y, s), abs=1e-12)


def test_hard_metrics_equal_sklearn() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        n = int(rng.integers(6, 60))
        y, p = rng.integers(0, 2, n), rng.integers(0, 2, n)
        y[:2], p[:2] = [0, 1], [1, 1]
        found = binary_metrics(y, p, None)
        assert found["accuracy"] == pytest.approx(sk.accuracy_score(y, p))
        assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p))
        assert found["f1"] == pytest.approx(sk.f1_score(y, p))
        assert found["precision"] == pytest.approx(sk.precision_score(y, p))
        assert found["recall"] == pytest.approx(sk.recall_score(y, p))


def test_numbers_worked_by_hand() -> None:
    found = binary_metrics([1, 1, 0, 0], [1, 0, 0, 0], None)
    assert found == pytest.approx(
        {
            "n": 4,
            "accuracy": 0.75,
            "recall": 0.5,
            "precision": 1,
            "f1": 2 / 3,
            "balanced_accuracy": 0.75,
            "auroc": 0.75,
            "ap": 0.75,
            "ap_normalised": 0.5,
        }
    )
    # Scores .9 .8 .7 .6 of labels 1 0 1 0: pairs won 3 of 4; AP = 1/2 * 1 + 1/2 * 2/3.
    found = binary_metrics([1, 0, 1, 0], None, [0.9, 0.8, 0.7, 0.6])
    assert found["auroc"] == 0.75
    assert found["ap"] == pytest.approx(5 / 6)
    assert "accuracy" not in found


def test_a_constant_answer_is_at_the_floor() -> None:
    y = [1] * 3 + [0] * 9
    found = binary_metrics(y, [1] * 12, [0.5] * 12)
    assert found["auroc"] == 0.5
    assert found["balanced_accuracy"] == 0.5
    assert found["ap_normalised"] == pytest.approx(0.0)


def test_undefined_metrics_are_left_out() -> None:
    only_positives = binary_metrics([1, 1], [1, 0], None)
    assert {"auroc", "ap", "ap_normalised", "balanced_accuracy"}.isdisjoint(only_positives)
    assert only_positives["recall"] == 0.5
    assert binary_metrics([0, 0], [0, 0], None) == {"n": 2, "accuracy": 1.0}


def test_a_missing_score_is_refused_and_not_ranked() -> None:
    with pytest.raises(ValueError, match="NaN"):
        auroc([1, 0], [0.5, float("nan")])
    with pytest.raises(ValueError, match="same length"):
        auroc([1, 0], [0.5])
