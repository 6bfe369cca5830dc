"""The database of the mailbox: who may read, who may write, and what is told when it fails.

In memory there is one connection. Of a file there are two, one that reads and one that writes, so
that mail comes in while somebody searches. Each has its lock.

A file is in WAL mode with `synchronous = NORMAL`: what was answered by 250 survives the end of the
program, however sudden. That of the power may take the last messages with it, which is what a test
mailbox can afford: to sync each message to the disk (FULL) would cost more than all else.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from pillarbox.catcher.condition import header_has
from pillarbox.catcher.failure import MailboxError, explained
from pillarbox.catcher.index import pieces
from pillarbox.catcher.schema import NotOurs, migrate

__all__ = ["Database"]

CACHE_KIB = 4096


class Database:
    """Connections to SQLite, with our tables; safe from every thread.

    Each connection has a temporary table `chosen`, of the numbers of messages, to work with.

    Args:
        path: The file; `None` for memory.
        busy_seconds: How long to wait for other programs that use the file.

    Attributes:
        writer: The connection for `change()`.

    Raises:
        MailboxError: It cannot be opened.
    """

    def __init__(self, path: str | None, *, busy_seconds: float) -> None:
        if path == "":
            raise MailboxError("the name of the mailbox's file is empty; write such as mails.db")
        self._path = path
        self._busy_seconds = busy_seconds
        self._writing = threading.RLock()
        self._reading = self._writing if path is None else threading.RLock()
        self.writer = self._connect()
        self._reader = self.writer
        try:
            with self.change() as connection:
                migrate(connection, is_indexed=path is not None)
            if path is not None:
                self._reader = self._connect()
        except NotOurs as error:
            self.writer.close()
            raise MailboxError(f"the mailbox {path} {error}") from None
        except MailboxError:
            self.writer.close()
            raise

    def _connect(self) -> sqlite3.Connection:
        path = self._path
        with explained(path):
            connection = sqlite3.connect(
                ":memory:" if path is None else os.path.abspath(path),
                isolation_level=None,
                check_same_thread=False,
                timeout=self._busy_seconds,
            )
            try:
                connection.create_function("header_has", 3, header_has, deterministic=True)
                connection.create_function("pieces", 1, pieces, deterministic=True)
                connection.execute("PRAGMA temp_store = MEMORY")
                # A search that nearly all messages match does not fit into SQLite's 2 MB.
                connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
                if path is not None:
                    connection.execute("PRAGMA journal_mode = WAL")
                    connection.execute("PRAGMA synchronous = NORMAL")
                    # Some builds of SQLite overwrite what is deleted, the pieces of index that
                    # were merged as well. FAST does so where it costs no page more.
                    connection.execute("PRAGMA secure_delete = FAST")
                connection.execute("CREATE TEMP TABLE chosen (number INTEGER PRIMARY KEY)")
            except sqlite3.Error:
                connection.close()
                raise
        return connection

    def close(self) -> None:
        """Close the file; what comes after raises."""
        with self._writing, self._reading, explained(self._path):
            if self._reader is not self.writer:
                self._reader.close()
            self.writer.close()

    @contextmanager
    def change(self) -> Iterator[sqlite3.Connection]:
        """Run a transaction that writes: all of it or nothing.

        Raises:
            MailboxError: It failed.
        """
        with self._writing, explained(self._path):
            self.writer.execute("BEGIN IMMEDIATE")
            try:
                yield self.writer
                self.writer.execute("COMMIT")
            except BaseException:
                if self.writer.in_transaction:  # SQLite ends it by itself on some errors
                    self.writer.execute("ROLLBACK")
                raise

    @contextmanager
    def look(self) -> Iterator[sqlite3.Connection]:
        """See one state of everything, also in several steps.

        Raises:
            MailboxError: It cannot be read.
        """
        with self._reading, explained(self._path):
            if self._reader.in_transaction:
                yield self._reader
                return
            self._reader.execute("BEGIN")
            try:
                yield self._reader
            finally:
                if self._reader.in_transaction:
                    self._reader.execute("COMMIT")

    @contextmanager
    def peek(self) -> Iterator[sqlite3.Connection]:
        """See what a change would see, without one.

        Raises:
            MailboxError: It cannot be read.
        """
        with self._writing, explained(self._path):
            yield self.writer

    def shrink(self) -> None:
        """Give room back to the file system, unless somebody else is at the file."""
        if self._path is not None:
            with self._writing, contextlib.suppress(sqlite3.OperationalError):
                self.writer.execute("VACUUM")
                self.writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
