"""The reply cache in PostgreSQL, for workers on several machines: the same replies, addresses, checksums and claims.

SQLite shares its log through memory, so a file serves the processes of one machine. A database serves many, and what differs is
decided here. A transaction that writes locks the table of claims, which is what `BEGIN IMMEDIATE` does to a file: without it one
process reads that there is no reply, another stores it and ends its claim, the first reads that there is no claim, and pays
again. Signs of life are told by the server's clock, because clocks of machines differ. A connection that is lost is opened
again for a minute, and what was under way is done again; each of these steps may be done twice. After that it is an error that
ends the command: to go on without a cache is the tempting way, and pays for what nobody keeps.

A password in the address would stand in the process list and in the record of the run. It is refused; libpq reads it from
`~/.pgpass` or `PGPASSWORD`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from latentbench.judges.cache.cache_counts import FromCache
from latentbench.judges.cache.replies import SCHEMA, ReplyCache
from latentbench.kernel.errors import DataError
from latentbench.kernel.extras import need
from latentbench.kernel.outcome import Outcome
from latentbench.kernel.requests import JudgeIdentity, Reply, Request
from latentbench.kernel.veil import veiled

if TYPE_CHECKING:
    import psycopg

T = TypeVar("T")
PATIENCE = 60.0
"""Seconds that a lost database is waited for; as long as a locked file is."""
PAUSE = 0.2, 5.0
"""Seconds before the first and, at most, between later tries."""
PLACE = "latentbench_cache"
"""Schema of the tables, so that a database may hold studies of Optuna or MLflow's store as well."""
LOCK = 0x6C61_7465
"""Number of the advisory lock under which the tables are made."""

_TABLES = f"""
CREATE SCHEMA IF NOT EXISTS {PLACE};
CREATE TABLE IF NOT EXISTS {PLACE}.format (version INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS {PLACE}.judges (key TEXT PRIMARY KEY, identity TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS {PLACE}.replies (
    key TEXT PRIMARY KEY, judge TEXT NOT NULL, request TEXT NOT NULL, prompt TEXT NOT NULL, settings TEXT NOT NULL,
    stored DOUBLE PRECISION NOT NULL, outcome TEXT NOT NULL, value TEXT NOT NULL, vector BYTEA
);
CREATE INDEX IF NOT EXISTS by_request ON {PLACE}.replies (request);
CREATE INDEX IF NOT EXISTS by_prompt ON {PLACE}.replies (prompt);
CREATE TABLE IF NOT EXISTS {PLACE}.claims (
    key TEXT PRIMARY KEY, holder TEXT NOT NULL, host TEXT NOT NULL, pid BIGINT NOT NULL, start BIGINT,
    beat DOUBLE PRECISION NOT NULL
);
INSERT INTO {PLACE}.format SELECT {SCHEMA} WHERE NOT EXISTS (SELECT 1 FROM {PLACE}.format);
"""


class LostDatabase(DataError):
    """The database does not answer, or has closed the connection."""


def database_url(path: Path) -> str | None:
    """The address of a database that was given where a file could have been; None for a file.

    A path has one slash where an address has two or three. One name behind them is a database on this machine; to name a host
    takes the database's name as well.

    Raises:
        DataError: it holds a password.
    """
    said = re.fullmatch(r"postgres(?:ql)?:/+(.+)", path.as_posix())
    if said is None:
        return None
    rest = said[1]
    url = f"postgresql://{rest}" if "/" in rest.partition("?")[0] else f"postgresql:///{rest}"
    if re.match(r"[^/?]*:[^/?]*@", rest) or re.search(r"[?&](ssl)?password=", rest, re.IGNORECASE):
        raise DataError(
            f"the reply cache {veiled(url)} has a password in its address, which every list of processes shows. Take it out, "
            "and put it into ~/.pgpass or PGPASSWORD."
        )
    return url


def open_replies(path: Path) -> ReplyCache:
    """The reply cache at a path, or in the database `postgresql://USER@HOST:PORT/DATABASE`.

    Raises:
        DataError: it cannot be used. MissingExtra: the driver of PostgreSQL is not installed.
    """
    url = database_url(path)
    return ReplyCache(path) if url is None else ReplyDatabase(path, url)


