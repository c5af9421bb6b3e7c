"""The noise-free judge, and what it shows: every scorer's path from question to score keeps truth above unrelated texts."""

from __future__ import annotations

import asyncio
import json
import math

import numpy as np
import pytest
from latentbench.explainers.explainer import load_explainer
from latentbench.explainers.planted_truth import EVERY, text_of
from latentbench.judges.mock.oracle import normalised
from latentbench.judges.reference import load_judge
from latentbench.kernel.errors import SpecError
from latentbench.kernel.forms import YesNo
from latentbench.kernel.requests import Chat, Choice, Continuation, Embed, Message, Outcome, Simulate
from latentbench.kernel.trial import Seen, Trial
from latentbench.scorers.scorer import load_scorer
from latentbench.suites.planted.rules import fragment, matches, tokenise
from latentbench.suites.store import load_suite

from tests.builders.toy_latents import latent as toy

WEEKDAYS = "Names of days of the week."
ON = ("On", " Monday", " we", " rest")
OFF = ("Dogs", " bark", " at", " night")


@pytest.fixture(scope="module")
def judge():  # type: ignore[no-untyped-def]
    return load_judge("mock:oracle")


@pytest.fixture(scope="module")
def planted():  # type: ignore[no-untyped-def]
    return load_suite("planted-1").latents()


def question(explanation: str, *windows: Seen) -> Trial:
    return Trial("0", "detection", YesNo(), explanation, windows)


def one(judge, request):  # type: ignore[no-untyped-def]
    return asyncio.run(judge.answer([request]))[0]


def test_every_request_type_follows_the_rule(judge):
    q = question(WEEKDAYS, Seen(ON), Seen(OFF))
    reply = one(judge, Simulate(q))
    assert reply.tokens == ((0.02, 0.98, 0.02, 0.02), (0.02,) * 4)
    assert reply.windows == (0.98, 0.02)
    assert one(judge, Chat((Message("user", "?"),), trial=q)).text == "[1, 0]"
    single = question(WEEKDAYS, Seen(ON))
    no, yes = one(judge, Choice((Message("user", "?"),), ("No", "Yes"), trial=single)).logprobs[0]
    assert math.exp(yes) == pytest.approx(0.98)
    assert math.exp(no) == pytest.approx(0.02)
    told = [one(judge, Continuation(f"About: {WEEKDAYS}", "".join(w), question(WEEKDAYS, Seen(w)))) for w in (ON, OFF)]
    generic = [one(judge, Continuation("About: text.", "".join(w), question(WEEKDAYS, Seen(w)))) for w in (ON, OFF)]
    assert [a.loglik - b.loglik for a, b in zip(told, generic, strict=True)] == [4.0, 0.0]
    z, on, off = (one(judge, Embed(t, query=t == WEEKDAYS)).vector for t in (WEEKDAYS, "".join(ON), "".join(OFF)))
    assert z @ on > 0 == z @ off
    assert all(np.linalg.norm(v) == pytest.approx(1) for v in (z, on, off))


def test_marks_ask_for_the_marked_tokens_only(judge):
    right = Seen(ON, (), (False, True, False, False))
    wrong = Seen(ON, (), (True, False, False, False))
    half = Seen(ON, (), (True, True, False, False))
    asked = question(WEEKDAYS, right, wrong, half)
    assert judge.variant.windows(asked) == pytest.approx((0.98, 0.02, 0.5))
    # A simulator is not shown marks: its scorer reads the marked tokens out of the reply.
    assert one(judge, Simulate(asked)).windows == pytest.approx((0.98, 0.98, 0.98))


@pytest.mark.parametrize("text", ["", "Names of days.", "names of days of the week."])
def test_a_text_without_a_rule_gets_one_answer_to_everything(judge, text):
    reply = one(judge, Simulate(question(text, Seen(ON), Seen(OFF, (), (True,) * 4))))
    assert set(reply.windows) | {p for row in reply.tokens for p in row} == {0.5}
    values = [one(judge, Continuation(f"{text} x", "".join(w), question(text, Seen(w)))).loglik for w in (ON, OFF)]
    assert values == [-8.0, -8.0]
    z = one(judge, Embed(text, query=True)).vector
    assert [float(z @ one(judge, Embed("".join(w))).vector) for w in (ON, OFF)] == [0, 0]


def test_texts_match_up_to_white_space_and_a_paraphrase_has_the_rule_of_its_truth(judge, planted):
    oracle = judge.variant
    assert oracle.rule(f"  {WEEKDAYS.replace(' ', '  ')}\n") == {"words": "$weekdays"}
    for latent in planted:
        truth = json.loads(latent.row["truth"])
        assert oracle.rule(truth["paraphrase"]) == oracle.rule(truth["truth"]) is not None
        assert all(oracle.rule(t) is not None for t in (*truth["near"].values(), *truth["unrelated"]))
    assert normalised(" a\n b ") == "a b"


