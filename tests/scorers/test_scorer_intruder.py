"""Intruder: one odd window among windows of one strength."""

from __future__ import annotations

import math
from typing import Any

import pytest
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply
from latentbench.kernel.trial import Trial
from latentbench.scorers.scorer import Scorer, load_scorer

from tests.builders.toy_latents import latent

CHOICE, CHAT = frozenset({Capability.CHOICE}), frozenset({Capability.CHAT})


def intruder(**params: Any) -> Scorer:
    return load_scorer({"use": "intruder", "params": params})


def says(place: int, k: int = 5) -> Reply:
    return Reply(logprobs=(tuple(math.log(0.6) if i == place else math.log(0.1) for i in range(k)),))


def right(trial: Trial) -> int:
    return trial.window_truth.index(1)


def test_each_prompt_has_one_intruder_among_windows_of_one_decile() -> None:
    trials = intruder(trials=3).trials(latent(positives=60), "z", 0)
    assert len(trials) == 30
    for t in trials:
        assert len(t.windows) == 5
        assert sum(t.window_truth) == 1
        assert max(t.token_truth[right(t)]) == 0
        assert all(max(a) > 0 for i, a in enumerate(t.token_truth) if i != right(t))
        assert t.windows[right(t)].item == t.item
    assert len({t.judged[0].item for t in trials}) == 20  # every negative once before any twice
    assert len({t.id for t in trials}) == 30


def test_places_are_balanced_and_not_the_same_for_every_seed() -> None:
    for k in (3, 5):
        scorer = intruder(trials=5, k=k)
        orders = set()
        for seed in range(5):
            places = [right(t) for t in scorer.trials(latent(positives=60), "z", seed)]
            assert len(places) == 50
            for i in range(0, 50 - k + 1, k):
                assert sorted(places[i : i + k]) == list(range(k))
            orders.add(tuple(places))
        assert len(orders) == 5


def test_it_is_the_same_question_for_every_explanation() -> None:
    one, two = (intruder().trials(latent(positives=60), z, 0) for z in ("a", "b"))
    assert one == two
    assert all(t.explanation == "" for t in one)


def test_scores_worked_by_hand() -> None:
    scorer = intruder(trials=2)
    trials = scorer.trials(latent(positives=60), "z", 0)
    judged = [
        j for i, t in enumerate(trials) for j in scorer.parse(t, [says(right(t) if i % 2 == 0 else (right(t) + 1) % 5)])
    ]
    assert judged[0].score == pytest.approx(0.6)
    assert judged[1].score == pytest.approx(0.1)
    found = scorer.metrics(judged)
    assert found["accuracy"] == 0.5
    assert found["accuracy_normalised"] == pytest.approx((0.5 - 0.2) / 0.8)
    assert found["accuracy@quantile:3"] == 0.5
    assert set(found) <= {m.name for m in scorer.metric_table()}


@pytest.mark.parametrize("k", [3, 4, 5])
def test_a_constant_answer_is_exactly_at_the_floor(k: int) -> None:
    scorer = intruder(trials=6, k=k)
    assert scorer.floor("accuracy") == scorer.floor("accuracy@quantile:3") == 1 / k
    assert scorer.floor("accuracy_normalised") == 0
    tie = Reply(logprobs=((-1.0,) * k,))
    for reply in (says(2, k), tie):
        judged = [j for t in scorer.trials(latent(positives=60), "z", 0) for j in scorer.parse(t, [reply])]
        found = scorer.metrics(judged)
        assert found["n"] == 60
        assert found["accuracy"] == pytest.approx(1 / k)
        assert found["accuracy_normalised"] == pytest.approx(0)


@pytest.mark.parametrize("text", ["", "none", "6", "0", "2 or 3", "[0, 1, 0, 0, 0]", "The texts are alike."])
def test_unreadable_answers_are_no_answers(text: str) -> None:
    scorer = intruder()
    (judged,) = scorer.parse(scorer.trials(latent(positives=60), "z", 0)[0], [Reply(text=text)])
    assert judged.outcome is Outcome.PARSE
    assert judged.answer is None


def test_written_numbers_are_read() -> None:
    scorer = intruder()
    trial = scorer.trials(latent(positives=60), "z", 0)[0]
    (request,) = scorer.requests(trial, CHAT)
    assert isinstance(request, Chat)
    for text in (f"{right(trial) + 1}", f" Text {right(trial) + 1}. "):
        (judged,) = scorer.parse(trial, [Reply(text=text)])
        assert judged.answer == judged.truth == right(trial) + 1
    wrong = (right(trial) + 1) % 5 + 1
    (judged,) = scorer.parse(trial, [Reply(text=str(wrong))])
    assert (judged.answer, judged.truth) == (wrong, right(trial) + 1)


def test_small_deciles_are_grouped_on_demand() -> None:
    assert intruder(groups=10).trials(latent(positives=20), "z", 0) == []
    assert len(intruder(groups=2).trials(latent(positives=20), "z", 0)) == 4
    # The most groups with four windows each: 20 windows give five, 9 windows two, 4 windows one.
    for positives, kinds in ((60, 10), (40, 10), (39, 5), (20, 5), (9, 2), (4, 1), (3, 0)):
        trials = intruder().trials(latent(positives=positives), "z", 0)
        assert len({t.judged[0].kind for t in trials}) == kinds
        assert len(trials) == 2 * kinds
    for groups in (2, 5):
        for t in intruder(groups=groups).trials(latent(positives=60), "z", 0):
            # A toy window numbered i stands in decile i mod 10; its ids start at 1000 i.
            deciles = {int(w.ids[0] / 1000) % 10 for i, w in enumerate(t.windows) if not t.window_truth[i]}
            lowest = int(t.judged[0].kind.removeprefix("quantile:"))
            assert {d * groups // 10 for d in deciles} == {lowest * groups // 10}
            assert lowest == min(d for d in range(10) if d * groups // 10 == lowest * groups // 10)


def test_marks_are_shown_on_all_windows_or_none() -> None:
    for marks in (False, True):
        scorer = intruder(marks=marks)
        (request,) = scorer.requests(scorer.trials(latent(positives=60), "z", 0)[0], CHOICE)
        assert isinstance(request, Choice)
        lines = [x for x in request.messages[-1].content.splitlines() if x[:1].isdigit()]
        assert len(lines) == 5
        assert all(("<<" in x) == marks for x in lines)
