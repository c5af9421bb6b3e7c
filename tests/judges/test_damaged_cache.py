"""A damaged row is no reply, a damaged file is a message, and what can only be read is read."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import numpy as np
import pytest
from latentbench.judges.cache.cached_judge import CachedJudge, ReplyCache
from latentbench.judges.judge import BaseJudge
from latentbench.kernel.errors import DataError
from latentbench.kernel.requests import Capability, Chat, JudgeIdentity, Message, Reply, Usage, request_key

IDENTITY = JudgeIdentity("p", "m", "r", "d")


def chat(text: str) -> Chat:
    return Chat((Message("user", text),))


def key(text: str) -> str:
    return request_key(IDENTITY, chat(text), False)


def stored(path: Path, n: int = 1) -> ReplyCache:
    cache = ReplyCache(path)
    entries = [(key(str(i)), chat(str(i)), reply(i)) for i in range(n)]
    cache.put(IDENTITY, False, entries)
    return cache


def reply(i: int) -> Reply:
    return Reply(text=f"it is {i}", vector=np.array([0.6, -0.8], np.float32), usage=Usage(10, 2, 3, 0.5))


class Capital(BaseJudge):
    can = frozenset(Capability)
    identity = IDENTITY

    async def answer(self, requests):
        return [Reply(text="asked") for _ in requests]


DAMAGE = [
    "value = replace(value, 'it is 0', 'it is 1')",
    "value = substr(value, 1, 20)",
    "value = ''",
    "value = 7",
    "value = x'00ff'",
    "value = CAST(x'ff' || substr(value, 2) AS TEXT)",
    "value = '[]'",
    "value = replace(value, '\"sum\"', '\"sul\"')",
    'value = \'{"text":5,"usage":[1,2,3,4]}\'',
    'value = \'{"text":"x"}\'',
    "outcome = 'refusal'",
    "outcome = 'okay'",
    "outcome = x'ff'",
    "vector = x'00000000'",
    "vector = NULL",
    "vector = 'text'",
    "stored = 'now'",
    "stored = stored + 1",
]


@pytest.mark.parametrize("damage", DAMAGE)
async def test_a_damaged_row_is_asked_again_and_replaced(tmp_path, damage):
    cache = stored(tmp_path / "c.sqlite")
    with sqlite3.connect(cache.path) as db:
        assert db.execute(f"UPDATE replies SET {damage}").rowcount == 1
    found = (await CachedJudge(Capital(), cache).answer([chat("0")]))[0]
    assert (found.text, found.cached) == ("asked", False)
    assert cache.damaged == {key("0")}
    again = ReplyCache(cache.path)
    assert again.get([key("0")])[key("0")].text == "asked"
    assert not again.damaged
    assert str(again.stats())


def test_a_reply_under_another_key_is_none(tmp_path):
    cache = stored(tmp_path / "c.sqlite", 2)
    with sqlite3.connect(cache.path) as db:
        db.execute("DELETE FROM replies WHERE key = ?", (key("0"),))
        db.execute("UPDATE replies SET key = ?", (key("0"),))
    assert cache.get([key("0")]) == {}


def test_wherever_a_bit_flips_no_reply_is_another_one(tmp_path):
    cache = stored(tmp_path / "c.sqlite", 40)
    cache.close()
    whole = cache.path.read_bytes()
    wanted = {key(str(i)): f"it is {i}" for i in range(40)}
    places, outcomes = random.Random(0), {"same": 0, "fewer": 0, "message": 0}
    for _ in range(400):
        damaged = bytearray(whole)
        damaged[places.randrange(len(whole))] ^= 1 << places.randrange(8)
        path = tmp_path / "damaged.sqlite"
        path.write_bytes(damaged)
        for side in ("-wal", "-shm"):
            Path(f"{path}{side}").unlink(missing_ok=True)
        try:
            opened = ReplyCache(path)
            found = opened.get(wanted)
            str(opened.stats())
            opened.close()
        except DataError as e:
            outcomes["message"] += str(path) in str(e) and path.exists()
            continue
        assert all(wanted[k] == r.text for k, r in found.items())
        outcomes["same" if len(found) == 40 else "fewer"] += 1
    assert sum(outcomes.values()) == 400
    assert outcomes["fewer"] > 20, outcomes


def test_a_file_that_can_only_be_read_is_read(tmp_path, monkeypatch):
    stored(tmp_path / "c.sqlite").close()
    connect = sqlite3.connect

    def read_only(path, **settings):  # type: ignore[no-untyped-def]
        if settings.get("uri"):
            return connect(path, **settings)
        return connect(f"file:{path}?mode=ro", uri=True, **settings)

    class Wal(sqlite3.Connection):
        """What SQLite says of a file in a folder that it cannot write to."""

        def execute(self, query, *more):  # type: ignore[no-untyped-def]
            if query.startswith("PRAGMA journal_mode"):
                return super().execute("INSERT INTO judges VALUES ('a', 'b')")
            return super().execute(query, *more)

    monkeypatch.setattr(sqlite3, "connect", lambda path, **settings: read_only(path, factory=Wal, **settings))
    cache = ReplyCache(tmp_path / "c.sqlite")
    assert cache.read_only
    assert cache.get([key("0")])[key("0")].text == "it is 0"
    assert cache.put(IDENTITY, False, [(key("1"), chat("1"), reply(1))]) == 0
    assert cache.claim([key("1")]) == {key("1")}
    cache.release([key("1")])


def test_a_full_disk_says_so_and_keeps_what_there_is(tmp_path):
    cache = stored(tmp_path / "c.sqlite")
    pages = cache._db.execute("PRAGMA page_count").fetchone()[0]
    cache._db.execute(f"PRAGMA max_page_count={pages}")
    long = Reply(text="x" * 100_000)
    with pytest.raises(DataError, match=r"c\.sqlite cannot be written: .* is full\. Free space there"):
        cache.put(IDENTITY, False, [(key("1"), chat("1"), long)])
    cache._db.execute("PRAGMA max_page_count=100000")
    assert cache.put(IDENTITY, False, [(key("1"), chat("1"), long)]) == 1
    assert set(cache.get([key("0"), key("1")])) == {key("0"), key("1")}
