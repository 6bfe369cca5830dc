"""The tables, and how they change from one pillarbox to the next while older nodes run.

A message has a row in `messages`, one in `bodies` unless it is large (body.py), and one in
`recipients` for each recipient, which stays until the last recipient's outcome is known.

A *format* is what the tables look like. A migration leads from one to the next, and says which is
the oldest that still works with it: columns and tables are added, with defaults, and what nobody
uses any more is dropped a format later. Whatever is read or written names its columns, so a node
that does not know the new ones goes on. `pillarbox queue migrate` does it, nodes running or not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, LiteralString

from psycopg import errors

from pillarbox.relay.postgres.link import Connection
from pillarbox.relay.spool import SpoolError

__all__ = ["MIGRATIONS", "Migration", "migrate", "prepare"]

# Who makes or changes tables has this lock, so that nodes that start together do not do it twice.
LOCK: Final = 0x50426F78  # "PBox"

# A table is changed when nobody uses it for a moment; who waits for that holds up everybody else.
PATIENCE: Final = "2s"
ATTEMPTS: Final = 30
PAUSE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Migration:
    """How tables become those of a format.

    Attributes:
        format: Which one.
        oldest: The oldest format whose nodes can go on with it.
        statements: What is done, in one transaction.
    """

    format: int
    oldest: int
    statements: tuple[LiteralString, ...]


# `due` is when a recipient may be leased: its next attempt, or the end of a lease.
# It is NULL for one that is not to be leased, since its message is held or its outcome known.
#
# Bodies are mostly pages that do not compress and are read once: they stay in their row while they
# fit into it, as they are. What comes and goes so fast wants its dead rows swept soon.
FIRST: Final = Migration(
    1,
    1,
    (
        "CREATE SCHEMA pillarbox",
        "CREATE TABLE about (format integer NOT NULL, oldest integer NOT NULL)",
        # Names never come again, not even from a database that was made anew.
        "CREATE SEQUENCE message_numbers",
        "SELECT setval('message_numbers', (extract(epoch FROM clock_timestamp()) * 1e6)::bigint)",
        """
        CREATE TABLE messages (
            id bigint PRIMARY KEY,
            mail_from text NOT NULL,
            created float8 NOT NULL,
            expires float8 NOT NULL,
            is_held boolean NOT NULL,
            is_smtputf8 boolean NOT NULL,
            body_type text NOT NULL,
            requires_tls boolean NOT NULL,
            ret text,
            envid text,
            origin text NOT NULL,
            size bigint NOT NULL,
            digest bytea NOT NULL,
            file text,
            is_delay_told boolean NOT NULL DEFAULT FALSE
        ) WITH (autovacuum_vacuum_scale_factor = 0.05)
        """,
        "CREATE INDEX files ON messages (file) WHERE file IS NOT NULL",
        """
        CREATE TABLE bodies (message bigint PRIMARY KEY, octets bytea NOT NULL)
        WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0.05)
        """,
        "ALTER TABLE bodies ALTER octets SET STORAGE EXTERNAL",
        """
        CREATE TABLE chunks (
            file text NOT NULL,
            place integer NOT NULL,
            written float8 NOT NULL,
            octets bytea NOT NULL,
            PRIMARY KEY (file, place)
        )
        """,
        "ALTER TABLE chunks ALTER octets SET STORAGE EXTERNAL",
        """
        CREATE TABLE recipients (
            message bigint NOT NULL,
            number integer NOT NULL,
            address text NOT NULL,
            lane bigint NOT NULL,
            state smallint NOT NULL,
            attempts integer NOT NULL,
            next_attempt float8 NOT NULL,
            due float8,
            token text,
            lease_expires float8,
            is_attempt boolean NOT NULL,
            is_delay_told boolean NOT NULL,
            last_reply text NOT NULL,
            notify smallint,
            orcpt_type text,
            orcpt text,
            PRIMARY KEY (message, number)
        ) WITH (autovacuum_vacuum_scale_factor = 0.02)
        """,
        "CREATE INDEX waiting ON recipients (lane, due) WHERE due IS NOT NULL",
        """
        CREATE TABLE destinations (
            number bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            name text NOT NULL UNIQUE,
            is_suspended boolean NOT NULL DEFAULT FALSE
        )
        """,
        """
        CREATE TABLE nodes (
            key text PRIMARY KEY, name text NOT NULL, began float8 NOT NULL, seen float8 NOT NULL
        )
        """,
        """
        CREATE UNLOGGED TABLE sessions (
            destination text,
            node text,
            count integer NOT NULL,
            seen float8 NOT NULL,
            pid integer NOT NULL,
            PRIMARY KEY (destination, node)
        )
        """,
    ),
)

# What a node has taken of a destination's turns counts until `ends` (rate.py).
TURNS: Final = Migration(
    2,
    1,
    (
        """
        CREATE TABLE turns (
            destination text,
            began float8,
            ends float8,
            count integer NOT NULL,
            PRIMARY KEY (destination, began, ends)
        ) WITH (autovacuum_vacuum_scale_factor = 0.05)
        """,
    ),
)

MIGRATIONS: Final = (FIRST, TURNS)


async def prepare(
    connection: Connection,
    place: str,
    *,
    makes: bool,
    migrations: Sequence[Migration] = MIGRATIONS,
) -> None:
    """Make the tables if there are none, and make sure that we know those that there are.

    Args:
        connection: To the database.
        place: Which it is, for people.
        makes: Make them in an empty database.
        migrations: All that there are.

    Raises:
        SpoolError: They are newer or older than we are, or there are none.
    """
    ours = migrations[-1].format
    written, oldest = await _about(connection)
    if not written:
        if not makes:
            raise SpoolError(
                f"there is no spool in {place}; name the database that the relay was given"
            )
        await _locked(connection, migrations)
        written, oldest = await _about(connection)
    if oldest > ours:
        raise SpoolError(
            f"the spool in {place} is of format {written}, and this pillarbox knows {ours}; install"
            " the version that the other nodes have"
        )
    if written < ours:
        raise SpoolError(
            f"the spool in {place} is of format {written}, and this pillarbox wants {ours}; run"
            " 'pillarbox queue migrate' once, with this version; nodes of the old one go on"
        )


async def migrate(
    connection: Connection, place: str, *, migrations: Sequence[Migration] = MIGRATIONS
) -> tuple[int, int]:
    """Bring the tables to our format; tell which it was, and which it is.

    Args:
        connection: To the database.
        place: Which it is, for people.
        migrations: All that there are.

    Raises:
        SpoolError: There are none, or somebody uses them without a pause.
    """
    before, _ = await _about(connection)
    if not before:
        raise SpoolError(
            f"there is no spool in {place}; name the database that the relay was given"
        )
    await _locked(connection, migrations)
    after, _ = await _about(connection)
    return before, after


async def _about(connection: Connection) -> tuple[int, int]:
    """Give the format, and the oldest that works with it; 0 where there are no tables."""
    try:
        found = await (await connection.execute("SELECT format, oldest FROM about")).fetchone()
    except (errors.UndefinedTable, errors.InvalidSchemaName):
        return 0, 0
    return found or (0, 0)


async def _locked(connection: Connection, migrations: Sequence[Migration]) -> None:
    """Do what is to be done, as the only one."""
    await connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    try:
        before, _ = await _about(connection)
        for migration in migrations:
            if migration.format > before:
                await _apply(connection, migration)
    finally:
        await connection.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


async def _apply(connection: Connection, migration: Migration) -> None:
    for turn in range(ATTEMPTS):
        try:
            async with connection.transaction():
                await connection.execute(f"SET LOCAL lock_timeout = '{PATIENCE}'")
                for statement in migration.statements:
                    await connection.execute(statement)
                await connection.execute("DELETE FROM about")
                await connection.execute(
                    "INSERT INTO about (format, oldest) VALUES (%s, %s)",
                    [migration.format, migration.oldest],
                )
            return
        except errors.LockNotAvailable:
            if turn == ATTEMPTS - 1:
                raise SpoolError(
                    "the tables of the spool are in use all the time; end what takes long there"
                    " (see pg_stat_activity), and run 'pillarbox queue migrate' again"
                ) from None
            await asyncio.sleep(PAUSE_SECONDS)
