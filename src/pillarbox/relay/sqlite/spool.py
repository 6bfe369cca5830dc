"""The embedded spool: see the package's docstring for what lives elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import random
import sqlite3
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from pillarbox.relay.clock import Clock, SystemClock
from pillarbox.relay.leasing import Late, LeaseAll, Next, Renewal
from pillarbox.relay.rate import Rate, TurnCount, Turns
from pillarbox.relay.row import MessageRow, Tokens, id_of, number_of
from pillarbox.relay.sealed import Put, Sealed, digest_of
from pillarbox.relay.spool import (
    Backoff,
    Change,
    Draft,
    Lease,
    NewMessage,
    Outcome,
    QueuedMessage,
    Selection,
    SpoolError,
    Statistics,
    Stored,
)
from pillarbox.relay.sqlite import query
from pillarbox.relay.sqlite.arrival import Arrivals
from pillarbox.relay.sqlite.body import (
    CHUNK_OCTETS,
    INLINE_OCTETS,
    Bodies,
    BodyDraft,
    damaged,
)
from pillarbox.relay.sqlite.control import Control, recover
from pillarbox.relay.sqlite.disk import FileLock, Room, sync_folder
from pillarbox.relay.sqlite.lease import Leases
from pillarbox.relay.sqlite.outcome import End, Outcomes
from pillarbox.relay.sqlite.schema import DATABASE, connect, connect_writer, explain, prepare
from pillarbox.relay.sqlite.writer import CommitFailed, Writer

__all__ = ["SqliteSpool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Visitors void the leases of a relay that is gone: some milliseconds in which one that starts
# finds the lock taken.
OWNER_PATIENCE_SECONDS = 1.0

# How often it is looked whether another process has changed anything; a look costs some 20 µs.
LOOK_SECONDS = 0.2


class SqliteSpool:
    """A spool in a folder; made by `open()`.

    A relay owns it, and nobody else may at the same time. Visitors are for people: they look at it
    and change it, whether the relay runs or not.
    """

    def __init__(
        self,
        folder: Path,
        *,
        backoff: Backoff,
        chance: Callable[[], float],
        room: Room,
        is_visitor: bool,
    ) -> None:
        """Use `open()`."""
        self._folder = folder
        self._clock = SystemClock()
        self._is_visitor = is_visitor
        self._lock = FileLock(folder / "lock")
        self._bodies = Bodies(folder, room)
        tokens = Tokens()
        self._arrivals = Arrivals(
            backoff=backoff, chance=chance, tokens=tokens, room=room, bodies=self._bodies
        )
        self._leases = Leases(backoff=backoff, chance=chance, tokens=tokens)
        self._outcomes = Outcomes(arrivals=self._arrivals, bodies=self._bodies)
        self._control = Control(self._bodies)
        # One connection writes, and one reads beside it: a listing holds up no commit.
        self._reading = ThreadPoolExecutor(1, thread_name_prefix="pillarbox-spool-reader")
        self._reader: sqlite3.Connection | None = None
        self._others = FileLock(folder / "visitors")
        self._writer = Writer(
            partial(connect_writer, folder),
            self._explain,
            others=self._others,
            is_visitor=is_visitor,
        )
        self._turns = TurnCount()
        self._seen_version: int | None = None
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        folder: Path | str,
        *,
        is_visitor: bool = False,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
        min_free_bytes: int = 104_857_600,
        min_free_files: int = 1000,
    ) -> SqliteSpool:
        """Open a spool; an owner makes it if it is not there.

        Args:
            folder: Where it is.
            is_visitor: Look at another process's spool, and change it, rather than own it.
            backoff: When the next attempt is due.
            chance: Gives random numbers from 0 to 1.
            min_free_bytes: With less room than this on its disk, no message is taken. The rest is
                for recording what becomes of those that were.
            min_free_files: With room for fewer files than this neither.

        Raises:
            SpoolError: It cannot be opened; the text says what to do.
        """
        folder = Path(folder).absolute()
        room = Room(folder, min_free_bytes=min_free_bytes, min_free_files=min_free_files)
        try:
            await asyncio.to_thread(_make_folder, folder, is_visitor=is_visitor)
        except OSError as error:
            raise explain(error, folder) from error
        spool = cls(
            folder,
            backoff=backoff or Backoff(),
            chance=chance,
            room=room,
            is_visitor=is_visitor,
        )
        try:
            await spool._read(spool._begin)
        except BaseException:
            await spool.close()
            raise
        return spool

    def _begin(self, connection: sqlite3.Connection) -> None:
        """Make the spool ready; on the reader's thread, before anything else happens."""
        owns = self._lock.take(seconds=0 if self._is_visitor else OWNER_PATIENCE_SECONDS)
        if not owns and not self._is_visitor:
            process = self._lock.signature()
            raise SpoolError(
                f"the spool {self._folder} is in use by another relay"
                f"{process and f' (process {process})'}; stop that one, or give this one a spool"
                " of its own"
            )
        if not self._is_visitor:
            self._lock.sign()
            # By its owner, lest a visitor that is root make one that the owner cannot open.
            self._others.make()
        try:
            with contextlib.closing(connect(self._folder)) as writing:
                prepare(writing, self._folder)
                if owns:
                    writing.execute("BEGIN IMMEDIATE")
                    recover(writing)
                    writing.execute("COMMIT")
            if not self._is_visitor:
                known = connection.execute("SELECT file FROM messages WHERE file IS NOT NULL")
                self._bodies.sweep({file for (file,) in known})
                sync_folder(self._folder)
        finally:
            if self._is_visitor:
                self._lock.release()

    @property
    def clock(self) -> Clock:
        """The system's: one process delivers from it."""
        return self._clock

    # In

    def draft(self) -> Draft:
        """Begin a message that is too large to be held in memory."""
        return BodyDraft(self._bodies)

    async def put(
        self, message: NewMessage, body: bytes | Draft, *, lease_seconds: float | None = None
    ) -> Stored:
        """Keep a message; see `Spool.put()`."""
        if not message.recipients:
            raise ValueError("a message has one recipient at least")
        if isinstance(body, bytes) and len(body) <= INLINE_OCTETS:
            sealed = Sealed(len(body), digest_of(body), octets=body)
            put = Put(message, sealed, lease_seconds)
            return await self._writer.do(self._arrivals.put, put, octets=len(body), is_light=True)
        sealed = await (await self._drafted(body)).seal()
        put = Put(message, sealed, lease_seconds)
        try:
            return await self._writer.do(self._arrivals.put, put, octets=len(sealed.octets or b""))
        except CommitFailed:
            raise  # should it come back, its file must be there; if it does not, it is swept
        except Exception:
            await self._bodies.forget(sealed)
            raise

    async def _drafted(self, body: bytes | Draft) -> BodyDraft:
        if isinstance(body, BodyDraft):
            return body
        if not isinstance(body, bytes):
            raise TypeError("a draft comes from this spool's draft()")
        draft = BodyDraft(self._bodies)
        try:
            await draft.write(body)
        except BaseException:
            await draft.discard()
            raise
        return draft

    # Delivering

    async def due(self, now: float) -> Sequence[str]:
        """Tell the destinations that have recipients to be tried now."""
        return await self._read(query.due, now)

    async def next_due(self) -> float | None:
        """Tell when anything will be due next; `None` for never."""
        return await self._read(query.next_due)

    async def lease(
        self, destination: str, now: float, *, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out messages for a destination; see `Spool.lease()`."""
        return await self._writer.do(self._leases.lease, Next(destination, now, limit, seconds))

    async def renew(self, lease: Lease, now: float, *, seconds: float) -> Lease | None:
        """Ask for more time; `None` where the lease is not ours any more."""
        return await self._writer.do(self._leases.renew, Renewal(lease, now + seconds))

    async def read(self, lease: Lease) -> AsyncGenerator[bytes, None]:
        """Give the octets of a leased message; the last only when all are known to be right."""
        if lease.octets is not None:
            yield lease.octets
            return
        found = await self._read(query.stored_body, number_of(lease.id))
        if found is None:
            raise SpoolError(f"message {lease.id} is not in the spool any more")
        row, octets = found
        async with contextlib.aclosing(self._octets(row, octets)) as parts:
            async for part in parts:
                yield part

    async def _octets(self, row: MessageRow, octets: bytes | None) -> AsyncGenerator[bytes, None]:
        name = id_of(row.id)
        if row.file is not None:
            body = self._bodies.read(row.file, size=row.size, digest=row.digest, id=name)
            async with contextlib.aclosing(body) as parts:
                async for part in parts:
                    yield part
            return
        if octets is None or not hmac.compare_digest(digest_of(octets), row.digest):
            raise damaged(self._folder / DATABASE, name)
        for at in range(0, len(octets), CHUNK_OCTETS):
            yield octets[at : at + CHUNK_OCTETS]

    async def finish(
        self,
        lease: Lease,
        outcomes: Mapping[int, Outcome],
        *,
        notices: Sequence[tuple[NewMessage, bytes]] = (),
    ) -> bool:
        """Record what became of recipients; see `Spool.finish()`."""
        if unknown := outcomes.keys() - {recipient.number for recipient in lease.recipients}:
            raise ValueError(f"the lease has no recipients {sorted(unknown)}")
        puts: list[Put] = []
        is_recorded = False
        try:
            for message, octets in notices:
                puts.append(Put(message, await self._sealed_notice(octets)))
            size = sum(len(put.body.octets or b"") for put in puts)
            end = End(lease, outcomes, puts)
            if end.removes_message and lease.size <= INLINE_OCTETS:
                size += lease.size
            # What was lost of it with the machine would be delivered twice, as it would have been
            # some milliseconds before: that is worth no sync of its own.
            is_recorded = await self._writer.do(
                self._outcomes.finish,
                end,
                octets=size,
                may_ride=end.removes_message,
                # What waited for long has to be read from the disk to be removed.
                is_light=end.removes_message and lease.octets is not None,
            )
        except CommitFailed:
            is_recorded = True  # perhaps
            raise
        finally:
            if not is_recorded:
                for put in puts:
                    await self._bodies.forget(put.body)
        return is_recorded

    async def _sealed_notice(self, octets: bytes) -> Sealed:
        # An owner sweeps the files it does not know, also those that a visitor is about to make
        # known: a visitor makes none.
        if len(octets) <= INLINE_OCTETS or self._is_visitor:
            return Sealed(len(octets), digest_of(octets), octets=octets)
        return await (await self._drafted(octets)).seal()

    async def give_back(self, lease: Lease, *, reply: str = "") -> bool:
        """End a lease that nobody has acted on; see `Spool.give_back()`."""
        return await self._writer.do(self._leases.give_back, (lease, reply))

    async def lease_late(
        self, now: float, *, created_before: float, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out what its sender has to be told of; see `Spool.lease_late()`."""
        numbers = await self._read(query.late, now, created_before, limit)
        if not numbers:
            return []
        return await self._writer.do(
            self._leases.lease_late, Late(numbers, now, created_before, seconds)
        )

    async def take_turns(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        """Take turns; see `Spool.take_turns()`. The count is this process's, and ends with it."""
        if self._is_closed:
            raise SpoolError("the spool is closed")
        return self._turns.take(destination, rate, now, wanted=wanted)

    # For people

    async def list(
        self, selection: Selection | None = None, *, start: int = 0, limit: int = 100
    ) -> Sequence[QueuedMessage]:
        """Give messages, the oldest first; `None` selects all."""
        return await self._read(query.listed, selection, start, limit)

    async def octets(self, id: str) -> bytes | None:  # noqa: A002
        """Give a message's octets for people to look at; `None` where it is gone."""
        found = await self._read(query.stored_body, number_of(id))
        if found is None:
            return None
        async with contextlib.aclosing(self._octets(*found)) as parts:
            return b"".join([part async for part in parts])

    async def hold(self, selection: Selection) -> int:
        """Deliver these no more, until `release()`; tell how many."""
        return await self._writer.do(self._control.hold, selection)

    async def release(self, selection: Selection) -> int:
        """Deliver these again; tell how many were held."""
        return await self._writer.do(self._control.release, selection)

    async def retry(self, selection: Selection, now: float) -> int:
        """Have these due now; tell how many messages."""
        return await self._writer.do(self._control.retry, (selection, now))

    async def delete(self, selection: Selection) -> int:
        """Remove these without a word to anybody; tell how many."""
        return await self._writer.do(self._control.delete, selection)

    async def lease_all(
        self, selection: Selection, now: float, *, seconds: float, limit: int = 1000
    ) -> Sequence[Lease]:
        """Lease these to bounce them; see `Spool.lease_all()`."""
        return await self._writer.do(
            self._leases.lease_all, LeaseAll(selection, now, limit, seconds)
        )

    async def statistics(self) -> Statistics:
        """Tell what there is."""
        return await self._read(query.statistics)

    async def suspend(self, destination: str) -> None:
        """Deliver nothing to a destination, until `resume()`."""
        await self._writer.do(self._control.suspend, destination)

    async def resume(self, destination: str) -> bool:
        """Deliver to it again; tell whether it was suspended."""
        return await self._writer.do(self._control.resume, destination)

    async def suspended(self) -> Sequence[str]:
        """Tell the destinations that are suspended."""
        return await self._read(query.suspended)

    async def changed(self, seconds: float) -> Change:
        """Wait until another process may have changed something, or so many seconds."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while True:
            # Asked on the connection that writes: for it, what we write is no news.
            version = await self._writer.do(self._control.version, None)
            seen, self._seen_version = self._seen_version, version
            if seen is not None and version != seen:
                return Change.MAIL | Change.WORD
            left = deadline - loop.time()
            if left <= 0:
                return Change.NOTHING
            await asyncio.sleep(min(left, LOOK_SECONDS))

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something that needs no disk; see `Spool.meanwhile()`."""
        self._writer.meanwhile(work)

    @property
    def commits(self) -> int:
        """How often it has written changes, many of them together, and waited for the disk."""
        return self._writer.commits

    async def close(self) -> None:
        """Finish what is being written, and let go of the spool."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._stop_reading)
        await self._writer.close()
        self._lock.release()

    # Reading

    async def _read(self, ask: Callable[..., _T], *arguments: object) -> _T:
        """Ask the database something, on the thread that reads."""
        if self._is_closed:
            raise SpoolError("the spool is closed")
        job = self._reading.submit(self._ask, ask, *arguments)
        return cast("_T", await asyncio.wrap_future(job))

    def _ask(self, ask: Callable[..., object], *arguments: object) -> object:
        try:
            if self._reader is None:
                self._reader = connect(self._folder, is_reader=True)
            return ask(self._reader, *arguments)
        except (sqlite3.Error, OSError) as error:
            raise self._explain(error) from error

    def _stop_reading(self) -> None:
        self._reading.shutdown(wait=True)
        if self._reader is not None:
            self._reader.close()
        self._bodies.close()

    def _explain(self, error: Exception) -> SpoolError:
        return explain(error, self._folder)


def _make_folder(folder: Path, *, is_visitor: bool) -> None:
    if is_visitor:
        if not (folder / DATABASE).exists():
            raise SpoolError(
                f"there is no spool in {folder}; name the folder that the relay was given"
            )
        return
    if not folder.exists():
        folder.mkdir(mode=0o700, parents=True)
        sync_folder(folder.parent)
    (folder / "bodies").mkdir(mode=0o700, exist_ok=True)
