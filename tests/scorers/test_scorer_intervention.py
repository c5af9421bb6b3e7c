"""Intervention scoring on a built table: differences of log-likelihoods, strengths, skips; and the output-side explainer."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from latentbench.explainers.explainer import load_explainer
from latentbench.kernel.errors import SpecError
from latentbench.kernel.latent import LatentView, Steered
from latentbench.kernel.requests import Capability, Chat, Continuation, Outcome, Reply
from latentbench.scorers.scorer import load_scorer

from tests.builders.toy_latents import latent

TEXT = frozenset({Capability.TEXT})


def steered(window: int, target: float | None, role: str = "test", reached: bool = True) -> Steered:
    mode = "ablate" if target is None else "add"
    delta = None if target is None else 2.0
    texts = (f" calm{window}", f" red{window} at {target}") if role == "test" else ("", "")
    up, down = (" red", "\n", " blue"), (" the", " a", "")
    return Steered(
        window, role, "quantile:3", mode, target, 1.0, reached, delta, f"The\nfield {window}", *texts, up, down
    )


def view(*rows: Steered) -> LatentView:
    return replace(latent(), interventions=rows)


FULL = view(
    *(steered(w, t) for t in (0.1, 1.0, None) for w in range(3)),
    *(steered(w, 1.0, "explain") for w in (7, 8)),
    steered(0, 3.0, reached=False),
)


def test_the_judge_is_asked_for_the_explanation_behind_both_passages() -> None:
    scorer = load_scorer("intervention")
    trials = scorer.trials(FULL, "Names of\ncolours.", 0)
    assert [t.judged[0].item for t in trials] == [0, 1, 2]
    assert len({t.id for t in trials}) == 3
    told, plain = scorer.requests(trials[1], TEXT)
    assert isinstance(told, Continuation)
    assert isinstance(plain, Continuation)
    assert told.text == plain.text == " Names of⏎colours."
    assert "Passage: The⏎field 1 red1 at 1.0\n" in told.context
    assert "Passage: The⏎field 1 calm1\n" in plain.context
    assert told.context.endswith("\nPreference:")
    assert "colours" not in told.context.rsplit("Passage:", 1)[1]


def test_scores_worked_by_hand() -> None:
    scorer = load_scorer({"use": "intervention", "params": {"also": [0.1, 3.0]}})
    trials = scorer.trials(FULL, "z", 0)
    judged = []
    for t in trials:
        pair = [Reply(loglik=-10.0 - t.judged[0].item, n_tokens=4), Reply(loglik=-12.0, n_tokens=4)]
        if t.judged[0].kind == "kl:0.1":
            pair.reverse()
        judged += scorer.parse(t, pair if scorer.requests(t, TEXT) else [])
    found = scorer.metrics([j for j in judged if j.outcome is Outcome.OK])
    # Differences 2, 1, 0 at KL 1, and their opposites at KL 0.1; nothing was reached at KL 3.
    assert found == {"nats": 1.0, "nats@kl:1": 1.0, "nats@kl:0.1": -1.0, "n": 3.0}
    assert [(j.kind, j.outcome.value) for j in judged[-1:]] == [("kl:3", "skipped")]
    assert "not reached" in (judged[-1].error or "")
    assert set(found) <= {m.name for m in scorer.metric_table()}
    assert scorer.floor("nats") == 0


def test_a_strength_beside_the_usual_ones_has_a_metric_of_its_own() -> None:
    scorer = load_scorer({"use": "intervention", "params": {"also": [0.5]}})
    names = [m.name for m in scorer.metric_table()]
    assert names.count("nats@kl:0.5") == 1
    assert len(names) == len(set(names))
    assert scorer.floor("nats@kl:0.5") == 0
    judged = []
    for t in scorer.trials(view(*(steered(w, kl) for kl in (0.5, 1.0) for w in range(3))), "z", 0):
        told = -9.0 if t.judged[0].kind == "kl:0.5" else -10.0
        judged += scorer.parse(t, [Reply(loglik=told, n_tokens=4), Reply(loglik=-12.0, n_tokens=4)])
    assert scorer.metrics(judged) == {"nats": 2.0, "nats@kl:1": 2.0, "nats@kl:0.5": 3.0, "n": 3.0}
    main = load_scorer({"use": "intervention", "params": {"kl": 0.5}})
    assert main.metrics([j for j in judged if j.kind == "kl:0.5"]) == {"nats": 3.0, "nats@kl:0.5": 3.0, "n": 3.0}
    assert "nats@kl:0.5" not in [m.name for m in load_scorer("intervention").metric_table()]


def test_a_strength_that_was_not_reached_lowers_coverage_and_not_the_score() -> None:
    scorer = load_scorer({"use": "intervention", "params": {"kl": 3.0}})
    (trial,) = scorer.trials(FULL, "z", 0)
    assert scorer.requests(trial, TEXT) == []
    (judged,) = scorer.parse(trial, [])
    assert (judged.outcome, judged.score) == (Outcome.SKIPPED, None)
    assert scorer.metrics([]) == {}


def test_a_latent_without_interventions_is_skipped_and_says_so() -> None:
    scorer = load_scorer("intervention")
    (trial,) = scorer.trials(latent(), "z", 0)
    (judged,) = scorer.parse(trial, [])
    assert judged.outcome is Outcome.SKIPPED
    assert "intervention table" in (judged.error or "")


def test_the_empty_explanation_is_exactly_the_floor() -> None:
    scorer = load_scorer("intervention")
    judged = []
    for t in scorer.trials(FULL, "", 0):
        assert scorer.requests(t, TEXT) == []
        judged += scorer.parse(t, [])
    assert scorer.metrics(judged)["nats"] == 0.0
    assert all(j.outcome is Outcome.OK for j in judged)


def test_ablation_is_a_mode_of_its_own() -> None:
    scorer = load_scorer({"use": "intervention", "preset": "ablate"})
    trials = scorer.trials(FULL, "z", 0)
    assert {t.judged[0].kind for t in trials} == {"ablate"}
    judged = [
        j for t in trials for j in scorer.parse(t, [Reply(loglik=-1.0, n_tokens=2), Reply(loglik=-2.0, n_tokens=2)])
    ]
    assert scorer.metrics(judged) == {"nats": 1.0, "nats@ablate": 1.0, "n": 3.0}


@pytest.mark.parametrize(
    ("told", "plain", "outcome"),
    [
        (Reply(Outcome.API, error="x"), Reply(loglik=-1.0, n_tokens=3), Outcome.API),
        (Reply(loglik=-1.0, n_tokens=3), Reply(Outcome.TIMEOUT), Outcome.TIMEOUT),
        (Reply(loglik=-1.0, n_tokens=3), Reply(loglik=-1.0, n_tokens=4), Outcome.PARSE),
        (Reply(loglik=-math.inf, n_tokens=3), Reply(loglik=-math.inf, n_tokens=3), Outcome.PARSE),
    ],
)
def test_half_a_pair_is_no_score(told: Reply, plain: Reply, outcome: Outcome) -> None:
    scorer = load_scorer("intervention")
    (judged,) = scorer.parse(scorer.trials(FULL, "z", 0)[0], [told, plain])
    assert judged.outcome is outcome
    assert judged.score is None


def test_fewer_prompts_on_demand_and_wrong_parameters_are_refused() -> None:
    scorer = load_scorer({"use": "intervention", "params": {"prompts": 2}})
    assert len(scorer.trials(FULL, "z", 0)) == 2
    many = view(*(steered(w, 1.0) for w in range(10)))
    spread = load_scorer({"use": "intervention", "params": {"prompts": 3}}).trials(many, "z", 0)
    assert [t.judged[0].item for t in spread] == [1, 5, 8]
    with pytest.raises(SpecError, match="kl"):
        load_scorer({"use": "intervention", "params": {"kl": 0}})


def test_the_output_explainer_sees_explain_prompts_of_its_strength_only() -> None:
    explainer = load_explainer("output")
    (request,) = explainer.requests(FULL, 0)
    assert isinstance(request, Chat)
    asked = request.messages[-1].content
    assert asked.count("Text ") == 2
    assert 'Text 1: ...The⏎field 7\nMore likely: "red", "⏎", "blue"\nLess likely: "the", "a", ""' in asked
    assert "calm" not in asked
    assert "field 0" not in asked
    found = explainer.parse(FULL, [Reply(text="[EXPLANATION]: Colours.\n\nText 3: more")], 0, {})
    assert (found.text, found.outcome) == ("Colours.", Outcome.OK)


@pytest.mark.parametrize("before", ["", "Sure.\n\n"])
def test_the_output_explainer_takes_the_first_answer(before: str) -> None:
    reply = Reply(text=f"{before}[EXPLANATION]: Colours.\n\nText 3: ...more\n[EXPLANATION]: Other.")
    assert load_explainer("output").parse(FULL, [reply], 0, {}).text == "Colours."
    assert load_explainer("output").parse(FULL, [Reply(text=" Colours. ")], 0, {}).text == "Colours."


def test_the_output_explainer_fails_loudly() -> None:
    explainer = load_explainer({"use": "output", "params": {"kl": 0.33}})
    assert explainer.requests(FULL, 0) == []
    skipped = explainer.parse(FULL, [], 0, {})
    assert skipped.outcome is Outcome.SKIPPED
    assert "0.33" in (skipped.error or "")
    assert explainer.parse(FULL, [Reply(text="[EXPLANATION]: ")], 0, {}).outcome is Outcome.PARSE
    assert explainer.parse(FULL, [Reply(Outcome.API, error="x")], 0, {}).outcome is Outcome.API
