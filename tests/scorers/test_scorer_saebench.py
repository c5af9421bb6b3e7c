"""SAEBench's protocol with its floor taken out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from latentbench.kernel.forms import words
from latentbench.kernel.requests import Capability, Chat, Outcome, Reply
from latentbench.prompts.answers import read_numbers
from latentbench.prompts.selection import weighted
from latentbench.scorers.saebench import cut
from latentbench.scorers.scorer import Scorer, load_scorer

from tests.builders.toy_latents import latent, window


def saebench(**params: Any) -> Scorer:
    return load_scorer({"use": "saebench", "preset": "paper", "params": params})


def listing(labels: Sequence[int]) -> str:
    return ", ".join(str(i) for i, y in enumerate(labels, 1) if y) or "none"


def test_fourteen_windows_in_one_prompt() -> None:
    scorer = load_scorer({"use": "saebench", "preset": "paper"})
    view = latent(positives=30, negatives=30)
    (trial,) = scorer.trials(view, "z", 0)
    assert len(trial.windows) == 14
    assert sum(trial.truth) == 4
    assert len({w.item for w in trial.windows}) == 14


def test_a_judge_that_always_says_no_is_at_the_floor() -> None:
    scorer = load_scorer("saebench")
    (trial,) = scorer.trials(latent(), "z", 0)
    found = scorer.metrics(scorer.parse(trial, [Reply(text="none")]))
    assert found["accuracy"] == pytest.approx(10 / 14)
    assert found["accuracy_normalised"] == pytest.approx(0)
    found = scorer.metrics(scorer.parse(trial, [Reply(text=listing(trial.truth))]))
    assert found["accuracy_normalised"] == 1
    # One of four positives missed: (13/14 - 10/14) / (4/14) = 3/4.
    first = trial.truth.index(1)
    said = [0 if i == first else y for i, y in enumerate(trial.truth)]
    found = scorer.metrics(scorer.parse(trial, [Reply(text=listing(said))]))
    assert found["accuracy_normalised"] == pytest.approx(0.75)
    assert set(found) <= {m.name for m in scorer.metric_table()}


def test_strong_windows_are_drawn_more_often() -> None:
    windows = [window(i, "quantile:1", [a, 0]) for i, a in enumerate([1.0, 2.0, 3.0])]
    first = [weighted(windows, 1, seed)[0].max for seed in range(2000)]
    # p ~ a^2: 1/14, 4/14, 9/14; standard deviation at most 0.011.
    assert first.count(1.0) / 2000 == pytest.approx(1 / 14, abs=0.04)
    assert first.count(3.0) / 2000 == pytest.approx(9 / 14, abs=0.045)
    assert len({w.id for w in weighted(windows, 3, 0)}) == 3


def test_windows_are_cut_around_a_place() -> None:
    w = window(1, "quantile:1", [0, 0, 0, 5, 0, 0, 0, 0])
    part = cut(w, 3, 2)
    assert part.tokens == w.tokens[1:6]
    assert part.ids == w.ids[1:6]
    assert part.activations == (0, 0, 5, 0, 0)
    assert part.position == w.position + 1
    assert cut(w, 0, 2).tokens == w.tokens[:3]
    assert cut(w, 3, 20) == w


def test_the_prompt_does_not_leak_how_many_windows_are_active() -> None:
    """SAEBench's example answer is as long as the right one."""

    def prompt(top: int, weighted: int, negatives: int) -> list[str]:
        scorer = saebench(top=top, weighted=weighted, negatives=negatives)
        (trial,) = scorer.trials(latent(positives=30, negatives=30), "z", 0)
        assert sum(trial.truth) == top + weighted
        (request,) = scorer.requests(trial, frozenset({Capability.CHAT}))
        assert isinstance(request, Chat)
        assert request.max_tokens >= 4 * 14
        texts = [m.content for m in request.messages]
        # All but the windows themselves: the numbers at the beginnings of their lines stay.
        return [*texts[:-1], *(line.partition(" ")[0] for line in texts[-1].splitlines())]

    assert prompt(2, 2, 10) == prompt(0, 1, 13) == prompt(6, 7, 1) == prompt(0, 0, 14)
    examples = load_scorer("saebench").prompts["list"]
    answers = [m["assistant"] for m in examples if "assistant" in m]
    sizes = {0 if a == "none" else len(a.split(",")) for a in answers}
    assert sizes == {0, 1, 2}
    texts = [sum(line[:1].isdigit() for line in m["user"].splitlines()) for m in examples[:-1] if "user" in m]
    shares = {(0 if a == "none" else len(a.split(","))) / n for a, n in zip(answers, texts, strict=True)}
    assert {0.0, 1.0} < shares
    assert 14 not in texts


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1, 3", {1, 3}),
        ("3,1", {1, 3}),
        ("[2]", {2}),
        (" 14. ", {14}),
        ("none", set()),
        ("None.", set()),
        ("[]", set()),
    ],
)
def test_numbers_are_read(text: str, found: set[int]) -> None:
    assert read_numbers(text, 14) == found


@pytest.mark.parametrize(
    "text",
    ["", "0", "15", "1, 1", "[0, 1, 0]", "1, 2,", "[1, 2", "1 3", "texts 1 and 3", "none, 3", "1.5", "-1", "9" * 5000],
)
def test_an_answer_without_a_reading_is_no_answer_for_all_windows(text: str) -> None:
    scorer = saebench()
    (trial,) = scorer.trials(latent(), "z", 0)
    judged = scorer.parse(trial, [Reply(text=text)])
    assert len(judged) == 14
    assert {j.outcome for j in judged} == {Outcome.PARSE}
    assert {j.answer for j in judged} == {None}
    assert scorer.metrics(judged) == {}


def test_a_failed_call_is_not_an_empty_list() -> None:
    scorer = saebench()
    (trial,) = scorer.trials(latent(), "z", 0)
    judged = scorer.parse(trial, [Reply(Outcome.TIMEOUT, error="late")])
    assert {j.outcome for j in judged} == {Outcome.TIMEOUT}
    refused = scorer.parse(trial, [Reply(text="I'm sorry, I cannot help with that.")])
    assert {j.outcome for j in refused} == {Outcome.REFUSAL}


def test_a_latent_with_fewer_windows_has_its_own_floor() -> None:
    scorer = saebench()
    assert scorer.floor("accuracy") == pytest.approx(10 / 14)
    assert load_scorer({"use": "saebench", "params": {"negatives": None}}).floor("accuracy") is None
    (trial,) = scorer.trials(latent(positives=3, negatives=5), "z", 0)
    assert (len(trial.windows), sum(trial.truth)) == (8, 3)
    found = scorer.metrics(scorer.parse(trial, [Reply(text="none")]))
    assert found["accuracy"] == 5 / 8
    assert found["accuracy_normalised"] == pytest.approx(0)


def test_windows_that_do_not_fill_a_prompt_are_asked_in_a_shorter_one() -> None:
    scorer = saebench(windows_per_prompt=6)
    trials = scorer.trials(latent(positives=30, negatives=30), "z", 0)
    assert [len(t.windows) for t in trials] == [6, 6, 2]
    judged = [j for t in trials for j in scorer.parse(t, [Reply(text=listing(t.truth))])]
    found = scorer.metrics(judged)
    assert found["n"] == 14
    assert found["accuracy_normalised"] == 1
    assert {words(t.form, len(t.windows)) for t in trials} == {
        ("none", "1", "2", "3", "4", "5", "6"),
        ("none", "1", "2"),
    }
