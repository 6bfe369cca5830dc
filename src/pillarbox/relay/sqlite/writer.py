"""One thread that writes, and one commit for everything that waits for it.

While a commit waits for the disk, those who come meanwhile gather; the next commit is for all of
them. When it begins: boarding.py.

The thread and the loop want the interpreter in turns, and a thread that asks for it while the loop
is busy gets it late, and keeps it from its work by asking: each statement would be such a turn. So
the loop itself makes the changes that are small, and the thread commits them, which it does without
the interpreter. What may take its time is all the thread's.

What a commit says is taken as it is. After one that failed, nobody knows what is on the disk: the
kernel reports a failed sync once, forgets the octets, and calls the next sync a success. All of
the batch is refused; then the log is emptied into the database, so that nothing is built upon what
may be missing in it, and until that has been done nothing is taken.

Knows nothing of the tables: batches are in change.py, and the steps in arrival.py,
lease.py, outcome.py and control.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from pillarbox.relay.change import Change, resolve
from pillarbox.relay.spool import SpoolError
from pillarbox.relay.sqlite.boarding import Boarding
from pillarbox.relay.sqlite.change import Step, Transaction, apply, batches
from pillarbox.relay.sqlite.disk import FileLock
from pillarbox.relay.sqlite.schema import BUSY_SECONDS

__all__ = ["CommitFailed", "Writer"]

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")

# What others have to wait for while the loop makes changes: ten milliseconds or so at worst.
MAX_LIGHT_CHANGES = 256
MAX_LIGHT_OCTETS = 1 << 20

# When the log goes into the database. More makes a crash's recovery slower, less makes for more
# syncs and for writing pages that will be written again soon. How many pages a batch is, is a
# guess from the following, which is near what was counted.
CHECKPOINT_PAGES = 4000
PAGE_OCTETS = 4096
PAGES_A_BATCH = 8
CHANGES_A_PAGE = 4

# How long those of other processes are waited for when a commit has failed.
PATIENCE_SECONDS = 5.0

log = logging.getLogger("pillarbox")


class CommitFailed(SpoolError):
    """It was refused, and still may come back after a crash: a part of it is on the disk."""


@dataclass(slots=True)
class _Made:
    """Changes that are made, and not committed yet."""

    transaction: Transaction
    changes: list[Change]
    answers: list[object]
    before: int


class Writer:
    """The thread, and the connection that it shares with the loop.

    It is the loop's while nothing is handed over and the thread is not at work, and else the
    thread's: `_make()` looks for that.

    Args:
        connect: Connects to the database.
        explain: Says what an error means.
        others: Held, by those of other processes, while they write.
        is_visitor: The database is another process's, who keeps its log in order.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        explain: Callable[[Exception], SpoolError],
        *,
        others: FileLock,
        is_visitor: bool = False,
    ) -> None:
        self._connect = connect
        self._explain = explain
        self._others = others
        self._is_visitor = is_visitor
        self.commits = 0
        """How often changes were written together, each time with a sync."""
        self._loop = asyncio.get_running_loop()
        self._waiting: queue.SimpleQueue[list[Change] | _Made | None] = queue.SimpleQueue()
        self._boarding = Boarding(self._loop, self._hand_over)
        self._connection: sqlite3.Connection | None = None
        self._is_suspect = False
        self._is_at_work = False
        self._pages = 0
        self._took = 0.0  # the last commit
        self._afterwards: list[Callable[[], None]] = []
        self._closed: asyncio.Future[None] | None = None
        self._thread = threading.Thread(target=self._run, name="pillarbox-spool", daemon=True)
        self._thread.start()

    def do(
        self,
        step: Step[_Argument, _Answer],
        argument: _Argument,
        *,
        octets: int = 0,
        may_ride: bool = False,
        is_light: bool = False,
    ) -> asyncio.Future[_Answer]:
        """Have a step done; the future is done when it is on the disk.

        Args:
            step: What is to be done.
            argument: For whom.
            octets: How much it writes, if that is much.
            may_ride: It is in no hurry: it goes with the next change that is, or soon without one,
                and the disk syncs once for both.
            is_light: The step has to wait for nothing, and is done in no time.

        Raises:
            SpoolError: It was not done.
        """
        if self._closed:
            raise SpoolError("the spool is closed")
        answered: asyncio.Future[_Answer] = self._loop.create_future()
        change = Change(step, argument, octets, answered, is_light=is_light)
        self._boarding.add(change, may_ride=may_ride)
        return answered

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something that needs no disk, at once or while the disk is at work."""
        self._boarding.meanwhile(work)

    def _hand_over(self, changes: list[Change]) -> None:
        """Give changes to the thread: once woken, it asks for the turn of the loop's."""
        self._waiting.put(self._make(changes) or changes)

    def _make(self, changes: list[Change]) -> _Made | None:
        """Make changes on the loop, if that takes no time; what is in the way is the thread's."""
        connection = self._connection
        if (
            connection is None
            or self._boarding.is_busy
            or self._is_suspect
            or self._is_at_work
            or self._is_visitor
            or len(changes) > MAX_LIGHT_CHANGES
            or sum(change.octets for change in changes) > MAX_LIGHT_OCTETS
            or not all(change.is_light for change in changes)
        ):
            return None
        try:
            _begin(connection, patience_seconds=0)
            transaction, before = Transaction(connection), connection.total_changes
            return _Made(transaction, changes, apply(transaction, changes), before)
        except Exception:
            self._roll_back(connection)
            return None

    def _settle(self, changes: Sequence[Change], answers: Sequence[object], took: float) -> None:
        """Tell those who wait."""
        self._boarding.ends(len(changes), took)
        resolve(changes, answers)

    async def close(self) -> None:
        """Finish what waits, and end."""
        if not self._closed:
            self._closed = self._loop.create_future()
            self._boarding.go()
            self._waiting.put(None)
        await asyncio.shield(self._closed)
        self._thread.join()

    # On the thread

    def _run(self) -> None:
        while True:
            given = self._waiting.get()
            if given is None:
                break
            self._is_at_work = True  # until the connection is the loop's again
            if isinstance(given, _Made):
                self._tell(self._settle, given.changes, self._seal(given), self._took)
            else:
                for changes in batches(given):
                    self._tell(self._settle, changes, self._write(changes), self._took)
            self._clean_up()
            self._keep_log_short()
            self._is_at_work = False
        self._disconnect()
        self._tell(self._end)

    def _write(self, changes: list[Change]) -> list[object]:
        """Write a batch; give what to answer, in its order."""
        if not self._is_visitor:
            return self._commit(changes)
        try:
            self._others.take(shared=True, seconds=None)
        except OSError as error:
            return self._refuse(changes, error)
        with self._others:
            return self._commit(changes)

    def _commit(self, changes: list[Change]) -> list[object]:
        try:
            connection = self._ready()
            _begin(connection, patience_seconds=BUSY_SECONDS)
        except Exception as error:
            return self._refuse(changes, error)
        transaction = Transaction(connection)
        before = connection.total_changes
        try:
            answers = apply(transaction, changes)
        except Exception as error:
            self._roll_back(connection)
            if _is_of_the_spool(error) or len(changes) == 1:
                return self._refuse(changes, error)
            # One of them cannot be written, whatever the disk does. The others can.
            return [self._commit([change])[0] for change in changes]
        return self._seal(_Made(transaction, changes, answers, before))

    def _seal(self, made: _Made) -> list[object]:
        """Commit, and give what to answer."""
        changes, connection = made.changes, made.transaction.connection
        try:
            if self._boarding.is_slow:
                self._tell(self._boarding.begins)
            began = time.monotonic()
            connection.execute("COMMIT")
            took = time.monotonic() - began
        except Exception as error:
            refusal = self._explain(error)
            if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_FULL:
                self._is_suspect = True
                refusal = CommitFailed(*refusal.args)
            self._roll_back(connection)
            return self._refuse(changes, refusal)
        if connection.total_changes > made.before:  # an empty one writes nothing, and does not wait
            self.commits += 1
            self._took = took
            self._pages += (
                PAGES_A_BATCH
                + len(changes) // CHANGES_A_PAGE
                + sum(change.octets // PAGE_OCTETS for change in changes)
            )
        self._afterwards += made.transaction.afterwards
        return made.answers

    def _ready(self) -> sqlite3.Connection:
        """Give the connection, if it may be trusted."""
        if self._connection is not None and self._is_suspect:
            self._mistrust_log(self._connection)
            self._is_suspect = False
            self._disconnect()
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _mistrust_log(self, connection: sqlite3.Connection) -> None:
        """Move what is known to be good into the database, and leave nothing in the log."""
        is_alone = self._is_visitor or self._others.take(seconds=PATIENCE_SECONDS)
        try:
            _be_patient(connection, BUSY_SECONDS)
            (is_busy, _, _) = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            if not self._is_visitor:
                self._others.release()
        if is_busy or not is_alone:
            raise SpoolError(
                "a commit failed, and another program that uses the spool is in the way of putting"
                " it in order; end that program"
            )

    def _refuse(self, changes: Sequence[Change], error: Exception) -> list[object]:
        if not _is_of_the_spool(error):
            return [error for _ in changes]
        return [self._explain(error) for _ in changes]

    def _roll_back(self, connection: sqlite3.Connection) -> None:
        try:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        except sqlite3.Error:
            self._is_suspect = True

    def _clean_up(self) -> None:
        for clean in self._afterwards:
            with contextlib.suppress(OSError):  # a file that stays is swept at the next start
                clean()
        self._afterwards.clear()

    def _keep_log_short(self) -> None:
        """Move the log into the database once it is long, when nobody waits for this batch."""
        if self._is_visitor or self._pages < CHECKPOINT_PAGES or self._connection is None:
            return
        try:
            # SQLite before 3.51.3 can lose pages when another process writes at the wrong moment
            # of this (sqlite.org/wal.html#walresetbug). Those who do have the lock.
            if not self._others.take():
                return
            with self._others:
                self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except (sqlite3.Error, OSError) as error:
            log.warning("%s", self._explain(error))
        self._pages = 0

    def _disconnect(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None

    def _tell(self, told: Callable[..., None], *arguments: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody listens
            self._loop.call_soon_threadsafe(told, *arguments)

    def _end(self) -> None:
        assert self._closed is not None
        self._closed.set_result(None)


def _begin(connection: sqlite3.Connection, *, patience_seconds: float) -> None:
    """Begin a transaction that writes, waiting so long for those of other processes."""
    if connection.in_transaction:  # whoever began it was interrupted in the middle
        connection.execute("ROLLBACK")
    _be_patient(connection, patience_seconds)
    connection.execute("BEGIN IMMEDIATE")


def _be_patient(connection: sqlite3.Connection, seconds: float) -> None:
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def _is_of_the_spool(error: Exception) -> bool:
    """Tell a spool that does not work from a value that does not fit."""
    if isinstance(error, sqlite3.IntegrityError | sqlite3.DataError | sqlite3.ProgrammingError):
        return False
    return isinstance(error, SpoolError | sqlite3.DatabaseError | OSError)
