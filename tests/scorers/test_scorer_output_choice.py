"""Output choice: three groups of completions, one of them the latent's own."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from latentbench.kernel.errors import CapabilityError, SpecError
from latentbench.kernel.latent import LatentView, Steered
from latentbench.kernel.requests import Capability, Chat, Choice, Outcome, Reply, Simulate
from latentbench.kernel.trial import Trial
from latentbench.runs.run import start
from latentbench.scorers.scorer import Judgement, Scorer, load_scorer
from latentbench.suites.store import load_suite, save_suite
from rich.console import Console

from tests.builders.planted_steered import add_interventions
from tests.builders.toy_latents import latent

QUIET = Console(quiet=True)
ALL = frozenset(Capability)
CHAT, SIMULATE = frozenset({Capability.CHAT}), frozenset({Capability.SIMULATE})


def choice(**params: Any) -> Scorer:
    return load_scorer({"use": "output_choice", "params": params})


def rows(name: str, n: int = 15, kls: tuple[float, ...] = (0.1, 1.0), reached: bool = True) -> tuple[Steered, ...]:
    return tuple(
        Steered(
            *(w, "test", "quantile:3", "add", kl, kl, reached or kl < 1, 2.0),
            *(f"{name} prompt {w}", f" {name} calm {w}", f" {name} red {w} at {kl}", (), ()),
        )
        for kl in kls
        for w in range(n)
    )


def view(others: int = 4, n: int = 15, **kwargs: Any) -> LatentView:
    peers = {f"sae/{i}": rows(f"sae/{i}", n, **kwargs) for i in range(7, 8 + others)}
    return replace(latent(), interventions=peers["sae/7"], peers=peers)


def groups(trial: Trial) -> list[list[str]]:
    texts = [w.text.strip() for w in trial.windows]
    size = len(texts) // 3
    return [texts[i : i + size] for i in range(0, len(texts), size)]


def says(place: int, k: int = 3) -> Reply:
    return Reply(logprobs=(tuple(math.log(0.6) if i == place else math.log(0.2) for i in range(k)),))


def test_one_group_is_the_latent_s_and_the_others_are_of_two_other_latents_at_the_same_strength() -> None:
    for seed in range(20):
        trials = choice(control=False).trials(view(), "z", seed)
        assert [t.id for t in trials] == ["kl:1/0", "kl:1/1", "kl:1/2"]
        shown: list[str] = []
        for t in trials:
            owners = [{text.split()[0] for text in group} for group in groups(t)]
            assert all(len(o) == 1 for o in owners)
            assert len(set.union(*owners)) == 3
            assert [i + 1 for i, o in enumerate(owners) if o == {"sae/7"}] == list(t.truth)
            assert all(text.endswith("at 1.0") for group in groups(t) for text in group)
            assert [len(set(g)) for g in groups(t)] == [5, 5, 5]
            assert t.window_truth == tuple(int(i // 5 + 1 == t.truth[0]) for i in range(15))
            shown += groups(t)[t.truth[0] - 1]
        assert len(set(shown)) == 15


def test_places_are_balanced_and_drawn_by_seed() -> None:
    places = [[t.truth[0] for t in choice(control=False).trials(view(), "z", s)] for s in range(40)]
    assert all(sorted(p) == [1, 2, 3] for p in places)
    assert {tuple(p) for p in places} == {(a, b, 6 - a - b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    # A judge that always names one place is right in a third of every latent's questions.
    scorer = choice()
    judged = [j for t in scorer.trials(view(), "z", 0) for j in scorer.parse(t, [says(1)])]
    found = scorer.metrics(judged)
    assert found["accuracy"] == found["accuracy@clean"] == pytest.approx(1 / 3)
    assert found["accuracy_normalised"] == pytest.approx(0)
    assert found["gain"] == 0
    assert [found[f"named@{i}"] for i in (1, 2, 3)] == [0, 1, 0]
    assert [found[f"accuracy@place:{i}"] for i in (1, 2, 3)] == [0, 1, 0]


def test_the_control_has_the_clean_texts_of_the_same_prompts_in_the_same_places() -> None:
    trials = choice().trials(view(), "z", 3)
    steered, clean = trials[:3], trials[3:]
    assert [t.judged[0].kind for t in trials] == ["kl:1"] * 3 + ["clean"] * 3
    for a, b in zip(steered, clean, strict=True):
        assert a.truth == b.truth
        said = [[text.replace("red", "calm").removesuffix(" at 1.0") for text in g] for g in groups(a)]
        assert said == groups(b)


def test_the_order_of_rows_and_the_other_strengths_change_no_question() -> None:
    plain = choice(also=[0.1]).trials(view(), "z", 4)
    moved = view()
    peers = {k: tuple(random.Random(1).sample(v, len(v))) for k, v in reversed(moved.peers.items())}
    moved = replace(moved, peers=peers, interventions=tuple(peers["sae/7"]))
    assert list(choice(also=[0.1]).trials(moved, "z", 4)) == list(plain)
    assert list(choice().trials(view(), "z", 4)) == list(plain[:6])
    weak = {t.id: t for t in plain if t.judged[0].kind == "kl:0.1"}
    assert len(weak) == 3
    for t in plain[:3]:
        other = weak[t.id.replace("kl:1", "kl:0.1")]
        assert other.truth == t.truth
        assert [[x.replace("at 0.1", "at 1.0") for x in g] for g in groups(other)] == groups(t)


def test_the_explanation_stands_before_the_groups_and_prompts_are_not_shown() -> None:
    scorer = choice()
    trial = scorer.trials(view(), "Names of\ncolours.", 0)[0]
    (asked,) = scorer.requests(trial, ALL)
    assert isinstance(asked, Choice)
    assert asked.answers == ("1", "2", "3")
    text = asked.messages[-1].content
    assert text.startswith("Description: Names of\ncolours.\n1.\n- ")
    assert text.count("\n- ") == 15
    assert "prompt" not in text
    (written,) = scorer.requests(trial, CHAT)
    assert isinstance(written, Chat)
    assert written.messages == asked.messages


@pytest.mark.parametrize(
    ("view", "params"),
    [(latent(), {}), (view(others=1), {}), (view(n=4), {}), (view(reached=False), {}), (view(), {"kl": 3.0})],
    ids=["no table", "one other latent", "few texts", "not reached", "no such strength"],
)
def test_what_cannot_be_asked_is_skipped(view: LatentView, params: dict[str, Any]) -> None:
    scorer = choice(**params)
    (trial,) = scorer.trials(view, "z", 0)
    assert scorer.requests(trial, ALL) == []
    (judged,) = scorer.parse(trial, [])
    assert (judged.outcome, judged.answer) == (Outcome.SKIPPED, None)
    assert scorer.metrics([judged]) == {}


def test_other_latents_whose_strength_was_not_reached_are_no_distractors() -> None:
    found = view(others=3)
    peers = {**found.peers, "sae/8": rows("sae/8", reached=False)}
    for seed in range(10):
        for t in choice().trials(replace(found, peers=peers), "z", seed):
            assert not any("sae/8" in w.text for w in t.windows)


def test_every_kind_of_answer_is_read() -> None:
    scorer = choice(texts=1)
    trial = next(t for t in scorer.trials(view(), "z", 0) if t.truth == (2,))

    def read(reply: Reply) -> Judgement:
        (judged,) = scorer.parse(trial, [reply])
        return judged

    sure = read(says(1))
    assert (sure.truth, sure.answer) == (2, 2)
    assert sure.score == pytest.approx(0.6)
    assert read(says(0)).answer == 1
    tie = read(Reply(logprobs=((-1.0, -1.0, -1.0),)))
    assert (tie.answer, tie.score) == (1, pytest.approx(1 / 3))
    assert [read(Reply(text=t)).answer for t in ("2", "Group 3.", "**1**")] == [2, 3, 1]
    assert [read(Reply(text=t)).outcome.value for t in ("4", "1 or 2", "", "I can't help with that")] == [
        *("parse", "parse", "parse", "refusal")
    ]
    assert read(Reply(logprobs=((-math.inf,) * 3,))).outcome is Outcome.PARSE
    assert read(Reply(Outcome.API, error="x")).outcome is Outcome.API


def test_a_simulator_names_the_group_that_the_explanation_lights_up_most() -> None:
    scorer = choice(texts=2)
    trial = next(t for t in scorer.trials(view(), "z", 0) if t.truth == (3,))
    (asked,) = scorer.requests(trial, SIMULATE)
    assert isinstance(asked, Simulate)
    assert len(asked.trial.windows) == 6
    # Means 0.5, 0.2 and 0.6, although the brightest text is in the first group.
    p = (0.9, 0.1, 0.2, 0.2, 0.6, 0.6)
    (judged,) = scorer.parse(trial, [Reply(tokens=tuple((x,) for x in p), windows=p)])
    assert judged.answer == 3
    assert judged.score == pytest.approx(0.6 / 1.3)
    with pytest.raises(CapabilityError, match="output_choice"):
        scorer.requests(trial, frozenset({Capability.EMBED}))


def test_metrics_by_hand() -> None:
    said = {"kl:1": [(1, 1), (2, 2), (3, 1)], "clean": [(1, 1), (2, 3), (3, 1)], "kl:0.1": [(1, 2), (2, 2)]}
    judged = [
        Judgement(f"{kind}/{i}", "", None, kind, label, Outcome.OK, 0.5, answer)
        for kind, pairs in said.items()
        for i, (label, answer) in enumerate(pairs)
    ]
    scorer = choice(also=[0.1])
    found = scorer.metrics(judged)
    assert found == pytest.approx(
        {
            "accuracy": 2 / 3,
            "accuracy_normalised": 1 / 2,
            "gain": 1 / 3,
            "accuracy@clean": 1 / 3,
            "accuracy@kl:1": 2 / 3,
            "accuracy@kl:0.1": 1 / 2,
            "named@1": 2 / 3,
            "named@2": 1 / 3,
            "named@3": 0,
            "accuracy@place:1": 1,
            "accuracy@place:2": 1,
            "accuracy@place:3": 0,
            "n": 3,
        }
    )
    assert set(found) <= {m.name for m in scorer.metric_table()}
    assert scorer.floor("accuracy") == pytest.approx(1 / 3)
    with pytest.raises(SpecError, match="kl"):
        choice(kl=0)


def test_a_strength_beside_the_usual_ones_has_a_metric_of_its_own() -> None:
    scorer = choice(also=[0.5])
    names = [m.name for m in scorer.metric_table()]
    assert names.count("accuracy@kl:0.5") == 1
    assert len(names) == len(set(names))
    assert scorer.floor("accuracy@kl:0.5") == pytest.approx(1 / 3)
    judged = []
    for t in scorer.trials(view(kls=(0.5, 1.0)), "z", 0):
        judged += scorer.parse(t, [says(t.truth[0] - 1 if t.judged[0].kind == "kl:0.5" else 0)])
    found = scorer.metrics(judged)
    assert found["accuracy@kl:0.5"] == 1
    assert found["accuracy"] == found["accuracy@kl:1"] == pytest.approx(1 / 3)
    assert set(found) <= set(names)
    assert choice(kl=0.5).metrics([j for j in judged if j.kind == "kl:0.5"])["accuracy@kl:0.5"] == 1
    assert "accuracy@kl:0.5" not in [m.name for m in choice().metric_table()]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("choice")
    planted = load_suite("planted-1")
    save_suite(folder / "suite", {"name": "s", "version": "1-0"}, planted.latent_table, planted.window_table)
    add_interventions(folder / "suite")
    spec = {
        "name": "c",
        "suite": str(folder / "suite"),
        "limit": 5,
        "explainers": ["planted", "empty", {"use": "shuffled", "params": {"of": "planted"}}],
        "scorers": [{"use": "output_choice", "params": {"texts": 2}}],
        "judges": [
            {"use": f"mock:oracle?can={can}", "label": label}
            for label, can in (("chooses", "choice_logprobs"), ("talks", "chat"), ("simulates", "simulate"))
        ]
        + [{"use": "mock:constant", "label": "constant"}, {"use": "mock:label", "label": "knows"}],
    }
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec), encoding="utf-8")
    start(folder / "spec.yaml", folder / "run", folder / "c.sqlite", QUIET)
    return folder / "run"


def test_through_the_harness_the_truth_is_found_and_nothing_else_is(run: Path) -> None:
    scores = pq.read_table(run / "scores.parquet").to_pandas()
    assert (scores.n_judged == scores.n_attempted).all()
    mean = scores.groupby(["judge", "explainer", "metric"]).value.mean()
    third = pytest.approx(1 / 3)
    for judge in ("chooses", "talks", "simulates"):
        assert mean[judge, "planted", "accuracy"] > 0.9
        assert mean[judge, "planted", "accuracy@clean"] < 0.6
        assert mean[judge, "planted", "gain"] > 0.3
        assert mean[judge, "empty", "accuracy"] == third
        assert mean[judge, "shuffled", "accuracy"] < 0.6
    for explainer in ("planted", "empty", "shuffled"):
        assert mean["constant", explainer, "accuracy"] == third
        assert mean["knows", explainer, "accuracy"] == 1
    parts = [mean["chooses", "planted", f"named@{i}"] for i in (1, 2, 3)]
    assert sum(parts) == pytest.approx(1)


def test_a_distractor_is_never_the_latent_itself(run: Path) -> None:
    suite = load_suite(json.loads((run / "run.json").read_text(encoding="utf-8"))["spec"]["suite"])
    scorer = load_scorer({"use": "output_choice", "params": {"texts": 2}})
    for found in suite.latents(limit=5):
        assert set(found.peers) == set(suite.ids)
        assert found.peers[found.id] == found.interventions
        own = {s.steered for s in found.interventions}
        for t in scorer.trials(found, "z", 1):
            if t.judged[0].kind == "kl:1":
                texts = [w.text for w in t.windows]
                mine = slice(2 * (t.truth[0] - 1), 2 * t.truth[0])
                assert set(texts[mine]) <= own
                assert not own & {x for i, x in enumerate(texts) if not mine.start <= i < mine.stop}