class _PostgresConnection:
    """A connection of psycopg that takes `?` for a value, as SQLite's does, and opens itself again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._held: psycopg.Connection[Any] | None = None

    @property
    def lost(self) -> bool:
        return self._held is None or self._held.closed

    def reach(self) -> None:
        import psycopg

        limits: dict[str, Any] = {
            "connect_timeout": 10,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        }
        self._held = psycopg.connect(self.url, autocommit=True, application_name="latentbench", **limits)
        # A process that freezes within a transaction keeps no others waiting for ever.
        for name, seconds in (("lock_timeout", 60), ("idle_in_transaction_session_timeout", 60)):
            self._held.execute(f"SET {name} = '{seconds}s'")
        self._held.execute(f"SET search_path = {PLACE}")

    def execute(self, query: str, values: Sequence[object] | None = None) -> Any:
        assert self._held is not None
        return self._held.execute(query.replace("?", "%s").encode(), values)

    def executemany(self, query: str, rows: Iterable[Sequence[object]]) -> None:
        assert self._held is not None
        rows = list(rows)
        if rows:
            with self._held.cursor() as cursor:
                cursor.executemany(query.replace("?", "%s").encode(), rows)

    def close(self) -> None:
        if self._held is not None:
            self._held.close()


class ReplyDatabase(ReplyCache):
    """Replies in PostgreSQL, for processes of many machines.

    A user who may only read, or a standby server, is read; nothing is added.

    Args:
        path: as it was given.
        url: the database's address, without a password.

    Raises:
        DataError: the database does not answer, or its tables cannot be made or are of another format.
    """

    VALUE = "convert_to(value, 'UTF8')"
    BEGIN = ("BEGIN", "LOCK TABLE claims IN EXCLUSIVE MODE")

    def __init__(self, path: Path, url: str) -> None:
        need("psycopg", what="a reply cache in PostgreSQL")
        self._url = url
        self._db = _PostgresConnection(url)
        super().__init__(path)
        self.name = url

    def _open(self) -> Any:
        """The connection, which whoever waits for its errors has opened."""
        self.name = self._url
        return self._db

    def _set_up(self, path: Path) -> None:
        may = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool"
        standby = bool(self._db.execute(may).fetchone()[0])
        there = self._db.execute(f"SELECT to_regclass('{PLACE}.replies') IS NOT NULL").fetchone()[0]
        if not there:
            if standby:
                raise DataError(f"the reply cache {self.name} has no tables, and the server only reads. Name another.")
            with self._transaction(("BEGIN",)):
                self._db.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
                self._db.execute(_TABLES)
        rights = [f"has_table_privilege('{PLACE}.{t}', '{r}')" for t, r in _RIGHTS]
        self.read_only = standby or not self._db.execute(f"SELECT {' AND '.join(rights)}").fetchone()[0]
        (version,) = self._db.execute("SELECT version FROM format").fetchone()
        if version != SCHEMA:
            raise DataError(
                f"the reply cache {self.name} is of format {version}; this version reads {SCHEMA}. Name another database."
            )

    @contextmanager
    def _errors(self) -> Iterator[None]:
        import psycopg
        from psycopg import errors

        try:
            if self._db.lost:
                self._db.reach()
            yield
        except psycopg.Error as e:
            reason = veiled(" ".join(str(e).split()))[:300]
            kind: type[DataError] = DataError
            if isinstance(e, errors.DiskFull):
                said = f"cannot be written: {reason}. Free space there, then give the command again; what it holds is kept."
            elif isinstance(e, errors.LockNotAvailable):
                said = f"stays locked: {reason}. Is another program holding it?"
            elif isinstance(e, errors.InsufficientPrivilege | errors.ReadOnlySqlTransaction):
                said = f"cannot be used: {reason}. Ask for the right, or name another database (--cache)."
            elif isinstance(e, psycopg.OperationalError):
                kind = LostDatabase
                said = f"does not answer: {reason}. When it does, give the command again; what it holds is kept."
            else:
                said = f"cannot be used: {reason}."
            raise kind(f"the reply cache {self.name} {said}") from e

    def _undo(self) -> None:
        import psycopg

        with suppress(psycopg.Error):
            self._db.execute("ROLLBACK")

    def _now(self) -> float:
        return float(self._db.execute("SELECT extract(epoch FROM clock_timestamp())").fetchone()[0])

    def _size(self) -> int:
        return int(self._db.execute("SELECT pg_total_relation_size('replies')").fetchone()[0])

    def _shrink(self) -> None:
        """Nothing: PostgreSQL gives the space to later replies by itself."""

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do something that may be done twice, again for a minute where the connection is lost."""
        began, pause = time.monotonic(), PAUSE[0]
        while True:
            try:
                return work()
            except LostDatabase:
                if time.monotonic() - began > PATIENCE:
                    raise
                time.sleep(pause)
                pause = min(2 * pause, PAUSE[1])

    def get(self, keys: Iterable[str], seen: FromCache | None = None) -> dict[str, Reply]:
        """What a file does."""
        wanted = list(keys)
        own = super().get
        return self._patiently(lambda: own(wanted, seen))

    def put(self, identity: JudgeIdentity, reads_truth: bool, entries: Sequence[tuple[str, Request, Reply]]) -> int:
        """What a file does; the first reply stays, also where this is done again."""
        own = super().put
        return self._patiently(lambda: own(identity, reads_truth, entries))

    def claim(self, keys: Collection[str]) -> set[str]:
        """What a file does; what was claimed when the connection was lost is this process's own, and is claimed again."""
        own = super().claim
        return self._patiently(lambda: own(keys))

    def prune(self, older_than: timedelta) -> int:
        """Delete replies that were stored longer ago than that; the number deleted."""
        self._writable()
        return super().prune(older_than)

    def forget(
        self,
        keys: Collection[str] | None = None,
        judge: str | None = None,
        outcomes: Collection[Outcome] = (),
        dry_run: bool = False,
    ) -> int:
        """What a file does."""
        self._writable()
        return super().forget(keys, judge, outcomes, dry_run)

    def _writable(self) -> None:
        if self.read_only:
            raise DataError(f"the reply cache {self.name} can only be read by this user; nothing can be dropped.")


_RIGHTS = (
    ("replies", "INSERT"), ("replies", "UPDATE"), ("judges", "INSERT"), ("claims", "INSERT"), ("claims", "UPDATE"),
    ("claims", "DELETE"), ("claims", "SELECT"),
)  # fmt: skip
"""What a user needs to store replies; LOCK TABLE in this mode asks for one of UPDATE and DELETE."""
