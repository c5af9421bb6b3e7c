"""One SQLite file of paid-for replies, addressed by judge identity and exact request.

Identity and request are also stored apart from the key, so that a miss can be explained ("same request, dtype differs")
instead of guessed at: an earlier tool's cache was not keyed by the model at all, and nobody could see it. Failed calls are never
stored, or a bad minute of an endpoint would be replayed for ever.

A row holds a checksum of itself. One that does not fit is no reply: it is asked again and replaced. Rows of earlier versions have
none, and are read if they are replies at all.

Before a request is asked it is claimed here, so that two processes that want the same answer pay for one. A claim ends with its
answer, with its process, or when that gives no sign of life; a lock around the call would outlive none of these and would hold up
every other request.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import time
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from latentbench.judges.cache.cache_counts import CacheStats, FromCache
from latentbench.judges.cache.reply_row import encode, read_row, sealed_with
from latentbench.kernel.errors import DataError
from latentbench.kernel.files import writing
from latentbench.kernel.identity import canonical
from latentbench.kernel.processes import Process, me
from latentbench.kernel.requests import JudgeIdentity, Outcome, Reply, Request, describe, request_key
from latentbench.kernel.seal import sealed

SCHEMA = 1
STORED = frozenset({Outcome.OK, Outcome.REFUSAL, Outcome.PARSE})

_TABLES = """
CREATE TABLE IF NOT EXISTS judges (key TEXT PRIMARY KEY, identity TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, request TEXT NOT NULL, prompt TEXT NOT NULL, settings TEXT NOT NULL,
    stored REAL NOT NULL, outcome TEXT NOT NULL, value TEXT NOT NULL, vector BLOB
);
CREATE INDEX IF NOT EXISTS by_request ON replies (request);
CREATE INDEX IF NOT EXISTS by_prompt ON replies (prompt);
"""
_CLAIMS = """
CREATE TABLE IF NOT EXISTS claims (
    key TEXT PRIMARY KEY, holder TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, start INTEGER, beat REAL NOT NULL
) WITHOUT ROWID;
"""
BEAT, STALE = 20.0, 120.0
"""Seconds between the signs of life of a process that has claims, and without one until they are taken over."""
PART = 500
"""Keys per query."""

_STORE = "INSERT INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO "
_KEEP, _TAKE = (
    f"{_STORE}NOTHING",
    f"{_STORE}UPDATE SET stored = excluded.stored, outcome = excluded.outcome, value = excluded.value, vector = excluded.vector",
)
"""The first reply stays, or a damaged one makes way. Where SQLite and PostgreSQL differ, there is a method to override."""
_LIVE: weakref.WeakValueDictionary[str, ReplyCache] = weakref.WeakValueDictionary()
"""Caches that this process has open, by what their claims are held under."""


class ReplyCache:
    """Replies on disk. Several processes of one machine may use one file.

    A file that can only be read is read; nothing is added to it.

    Args:
        path: created with its folder if missing.

    Attributes:
        name: where the replies are, for messages.
        read_only: nothing can be stored.
        damaged: keys of rows that were found damaged.

    Raises:
        DataError: the file is not such a cache, stays locked, or cannot be made.
    """

    VALUE = "CAST(value AS BLOB)"
    BEGIN: tuple[str, ...] = ("BEGIN IMMEDIATE",)
    """What begins a transaction that writes, so that no other one does until it ends."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.read_only = False
        self.damaged: set[str] = set()
        self._broken: set[str] = set()
        self._lock = threading.Lock()
        self._judges: set[str] = set()
        self._me, self._holder = me(), secrets.token_hex(8)
        self._claimed: set[str] = set()
        self._owed: set[str] = set()
        """Claims that were given up, and that a full disk kept in the table."""
        _LIVE[self._holder] = self
        self._beating = False
        with self._errors():
            self._db: Any = self._open()
            # A connection that stays open behind an error keeps the file locked for whoever opens it next.
            with _closed_after_an_error(self._db):
                self._set_up(path)

    def _set_up(self, path: Path) -> None:
        self._db.text_factory = _text
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, SCHEMA):
            raise DataError(f"{path} is a reply cache of format {version}; this version reads {SCHEMA}. Move it away.")
        if not self.read_only:
            if version == 0:
                self._db.executescript(_TABLES)
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
            self._db.executescript(_CLAIMS)
        self._db.execute("SELECT key, judge, request, prompt, settings, value FROM replies LIMIT 1").fetchall()

    def _open(self) -> sqlite3.Connection:
        there = self.path.is_file()
        try:
            if not there:
                with writing(self.path):
                    self.path.parent.mkdir(parents=True, exist_ok=True)
                    self.path.touch()
            db = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            with _closed_after_an_error(db):
                _prepare(db)
            return db
        except sqlite3.OperationalError as e:
            if not there or not e.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                raise
        self.read_only = True
        address = f"file:{quote(str(self.path.resolve()))}?mode=ro"
        # Without a place for its side files SQLite reads only what it is promised that nobody changes.
        for more in ("", "&immutable=1"):
            db = sqlite3.connect(address + more, timeout=60, isolation_level=None, check_same_thread=False, uri=True)
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchall()
            except sqlite3.OperationalError:
                db.close()
                if more:
                    raise
            else:
                break
        return db

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as e:
            name = getattr(e, "sqlite_errorname", "") or ""
            if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
                said = f"cannot be used: {e}. Is another program holding it?"
            elif name.startswith(("SQLITE_FULL", "SQLITE_IOERR")):
                said = (
                    f"cannot be written: {e}. Free space there (or look whether the disk is sound), then give the command "
                    "again; what it holds is kept."
                )
            elif name.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH")):
                said = f"cannot be used: {e}. Name a file that you may write (--cache)."
            else:
                said = f"is damaged or is not SQLite: {e}. Move it away; its replies will be asked again."
            raise DataError(f"the reply cache {self.name} {said}") from e

    def get(self, keys: Iterable[str], seen: FromCache | None = None) -> dict[str, Reply]:
        """The stored replies among `keys`; `seen` is told when each was stored. What is damaged is not stored."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, Reply] = {}
        with self._lock, self._errors():
            for marks, part in _parts(wanted):
                query = f"SELECT key, outcome, {self.VALUE}, vector, stored FROM replies WHERE key IN ({marks})"
                for key, outcome, value, vector, stored in self._db.execute(query, part):
                    reply = read_row(key, outcome, value, vector, stored)
                    if reply is None:
                        self.damaged.add(str(key))
                        self._broken.add(str(key))
                        continue
                    found[key] = reply
                    if seen is not None:
                        seen.add(stored)
        return found

    def put(self, identity: JudgeIdentity, reads_truth: bool, entries: Sequence[tuple[str, Request, Reply]]) -> int:
        """Store (key, request, reply) of one judge in one transaction; replies of failed calls are left out. Claims on any of
        them end.

        Returns:
            How many were stored.
        """
        now = time.time()
        rows: list[tuple[object, ...]] = []
        mended: list[tuple[object, ...]] = []
        for key, request, reply in entries:
            if reply.outcome in STORED and not self.read_only:
                value, vector = encode(reply)
                told = describe(request, reads_truth, identity.provider)
                whole = sealed(value.encode("utf-8", "surrogatepass"), *sealed_with(key, reply.outcome, vector, now))
                text = whole.decode("utf-8", "surrogatepass")
                row = (key, identity.key, *told, now, str(reply.outcome), text, vector)
                (mended if key in self._broken else rows).append(row)
        ended = self._claimed.intersection(key for key, _, _ in entries)
        if rows or mended or ended:
            with self._lock, self._errors(), self._transaction():
                if rows or mended:
                    judge = (identity.key, canonical(identity))
                    self._db.execute("INSERT INTO judges VALUES (?, ?) ON CONFLICT DO NOTHING", judge)
                # The first reply stays: a second process that asked the same must not change what the first one used.
                self._db.executemany(_KEEP, rows)
                self._db.executemany(_TAKE, mended)
                self._end(ended)
            self._claimed -= ended
            self._broken -= {str(row[0]) for row in mended}
        return len(rows) + len(mended)

    def claim(self, keys: Collection[str]) -> set[str]:
        """Take the right to ask for `keys`, for those that nobody else is asking for; which these are.

        The others are stored by now, or will be when whoever claimed them has been answered. Claims end with `put` or `release`.
        """
        if self.read_only or not keys:
            return set(keys)
        free = set(keys)
        ended: dict[tuple[str, int, int | None], bool] = {}
        with self._lock, self._errors():
            with self._transaction():
                now = self._now()
                for marks, part in _parts(list(keys)):
                    query = f"SELECT key FROM replies WHERE key IN ({marks})"
                    free -= {key for (key,) in self._db.execute(query, part)} - self._broken
                    query = f"SELECT key, holder, host, pid, start, beat FROM claims WHERE key IN ({marks})"
                    for key, holder, host, pid, start, beat in self._db.execute(query, part):
                        who = (host, pid, start)
                        if who not in ended:
                            ended[who] = Process(host, pid, None if start is None else int(start)).gone
                        # This process lives, and may have given up what a full disk did not let it take out of the table.
                        mine = who == (self._me.host, self._me.pid, self._me.start)
                        dropped = mine and ((it := _LIVE.get(holder)) is None or key not in it._claimed)
                        if not ended[who] and not dropped and now - beat < STALE:
                            free.discard(key)
                own = (self._holder, self._me.host, self._me.pid, self._me.start, now)
                rows = [(key, *own) for key in free]
                # Who held them is gone, and a claim is written whole.
                self._db.executemany("DELETE FROM claims WHERE key = ?", [(key,) for key in free])
                self._db.executemany("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?)", rows)
            self._claimed |= free
            if self._claimed and not self._beating:
                self._beating = True
                threading.Thread(target=_beat, args=(weakref.ref(self),), name="claims", daemon=True).start()
        return free

    def release(self, keys: Collection[str]) -> None:
        """Give up claims on `keys` that are left; others may ask then."""
        left = self._claimed.intersection(keys)
        if left:
            self._claimed -= left
            self._owed |= left
            with self._lock, self._errors(), self._transaction():
                self._end(self._owed)
            self._owed.clear()

    def refresh(self) -> bool:
        """Give a sign of life for the claims; whether there are any."""
        with self._lock:
            if not self._claimed and not self._owed:
                self._beating = False
                return False
            with suppress(DataError), self._errors():
                if self._owed:  # where the disk was full
                    with self._transaction():
                        self._end(self._owed)
                    self._owed.clear()
                self._db.execute("UPDATE claims SET beat = ? WHERE holder = ?", (self._now(), self._holder))
        return True

    def _now(self) -> float:
        return time.time()

    def _size(self) -> int:
        return self.path.stat().st_size

    def _shrink(self) -> None:
        self._db.execute("VACUUM")

    def _end(self, keys: Iterable[str]) -> None:
        # Who found a claim stale has it by now.
        query = "DELETE FROM claims WHERE key = ? AND holder = ?"
        self._db.executemany(query, [(key, self._holder) for key in keys])

    @contextmanager
    def _transaction(self, begin: Sequence[str] = ()) -> Iterator[None]:
        first, *more = begin or self.BEGIN
        self._db.execute(first)
        try:
            for query in more:
                self._db.execute(query)
            yield
        except BaseException:
            self._undo()
            raise
        self._db.execute("COMMIT")

    def _undo(self) -> None:
        # A full disk ends the transaction by itself.
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def explain_miss(self, identity: JudgeIdentity, request: Request, reads_truth: bool = False) -> str:
        """One sentence on why a call is not answered from the cache: the nearest stored call and what differs."""
        key = request_key(identity, request, reads_truth)
        if self.get([key]):
            return "no miss: this call is stored."
        whole, prompt, settings = describe(request, reads_truth, identity.provider)
        with self._lock, self._errors():
            query = "SELECT DISTINCT identity FROM replies JOIN judges ON judges.key = judge WHERE request = ?"
            others = [_object(row[0]) for row in self._db.execute(query, (whole,))]
            query = (
                "SELECT settings, identity FROM replies JOIN judges ON judges.key = judge WHERE prompt = ? LIMIT 100"
            )
            near = [(_object(s), _object(i)) for s, i in self._db.execute(query, (prompt,))]
        mine = json.loads(canonical(identity))
        if others:
            changed = sorted((_changes(other, mine) for other in others), key=len)[0]
            return f"same request, {'; '.join(changed)}."
        if near:
            wanted = json.loads(settings)
            ranked = sorted(([*_changes(s, wanted, ""), *_changes(i, mine)] for s, i in near), key=len)
            return f"same prompt, {'; '.join(ranked[0])}."
        return "no stored call has this prompt: its text (windows, explanation, wording) is new."

    def stats(self) -> CacheStats:
        """What the cache holds."""
        with self._lock, self._errors():
            n, oldest, newest = self._db.execute("SELECT count(*), min(stored), max(stored) FROM replies").fetchone()
            query = "SELECT identity, count(*) FROM replies JOIN judges ON judges.key = judge GROUP BY judge, identity"
            labels: dict[str, int] = {}
            for text, count in self._db.execute(query):
                label = _label(_object(text))
                labels[label] = labels.get(label, 0) + count
            size = self._size()
        return CacheStats(n, size, labels, oldest, newest)

    def prune(self, older_than: timedelta) -> int:
        """Delete replies that were stored longer ago than that and give the space back; the number deleted."""
        with self._lock, self._errors():
            with self._transaction():
                before = time.time() - older_than.total_seconds()
                gone = self._db.execute("DELETE FROM replies WHERE stored < ?", (before,)).rowcount
                self._db.execute("DELETE FROM judges WHERE key NOT IN (SELECT judge FROM replies)")
            self._shrink()
        return int(gone)

    def forget(
        self,
        keys: Collection[str] | None = None,
        judge: str | None = None,
        outcomes: Collection[Outcome] = (),
        dry_run: bool = False,
    ) -> int:
        """Delete the replies that fit all that is given, so that they are asked for again.

        Args:
            judge: label, as in `stats`.
            outcomes: of the replies; none for all. A text that a scorer could not read is `ok` here.
            dry_run: only count.

        Returns:
            How many.
        """
        with self._lock, self._errors(), self._transaction():
            query = "SELECT replies.key, outcome, identity FROM replies JOIN judges ON judges.key = judge"
            if keys is not None:
                self._db.execute("CREATE TEMP TABLE named (key TEXT PRIMARY KEY)")
                self._db.executemany("INSERT INTO named VALUES (?) ON CONFLICT DO NOTHING", [(key,) for key in keys])
                query += " WHERE replies.key IN (SELECT key FROM named)"
            gone = [
                (key,)
                for key, outcome, identity in self._db.execute(query)
                if (judge is None or _label(_object(identity)) == judge) and (not outcomes or outcome in outcomes)
            ]
            if keys is not None:
                self._db.execute("DROP TABLE named")
            if not dry_run:
                self._db.executemany("DELETE FROM replies WHERE key = ?", gone)
                self._db.execute("DELETE FROM judges WHERE key NOT IN (SELECT judge FROM replies)")
        return len(gone)

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._db.close()


@contextmanager
def _closed_after_an_error(db: sqlite3.Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        db.close()
        raise


def _prepare(db: sqlite3.Connection) -> None:
    for again in reversed(range(100)):
        try:
            db.execute("PRAGMA journal_mode=WAL")
            break
        except sqlite3.OperationalError as e:
            # Another process is making the same file; SQLite does not wait for that.
            if not again or not e.sqlite_errorname.startswith("SQLITE_BUSY"):
                raise
            time.sleep(0.02)
    # A power cut may lose the last replies, never the file; they are asked again.
    db.execute("PRAGMA synchronous=NORMAL")


def _beat(cache: weakref.ref[ReplyCache]) -> None:
    """Signs of life of a cache's claims, as long as it has any."""
    while True:
        time.sleep(BEAT)
        held = cache()
        if held is None or not held.refresh():
            return
        del held


def _parts(keys: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Keys in parts that fit into a query, with as many question marks."""
    for start in range(0, len(keys), PART):
        part = keys[start : start + PART]
        yield ",".join("?" * len(part)), part


def _text(raw: bytes) -> str:
    return str(raw, "utf-8", "replace")


def _object(text: object) -> dict[str, Any]:
    """An object that was stored as JSON; an empty one where the row is damaged."""
    try:
        found = json.loads(str(text))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _label(identity: Mapping[str, Any]) -> str:
    return f"{identity.get('provider', '?')}:{identity.get('model', '?')}"


def _changes(old: dict[str, Any], new: dict[str, Any], what: str = "judge ") -> list[str]:
    """One phrase per field that differs; parameters are compared one by one."""

    def flat(value: dict[str, Any]) -> dict[str, Any]:
        rest = {k: v for k, v in value.items() if k != "params"}
        return {**rest, **dict(value.get("params") or [])}

    a, b = flat(old), flat(new)
    return [
        f"{what}{name} differs: {a.get(name, 'absent')} stored, {b.get(name, 'absent')} asked"
        for name in sorted({*a, *b})
        if a.get(name) != b.get(name)
    ]