def test_it_reads_no_label_and_another_file_is_another_judge(judge, tmp_path):
    assert not judge.reads_truth
    rules = load_suite("planted-1").path / "rules.yaml"
    mine = tmp_path / "rules.yaml"
    mine.write_text(rules.read_text(encoding="utf-8").replace("saturday, sunday]", "saturday]"), encoding="utf-8")
    assert load_judge(f"mock:oracle?rules={mine}").identity.key != judge.identity.key
    assert load_judge(f"mock:oracle?rules={rules}").identity.key == judge.identity.key
    mine.write_text("version: 1-0", encoding="utf-8")
    with pytest.raises(SpecError, match=r"rules\.yaml"):
        load_judge(f"mock:oracle?rules={mine}")


def test_a_fragment_does_not_know_its_source():
    rule = {"all": [{"regex": "[0-9]+"}, {"source": "a recipe"}]}
    document = tokenise("Add 200 g", "a letter")
    assert not matches(rule, document, {}).any()
    assert matches(rule, fragment(document.tokens), {}).tolist() == [False, True, False]
    first = {"sentence_start": True}
    assert matches(first, fragment(("of", " it", ".", " Then")), {}).tolist() == [False, False, False, True]
    assert matches(first, fragment(("Then", " it")), {}).tolist() == [True, False]


def test_on_whole_windows_the_oracle_is_nearly_always_right(judge, planted):
    """Blind are rules that look past a window's edge or at a document's source, and no others."""
    mistaken = {}
    for latent in planted:
        truth = json.loads(latent.row["truth"])["truth"]
        reply = judge.variant.windows(question(truth, *(Seen(w.tokens) for w in latent.test)))
        wrong = sum((p > 0.5) != w.active for p, w in zip(reply, latent.test, strict=True))
        if wrong:
            mistaken[latent.index] = wrong
    assert sum(mistaken.values()) < 30
    assert len(mistaken) <= 6


def test_planted_explanations_are_those_of_the_suite_and_others_are_skipped(planted):
    truth = json.loads(planted[0].row["truth"])
    for which in EVERY:
        found = load_explainer({"use": "planted", "params": {"which": which}}).parse(planted[0], [], 0, {})
        assert found.text == text_of(truth, which)
    assert text_of(truth, "broad") == truth["near"]["broad"]
    assert text_of(truth, "unrelated:2") == truth["unrelated"][2]
    skipped = load_explainer("planted").parse(toy(), [], 0, {})
    assert (skipped.text, skipped.outcome) == (None, Outcome.SKIPPED)
    with pytest.raises(SpecError, match="which"):
        load_explainer({"use": "planted", "params": {"which": "unrelated:3"}})


SCORERS = {
    "detection": ({"use": "detection"}, ""),
    "detection, chat list": ({"use": "detection", "preset": "paper"}, "?can=chat"),
    "detection, log-probabilities": ({"use": "detection", "params": {"simulate": "never"}}, ""),
    "fuzzing": ({"use": "fuzzing"}, ""),
    "fuzzing, chat list": ({"use": "fuzzing", "preset": "paper"}, "?can=chat"),
    "embedding": ({"use": "embedding"}, ""),
    "simulation": ({"use": "simulation"}, ""),
    "simulation, log-probabilities": ({"use": "simulation", "params": {"simulate": "never"}}, ""),
    "surprisal": ({"use": "surprisal"}, ""),
    "saebench": ({"use": "saebench"}, ""),
}


@pytest.mark.parametrize("name", SCORERS)
def test_the_truth_outranks_every_unrelated_explanation_on_every_planted_latent(name, planted):
    spec, can = SCORERS[name]
    own = load_judge(f"mock:oracle{can}")
    size = {} if spec["use"] == "saebench" else {"positives": 5, "negatives": 5}
    scorer = load_scorer({**spec, "params": {**spec.get("params", {}), **size}})
    for latent in planted:
        truth = json.loads(latent.row["truth"])
        texts = [truth["truth"], *truth["unrelated"]]
        trials = [scorer.trials(latent, text, 7) for text in texts]
        requests = [r for ts in trials for t in ts for r in scorer.requests(t, own.can)]
        replies = iter(asyncio.run(own.answer(requests)))
        scores = []
        for ts in trials:
            judged = [j for t in ts for j in scorer.parse(t, [next(replies) for _ in scorer.requests(t, own.can)])]
            scores.append(scorer.metrics(judged)[scorer.headline])
        assert scores[0] > max(scores[1:]), (latent.id, scores)
