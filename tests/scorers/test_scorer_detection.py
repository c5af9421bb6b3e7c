"""Detection: what is asked, what is read, what is scored."""

from __future__ import annotations

import math
import random
from dataclasses import replace
from typing import Any

import pytest
from latentbench.kernel.errors import CapabilityError
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply, Simulate
from latentbench.prompts.answers import read_list, refused
from latentbench.scorers.binary_task import pooled, yes
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer

from tests.builders.toy_latents import latent

CHAT, CHOICE, SIMULATE = (frozenset({c}) for c in (Capability.CHAT, Capability.CHOICE, Capability.SIMULATE))


def detection(preset: str = "paper", **params: Any) -> Scorer:
    return load_scorer({"use": "detection", "preset": preset, "params": params})


def answer_all(scorer: Scorer, text_of: Any, **shape: int) -> list[Judgement]:
    return [j for t in scorer.trials(latent(**shape), "z", 0) for j in scorer.parse(t, [text_of(t)])]


def test_a_right_judge_scores_one_and_a_constant_one_is_at_the_floor() -> None:
    scorer = detection()
    right = scorer.metrics(answer_all(scorer, lambda t: Reply(text=str(list(t.truth)))))
    assert right["ap_normalised"] == right["balanced_accuracy"] == right["auroc"] == 1
    assert right["n"] == 40
    constant = scorer.metrics(answer_all(scorer, lambda t: Reply(text=str([1] * len(t.truth)))))
    assert constant["balanced_accuracy"] == constant["auroc"] == 0.5
    assert constant["ap_normalised"] == pytest.approx(0)


def test_short_last_batch_lost() -> None:
    trials = detection(windows_per_prompt=7).trials(latent(), "z", 0)
    assert [len(t.windows) for t in trials] == [7] * 5 + [5]
    assert len({w.item for t in trials for w in t.windows}) == 40


def test_parse_failure_scored() -> None:
    scorer = detection()
    judged = answer_all(scorer, lambda t: Reply(text="[1, 0]"))
    assert {j.outcome for j in judged} == {Outcome.PARSE}
    assert all(j.answer is None and j.score is None and j.error for j in judged)
    assert len(judged) == 40
    assert scorer.metrics(judged) == {}


@pytest.mark.parametrize(
    "text",
    ["", "yes", "[1, 0, 2]", "[1, 0]", "[1, 0, 1, 1]", "1, 0, 1", "[1, 0, 1] or [0, 0, 0]", "[1, 0, x]", "[1 0 1]"],
)
def test_lists_without_a_single_reading_have_none(text: str) -> None:
    assert read_list(text, 3) is None


@pytest.mark.parametrize("text", ["[1, 0, 1]", "[1,0,1]", "Answer: [ 1, 0,1 ].", "```\n[1, 0, 1]\n```"])
def test_a_list_inside_a_line_is_read(text: str) -> None:
    assert read_list(text, 3) == (1, 0, 1)


def test_refusals_are_told_from_unreadable_answers() -> None:
    scorer = detection()
    judged = answer_all(scorer, lambda t: Reply(text="I'm sorry, but I can't help with that."))
    assert {j.outcome for j in judged} == {Outcome.REFUSAL}
    assert not refused("The text is about a sorry sailor: [1]")


def test_failed_latents_dropped() -> None:
    """A failed call is a row per window with its outcome; the windows that were answered are scored alone."""
    scorer = detection()
    judged = answer_all(
        scorer, lambda t: Reply(Outcome.TIMEOUT, error="60 s") if t.id in ("0", "1") else Reply(text=str(list(t.truth)))
    )
    assert len(judged) == 40
    assert sum(j.outcome is Outcome.TIMEOUT and j.error == "60 s" for j in judged) == 10
    found = scorer.metrics(judged)
    assert found["n"] == 30
    assert found["accuracy"] == 1


def test_single_reads_the_probability_of_yes() -> None:
    scorer = detection("single", positives=3, negatives=3)
    trials = scorer.trials(latent(), "Names of rivers.", 0)
    (request,) = scorer.requests(trials[0], CHOICE)
    assert isinstance(request, Choice)
    assert request.answers == ("No", "Yes")
    (judged,) = scorer.parse(trials[0], [Reply(logprobs=((math.log(0.1), math.log(0.3)),))])
    assert judged.score == pytest.approx(0.75)
    assert judged.answer == 1
    (request,) = scorer.requests(trials[0], CHAT)
    assert isinstance(request, Chat)
    assert [scorer.parse(trials[0], [Reply(text=t)])[0].answer for t in ("Yes.", " no", "[1]")] == [1, 0, 1]
    assert scorer.parse(trials[0], [Reply(text="Yes and no")])[0].outcome is Outcome.PARSE


def test_answers_without_mass_have_no_reading() -> None:
    assert yes(-math.inf, -math.inf) is None
    assert yes(-math.inf, -3.0) == 1
    assert yes(-1e6, -1e6) == 0.5
    scorer = detection("single", positives=1, negatives=1)
    trial = scorer.trials(latent(), "z", 0)[0]
    (judged,) = scorer.parse(trial, [Reply(logprobs=((-math.inf, -math.inf),))])
    assert judged.outcome is Outcome.PARSE


