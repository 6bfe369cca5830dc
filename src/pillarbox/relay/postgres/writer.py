"""One connection that writes, and one commit for everything that waits for it.

While a commit waits for the database's disk, those who come meanwhile gather; the next commit is
for all of them. A change is a *step* and its argument, and a step is done at once for all the
arguments that wait for it: what wait together are in no order.

A commit that is not confirmed is refused, though it may be there: who sent the mail comes again.

Knows nothing of the tables: the steps are in arrival.py, lease.py, outcome.py and control.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

import psycopg
from psycopg import errors

from pillarbox.relay.change import Change, by_step, resolve
from pillarbox.relay.postgres.link import Connection, Link, explain
from pillarbox.relay.spool import SpoolError

__all__ = ["InDoubt", "Step", "Transaction", "Writer"]

_Argument = TypeVar("_Argument")
_Answer = TypeVar("_Answer")

# What others have to wait for while a batch is written.
MAX_CHANGES: Final = 512
MAX_OCTETS: Final = 8 << 20

# Behind a batch of fewer than these the next one begins at once.
MANY_CHANGES: Final = 4

# A commit waits for a disk, or for a standby, and not for ever: clients hear 451 then.
BATCH_SECONDS: Final = 30.0

# What has met another node is done again so often.
ATTEMPTS: Final = 5

log = logging.getLogger("pillarbox")


class InDoubt(SpoolError):
    """It was refused, and may be there all the same: the connection was lost in the commit."""


@dataclass(slots=True)
class Transaction:
    """What a step works with.

    Attributes:
        connection: In a transaction.
        afterwards: What is to be done once it is committed.
    """

    connection: Connection
    afterwards: list[Callable[[], Awaitable[None]]] = field(default_factory=list)


Step = Callable[[Transaction, Sequence[_Argument]], Awaitable[Sequence[_Answer | SpoolError]]]
"""Does the same for all arguments, and answers each; one that is refused gets its error."""


class Writer:
    """Writes over one connection.

    Args:
        link: The connection.
        place: Which database it is, for people.
        pace_seconds: Where many wait, the next batch begins no sooner than this after the last one,
            unless as many wait again: a transaction costs a millisecond of CPU, whatever is in it.
    """

    def __init__(self, link: Link, place: str, *, pace_seconds: float = 0.0) -> None:
        self.commits = 0
        """How often changes were written together, each time waiting for the disk."""
        self._link = link
        self._pace_seconds = pace_seconds
        self._place = place
        self._waiting: deque[Change] = deque()
        self._task: asyncio.Task[None] | None = None
        self._cleaning: set[asyncio.Future[None]] = set()
        self._enough = 0
        self._rest: asyncio.Future[None] | None = None
        self._is_closed = False

    def do(
        self, step: Step[_Argument, _Answer], argument: _Argument, *, octets: int = 0
    ) -> asyncio.Future[_Answer]:
        """Have a step done; the future is done when it is committed.

        Args:
            step: What is to be done.
            argument: For whom.
            octets: How much it writes, if that is much.

        Raises:
            SpoolError: It was not done, or nobody knows.
        """
        if self._is_closed:
            raise SpoolError("the spool is closed")
        loop = asyncio.get_running_loop()
        answered: asyncio.Future[_Answer] = loop.create_future()
        self._waiting.append(Change(step, argument, octets, answered))
        if self._task is None:
            self._task = loop.create_task(self._run())
        elif self._rest is not None and len(self._waiting) >= self._enough:
            self._end_rest(self._rest)
        return answered

    async def close(self) -> None:
        """Finish what waits, and end."""
        self._is_closed = True
        if self._rest is not None:
            self._end_rest(self._rest)
        if self._task is not None:
            await self._task
        if self._cleaning:
            await asyncio.wait(self._cleaning)
        await self._link.drop()

    async def _run(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            while self._waiting:
                began = loop.time()
                if changes := self._gather():
                    resolve(changes, await self._write(changes))
                    if len(changes) >= MANY_CHANGES:
                        await self._pause(began + self._pace_seconds, len(changes))
        finally:
            self._task = None

    async def _pause(self, until: float, enough: int) -> None:
        """Wait for a time, or until so many wait."""
        loop = asyncio.get_running_loop()
        if loop.time() >= until or len(self._waiting) >= enough or self._is_closed:
            return
        self._enough = enough
        self._rest = loop.create_future()
        timer = loop.call_at(until, self._end_rest, self._rest)
        try:
            await self._rest
        finally:
            timer.cancel()
            self._rest = None

    def _end_rest(self, rest: asyncio.Future[None]) -> None:
        if not rest.done():
            rest.set_result(None)

    def _gather(self) -> list[Change]:
        changes: list[Change] = []
        octets = 0
        while self._waiting and len(changes) < MAX_CHANGES and octets < MAX_OCTETS:
            change = self._waiting.popleft()
            if not change.answered.done():  # else it was cancelled, and nobody waits for it
                changes.append(change)
                octets += change.octets
        return changes

    async def _write(self, changes: Sequence[Change]) -> Sequence[object]:
        """Write a batch; give what to answer, in its order."""
        for turn in range(ATTEMPTS):
            try:
                return await self._commit(changes)
            except (errors.DeadlockDetected, errors.SerializationFailure) as error:
                failure: Exception = error
                log.debug("the spool: two nodes met; try %d of %d", turn + 1, ATTEMPTS)
            except Exception as error:
                if len(changes) > 1 and not _is_of_the_spool(error):
                    # One of them cannot be written, whatever is done. The others can.
                    return [(await self._write([change]))[0] for change in changes]
                failure = error
                break
        return [self._refusal(failure) for _ in changes]

    async def _commit(self, changes: Sequence[Change]) -> Sequence[object]:
        try:
            async with asyncio.timeout(BATCH_SECONDS):
                connection = await self._link.get()
                await connection.execute("BEGIN")
                transaction = Transaction(connection)
                answers = await _apply(transaction, changes)
                try:
                    await connection.execute("COMMIT")
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    raise InDoubt(*explain(error, self._place).args) from error
        except BaseException as error:
            await self._roll_back(error)
            raise
        self.commits += 1
        for clean in transaction.afterwards:
            cleaning = asyncio.ensure_future(clean())
            self._cleaning.add(cleaning)
            cleaning.add_done_callback(self._cleaned)
        return answers

    async def _roll_back(self, error: BaseException) -> None:
        if isinstance(error, psycopg.DataError | ValueError | errors.DeadlockDetected):
            with contextlib.suppress(SpoolError, psycopg.Error):
                await (await self._link.get()).execute("ROLLBACK")
                return
        await self._link.drop()

    def _cleaned(self, cleaning: asyncio.Future[None]) -> None:
        self._cleaning.discard(cleaning)
        if not cleaning.cancelled() and (error := cleaning.exception()) is not None:
            log.debug("the spool: %s; what stays is swept later", error)

    def _refusal(self, error: Exception) -> Exception:
        if isinstance(error, psycopg.Error | OSError | SpoolError):
            return explain(error, self._place)
        return error


async def _apply(transaction: Transaction, changes: Sequence[Change]) -> Sequence[object]:
    """Do each step once; give the answers in the order of the changes."""
    answers: list[object] = [None] * len(changes)
    for step, at in by_step(changes).items():
        given = await step(transaction, [changes[place].argument for place in at])
        for place, answer in zip(at, given, strict=True):
            answers[place] = answer
    return answers


def _is_of_the_spool(error: Exception) -> bool:
    """Tell a spool that does not work from a value that does not fit."""
    if isinstance(error, psycopg.DataError | psycopg.IntegrityError):
        return False
    return isinstance(error, psycopg.Error | SpoolError | OSError)
