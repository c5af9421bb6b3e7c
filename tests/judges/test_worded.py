"""Models without a system role, and models that think, as judges in this process."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
from latentbench.judges.judge import guarded
from latentbench.judges.transformers import TransformersJudge, TransformersParams
from latentbench.judges.worded import KEPT, WordedParams, enough, worded
from latentbench.kernel.errors import ModelError
from latentbench.kernel.requests import Chat, Choice, Continuation, Message, Outcome, Reply
from latentbench.models.engine.wording import Wording

NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + '\n' }}{% endfor %}"
    "{% if quiet %}no thoughts{% endif %}"
)
ASKED = (
    Message("system", "Be short."),
    Message("user", "Is it?"),
    Message("assistant", "Yes"),
    Message("user", "And it?"),
)


@pytest.fixture
def without_system(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A small model whose template refuses a system message, as Gemma's and early Mistral's do."""
    monkeypatch.setattr(tiny.tokenizer, "chat_template", NO_SYSTEM)
    return tiny


async def test_a_template_without_a_system_role_says_what_to_do(without_system: Any) -> None:
    judge = TransformersJudge("tiny", TransformersParams(dtype="float32"), without_system)
    with pytest.raises(ModelError, match="System role not supported.*add `system=merge` to the judge's reference"):
        await guarded(judge, [Chat(ASKED, max_tokens=2)])
    await judge.close()


async def test_a_merged_system_text_stands_before_the_first_question(without_system: Any) -> None:
    judge = TransformersJudge("tiny", TransformersParams(dtype="float32", system="merge"), without_system)
    first = (Message("user", "Be short.\n\nIs it?"), *ASKED[2:])
    merged, by_hand = await guarded(judge, [Choice(ASKED, ("Yes", "No")), Choice(first, ("Yes", "No"))])
    assert merged.logprobs == by_hand.logprobs
    assert merged.ok
    await judge.close()


def test_options_of_the_template_reach_it(without_system: Any) -> None:
    plain, quiet = (Wording(without_system.tokenizer, options) for options in ({}, {"quiet": True}))
    assert not plain.render(ASKED[1:]).endswith("no thoughts")
    assert quiet.render(ASKED[1:]).endswith("no thoughts")


def test_options_are_part_of_what_a_judge_is_when_they_are_set(tiny: Any) -> None:
    def key(**options: Any) -> str:
        return TransformersJudge("tiny", TransformersParams(dtype="float32", **options), tiny).identity.key

    options = [{"system": "merge"}, {"chat_template_kwargs": {"a": 1}}, {"max_tokens": 9}, {"least_mass": 0.5}]
    assert len({key(), *(key(**given) for given in options)}) == 5
    assert key(system="keep", chat_template_kwargs={}, least_mass=0.0) == key(batch=3)


def test_an_allowance_is_raised_and_never_lowered() -> None:
    params = WordedParams(max_tokens=512)
    assert [worded(Chat(ASKED, n), params).max_tokens for n in (8, 2048)] == [512, 2048]  # type: ignore[union-attr]
    assert worded(Continuation("a", "b"), params) == Continuation("a", "b")


def test_answers_without_mass_are_none_where_a_share_is_asked_for() -> None:
    reply = Reply(logprobs=((math.log(0.5), math.log(0.3)), (math.log(0.01), math.log(0.02))))
    assert enough(reply, 0.0) is reply
    refused = enough(reply, 0.1)
    assert (refused.outcome, refused.error) == (
        Outcome.PARSE,
        "3.00% of the probability is on an answer, less than least_mass=0.1",
    )


def test_thoughts_between_control_tokens_stay_readable(tiny: Any) -> None:
    tokenizer = copy.deepcopy(tiny.tokenizer)
    tokenizer.add_tokens(["[THINK]", "[/THINK]"], special_tokens=True)
    text = "[THINK]hm[/THINK]Yes<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert Wording(tokenizer).decode(ids) == "hmYes"
    assert Wording(tokenizer, kept=KEPT).decode(ids) == "[THINK]hm[/THINK]Yes"