def test_simulators_answer_the_question_itself() -> None:
    trial = detection("single").trials(latent(), "z", 0)[0]
    reply = Reply(windows=(0.8,), tokens=((0.1, 0.5),))
    read = {r: detection("single", reduction=r).parse(trial, [reply])[0].score for r in ("window", "max", "mean")}
    assert read == {"window": 0.8, "max": 0.5, "mean": pytest.approx(0.3)}
    assert pooled([0.1, 0.5], "noisy_or") == pytest.approx(0.55)
    (request,) = detection("single").requests(trial, CHOICE | SIMULATE)
    assert isinstance(request, Simulate)
    (request,) = detection("single", simulate="last").requests(trial, CHOICE | SIMULATE)
    assert isinstance(request, Choice)


def test_a_judge_of_another_kind_does_not_fit() -> None:
    scorer = detection("single", simulate="never")
    assert not scorer.fits(SIMULATE)
    with pytest.raises(CapabilityError):
        scorer.requests(scorer.trials(latent(), "z", 0)[0], SIMULATE)


def test_positives_are_even_over_deciles_and_drawn_without_replacement() -> None:
    trials = detection("single", positives=10, negatives=7).trials(latent(), "z", 3)
    windows = [t.windows[0] for t in trials]
    kinds = [w.kind for w in windows if w.kind != "random"]
    assert sorted(kinds) == [f"quantile:{d}" for d in range(10)]
    assert len({w.item for w in windows}) == 17


def test_other_latents_get_other_orders_and_the_explanation_changes_none() -> None:
    def ids(z: str, seed: int) -> list[int]:
        return [w.item for t in detection().trials(latent(), z, seed) for w in t.windows]

    assert ids("a", 1) == ids("b", 1)
    assert ids("a", 1) != ids("a", 2)


def test_permuting_windows_changes_no_prompt() -> None:
    whole = latent()
    rows = list(whole.test)
    random.Random(0).shuffle(rows)
    scorer = detection(positives=12, negatives=9)
    one = list(scorer.trials(whole, "z", 5))
    two = list(scorer.trials(replace(whole, test=tuple(rows)), "z", 5))
    assert one == two


def test_answer_size_leaked_by_example() -> None:
    """The example answers differ in size and share, so that none of them can be copied."""
    (request,) = detection().requests(detection().trials(latent(), "z", 0)[0], CHAT)
    assert isinstance(request, Chat)
    lists = [m.content for m in request.messages if m.role == "assistant"]
    sizes = [text.count(",") + 1 for text in lists]
    shares = [text.count("1") / n for text, n in zip(lists, sizes, strict=True)]
    assert len(set(sizes)) == len(sizes)
    assert 5 not in sizes
    assert max(shares) == 1
    assert min(shares) == 0
    for task in ("detection", "fuzzing"):
        scorer = load_scorer({"use": task, "preset": "single"})
        (choice,) = scorer.requests(scorer.trials(latent(), "z", 0)[0], CHOICE)
        assert isinstance(choice, Choice)
        said = [m.content for m in choice.messages if m.role == "assistant"]
        assert said.count("Yes") == said.count("No")
        assert said != sorted(said)


def test_the_truth_is_in_no_prompt() -> None:
    """Two latents with the same texts and opposite labels are asked the same."""
    scorer = detection("single")
    trial = scorer.trials(latent(), "z", 0)[0]
    other = replace(trial, truth=(1 - trial.truth[0],), token_truth=((9.0,) * 8,))
    (a,), (b,) = scorer.requests(trial, CHOICE), scorer.requests(other, CHOICE)
    assert a.messages == b.messages  # type: ignore[union-attr]


def test_hard_negatives_are_scored_apart() -> None:
    scorer = detection("single", negative_kinds=("random", "similar"))
    trials = scorer.trials(latent(hard=20), "z", 0)
    assert sum(len(t.windows) for t in trials) == 60

    def reply(trial: Any) -> Reply:
        fooled = trial.truth[0] or trial.judged[0].kind == "similar"
        return Reply(logprobs=((math.log(0.2), math.log(0.8)) if fooled else (math.log(0.8), math.log(0.2)),))

    judged = [j for t in trials for j in scorer.parse(t, [reply(t)])]
    found = scorer.metrics(judged)
    assert found["auroc"] == 1
    assert found["n"] == 40
    assert found["auroc@similar"] == 0.5
    assert found["ap_normalised@similar"] == pytest.approx(0)


def test_every_metric_is_declared() -> None:
    scorer = detection("single", negative_kinds=("random", "similar"))
    judged = [
        j for t in scorer.trials(latent(hard=5), "z", 0) for j in scorer.parse(t, [Reply(logprobs=((-1.0, -2.0),))])
    ]
    assert set(scorer.metrics(judged)) <= {m.name for m in scorer.metric_table()}
