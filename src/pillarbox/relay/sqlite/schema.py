"""The tables, how a connection to them is made, and what SQLite's errors mean to an operator.

A message has a row in `messages`, one in `bodies` unless its octets are in a file, and one in
`recipients` for each recipient, which stays until the last recipient's outcome is known.

All that waits is found by the index over lanes (relay/row.py) and times: see query.py.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from pillarbox.relay.spool import SpoolError, SpoolFull
from pillarbox.relay.sqlite.disk import Room, is_full

__all__ = [
    "DATABASE",
    "FORMAT",
    "connect",
    "connect_writer",
    "explain",
    "prepare",
]

DATABASE = "spool.sqlite"

FORMAT = 1
"""Counts up whenever an older pillarbox could not read what is written."""

APPLICATION_ID = 0x50426F78  # "PBox"

BUSY_SECONDS = 10.0
CACHE_KIB = 16_384
CACHED_STATEMENTS = 256


# `due` is when a recipient may be leased: its next attempt, or the end of a lease.
# It is NULL for one that is not to be leased, since its message is held or its outcome known.
TABLES = (
    """
    CREATE TABLE messages (
        id INTEGER PRIMARY KEY,
        mail_from TEXT NOT NULL,
        created REAL NOT NULL,
        expires REAL NOT NULL,
        is_held INTEGER NOT NULL,
        is_smtputf8 INTEGER NOT NULL,
        body_type TEXT NOT NULL,
        requires_tls INTEGER NOT NULL,
        ret TEXT,
        envid TEXT,
        origin TEXT NOT NULL,
        size INTEGER NOT NULL,
        digest BLOB NOT NULL,
        file TEXT
    )
    """,
    "CREATE INDEX files ON messages (file) WHERE file IS NOT NULL",
    "CREATE TABLE bodies (message INTEGER PRIMARY KEY, octets BLOB NOT NULL)",
    """
    CREATE TABLE recipients (
        message INTEGER NOT NULL,
        number INTEGER NOT NULL,
        address TEXT NOT NULL,
        lane INTEGER NOT NULL,
        state INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        next_attempt REAL NOT NULL,
        due REAL,
        token TEXT,
        lease_expires REAL,
        is_attempt INTEGER NOT NULL,
        is_delay_told INTEGER NOT NULL,
        last_reply TEXT NOT NULL,
        notify INTEGER,
        orcpt_type TEXT,
        orcpt TEXT,
        PRIMARY KEY (message, number)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX waiting ON recipients (lane, due, state)",
    """
    CREATE TABLE destinations (
        number INTEGER PRIMARY KEY,
        name TEXT NOT NULL UNIQUE,
        is_suspended INTEGER NOT NULL DEFAULT 0
    )
    """,
)

# By a connection's own trigger, since it is no promise of the file: one statement for three.
REMOVAL = """
    CREATE TEMP TRIGGER removal AFTER DELETE ON main.messages BEGIN
        DELETE FROM bodies WHERE message = OLD.id;
        DELETE FROM recipients WHERE message = OLD.id;
    END
"""


def connect(folder: Path, *, is_reader: bool = False) -> sqlite3.Connection:
    """Connect to a spool's database.

    Args:
        folder: The spool; the database in it is made if it is missing.
        is_reader: It will not write.
    """
    connection = sqlite3.connect(
        folder / DATABASE,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,  # it is used by two of them, in turns: see writer.py
        cached_statements=CACHED_STATEMENTS,
    )
    try:
        for pragma in (
            # A commit returns when the log is on the disk: NORMAL would leave that for later.
            "synchronous = FULL",
            "fullfsync = ON",
            "checkpoint_fullfsync = ON",
            # Debian builds SQLite so that it overwrites what is deleted, which triples a delete.
            "secure_delete = OFF",
            # writer.py does it, after those who wait have been told.
            "wal_autocheckpoint = 0",
            f"cache_size = -{CACHE_KIB}",
            "temp_store = MEMORY",
            f"query_only = {'ON' if is_reader else 'OFF'}",
        ):
            connection.execute(f"PRAGMA {pragma}")
    except BaseException:
        connection.close()
        raise
    return connection


def connect_writer(folder: Path) -> sqlite3.Connection:
    """Connect to a database that is prepared, to change what is in it."""
    connection = connect(folder)
    try:
        connection.execute(REMOVAL)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare(connection: sqlite3.Connection, folder: Path) -> None:
    """Make the tables if there are none, and make sure that we know those that there are.

    Raises:
        SpoolError: They are none of ours, or newer than we are.
    """
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise SpoolError(
            f"SQLite cannot keep a write-ahead log in {folder}; give the spool a folder on a disk"
            " of this machine, not on one of the network"
        )
    if _is_empty(connection):
        connection.execute("BEGIN IMMEDIATE")
        try:
            if _is_empty(connection):  # nobody else has come first
                for statement in TABLES:
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (written,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID:
        raise SpoolError(
            f"{folder / DATABASE} belongs to another program; name another folder for the spool"
        )
    if written > FORMAT:
        raise SpoolError(
            f"the spool {folder} was written by a newer pillarbox (format {written}; this one"
            f" knows {FORMAT}); install that version again, or let it empty the spool first"
        )


def _is_empty(connection: sqlite3.Connection) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    return not tables


def explain(error: Exception, folder: Path) -> SpoolError:
    """Say what an error means for the spool, and what to do about it."""
    if isinstance(error, SpoolError):
        return type(error)(*error.args)
    path = folder / DATABASE
    if isinstance(error, OSError):
        where = error.filename or folder
        if is_full(error):
            return SpoolFull(f"there is no room left for {where}; make room on its disk")
        if isinstance(error, PermissionError):
            return SpoolError(
                f"{where} must not be written by this user; give the spool {folder} to the user"
                " that the relay runs as"
            )
        return SpoolError(f"{where} cannot be used: {error.strerror}; look after its disk")
    code = getattr(error, "sqlite_errorcode", None)
    match code and code & 0xFF:
        case sqlite3.SQLITE_FULL:
            return SpoolFull(f"there is no room left for {path}; make room on its disk")
        case sqlite3.SQLITE_IOERR if _has_no_room(folder):
            # Not every way of running out of room is told as one.
            return SpoolFull(f"there is no room left for {path}; make room on its disk")
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return SpoolError(
                f"{path} has been locked by another program for {BUSY_SECONDS:.0f} seconds;"
                " find it with 'fuser' and end it"
            )
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM | sqlite3.SQLITE_CANTOPEN:
            return SpoolError(
                f"{path} cannot be written ({error}); give the spool to the user that the relay"
                " runs as, and see that its disk is not mounted read-only"
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return SpoolError(
                f"{path} is damaged ({error}); stop the relay, move the spool away, start with a"
                " new one, and save what can be saved by 'sqlite3 spool.sqlite .recover'"
            )
        case sqlite3.SQLITE_IOERR:
            return SpoolError(
                f"{path} cannot be read or written ({error}); look after its disk, and free it"
                " from errors before more mail is taken"
            )
    return SpoolError(f"{path} cannot be used: {error}")


def _has_no_room(folder: Path) -> bool:
    try:
        return Room(folder, min_free_bytes=1 << 16, min_free_files=1).lack() is not None
    except OSError:
        return False
