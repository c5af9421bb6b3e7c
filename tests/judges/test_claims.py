"""Two that ask the same at the same time pay once, whichever process they are in, and nobody waits for the dead."""

from __future__ import annotations

import asyncio
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from latentbench.judges.cache import replies
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import BaseJudge
from latentbench.kernel.errors import DataError
from latentbench.kernel.requests import Capability, Chat, JudgeIdentity, Message, Outcome, Reply, request_key

IDENTITY = JudgeIdentity("p", "m", "r", "d")
ASK = """
import asyncio, sys
from pathlib import Path
from tests.judges.test_claims import Logging, chat
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
judge = Logging(Path(sys.argv[2]), float(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
found = asyncio.run(CachedJudge(judge, ReplyCache(Path(sys.argv[1]))).answer([chat(f"q{i}") for i in range(20)]))
print(",".join(r.text for r in found), flush=True)
"""


def chat(text: str) -> Chat:
    return Chat((Message("user", text),))


def key(text: str) -> str:
    return request_key(IDENTITY, chat(text), False)


class Logging(BaseJudge):
    """Writes down what it is asked, in a file that several processes share, and takes its time."""

    can = frozenset(Capability)
    chunk = 1

    def __init__(self, log: Path, pause: float = 0.0, fails: int = 0) -> None:
        self.identity, self.log, self.pause, self.fails = IDENTITY, log, pause, fails

    async def answer(self, requests):
        texts = [r.messages[0].content for r in requests]
        with self.log.open("a", encoding="utf-8") as f:
            f.write("".join(f"{text}\n" for text in texts))
        await asyncio.sleep(self.pause)
        if self.fails:
            self.fails -= 1
            return [Reply(Outcome.API, error="down") for _ in texts]
        return [Reply(text=text.upper()) for text in texts]


def asked(log: Path) -> list[str]:
    return sorted(log.read_text(encoding="utf-8").split())


def process(folder: Path, pause: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", ASK, str(folder / "c.sqlite"), str(folder / "log"), str(pause)]
    started = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        encoding="utf-8",
    )
    assert started.stdout.readline() == "ready\n"
    return started


def go(running: subprocess.Popen[str]) -> None:
    running.stdin.write("\n")
    running.stdin.flush()


def test_processes_that_ask_the_same_at_once_pay_once(tmp_path):
    running = [process(tmp_path, 0.2) for _ in range(3)]
    for each in running:
        go(each)
    said = [each.communicate(timeout=60)[0] for each in running]
    assert said == [",".join(f"Q{i}" for i in range(20)) + "\n"] * 3
    assert asked(tmp_path / "log") == sorted(f"q{i}" for i in range(20))


def test_what_a_killed_process_had_claimed_is_asked_by_who_waits(tmp_path):
    dying, waiting = process(tmp_path, 60), process(tmp_path, 0)
    go(dying)
    deadline = time.monotonic() + 30
    while not (tmp_path / "log").exists() or len(asked(tmp_path / "log")) < 20:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    go(waiting)
    with pytest.raises(subprocess.TimeoutExpired):
        waiting.wait(timeout=0.5)
    dying.kill()
    dying.communicate()
    assert waiting.communicate(timeout=30)[0].startswith("Q0,Q1,")
    assert len(asked(tmp_path / "log")) == 40


async def test_two_judges_of_one_process_pay_once(tmp_path):
    cache, log = ReplyCache(tmp_path / "c.sqlite"), tmp_path / "log"
    both = [CachedJudge(Logging(log, 0.1), cache) for _ in "ab"]
    found = await asyncio.gather(*(judge.answer([chat("a"), chat("b")]) for judge in both))
    assert asked(log) == ["a", "b"]
    assert [[r.text for r in own] for own in found] == [["A", "B"]] * 2
    assert sorted(r.cached for own in found for r in own) == [False, False, True, True]


