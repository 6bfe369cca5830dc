"""Connections to the database: made when they are wanted, looked at before they are trusted.

A server that does not wait for its disk would have us answer 250 for what is lost with its power,
so each new connection asks: after a failover it may be another server. One that is lost is made
anew by whoever wants it next; while the database is away that takes a refusal, not a wait.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from collections.abc import AsyncIterator
from typing import Any, Final, LiteralString, TypeAlias

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from pillarbox.relay.postgres.clock import DatabaseClock
from pillarbox.relay.spool import SpoolError, SpoolFull

__all__ = ["BY_INDEX", "Connection", "Database", "Link", "Pool", "explain"]

Connection: TypeAlias = psycopg.AsyncConnection[tuple[Any, ...]]

log = logging.getLogger("pillarbox")

# A host that is gone says nothing at all: that is noticed in some ten seconds.
DEFAULTS: Final[dict[str, str]] = {
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "2",
    "keepalives_count": "3",
    "tcp_user_timeout": "10000",
    "client_encoding": "utf8",
}

# After a failure nobody tries again so soon: many wait, and each attempt may take its time.
PAUSE_SECONDS: Final = 0.5

LOOK: Final = """
    SELECT current_setting('fsync'), current_setting('synchronous_commit'), pg_is_in_recovery(),
        getdatabaseencoding(), extract(epoch FROM clock_timestamp())::float8
"""

# A queue is empty at one moment and has a million rows at the next, and what PostgreSQL has counted
# last is never so. These ways are right for both.
BY_INDEX: Final = """
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET enable_bitmapscan = off; SET jit = off
"""


# A connection that is not let in has no SQLSTATE, but words.
REMEDIES: Final = (
    (re.compile("FATAL: .*database .* does not exist"), "make it with 'createdb', or name another"),
    (
        re.compile("FATAL: .*(role|user|password|pg_hba)|no password supplied"),
        "write the user into the URL, and the password into ~/.pgpass or PGPASSWORD",
    ),
    (re.compile("FATAL: .*(too many|connection slots)"), "raise max_connections"),
)
ELSE: Final = "see that PostgreSQL runs there, and that the URL is right"


class Database:
    """A database, and how to connect to it.

    Args:
        url: `postgresql://USER@HOST/NAME`, or what else libpq takes.
        name: Who connects, for those who look into `pg_stat_activity`.
        clock: Set whenever the database tells the time.

    Raises:
        SpoolError: The URL is none.
    """

    def __init__(self, url: str, *, name: str, clock: DatabaseClock) -> None:
        try:
            given = {key: str(value) for key, value in conninfo_to_dict(url).items()}
        except psycopg.ProgrammingError as error:
            raise SpoolError(
                f"{_without_password(url)} is no URL of a database ({str(error).strip()}); write"
                " postgresql://USER@HOST/NAME"
            ) from None
        named = {"application_name": f"pillarbox {name}"[:60]}
        self._conninfo = make_conninfo("", **(DEFAULTS | named | given))
        host = given.get("host") or given.get("hostaddr") or "this machine"
        self.place = f"{given.get('dbname') or given.get('user') or 'the database'} on {host}"
        """Which it is, for people."""
        self.clock = clock

    async def connect(self, settings: LiteralString = "") -> Connection:
        """Connect, and see that it is one to be trusted.

        Args:
            settings: What is to be said first.

        Raises:
            SpoolError: It cannot be reached, or may lose what it has confirmed.
        """
        try:
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
        except psycopg.Error as error:
            raise explain(error, self.place) from error
        try:
            asked = self.clock.elapsed()
            found = await (await connection.execute(LOOK)).fetchone()
            assert found is not None
            self.clock.set(found[4], asked)
            self._check(*found[:4])
            await connection.execute("SET search_path = pillarbox")
            if settings:
                await connection.execute(settings)
        except psycopg.Error as error:
            await close(connection)
            raise explain(error, self.place) from error
        except BaseException:
            await close(connection)
            raise
        return connection

    def _check(self, fsync: str, synchronous: str, is_standby: bool, encoding: str) -> None:
        for name, value in (("fsync", fsync), ("synchronous_commit", synchronous)):
            if value == "off":
                raise SpoolError(
                    f"{self.place} runs with {name} = off, and would lose mail that was accepted"
                    f" when its machine stops; set {name} = on in postgresql.conf (or where 'ALTER"
                    " ROLE' or 'ALTER DATABASE' have set it), and reload it"
                )
        if is_standby:
            raise SpoolError(
                f"{self.place} is a standby, which only reads; name the primary, or all of them"
                " with ?target_session_attrs=read-write"
            )
        if encoding != "UTF8":
            raise SpoolError(
                f"{self.place} is encoded as {encoding}, and addresses may be of any script; make"
                " one with 'CREATE DATABASE ... ENCODING UTF8 TEMPLATE template0'"
            )


class Link:
    """One connection, made anew when it is lost.

    Args:
        database: Where to.
        settings: What is said first, each time.
    """

    def __init__(self, database: Database, settings: LiteralString = "") -> None:
        self._database = database
        self._settings: LiteralString = settings
        self._connection: Connection | None = None
        self._failure: tuple[float, SpoolError] | None = None

    async def get(self) -> Connection:
        """Give the connection.

        Raises:
            SpoolError: There is none to be had.
        """
        if self._connection is not None and not self._connection.closed:
            return self._connection
        self._connection = None
        now = asyncio.get_running_loop().time()
        if self._failure is not None:
            since, error = self._failure
            if now - since < PAUSE_SECONDS:
                raise type(error)(*error.args)
        try:
            self._connection = await self._database.connect(self._settings)
        except SpoolError as error:
            self._failure = (asyncio.get_running_loop().time(), error)
            raise
        self._failure = None
        return self._connection

    async def drop(self) -> None:
        """Let go of the connection; the next `get()` makes another one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            await close(connection)


