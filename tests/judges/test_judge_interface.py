"""A judge is one class with one method, and whatever wraps it is another."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import DispatchJudge, Judge, guarded
from latentbench.judges.reference import load_judge
from latentbench.kernel.boundary import blame
from latentbench.kernel.errors import CapabilityError, SpecError
from latentbench.kernel.registry import BUILTIN
from latentbench.kernel.requests import (
    Activate,
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    LatentRef,
    Message,
    Outcome,
    Reply,
    Request,
)

from tests.judges.shout import Shout


class TwoKinds(DispatchJudge):
    """Declares two kinds and keeps the calls that it got."""

    def __init__(self) -> None:
        super().__init__()
        self.identity = JudgeIdentity("two", "m", "1", "exact")
        self.calls: list[list[str]] = []
        self.serve(Choice, self._choose, Capability.SLOTS)
        self.serve(Chat, self._write)

    async def _write(self, requests: Sequence[Chat]) -> list[Reply]:
        self.calls.append([type(r).__name__ for r in requests])
        return [Reply(text=r.messages[-1].content) for r in requests]

    async def _choose(self, requests: Sequence[Choice]) -> list[Reply]:
        self.calls.append([type(r).__name__ for r in requests])
        return [Reply(logprobs=((-float(len(r.answers)),) * len(r.answers),)) for r in requests]


def chat(text: str) -> Chat:
    return Chat((Message("user", text),))


def choice(n: int) -> Choice:
    return Choice((Message("user", "?"),), tuple(map(str, range(n))))


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BUILTIN["judge"], "shout", "tests.judges.shout:Shout")


def test_the_page_on_extending_shows_the_judge_as_it_is() -> None:
    here = Path(__file__).parent
    page = (here.parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
    assert f"\n{(here / 'shout.py').read_text(encoding='utf-8')}```" in page


async def test_a_class_with_one_method_is_a_judge(registered: None, tmp_path: Path) -> None:
    judge = load_judge("shout:loud")
    assert isinstance(judge, Judge)
    assert (judge.reads_truth, judge.in_flight, judge.chunk) == (False, 1, 256)
    cache = ReplyCache(tmp_path / "replies.sqlite")
    cached = CachedJudge(judge, cache)
    assert [r.text for r in await cached.answer([chat("a"), chat("b")])] == ["A", "B"]
    assert [r.cached for r in await cached.answer([chat("b"), chat("c")])] == [True, False]
    await cached.close()
    cache.close()


def test_a_judge_without_parameters_or_a_default_model_says_so(registered: None) -> None:
    with pytest.raises(SpecError, match="names no model"):
        load_judge("shout:")
    with pytest.raises(SpecError, match="volume"):
        load_judge("shout:loud?volume=3")


async def test_kinds_are_answered_together_and_given_back_in_order() -> None:
    judge = TwoKinds()
    replies = await judge.answer([choice(2), chat("a"), choice(3), chat("b")])
    assert [r.text or r.logprobs for r in replies] == [((-2.0, -2.0),), "a", ((-3.0, -3.0, -3.0),), "b"]
    assert judge.calls == [["Chat", "Chat"], ["Choice", "Choice"]]
    assert await judge.answer([]) == []


async def test_what_a_judge_can_is_what_it_declared() -> None:
    judge = TwoKinds()
    assert judge.can == {Capability.CHAT, Capability.CHOICE, Capability.SLOTS}
    with pytest.raises(CapabilityError, match="two:m cannot text_logprobs"):
        await judge.answer([chat("a"), Continuation("a", "b")])
    # Nothing was asked, and nothing that is taken out of `can` is.
    assert judge.calls == []
    judge.can = judge.can - {Capability.CHAT}
    with pytest.raises(CapabilityError, match="two:m cannot chat"):
        await judge.answer([chat("a")])
    # It says what the plan should have seen, so it ends the run instead of failing the call.
    with pytest.raises(CapabilityError):
        await guarded(judge, [chat("a")])


async def test_the_cache_asks_in_chunks_of_one_kind(tmp_path: Path) -> None:
    judge = TwoKinds()
    judge.chunk = 2
    cache = ReplyCache(tmp_path / "replies.sqlite")
    asked = [choice(1), chat("a"), choice(2), chat("b"), chat("c"), choice(1)]
    replies = await CachedJudge(judge, cache).answer(asked)
    assert judge.calls == [["Chat", "Chat"], ["Chat"], ["Choice", "Choice"]]
    assert [r.text or r.logprobs for r in replies] == [((-1.0,),), "a", ((-2.0, -2.0),), "b", "c", ((-1.0,),)]
    assert [r.cached for r in replies] == [False] * 5 + [True]
    cache.close()


async def test_a_wrapper_takes_what_is_its_own_and_keeps_the_order(tmp_path: Path) -> None:
    mock = load_judge("mock:lexical")
    assert (mock.in_flight, mock.chunk) == (1, 64)
    cache = ReplyCache(tmp_path / "replies.sqlite")
    wrapped = CachedJudge(mock, cache)
    assert (wrapped.in_flight, wrapped.chunk, wrapped.can, wrapped.identity) == (1, 64, mock.can, mock.identity)
    asked: list[Request] = [Activate("a red boat", LatentRef("no/0")), Embed("boat"), chat("<<boat>>"), Embed("sea")]
    direct, through = await mock.answer(asked), await wrapped.answer(asked)
    assert [r.outcome for r in direct] == [r.outcome for r in through] == [Outcome.SKIPPED, *[Outcome.OK] * 3]
    assert [r.text for r in direct] == [r.text for r in through]
    cache.close()


async def test_another_number_of_replies_is_a_failed_call() -> None:
    class Short(Shout):
        async def answer(self, requests: Sequence[Request]) -> list[Reply]:
            return [Reply(text="a")]

    found = await guarded(Short("m", None), [chat("a"), chat("b")])
    assert [r.outcome for r in found] == [Outcome.API] * 2
    assert found[0].error == "shout:m gave 1 replies to 2 requests"


async def test_half_of_a_surrogate_pair_is_no_answer() -> None:
    (half, whole) = await guarded(Shout("m", None), [chat("fine \ud83d"), chat("fine \U0001f600")])
    assert (half.outcome, half.text) == (Outcome.PARSE, None)
    assert half.error == "the reply is not Unicode text: half of a surrogate pair (\\ud83d) at character 5"
    assert (whole.outcome, whole.text) == (Outcome.OK, "FINE \U0001f600")


def test_an_error_is_named_by_class_place_and_message_on_one_line() -> None:
    def odd() -> int:
        return int("x\ny")

    with pytest.raises(ValueError, match="invalid") as caught:
        odd()
    line = odd.__code__.co_firstlineno + 1
    place = f"test_judge_interface.py:{line}: invalid literal for int() with base 10: 'x\\ny'"
    assert blame(caught.value, Shout).startswith("ValueError in ")
    assert blame(caught.value, Shout).endswith(place)
    assert blame(ValueError("first\nsecond \ud83d"), Shout) == "ValueError: first second \\ud83d"
