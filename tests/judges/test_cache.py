"""The reply cache: nothing is paid twice, nothing failed is kept, and a miss can be explained."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import BaseJudge
from latentbench.kernel.errors import DataError
from latentbench.kernel.forms import YesNo
from latentbench.kernel.requests import (
    Capability,
    Chat,
    Choice,
    Continuation,
    Embed,
    JudgeIdentity,
    Message,
    Outcome,
    Reply,
    Simulate,
    Usage,
    request_key,
)
from latentbench.kernel.trial import Seen, Trial

IDENTITY = JudgeIdentity("transformers", "m", "abc", "bfloat16", (("wording", "w1"),))


def chat(text: str, **kwargs) -> Chat:
    return Chat((Message("user", text),), **kwargs)


class Counting(BaseJudge):
    """Replies with the prompt in capitals and counts what it was asked; a prompt with "fail" fails."""

    can = frozenset(Capability)
    chunk = 4

    def __init__(self, identity: JudgeIdentity = IDENTITY, pause: float = 0.0) -> None:
        self.identity, self.pause = identity, pause
        self.asked: list[str] = []
        self.batches: list[int] = []

    async def answer(self, requests):
        if isinstance(requests[0], Embed):
            return [Reply(vector=np.array([0.6, -0.8], np.float32)) for _ in requests]
        self.batches.append(len(requests))
        self.asked += [r.messages[0].content for r in requests]
        await asyncio.sleep(self.pause)
        return [
            Reply(Outcome.API, error="down")
            if "fail" in r.messages[0].content
            else Reply(text=r.messages[0].content.upper(), usage=Usage(10, 2, 3, 0.5))
            for r in requests
        ]


@pytest.fixture
def cache(tmp_path: Path):
    found = ReplyCache(tmp_path / "sub" / "replies.sqlite")
    yield found
    found.close()


async def test_a_second_run_asks_nothing_and_gets_the_same(cache):
    first, second = Counting(), Counting()
    requests = [chat(f"q{i}") for i in range(10)]
    paid = await CachedJudge(first, cache).answer(requests)
    free = await CachedJudge(second, cache).answer(requests[::-1])
    assert first.batches == [4, 4, 2]
    assert second.asked == []
    assert [r.text for r in free[::-1]] == [r.text for r in paid]
    assert all(r.cached for r in free)
    assert not any(r.cached for r in paid)


def test_a_simulators_key_holds_what_it_reads_and_nothing_else():
    window = Seen((" a", " river"), (3, 4), (False, True))
    fuzzing = Trial("0", "fuzzing", YesNo(), "rivers", (window,), (1,), ((0.0, 2.0),))
    detection = Trial("1", "detection", YesNo("0", "1"), "rivers", (replace(window, marks=None),))

    def key(q: Trial, reads_truth: bool = False) -> str:
        return request_key(IDENTITY, Simulate(q), reads_truth)

    assert key(fuzzing) == key(detection)
    assert key(fuzzing, True) != key(detection, True)
    assert key(replace(detection, explanation="lakes")) != key(detection)
    assert key(replace(detection, windows=(replace(window, tokens=(" a", " lake")),))) != key(detection)
    assert key(replace(detection, windows=detection.windows * 2)) != key(detection)


async def test_twins_in_a_batch_are_paid_once(cache):
    judge = Counting()
    replies = await CachedJudge(judge, cache).answer([chat("a"), chat("b"), chat("a"), chat("a")])
    assert sorted(judge.asked) == ["a", "b"]
    assert [r.text for r in replies] == ["A", "B", "A", "A"]
    assert [r.cached for r in replies] == [False, False, True, True]


async def test_twins_in_batches_under_way_are_paid_once(cache):
    judge = Counting(pause=0.05)
    cached = CachedJudge(judge, cache)
    both = await asyncio.gather(cached.answer([chat("a"), chat("b")]), cached.answer([chat("b"), chat("c")]))
    assert sorted(judge.asked) == ["a", "b", "c"]
    assert [[r.cached for r in replies] for replies in both] == [[False, False], [True, False]]


async def test_a_waiting_call_asks_itself_when_the_other_is_given_up(cache):
    judge = Counting(pause=0.05)
    cached = CachedJudge(judge, cache)
    first = asyncio.create_task(cached.answer([chat("a")]))
    await asyncio.sleep(0.01)
    second = asyncio.create_task(cached.answer([chat("a")]))
    await asyncio.sleep(0.01)
    first.cancel()
    assert (await second)[0].text == "A"
    assert judge.asked == ["a", "a"]


async def test_a_fault_of_the_judge_fails_its_chunk_and_what_was_done_is_kept(cache):
    class Broken(Counting):
        async def answer(self, requests):
            if len(self.asked) >= 4:
                raise ZeroDivisionError
            return await super().answer(requests)

    cached = CachedJudge(Broken(), cache)
    found = await cached.answer([chat(f"q{i}") for i in range(10)])
    assert [r.outcome for r in found] == [Outcome.OK] * 4 + [Outcome.API] * 6
    assert found[-1].error.startswith("ZeroDivisionError in ")
    rest = Counting()
    await CachedJudge(rest, cache).answer([chat(f"q{i}") for i in range(10)])
    assert len(rest.asked) == 6


async def test_failed_calls_are_asked_again(cache):
    for _ in range(2):
        judge = Counting()
        reply = (await CachedJudge(judge, cache).answer([chat("fail")]))[0]
        assert reply.outcome is Outcome.API
        assert judge.asked == ["fail"]


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_answers_are_stored(cache, outcome):
    request = chat("x")
    key = request_key(IDENTITY, request, False)
    stored = cache.put(IDENTITY, False, [(key, request, Reply(outcome, text="t"))])
    assert stored == (outcome in {Outcome.OK, Outcome.PARSE, Outcome.REFUSAL})
    assert (key in cache.get([key])) == bool(stored)


def test_every_field_survives_exactly(cache):
    reply = Reply(
        text="é\n",
        logprobs=((-0.1, -2.3456789012345678), (float("-inf"), 0.0)),
        loglik=-1 / 3,
        n_tokens=7,
        vector=np.array([0.1, -1e-30, 3], np.float32),
        tokens=((0.25,), (0.5, 1.0)),
        windows=(0.1, 0.2),
        usage=Usage(5, 4, 3, 0.25),
    )
    key = request_key(IDENTITY, chat("x"), False)
    cache.put(IDENTITY, False, [(key, chat("x"), reply)])
    found = cache.get([key])[key]
    for name in ("outcome", "text", "logprobs", "loglik", "n_tokens", "tokens", "windows", "usage"):
        assert getattr(found, name) == getattr(reply, name), name
    assert found.vector.tobytes() == reply.vector.tobytes()
    assert found.vector.dtype == np.float32
    assert found.cached


def test_thousands_at_once_are_one_transaction_and_few_look_ups_by_key(cache):
    said = []
    cache._db.set_trace_callback(said.append)
    requests = [Continuation(f"context {i}", "text" * 20) for i in range(4000)]
    keys = [request_key(IDENTITY, r, False) for r in requests]
    cache.put(IDENTITY, False, [(k, r, Reply(loglik=-1.0, n_tokens=3)) for k, r in zip(keys, requests, strict=True)])
    assert [s for s in said if not s.startswith("INSERT")] == ["BEGIN IMMEDIATE", "COMMIT"]
    said.clear()
    assert len(cache.get(keys)) == 4000
    cache._db.set_trace_callback(None)
    assert len(said) == 4000 / 500
    for query in said:
        plan = cache._db.execute(f"EXPLAIN QUERY PLAN {query}").fetchall()
        assert plan[0][-1].startswith("SEARCH replies USING INDEX"), plan


def test_two_processes_write_one_file(cache, tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom latentbench.kernel.requests import *\n"
        "from latentbench.judges.cache.cached_judge import ReplyCache\n"
        "i=JudgeIdentity('p','m','r','d')\nc=ReplyCache(Path(sys.argv[1]))\n"
        "for n in range(200):\n r=Embed(f'{n}' if n%2 else f'{sys.argv[2]}-{n}')\n"
        " c.put(i,False,[(request_key(i,r,False),r,Reply(text=sys.argv[2]))])\n"
    )
    running = [subprocess.Popen([sys.executable, "-c", script, str(cache.path), name]) for name in "ab"]
    assert [p.wait(60) for p in running] == [0, 0]
    assert cache.stats().replies == 300


def test_a_damaged_file_is_one_clear_message(tmp_path):
    path = tmp_path / "replies.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(DataError, match=r"replies\.sqlite is damaged"):
        ReplyCache(path)
    with sqlite3.connect(tmp_path / "other.sqlite") as db:
        db.execute("PRAGMA user_version=9")
    with pytest.raises(DataError, match="format 9"):
        ReplyCache(tmp_path / "other.sqlite")


def test_a_truncated_file_is_one_clear_message(tmp_path):
    path = tmp_path / "replies.sqlite"
    cache = ReplyCache(path)
    requests = [chat(f"{i}" * 50) for i in range(500)]
    keys = [request_key(IDENTITY, r, False) for r in requests]
    cache.put(IDENTITY, False, [(k, r, Reply(text="x" * 200)) for k, r in zip(keys, requests, strict=True)])
    cache.close()
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(DataError, match="Move it away"):
        ReplyCache(path).get(keys)


def test_a_miss_names_the_field_that_differs(cache):
    request = chat("q", max_tokens=100)
    cache.put(IDENTITY, False, [(request_key(IDENTITY, request, False), request, Reply(text="a"))])
    assert "no miss" in cache.explain_miss(IDENTITY, request)
    for change, message in (
        ({"dtype": "float32"}, "same request, judge dtype differs: bfloat16 stored, float32 asked."),
        ({"params": (("wording", "w2"),)}, "same request, judge wording differs: w1 stored, w2 asked."),
        ({"params": ()}, "judge wording differs: w1 stored, absent asked"),
    ):
        assert message in cache.explain_miss(replace(IDENTITY, **change), request)
    assert "same prompt, max_tokens differs: 100 stored, 50 asked." in cache.explain_miss(
        IDENTITY, replace(request, max_tokens=50)
    )
    assert "no stored call has this prompt" in cache.explain_miss(IDENTITY, chat("another"))


def test_the_question_behind_a_text_is_part_of_a_call_only_for_judges_that_read_it(cache):
    question = Trial("0", "t", YesNo("0", "1"), "z", (Seen(("a",)),), truth=(1,))
    other = replace(question, truth=(0,))
    request = Choice((Message("user", "q"),), ("0", "1"), trial=question)
    cache.put(IDENTITY, False, [(request_key(IDENTITY, request, False), request, Reply(logprobs=((0.0, 0.0),)))])
    assert "no miss" in cache.explain_miss(IDENTITY, replace(request, trial=other))
    mock = replace(IDENTITY, provider="mock")
    cache.put(mock, True, [(request_key(mock, request, True), request, Reply(logprobs=((0.0, 0.0),)))])
    assert "question differs" in cache.explain_miss(mock, replace(request, trial=other), True)
    assert "no stored call" in cache.explain_miss(IDENTITY, Simulate(question))


async def test_stats_and_prune(cache):
    await CachedJudge(Counting(), cache).answer([chat("a"), chat("b")])
    await CachedJudge(Counting(replace(IDENTITY, dtype="float32")), cache).answer([chat("a")])
    stats = cache.stats()
    assert (stats.replies, stats.judges) == (3, {"transformers:m": 3})
    assert "3 replies" in str(stats)
    assert cache.prune(timedelta(days=1)) == 0
    assert cache.prune(timedelta(seconds=-1)) == 3
    assert cache.stats().replies == 0
    assert str(cache.stats()).startswith("0 replies")


async def test_vectors_come_back_from_the_cache(cache):
    for cached in (False, True):
        reply = (await CachedJudge(Counting(), cache).answer([Embed("a")]))[0]
        assert reply.cached is cached
        assert np.allclose(reply.vector, [0.6, -0.8])