class Pool:
    """Some connections, for those who take turns.

    Args:
        database: Where to.
        size: How many at the most.
        settings: What is said first.
    """

    def __init__(self, database: Database, size: int, settings: LiteralString = "") -> None:
        self._database = database
        self._free = [Link(database, settings) for _ in range(size)]
        self._links = tuple(self._free)
        self._turns = asyncio.Semaphore(size)
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def use(self, *, is_snapshot: bool = False) -> AsyncIterator[Connection]:
        """Have a connection for a while.

        Args:
            is_snapshot: All that is read is as it was at one moment.

        Raises:
            SpoolError: There is none, or it failed.
        """
        async with self._turns:
            if self._is_closed:
                raise SpoolError("the spool is closed")
            link = self._free.pop()
            try:
                connection = await link.get()
                if is_snapshot:
                    await connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                yield connection
                if is_snapshot:
                    await connection.execute("COMMIT")
            except psycopg.Error as error:
                await link.drop()
                raise explain(error, self._database.place) from error
            except BaseException:
                await link.drop()  # nobody knows what is still under way on it
                raise
            finally:
                self._free.append(link)

    async def close(self) -> None:
        """Let go of all connections, when those who have one are done."""
        self._is_closed = True
        for _ in self._links:
            await self._turns.acquire()
        for link in self._links:
            await link.drop()
        for _ in self._links:
            self._turns.release()


async def close(connection: Connection) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(psycopg.Error, OSError):
        await connection.close()


def explain(error: BaseException, place: str) -> SpoolError:
    """Say what an error means for the spool, and what to do about it."""
    if isinstance(error, SpoolError):
        return type(error)(*error.args)
    said = " ".join(str(error).split()) or type(error).__name__
    match error:
        case errors.DiskFull():
            return SpoolFull(f"there is no room left for {place}; make room on its disk")
        case errors.InsufficientPrivilege():
            return SpoolError(
                f"{place} does not let us do that ({said}); give the relay's user a database of"
                " its own, with 'CREATE DATABASE ... OWNER'"
            )
        case errors.UndefinedTable() | errors.InvalidSchemaName():
            return SpoolError(
                f"there is no spool in {place}; name the database that the relay was given"
            )
        case errors.ReadOnlySqlTransaction():
            return SpoolError(f"{place} only reads ({said}); name the primary")
        case TimeoutError():
            return SpoolError(f"{place} does not answer; see what it waits for")
        case psycopg.OperationalError() | psycopg.InterfaceError():
            remedy = next((what for words, what in REMEDIES if words.search(said)), ELSE)
            return SpoolError(f"{place} cannot be reached ({said}); {remedy}")
    return SpoolError(f"{place} cannot do that: {said}")


def _without_password(url: str) -> str:
    before, at, after = url.rpartition("@")
    if not at:
        return url
    scheme, slashes, user = before.rpartition("//")
    return f"{scheme}{slashes}{user.partition(':')[0]}@{after}"
