"""The reply cache in PostgreSQL: what holds for a file holds for a database that dies, is only read, or is asked by many."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from latentbench.cli import app
from latentbench.judges.cache import reply_database
from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.cache.replies import STALE, ReplyCache
from latentbench.judges.cache.reply_database import LostDatabase, ReplyDatabase, database_url, open_replies
from latentbench.kernel.errors import DataError
from latentbench.kernel.requests import Outcome, Reply, Usage
from typer.testing import CliRunner

from tests.builders.postgres_server import PostgresServer, postgres
from tests.judges.test_claims import IDENTITY, Logging, asked, chat, go, key

ASK = """
import asyncio, sys
from pathlib import Path
from tests.judges.test_claims import Logging, chat
from latentbench.judges.cache.cached_judge import CachedJudge
from latentbench.judges.cache.reply_database import open_replies
judge = Logging(Path(sys.argv[2]), float(sys.argv[3]))
print("ready", flush=True)
sys.stdin.readline()
found = asyncio.run(CachedJudge(judge, open_replies(Path(sys.argv[1]))).answer([chat(f"q{i}") for i in range(20)]))
print(",".join(r.text for r in found), flush=True)
"""


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with postgres() as found:
        yield found


@pytest.fixture
def url(server: PostgresServer) -> Iterator[Path]:
    with _admin(server) as db:
        db.execute(f"DROP SCHEMA IF EXISTS {reply_database.PLACE} CASCADE")
    return Path(server.url)


def _admin(server: PostgresServer) -> Any:
    import psycopg

    return psycopg.connect(server.url, autocommit=True)


def process(url: Path, log: Path, pause: float) -> subprocess.Popen[str]:
    started = subprocess.Popen(
        [sys.executable, "-c", ASK, str(url), str(log), str(pause)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        cwd=Path(__file__).parents[2],
    )
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("c.sqlite", None),
        ("postgresql://u@h:5/db?sslmode=require", "postgresql://u@h:5/db?sslmode=require"),
        ("postgres://h/db", "postgresql://h/db"),
        ("postgresql:///db", "postgresql:///db"),
        ("postgresql:///db?host=/tmp/x", "postgresql:///db?host=/tmp/x"),
    ],
)
def test_an_address_survives_being_taken_for_a_path(given: str, found: str | None) -> None:
    assert database_url(Path(given)) == found
    assert found is None or database_url(Path(found)) == found


@pytest.mark.parametrize("given", ["postgresql://u:hunter2@h/db", "postgresql://h/db?user=u&password=hunter2"])
def test_a_password_is_refused_and_not_repeated(given: str) -> None:
    with pytest.raises(DataError, match="PGPASSWORD") as refused:
        open_replies(Path(given))
    assert "hunter2" not in str(refused.value)
    said = CliRunner().invoke(app, ["cache", "stats", "--cache", given])
    assert said.exit_code != 0
    assert "hunter2" not in said.output


async def test_every_field_survives_and_nothing_is_asked_twice(url: Path, tmp_path: Path) -> None:
    cache = open_replies(url)
    assert isinstance(cache, ReplyDatabase)
    reply = Reply(
        text="\u00e9\n \x00",
        logprobs=((-0.1, -2.3456789012345678), (float("-inf"), 0.0)),
        vector=np.array([0.1, -1e-30, 3], np.float32),
        usage=Usage(5, 4, 3, 0.25),
    )
    cache.put(IDENTITY, False, [(key("x"), chat("x"), reply), (key("f"), chat("f"), Reply(Outcome.API, error="down"))])
    (found,) = open_replies(url).get([key("x"), key("f")]).values()
    assert (found.text, found.logprobs, found.usage) == (reply.text, reply.logprobs, reply.usage)
    assert found.vector is not None
    assert found.vector.tobytes() == np.array([0.1, -1e-30, 3], np.float32).tobytes()
    assert await CachedJudge(Logging(tmp_path / "log"), open_replies(url)).answer([chat("a"), chat("b"), chat("a")])
    assert await CachedJudge(Logging(tmp_path / "log"), open_replies(url)).answer([chat("b"), chat("a")])
    assert asked(tmp_path / "log") == ["a", "b"]


def test_a_damaged_row_is_no_reply_and_is_replaced(url: Path, server: PostgresServer) -> None:
    cache = open_replies(url)
    cache.put(IDENTITY, False, [(key("x"), chat("x"), Reply(text="it is 0"))])
    with _admin(server) as db:
        db.execute(f"UPDATE {reply_database.PLACE}.replies SET value = replace(value, 'it is 0', 'it is 1')")
    assert cache.get([key("x")]) == {}
    assert cache.claim([key("x")]) == {key("x")}
    cache.put(IDENTITY, False, [(key("x"), chat("x"), Reply(text="it is 2"))])
    assert open_replies(url).get([key("x")])[key("x")].text == "it is 2"


def test_processes_that_ask_the_same_at_once_pay_once(url: Path, tmp_path: Path) -> None:
    running = [process(url, tmp_path / "log", 0.2) for _ in range(3)]
    for each in running:
        go(each)
    said = [each.communicate(timeout=60)[0] for each in running]
    assert said == [",".join(f"Q{i}" for i in range(20)) + "\n"] * 3
    assert asked(tmp_path / "log") == sorted(f"q{i}" for i in range(20))


def test_a_claim_ends_with_its_process_or_without_a_sign_of_life(url: Path, server: PostgresServer) -> None:
    one, other = open_replies(url), open_replies(url)
    assert one.claim([key("a"), key("b")]) == {key("a"), key("b")}
    assert other.claim([key("a")]) == set()
    with _admin(server) as db:
        claims = f"UPDATE {reply_database.PLACE}.claims SET"
        db.execute(f"{claims} host = 'elsewhere', pid = 4194305")
        assert other.claim([key("a")]) == set(), "of another machine only a sign of life tells"
        db.execute(f"{claims} beat = beat - {STALE + 1}")
        assert one.refresh()
        assert other.claim([key("a")]) == set(), "it lives"
        db.execute(f"{claims} beat = beat - {STALE + 1}")
    assert other.claim([key("a")]) == {key("a")}
    one.release([key("a")])
    assert one.claim([key("a")]) == set(), "it is the other's now"


async def test_a_database_that_comes_back_loses_nothing_that_was_paid(
    url: Path, server: PostgresServer, tmp_path: Path
) -> None:
    cache, log = open_replies(url), tmp_path / "log"
    judge = CachedJudge(Logging(log, 0.1), cache)

    class Dying(Logging):
        async def answer(self, requests):  # type: ignore[no-untyped-def]
            server.stop()
            threading.Timer(1.0, server.start).start()
            return await super().answer(requests)

    judge.judge = Dying(log)
    assert [r.text for r in await judge.answer([chat("a")])] == ["A"]
    assert [r.text for r in await CachedJudge(Logging(log), open_replies(url)).answer([chat("a")])] == ["A"]
    assert asked(log) == ["a"]


async def test_a_database_that_stays_away_is_an_error_and_no_score(
    url: Path, server: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_database, "PATIENCE", 0.3)
    judge = CachedJudge(Logging(tmp_path / "log"), open_replies(url))
    await judge.answer([chat("a")])
    server.stop()
    try:
        began = time.monotonic()
        with pytest.raises(LostDatabase, match="does not answer"):
            await judge.answer([chat("a"), chat("b")])
        assert time.monotonic() - began < 60
        assert asked(tmp_path / "log") == ["a"], "nothing is paid that could not be kept"
        with pytest.raises(LostDatabase):
            open_replies(url)
    finally:
        server.start()
    assert [r.text for r in await judge.answer([chat("a"), chat("b")])] == ["A", "B"]
    assert asked(tmp_path / "log") == ["a", "b"]


def test_a_user_who_may_only_read_reads(url: Path, server: PostgresServer) -> None:
    open_replies(url).put(IDENTITY, False, [(key("a"), chat("a"), Reply(text="A"))])
    with _admin(server) as db:
        db.execute("DROP ROLE IF EXISTS reader")
        db.execute("CREATE ROLE reader LOGIN")
        db.execute(f"GRANT USAGE ON SCHEMA {reply_database.PLACE} TO reader")
        db.execute(f"GRANT SELECT ON ALL TABLES IN SCHEMA {reply_database.PLACE} TO reader")
    cache = open_replies(Path(server.url.replace("bench@", "reader@")))
    assert cache.read_only
    assert cache.get([key("a")])[key("a")].text == "A"
    assert cache.claim([key("b")]) == {key("b")}
    assert cache.put(IDENTITY, False, [(key("b"), chat("b"), Reply(text="B"))]) == 0
    with pytest.raises(DataError, match="can only be read"):
        cache.forget(judge="p:m")


def test_the_commands_work_on_it_as_on_a_file(url: Path, tmp_path: Path) -> None:
    for cache in (open_replies(url), ReplyCache(tmp_path / "c.sqlite")):
        place = str(url) if isinstance(cache, ReplyDatabase) else str(tmp_path / "c.sqlite")
        cache.put(IDENTITY, False, [(key(t), chat(t), Reply(text=t.upper())) for t in "abc"])
        assert "same prompt, max_tokens differs" in cache.explain_miss(IDENTITY, chat_of(7))
        assert cache.forget([key("a")]) == 1
        for words, said in (
            (["stats"], "2 replies"),
            (["forget", "--judge", "p:m", "--dry-run"], "would drop 2 replies"),
            (["prune", "1"], "dropped 0 replies"),
        ):
            done = CliRunner().invoke(app, ["cache", *words, "--cache", place])
            assert said in done.output, done.output
        assert cache.prune(timedelta(0)) == 2


def chat_of(tokens: int) -> Any:
    from dataclasses import replace

    return replace(chat("a"), max_tokens=tokens)