async def test_who_waits_for_a_call_that_fails_or_is_given_up_asks_itself(tmp_path):
    one, other, log = ReplyCache(tmp_path / "c.sqlite"), ReplyCache(tmp_path / "c.sqlite"), tmp_path / "log"
    first = asyncio.create_task(CachedJudge(Logging(log, 0.1, fails=1), one).answer([chat("a")]))
    given_up = asyncio.create_task(CachedJudge(Logging(log, 60), one).answer([chat("b")]))
    await asyncio.sleep(0.02)
    second = asyncio.create_task(CachedJudge(Logging(log), other).answer([chat("a"), chat("b")]))
    await asyncio.sleep(0.05)
    given_up.cancel()
    assert [r.text for r in await asyncio.wait_for(second, 10)] == ["A", "B"]
    assert (await first)[0].outcome is Outcome.API
    assert asked(log) == ["a", "a", "b", "b"]
    assert _claims(tmp_path) == 0


def _claims(folder: Path) -> int:
    with sqlite3.connect(folder / "c.sqlite") as db:
        return int(db.execute("SELECT count(*) FROM claims").fetchone()[0])


def test_a_claim_without_a_sign_of_life_is_taken_over(tmp_path):
    one, other = ReplyCache(tmp_path / "c.sqlite"), ReplyCache(tmp_path / "c.sqlite")
    assert one.claim([key("a")]) == {key("a")}
    assert other.claim([key("a"), key("b")]) == {key("b")}
    with sqlite3.connect(one.path) as db:
        db.execute("UPDATE claims SET beat = beat - ?", (replies.STALE + 1,))
    one.refresh()
    assert other.claim([key("a")]) == set(), "it lives"
    with sqlite3.connect(one.path) as db:
        db.execute("UPDATE claims SET beat = beat - ?", (replies.STALE + 1,))
    assert other.claim([key("a")]) == {key("a")}
    one.release([key("a")])
    assert one.claim([key("a")]) == set(), "it is the other's now, and not for the first to give up"


@pytest.mark.parametrize(
    ("change", "free"),
    [
        ("pid = 4194305", True),
        ("start = 1", True),
        ("host = 'elsewhere'", False),
        ("host = 'elsewhere', pid = 4194305", False),
    ],
)
def test_a_claim_ends_with_its_process(tmp_path, change, free):
    one, other = ReplyCache(tmp_path / "c.sqlite"), ReplyCache(tmp_path / "c.sqlite")
    one.claim([key("a")])
    with sqlite3.connect(one.path) as db:
        db.execute(f"UPDATE claims SET {change}")
    assert bool(other.claim([key("a")])) is free


def test_a_program_of_an_earlier_version_goes_on_with_the_file(tmp_path):
    cache = ReplyCache(tmp_path / "c.sqlite")
    cache.put(IDENTITY, False, [(key("a"), chat("a"), Reply(text="A"))])
    with sqlite3.connect(cache.path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        columns = [row[1] for row in db.execute("PRAGMA table_info(replies)")]
        assert columns == ["key", "judge", "request", "prompt", "settings", "stored", "outcome", "value", "vector"]
        # As it stored before rows had checksums.
        db.execute(
            "INSERT INTO replies SELECT ?, judge, request, prompt, settings, stored, outcome, ?, vector FROM replies",
            (key("b"), '{"text":"B","usage":[1,2,0,0.5]}'),
        )
    assert {k: r.text for k, r in cache.get([key("a"), key("b")]).items()} == {key("a"): "A", key("b"): "B"}


def test_a_claim_that_a_full_disk_did_not_let_go_stops_nobody(tmp_path, monkeypatch):
    """The process goes on and gives signs of life, so whoever waited for this claim would wait for ever."""
    first, second = ReplyCache(tmp_path / "c.sqlite"), ReplyCache(tmp_path / "c.sqlite")
    assert first.claim({"k", "other"}) == {"k", "other"}
    assert second.claim({"k"}) == set()

    def full(self, keys):
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(ReplyCache, "_end", full)
        with pytest.raises(DataError, match="full"):
            first.release({"k"})
        assert first.refresh(), "it is taken out as soon as there is room"
        assert second.claim({"k", "other"}) == {"k"}
    second.release({"k"})
    assert first.claim({"k"}) == {"k"}
    first.release({"k", "other"})
    assert not first.refresh()
    assert second.claim({"k", "other"}) == {"k", "other"}
