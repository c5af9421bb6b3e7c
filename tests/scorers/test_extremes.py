"""Extremes under missing judgements are exact: every way in which the missing ones could have come out is tried.

What is tried is given to the scorer's own `metrics`, so neither the formulas nor the arguments of `latentbench.stats.bounds` are
used to check them.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from latentbench.kernel.requests import Outcome
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.stats.bounds import yes_no

EXACT: dict[str, set[str]] = {
    "detection": {"accuracy", "ap", "ap_normalised", "auroc", "balanced_accuracy", "f1", "recall"},
    "fuzzing": {"accuracy", "ap", "ap_normalised", "auroc", "balanced_accuracy", "f1", "recall"},
    "saebench": {
        *{"accuracy", "ap", "ap_normalised", "auroc", "balanced_accuracy", "f1", "recall"},
        "accuracy_normalised",
    },
    "embedding": {"ap", "ap_normalised", "auroc"},
    "surprisal": {"ap", "ap_normalised", "auroc"},
    "example_embedding": {"auroc"},
    "direction": {"auroc"},
    "intruder": {"accuracy", "accuracy_normalised"},
    "output_choice": {"accuracy", "accuracy_normalised"},
    "simulation": set(),
    "simulation_inline": set(),
    "sensitivity": set(),
    "intervention": set(),
}
"""Scorer -> metrics with extremes; the others have none, so a leaderboard prints none."""


def windows(truths: Sequence[int], kind: str | None = None) -> list[Judgement]:
    """Judgements that are not there yet: activating windows and silent ones."""
    kinds = {1: kind or "quantile:3", 0: kind or "random"}
    return [Judgement(str(i), "", i, kinds[min(y, 1)], y, Outcome.API, error="x") for i, y in enumerate(truths)]


def answered(judgement: Judgement, answer: int | None, score: float | None) -> Judgement:
    return replace(judgement, outcome=Outcome.OK, answer=answer, score=score, error=None)


def levels(known: Sequence[float], n: int) -> list[float]:
    """Every place that n new scores can have among the known ones and each other: on them, and n between any two."""
    ends = [float(x) for x in sorted(set(known))] or [0.0]
    edges = [ends[0] - 1, *ends, ends[-1] + 1]
    between = [float(x) for a, b in itertools.pairwise(edges) for x in np.linspace(a, b, n + 2)[1:-1]]
    return [*ends, *between]


def completions(given: Sequence[Judgement], answers: Sequence[int | None], ranks: bool) -> Iterator[list[Judgement]]:
    """All ways in which the missing judgements could have come out; with `ranks`, all places of their scores."""
    lost = [i for i, j in enumerate(given) if j.outcome is not Outcome.OK]
    scores: list[Any] = levels([j.score for j in given if j.score is not None], len(lost)) if ranks else [None]
    for said in itertools.product(answers, repeat=len(lost)):
        for placed in itertools.product(scores, repeat=len(lost)):
            whole = list(given)
            for i, a, s in zip(lost, said, placed, strict=True):
                whole[i] = answered(given[i], a, s)
            yield whole


def ends(
    scorer: Scorer, given: Sequence[Judgement], answers: Sequence[int | None], ranks: bool
) -> dict[str, tuple[float, float]]:
    """Least and greatest value of every metric that has a value under all completions."""
    found = [scorer.metrics(whole) for whole in completions(given, answers, ranks)]
    everywhere = set.intersection(*(set(f) for f in found))
    return {name: (min(f[name] for f in found), max(f[name] for f in found)) for name in everywhere}


def agree(scorer: Scorer, given: Sequence[Judgement], answers: Sequence[int | None], ranks: bool) -> None:
    claimed, tried = scorer.extremes(given), ends(scorer, given, answers, ranks)
    for name, (low, high) in claimed.items():
        assert name in tried, f"{name} is undefined under some answers"
        assert (low, high) == pytest.approx(tried[name], abs=1e-12), (name, given)


@pytest.mark.parametrize("name", sorted(EXACT))
def test_the_metrics_with_extremes_are_these(name: str) -> None:
    scorer = load_scorer(name)
    truths = [1, 1, 0, 0] if load_scorer(name).negative_kinds else [1, 2, 1, 3]
    kind = {"output_choice": "kl:1", "intruder": "quantile:0"}.get(name)
    assert set(scorer.extremes(windows(truths, kind))) == EXACT[name]
    assert set(EXACT) == {name.name for name in map(load_scorer, EXACT)}


@pytest.mark.parametrize("name", ["detection", "saebench"])
def test_answers_of_yes_or_no_are_tried_all(name: str) -> None:
    scorer = load_scorer(name)
    rng = random.Random(name)
    for _ in range(60):
        truths = [rng.randrange(2) for _ in range(rng.randint(2, 9))]
        given = windows(truths)
        for i in rng.sample(range(len(truths)), rng.randint(0, len(truths))):
            given[i] = answered(given[i], rng.randrange(2), None)
        # Without any judgement nobody knows whether there would have been scores, so their extremes hold.
        if any(j.outcome is Outcome.OK for j in given):
            agree(scorer, given, (0, 1), ranks=False)


def test_one_more_right_answer_can_lower_the_average_precision() -> None:
    """The case that makes all numbers of right answers be tried: among many wrong ones the first right one costs."""
    scorer = load_scorer("detection")
    given = [answered(j, int(not j.truth), None) for j in windows([0, 0, 0, 0])]
    given += [replace(j, trial=f"p{j.trial}") for j in windows([1, 1, 1])]
    all_no, one = ([*given[:4], *(answered(j, int(i < n), None) for i, j in enumerate(given[4:]))] for n in (0, 1))
    assert scorer.metrics(one)["ap"] < scorer.metrics(all_no)["ap"]
    agree(scorer, given, (0, 1), ranks=False)


@pytest.mark.parametrize("name", ["detection", "embedding", "surprisal"])
def test_scores_are_tried_at_every_place_with_and_without_ties(name: str) -> None:
    scorer = load_scorer(name)
    rng = random.Random(name)
    for lost in (0, 1, 1, 1, 2, 2, 2, 2, 2, 3):
        truths = [1, 0, *(rng.randrange(2) for _ in range(rng.randint(1, 4)))]
        given = [answered(j, None, float(rng.randrange(4))) for j in windows(truths)]
        for i in rng.sample(range(len(truths)), lost):
            given[i] = windows(truths)[i]
        if name == "detection":
            given = [replace(j, answer=int((j.score or 0) > 1)) if j.outcome is Outcome.OK else j for j in given]
            ranked = {k: scorer.extremes(given)[k] for k in ("auroc", "ap", "ap_normalised")}
            tried = ends(scorer, given, (0,), ranks=True)
            assert all(v == pytest.approx(tried[k], abs=1e-12) for k, v in ranked.items())
        else:
            agree(scorer, given, (None,), ranks=True)


def test_windows_of_harder_kinds_have_no_part_in_the_extremes() -> None:
    scorer = load_scorer("detection")
    given = [answered(j, j.truth, float(j.truth)) for j in windows([1, 1, 0, 0])]
    hard = [replace(j, kind="neighbour") for j in windows([0, 0])]
    found = scorer.extremes([*given, *hard])
    assert found["auroc"] == found["ap_normalised"] == (1, 1)


@pytest.mark.parametrize(("name", "kind"), [("intruder", "quantile:0"), ("output_choice", "kl:1")])
def test_shares_are_those_of_none_and_all_right(name: str, kind: str) -> None:
    scorer = load_scorer(name)
    for n in range(5):
        given = [answered(j, 1 + i % 2, 0.5) if i < n else j for i, j in enumerate(windows([1, 2, 2, 1], kind))]
        agree(scorer, given, (1, 2, 3), ranks=False)


def test_a_class_without_windows_has_no_extremes() -> None:
    assert yes_no([1, 1], [1, 0], None, [1]) == {}
    assert yes_no([], [], [], []) == {}
    assert load_scorer("saebench").extremes(windows([0, 0])) == {}


def test_the_case_that_was_printed_wrongly() -> None:
    """AUROC of .6 over half of the windows: by coverage .3 to .8; it could have been 0 to 1 of a complete judge's pairs."""
    labels, scores = [1, 1, 0, 0], [3.0, 0.0, 2.0, 1.0]
    low, high = yes_no(labels, None, scores, [1, 1, 0, 0])["auroc"]
    assert (low, high) == pytest.approx((2 / 16, 14 / 16))
