"""An explainer that tests itself: what it asks, what survives, what it costs, and what testing is worth with a known truth."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from latentbench.explainers.agent import AgentExplainer
from latentbench.explainers.explainer import Explanation, load_explainer
from latentbench.explainers.hypothesis import Hypothesis, MeasuredText, agreement, correct, ranked
from latentbench.judges.mock.guesser import Blind, Guesser
from latentbench.kernel.errors import SpecError
from latentbench.kernel.latent import LatentView
from latentbench.kernel.requests import Activate, Chat, Continuation, Outcome, Reply, Request, Usage
from latentbench.kernel.tasks import find
from latentbench.kernel.trial import Seen
from latentbench.leaderboards.inquiry_shown import inquiry_lines
from latentbench.runs.finished import Run, load_run
from latentbench.runs.run import start
from latentbench.stats.bootstrap import paired_difference
from latentbench.suites.store import load_suite
from rich.console import Console

from tests.builders.toy_latents import latent, window

Answer = Callable[[Request], Reply]
SAID = {"hypothesis 0": "Fruit.", "hypothesis 1": "Things.", "revision": "Sweet fruit."}
FEW: dict[str, Any] = {"k": 2, "texts": 2, "n_windows": 2, "rounds": 1}


def agent(**params: Any) -> AgentExplainer:
    found = load_explainer({"use": "agent", "params": {**FEW, **params}})
    assert isinstance(found, AgentExplainer)
    return found


def step(request: Request) -> str:
    """What a request is part of."""
    if isinstance(request, Activate):
        return "activate"
    assert isinstance(request, Chat)
    return "hypothesis" if request.trial is None else request.trial.id.partition("/")[0]


class World:
    """A model that proposes in turn, writes what it is told and tells texts by words; and a subject that fires on fruit."""

    def __init__(self, *proposals: str, fires: str = "Fruit", **odd: Reply) -> None:
        self.left, self.fires, self.odd = list(proposals), fires, odd
        self.asked: list[tuple[str, Request]] = []

    def __call__(self, request: Request) -> Reply:
        what = step(request)
        self.asked.append((what, request))
        if what in self.odd:
            return self.odd[what]
        if isinstance(request, Activate):
            value = 5.0 if self.fires in request.text else 0.0
            return Reply(tokens=((value,),), windows=(value,))
        assert isinstance(request, Chat)
        usage = Usage(10, 1)
        if request.trial is None:
            return Reply(text=self.left.pop(0), usage=usage)
        if what == "write":
            return Reply(text=f'"A text about {request.trial.explanation} {request.seed}"', usage=usage)
        # Windows of the toy latent are about anything; all is a thing, and fruit is where it is named or where there is a window.
        name = request.trial.explanation.rstrip(".")
        numbers = [
            str(i)
            for i, w in enumerate(request.trial.windows, 1)
            if name == "Things" or name in w.text or (name == "Fruit" and "text about" not in w.text)
        ]
        return Reply(text=", ".join(numbers) or "none", usage=usage)


def told(explainer: AgentExplainer, answer: Answer, view: LatentView | None = None, seed: int = 3) -> Explanation:
    view = view or latent()
    replies: list[Reply] = []
    requests = explainer.requests(view, seed)
    while requests:
        replies += [answer(r) for r in requests]
        requests = explainer.follow_up(view, replies, seed)
    return explainer.parse(view, replies, seed, {})


def note(found: Explanation) -> dict[str, Any]:
    assert found.note is not None
    whole: dict[str, Any] = json.loads(json.dumps(found.note))
    return whole


def test_the_first_round_is_the_prompt_of_llm_with_a_seed_each() -> None:
    asked = agent(k=3).requests(latent(), 3)
    (usual,) = load_explainer("llm").requests(latent(), 3)
    assert isinstance(usual, Chat)
    assert [r.messages for r in asked if isinstance(r, Chat)] == [usual.messages] * 3
    assert len({r.seed for r in asked if isinstance(r, Chat)}) == 3


def test_a_broad_hypothesis_is_found_out_by_the_texts_that_stay_silent() -> None:
    world = World("Things.", "Fruit.")
    found = told(agent(), world)
    assert found.text == "Fruit."
    assert [what for what, _ in world.asked] == ["hypothesis"] * 2 + ["write"] * 4 + ["activate"] * 4 + ["tell"] * 4
    (only,) = note(found)["rounds"]
    assert [(h["text"], h["agrees"], h["own"]) for h in only["compared"]] == [
        ("Fruit.", 1.0, 1.0),
        ("Things.", 0.5, 0.0),
    ]
    assert [t["fires"] for t in only["texts"]] == [False, False, True, True]
    assert all('"' not in t["text"] for t in only["texts"])
    assert note(found)["ended"] == "agreement with every text"
    assert note(found)["spent"] == {"calls": 10, "passes": 4, "tokens": 110}


def test_a_narrow_hypothesis_is_found_out_by_the_windows_that_it_misses() -> None:
    found = told(agent(), World("Fruit salad.", "Fruit."))
    compared = {h["text"]: h for h in note(found)["rounds"][0]["compared"]}
    assert found.text == "Fruit."
    assert compared["Fruit salad."]["own"] == 1.0
    assert compared["Fruit salad."]["agrees"] < compared["Fruit."]["agrees"]


def test_the_best_is_revised_with_what_it_got_wrong_and_the_new_ones_are_tested_like_the_first() -> None:
    world = World("Things.", "Things.", "Fruit.", "Fruit.")
    found = told(agent(rounds=2), world)
    assert found.text == "Fruit."
    first, second = note(found)["rounds"]
    assert (first["after"], second["after"]) == (None, "Things.")
    revision = [r for what, r in world.asked if what == "hypothesis"][2]
    assert isinstance(revision, Chat)
    words = revision.messages[-1].content
    assert "Description: Things." in words
    assert words.index("It was silent on") < words.index("A text about Things.")
    assert "It fired on\n- (none)" in words
    assert "<<" in words


def test_survivors_are_asked_about_new_texts_alone_and_others_about_nothing_more() -> None:
    world = World("Things.", "Stones.", "Fruit.", "Fruit.")
    told(agent(rounds=2, keep=1, revised=2), world)
    asked = [
        (r.trial.id, r.trial.explanation, len(r.trial.windows))
        for what, r in world.asked
        if what == "tell" and isinstance(r, Chat) and r.trial is not None
    ]
    assert [a for a in asked if a[0].startswith("tell/0")] == [
        ("tell/0/0", "Things.", 2),
        ("tell/0/0", "Things.", 4),
        ("tell/0/1", "Stones.", 2),
        ("tell/0/1", "Stones.", 4),
    ]
    assert [a for a in asked if a[0].startswith("tell/1")] == [
        ("tell/1/0", "Things.", 2),
        ("tell/1/2", "Fruit.", 2),
        ("tell/1/2", "Fruit.", 6),
    ]


def test_many_texts_are_several_questions_and_each_is_asked_once() -> None:
    world = World("Fruit.", "Things.")
    told(agent(texts=5, listed=4), world)
    for author in (0, 1):
        lists = [r.trial for what, r in world.asked if what == "tell" and isinstance(r, Chat) and r.trial is not None]
        own = [t for t in lists if t.id == f"tell/0/{author}"]
        assert [len(t.windows) for t in own] == [2, 3, 3, 4]
        assert len({w for t in own for w in t.windows}) == 12


def test_nothing_new_ends_it() -> None:
    found = told(agent(rounds=3), World("Things.", "Things.", "Things.", "Things."))
    assert (found.text, note(found)["ended"], len(note(found)["rounds"])) == ("Things.", "no new hypothesis", 2)


def test_weak_windows_are_left_out_and_those_of_the_prompt_come_last() -> None:
    weak = window(3000, "quantile:0", [0.0] * 4 + [0.5], "explain")
    view = replace(latent(), explain=(*latent().explain, weak))
    world = World("Fruit.", "Things.")
    told(agent(n_windows=50, n_examples=4, sampling="top"), world, view)
    trial = next(r.trial for what, r in world.asked if what == "tell" and isinstance(r, Chat))
    assert trial is not None
    assert weak.text not in {w.text for t in [trial] for w in t.windows}
    few = World("Fruit.", "Things.")
    told(agent(n_windows=6, n_examples=4, sampling="top"), few, view)
    shown = {
        w.text for what, r in few.asked if what == "tell" and isinstance(r, Chat) and r.trial for w in r.trial.windows
    }
    assert not shown & {w.text for w in view.explain[:4]}


def test_test_windows_are_never_seen() -> None:
    """The same suite without its test windows, its row and its contrast: the same questions and the same note."""
    suite = load_suite("planted-1")
    judge = Guesserlike("guesser")
    for view in suite.latents()[:3]:
        blind = replace(view, test=(), row={}, contrast=())
        explainer = agent(k=3, rounds=2)
        assert told(explainer, judge, view) == told(explainer, judge, blind)


class Guesserlike:
    """A mock judge, one request at a time."""

    def __init__(self, model: str) -> None:
        from latentbench.judges.mock.mock_judge import MockJudge

        self.judge = MockJudge(model)

    def __call__(self, request: Request) -> Reply:
        import asyncio

        return asyncio.run(self.judge.answer([request]))[0]


# --- what it may cost


@pytest.mark.parametrize(
    ("allowed", "wrong"),
    [({"max_calls": 9}, "max_calls is 9, and the first round may take 10"), ({"max_passes": 3}, "max_passes is 3")],
)
def test_an_allowance_that_the_first_round_could_exceed_is_refused(allowed: dict[str, int], wrong: str) -> None:
    with pytest.raises(SpecError, match=wrong):
        agent(**allowed)


@pytest.mark.parametrize(
    ("allowed", "ended", "rounds"),
    [
        ({"max_calls": 10}, "max_calls", 1),
        ({"max_calls": 22}, "max_calls", 2),
        ({"max_passes": 4}, "max_passes", 1),
        ({"max_passes": 8}, "max_passes", 2),
        ({"max_tokens_spent": 10}, "max_tokens_spent", 1),
        ({}, "the number of rounds", 4),
    ],
)
def test_a_round_that_could_go_over_is_not_begun(allowed: dict[str, int], ended: str, rounds: int) -> None:
    world = World(*(f"Things {i}." for i in range(9)))
    found = told(agent(rounds=4, revised=2, **allowed), world)
    spent = note(found)["spent"]
    assert (note(found)["ended"], len(note(found)["rounds"])) == (ended, rounds)
    assert spent["calls"] == sum(what != "activate" for what, _ in world.asked) <= allowed.get("max_calls", 99)
    assert spent["passes"] == sum(what == "activate" for what, _ in world.asked) <= allowed.get("max_passes", 99)


# --- what fails


@pytest.mark.parametrize(
    ("what", "reply", "outcome"),
    [
        ("activate", Reply(Outcome.SKIPPED, error="no latent of this judge"), Outcome.SKIPPED),
        ("activate", Reply(Outcome.TIMEOUT, error="slow"), Outcome.TIMEOUT),
        ("tell", Reply(Outcome.API, error="gone"), Outcome.API),
        ("write", Reply(Outcome.API, error="gone"), Outcome.API),
    ],
)
def test_a_failed_test_fails_the_explanation(what: str, reply: Reply, outcome: Outcome) -> None:
    world = World("Fruit.", "Things.")
    world.odd[what] = reply
    found = told(agent(), world)
    assert (found.text, found.outcome) == (None, outcome)
    assert found.error == f"hypotheses could not be tested: {reply.error}"


def test_a_text_whose_activation_is_no_number_is_not_taken_for_a_silent_one() -> None:
    found = told(agent(), World("Fruit.", "Things.", activate=Reply(Outcome.PARSE, error="no number")))
    assert (found.text, found.outcome) == (None, Outcome.PARSE)
    assert found.error == "hypotheses could not be tested: no number"


def test_a_latent_that_fires_in_no_explain_window_is_asked_nothing() -> None:
    silent = window(1, "quantile:0", [0.0, 0.0], "explain")
    found = told(agent(), World(), replace(latent(), explain=(silent,)))
    assert (found.text, found.outcome) == (None, Outcome.SKIPPED)


def test_hypotheses_that_cannot_be_read_are_left_out_and_without_any_there_is_no_explanation() -> None:
    found = told(agent(), World("  ", "Fruit."))
    assert found.text == "Fruit."
    assert [p["outcome"] for p in note(found)["rounds"][0]["proposed"]] == ["parse", "ok"]
    none = told(agent(), World("  ", "I'm sorry, but I can't help."))
    assert (none.text, none.outcome, none.error) == (None, Outcome.PARSE, "empty answer")
    assert told(agent(), World(), replace(latent(), explain=())).outcome is Outcome.SKIPPED


def test_an_answer_without_a_reading_counts_as_none_and_own_texts_decide() -> None:
    found = told(agent(), World("Things.", "Fruit.", tell=Reply(text="all of them, I think")))
    assert found.text == "Fruit."
    assert [(h["agrees"], h["own"]) for h in note(found)["rounds"][0]["compared"]] == [(0.5, 1.0), (0.5, 0.0)]


def test_texts_that_nobody_wrote_leave_the_windows() -> None:
    found = told(agent(), World("Things.", "Fruit.", write=Reply(text="I'm sorry, but I can't help.")))
    assert found.text == "Things."
    assert note(found)["rounds"][0]["texts"] == []
    assert note(found)["spent"]["passes"] == 0


# --- numbers


def held(fires: Sequence[int], *said: Sequence[float]) -> tuple[list[MeasuredText], list[Hypothesis]]:
    evidence = [MeasuredText(Seen((str(i),)), bool(f), float(f), i % len(said)) for i, f in enumerate(fires)]
    return evidence, [Hypothesis(str(n), told=dict(enumerate(row))) for n, row in enumerate(said)]


def test_agreement_is_balanced_accuracy_by_hand() -> None:
    evidence, (first, second) = held([1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 1])
    assert agreement(first, evidence) == pytest.approx((2 / 3 + 0) / 2)
    assert agreement(second, evidence) == pytest.approx((0 + 1) / 2)
    assert correct(first, evidence) == pytest.approx(np.array([1, 1, 0, 0]) * 4 / (2 * 3))
    assert agreement(Hypothesis("unasked"), evidence) == pytest.approx(0.5)
    assert agreement(first, []) == 0.5


def test_where_nothing_is_silent_only_what_fires_counts() -> None:
    evidence, (first,) = held([1, 1, 1, 1], [1, 1, 1, 0])
    assert agreement(first, evidence) == pytest.approx(0.75)


def test_of_equals_the_one_whose_texts_fired_and_then_the_earliest_is_best() -> None:
    evidence, hypotheses = held([0, 1, 0, 1], [1, 1, 1, 1], [1, 1, 1, 1])
    assert [r.number for r in ranked([0, 1], hypotheses, evidence)] == [1, 0]
    same, both = held([1, 1], [1, 1], [1, 1])
    assert [r.number for r in ranked([0, 1], both, same)] == [0, 1]


def test_a_hypothesis_whose_own_texts_stay_silent_is_refuted_by_them() -> None:
    evidence, (refuted, modest) = held([0, 1, 0, 1, 0, 1], [1, 1, 1, 1, 1, 1], [1, 0.5, 1, 0.5, 1, 0.5])
    found = ranked([0, 1], [refuted, modest], evidence)
    assert [(r.number, r.agrees, r.own, r.score) for r in found] == [(1, 0.75, 1.0, 0.875), (0, 1.0, 0.0, 0.5)]


def test_shuffled_evidence_has_as_many_firing_texts_among_others() -> None:
    def fired(**params: Any) -> list[bool]:
        world = World("Fruit.", "Things.")
        return [t["fires"] for t in note(told(agent(texts=6, **params), world))["rounds"][0]["texts"]]

    measured, dealt = fired(), fired(evidence="shuffled")
    assert sorted(measured) == sorted(dealt)
    assert measured != dealt


# --- what is shown


def test_every_round_is_shown() -> None:
    found = told(agent(rounds=2), World("Things.", "Things.", "Fruit.", "Fruit."))
    lines = "\n".join(inquiry_lines(json.dumps(found.note), whole=True))
    assert "round 1: 2 hypotheses, 1 different; 0 of 2 written texts fired; 2 explain windows beside them" in lines
    assert "  revised: Things." in lines
    assert "silent, 0.000 of the maximum: A text about Things." in lines
    assert "ended by agreement with every text; " in lines
    short = inquiry_lines(json.dumps(found.note), whole=False)
    assert not any("A text about" in line for line in short)
    assert len(short) < len(lines.splitlines())


@pytest.mark.parametrize(
    "odd", [None, "null", "{}", '{"rounds": [1]}', '{"rounds": [], "spent": 3}', '{"candidates": []}']
)
def test_another_note_gives_no_lines(odd: str | None) -> None:
    assert inquiry_lines(odd, whole=True) == []


# --- the writers that guess


def test_the_guesser_names_what_the_marks_allow_and_not_always_the_truth() -> None:
    prompt = "Example 1: a <<red>> door\nExample 2: her <<blue>> coat\nExample 3: <<green>> leaves"
    texts = set(Guesser().plausible(prompt))
    assert {"Names of colours.", "Adjectives for how things look: colours, sizes and shapes."} <= texts
    assert "Names of months." not in texts
    from latentbench.kernel.requests import Message

    drawn = {Guesser().explain(Chat((Message("user", prompt),), seed=seed)) for seed in range(40)}
    assert len(drawn) > 3
    assert drawn <= texts
    assert Guesser().explain(Chat((Message("user", "nothing marked"),))) is None


def test_the_guesser_finds_a_narrower_description_likelier_and_a_wrong_one_impossible() -> None:
    def gain(model: Guesser, text: str, window: str) -> float:
        context = f"Description: Taxes.\nText: x\n\nDescription: {text}\nText:"
        return model.loglik(Continuation(context, window))[0] - model.loglik(Continuation("\n\nText:", window))[0]

    model = Guesser()
    colours, broad = "Names of colours.", "Adjectives for how things look: colours, sizes and shapes."
    assert gain(model, colours, " a red door") > gain(model, broad, " a red door") > 0
    assert gain(model, colours, " a tall door") < 0 < gain(model, broad, " a tall door")
    assert gain(Blind(), colours, " a red door") == 0


# --- where the truth is known


@pytest.fixture(scope="module", params=["guesser", "blind"])
def scored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Run]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    model = f"mock:{request.param}"
    spec = {
        "name": "inquiry",
        "suite": str(find("suites", "planted-1")),
        "split": "test",
        "explainers": [
            {"use": "llm", "model": model},
            # More calls, passes counted as calls, and more tokens than the agent's.
            {"use": "best-of-k", "model": model, "params": {"k": 4, "n_choose": 14}},
            {"use": "agent", "model": model},
        ],
        "scorers": [{"use": "detection", "params": {"positives": 8, "negatives": 8}}],
        "judges": [{"use": "mock:oracle", "label": "oracle"}],
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    start(folder / "spec.yaml", folder / "run", folder / "cache.sqlite", Console(quiet=True))
    return request.param, load_run(folder / "run")


@pytest.mark.parametrize("other", ["llm", "best-of-k"])
def test_testing_helps_a_writer_that_understands_and_no_other(scored: tuple[str, Run], other: str) -> None:
    writer, run = scored
    values = run.scores[run.scores["metric"] == "balanced_accuracy"]
    table = {
        label: dict(zip(rows["latent"], rows["value"], strict=True)) for label, rows in values.groupby("explainer")
    }
    ids = sorted(table["agent"])
    assert len(ids) == 31
    ours, theirs = ([table[label][i] for i in ids] for label in ("agent", other))
    difference = paired_difference(ours, theirs, ids, seed=0, span=1.0).interval
    print(f"{writer}: agent above {other} by {difference}")
    if writer == "guesser":
        assert difference.low > 0
    else:
        assert difference.low <= 0 <= difference.high


def test_best_of_k_had_at_least_as_much(scored: tuple[str, Run]) -> None:
    writer, run = scored
    cost = run.explanations.groupby("explainer")[["tokens_in", "tokens_out"]].sum().sum(axis=1)
    if writer == "guesser":
        assert cost["agent"] <= cost["best-of-k"]
