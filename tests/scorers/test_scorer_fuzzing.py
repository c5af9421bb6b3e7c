"""Fuzzing: marks that are right, random marks that tell nothing."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from latentbench.kernel.requests import Capability, Chat, Reply
from latentbench.kernel.trial import Seen
from latentbench.prompts.template import active_marks
from latentbench.scorers.scorer import Scorer, load_scorer

from tests.builders.toy_latents import latent


def fuzzing(preset: str = "single", **params: Any) -> Scorer:
    return load_scorer({"use": "fuzzing", "preset": preset, "params": params})


def shown(scorer: Scorer, label: int, seed: int = 0, **shape: int) -> list[Seen]:
    trials = scorer.trials(latent(**shape), "z", seed)
    return [s for t in trials for s, y in zip(t.windows, t.truth, strict=True) if y == label]


def test_positives_mark_tokens_from_the_threshold_up() -> None:
    assert active_marks([0.0, 1.0, 3.0, 10.0], 0.3) == (False, False, True, True)
    assert active_marks([0.0, 0.0], 0.3) == (False, False)
    trial = next(t for t in fuzzing().trials(latent(), "z", 0) if t.truth == (1,))
    marks = trial.windows[0].marks
    assert marks == tuple(a >= 0.3 * 4 for a in trial.token_truth[0])


def test_fuzz_negatives_marked_at_same_positions() -> None:
    places = Counter(s.marks for s in shown(fuzzing(), 0, negatives=200, length=16))
    assert max(places.values()) < 20
    used = Counter(t for s in shown(fuzzing(), 0, negatives=200, length=16) for t, m in enumerate(s.marks or ()) if m)
    # 200 windows x 2 marks over 16 positions: 25 each, standard deviation 4.7.
    assert set(used) == set(range(16))
    assert max(used.values()) < 50


def test_number_of_marks_is_no_tell() -> None:
    def counts(label: int) -> Counter[int]:
        return Counter(sum(s.marks or ()) for s in shown(fuzzing(), label, positives=300, negatives=300))

    positive, negative = counts(1), counts(0)
    assert set(positive) == set(negative) == {1, 2, 3}
    # Each count has share 1/3; 300 draws have a standard deviation of 8.2.
    assert all(abs(negative[k] - positive[k]) < 40 for k in positive)


def test_marks_stay_with_their_window() -> None:
    """A window's marks do not depend on how many others are judged or in what order they stand."""

    def marks(**shape: int) -> dict[tuple[int, ...], tuple[bool, ...] | None]:
        return {s.ids: s.marks for s in shown(fuzzing(), 0, **shape)}

    few, many = marks(negatives=5), marks(negatives=50)
    assert len(few) == 5
    assert all(many[ids] == m for ids, m in few.items())


def test_marks_reach_the_prompt() -> None:
    scorer = fuzzing("paper")
    trial = scorer.trials(latent(), "Names of rivers.", 0)[0]
    (request,) = scorer.requests(trial, frozenset({Capability.CHAT}))
    assert isinstance(request, Chat)
    last = request.messages[-1].content
    lines = [line for line in last.splitlines() if line[:1].isdigit()]
    assert len(lines) == 5
    for line, window in zip(lines, trial.windows, strict=True):
        runs = sum(bool(m) and (t == 0 or not window.marks[t - 1]) for t, m in enumerate(window.marks))  # type: ignore[index,arg-type]
        assert line.count("<<") == line.count(">>") == runs > 0


def test_wrong_marks_are_silent_tokens_of_activating_windows() -> None:
    scorer = fuzzing(negative_kinds=("random", "wrong_marks"), negatives=10)
    trials = scorer.trials(latent(), "z", 0)
    wrong = [t for t in trials if t.judged[0].kind == "wrong_marks"]
    assert len(wrong) == 10
    for t in wrong:
        assert t.truth == (0,)
        assert max(t.token_truth[0]) > 0
        assert not any(a > 0 and m for a, m in zip(t.token_truth[0], t.windows[0].marks or (), strict=True))
    judged = [j for t in trials for j in scorer.parse(t, [Reply(logprobs=((-2.0, -1.0 if t.truth[0] else -3.0),))])]
    found = scorer.metrics(judged)
    assert found["auroc"] == found["auroc@wrong_marks"] == 1
    assert found["n"] == 30


def test_a_simulator_is_read_on_the_marked_tokens() -> None:
    scorer = fuzzing()
    trial = next(t for t in scorer.trials(latent(), "z", 0) if sum(t.windows[0].marks or ()) == 2)
    tokens = tuple(0.9 if m else 0.1 for m in trial.windows[0].marks or ())
    (judged,) = scorer.parse(trial, [Reply(windows=(0.0,), tokens=(tokens,))])
    assert judged.score == pytest.approx(0.9)
