"""The shared spool: see the package's docstring for what lives elsewhere."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import os
import random
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Concatenate, Final, LiteralString, ParamSpec, TypeVar

from pillarbox.relay.leasing import Late, LeaseAll, Next, Renewal
from pillarbox.relay.postgres import query
from pillarbox.relay.postgres.arrival import Arrivals
from pillarbox.relay.postgres.body import (
    INLINE_OCTETS,
    BodyDraft,
    ChunkTable,
    LargeBodies,
    checked,
)
from pillarbox.relay.postgres.clock import DatabaseClock
from pillarbox.relay.postgres.control import Control, Retry
from pillarbox.relay.postgres.lease import Leases
from pillarbox.relay.postgres.link import BY_INDEX, Connection, Database, Link, Pool
from pillarbox.relay.postgres.listen import MAIL_SECONDS, Channel, Listener
from pillarbox.relay.postgres.outcome import End, Outcomes
from pillarbox.relay.postgres.row import FREE, chunks
from pillarbox.relay.postgres.schema import migrate, prepare
from pillarbox.relay.postgres.share import NO_WAIT, Sessions
from pillarbox.relay.postgres.turn import SharedTurns
from pillarbox.relay.postgres.writer import InDoubt, Writer
from pillarbox.relay.rate import Rate, Turns
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

__all__ = ["PostgresSpool"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Those who look do not write: so many do so at the same time.
READERS: Final = 2

# Some sixty times a second is often enough for what comes and goes in thousands.
PACE_SECONDS: Final = 0.015

# What `read()` gives at a time.
PART_OCTETS: Final = 65_536

# So often a node tells that it is there, and asks what time it is.
SEEN_SECONDS: Final = 10.0

BE_SEEN: Final = """
    INSERT INTO nodes (key, name, began, seen)
    SELECT %(key)s, %(name)s, time.now, time.now
    FROM (SELECT extract(epoch FROM clock_timestamp())::float8 AS now) AS time
    ON CONFLICT (key) DO UPDATE SET seen = excluded.seen
    RETURNING seen
"""

# A node that was not heard of for so long is forgotten. What it had was leased again long before.
FORGET_SECONDS: Final = 86_400.0


class PostgresSpool:
    """A spool in a database; made by `open()`.

    Nodes deliver from it, any number of them. Visitors are for people: they look at it and change
    it, from wherever they are.
    """

    def __init__(
        self,
        database: Database,
        clock: DatabaseClock,
        *,
        name: str,
        tokens: Tokens,
        backoff: Backoff,
        chance: Callable[[], float],
        is_visitor: bool,
    ) -> None:
        """Use `open()`."""
        self._database = database
        self._clock = clock
        self._name = name
        self._is_visitor = is_visitor
        self._key = tokens.key
        self._bodies: LargeBodies = ChunkTable(database, clock)
        channel = Channel(tokens.key)
        self._channel = channel
        self._listener = Listener(database, channel)
        self._reading = Pool(database, READERS)
        self._sharing = Pool(database, 1, NO_WAIT)
        self._sessions = Sessions(self._sharing, clock, tokens.key)
        self._turns = SharedTurns(self._sharing)
        self._arrivals = Arrivals(
            backoff=backoff, chance=chance, tokens=tokens, bodies=self._bodies
        )
        self._leases = Leases(backoff=backoff, chance=chance, tokens=tokens)
        self._outcomes = Outcomes(arrivals=self._arrivals, bodies=self._bodies)
        self._control = Control(self._bodies, channel)
        # What comes in waits for nobody. What becomes of leases may have to wait for another node
        # that has the same message, and what is looked for may take its time.
        self._incoming = Writer(Link(database, BY_INDEX), database.place, pace_seconds=PACE_SECONDS)
        self._ending = Writer(Link(database, BY_INDEX), database.place, pace_seconds=PACE_SECONDS)
        self._leasing = Writer(Link(database, BY_INDEX), database.place)
        self._seen_at = 0.0
        self._told_mail_at = 0.0
        self._telling: asyncio.Task[None] | None = None
        self._is_closed = False

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        is_visitor: bool = False,
        name: str | None = None,
        backoff: Backoff | None = None,
        chance: Callable[[], float] = random.random,
    ) -> PostgresSpool:
        """Open a spool; a node makes its tables if there are none.

        Args:
            url: `postgresql://USER@HOST/NAME`, or what else libpq takes.
            is_visitor: Look at it, and change it, rather than deliver from it.
            name: What this node is called; the machine's name and the process where not given.
            backoff: When the next attempt is due.
            chance: Gives random numbers from 0 to 1.

        Raises:
            SpoolError: It cannot be opened; the text says what to do.
        """
        called = name or f"{socket.gethostname()}:{os.getpid()}"
        clock = DatabaseClock()
        spool = cls(
            Database(url, name=called, clock=clock),
            clock,
            name=called,
            tokens=Tokens(),
            backoff=backoff or Backoff(),
            chance=chance,
            is_visitor=is_visitor,
        )
        try:
            await spool._begin()
        except BaseException:
            await spool.close()
            raise
        return spool

    @classmethod
    async def migrate(cls, url: str) -> tuple[int, int]:
        """Bring a spool's tables to our format; tell which it was, and which it is.

        Raises:
            SpoolError: There is none, or it cannot be done now.
        """
        database = Database(url, name="migrate", clock=DatabaseClock())
        pool = Pool(database, 1)
        try:
            async with pool.use() as connection:
                return await migrate(connection, database.place)
        finally:
            await pool.close()

    async def _begin(self) -> None:
        async with self._reading.use() as connection:
            await prepare(connection, self._database.place, makes=not self._is_visitor)
            if not self._is_visitor:
                await self._be_seen(connection)
                await connection.execute(
                    "DELETE FROM nodes WHERE seen < %s", [self._clock.now() - FORGET_SECONDS]
                )
        if not self._is_visitor:
            await self._bodies.sweep()

    @property
    def clock(self) -> DatabaseClock:
        """The database's, for all nodes."""
        return self._clock

    @property
    def name(self) -> str:
        """What this node is called."""
        return self._name

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
        else:
            sealed = await (await self._drafted(body)).seal()
        put = Put(message, sealed, lease_seconds)
        try:
            stored = await self._incoming.do(
                self._arrivals.put, put, octets=len(sealed.octets or b"")
            )
        except InDoubt:
            raise  # should it be there after all, its body must be; if it is not, it is swept
        except Exception:
            await self._forget(sealed)
            raise
        if not stored.leases and not message.is_held:
            self._tell_mail()
        return stored

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

    async def _forget(self, sealed: Sealed) -> None:
        if sealed.file is not None:
            with contextlib.suppress(SpoolError):
                await self._bodies.remove([sealed.file])

    # Delivering

    async def due(self, now: float) -> Sequence[str]:
        """Tell the destinations that have recipients to be tried now."""
        return await self._leasing.do(self._leases.due, now)

    async def next_due(self) -> float | None:
        """Tell when anything will be due next; `None` for never."""
        return await self._leasing.do(self._leases.next_due, None)

    async def lease(
        self, destination: str, now: float, *, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out messages for a destination; see `Spool.lease()`."""
        return await self._leasing.do(self._leases.lease, Next(destination, now, limit, seconds))

    async def renew(self, lease: Lease, now: float, *, seconds: float) -> Lease | None:
        """Ask for more time; `None` where the lease is not ours any more."""
        return await self._ending.do(self._leases.renew, Renewal(lease, now + seconds))

    async def read(self, lease: Lease) -> AsyncGenerator[bytes, None]:
        """Give the octets of a leased message; the last only when all are known to be right."""
        if lease.octets is not None:
            yield lease.octets
            return
        async with self._reading.use() as connection:
            found = await query.stored_body(connection, number_of(lease.id))
        if found is None:
            raise SpoolError(f"message {lease.id} is not in the spool any more")
        async with contextlib.aclosing(self._octets(*found)) as parts:
            async for part in parts:
                yield part

    async def _octets(self, row: MessageRow, octets: bytes | None) -> AsyncGenerator[bytes, None]:
        name = id_of(row.id)
        if row.file is not None:
            body = checked(self._bodies, row.file, size=row.size, digest=row.digest, id=name)
            async with contextlib.aclosing(body) as parts:
                async for part in parts:
                    yield part
            return
        if octets is None or not hmac.compare_digest(digest_of(octets), row.digest):
            raise SpoolError(
                f"the body of message {name} is damaged: it is not what was written. It is not"
                f" delivered; remove it by 'pillarbox queue delete {name}'"
            )
        for at in range(0, len(octets), PART_OCTETS):
            yield octets[at : at + PART_OCTETS]

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
                puts.append(Put(message, await (await self._drafted(octets)).seal()))
            size = sum(len(put.body.octets or b"") for put in puts)
            end = End(lease, outcomes, puts)
            is_recorded = await self._ending.do(self._outcomes.finish, end, octets=size)
        except InDoubt:
            is_recorded = True  # perhaps
            raise
        finally:
            if not is_recorded:
                for put in puts:
                    await self._forget(put.body)
        return is_recorded

    async def give_back(self, lease: Lease, *, reply: str = "") -> bool:
        """End a lease that nobody has acted on; see `Spool.give_back()`."""
        is_ours = await self._ending.do(self._leases.give_back, (lease, reply))
        if is_ours:
            self._tell_mail()
        return is_ours

    async def lease_late(
        self, now: float, *, created_before: float, limit: int, seconds: float
    ) -> Sequence[Lease]:
        """Give out what its sender has to be told of; see `Spool.lease_late()`."""
        numbers = await self._read(query.late, now, created_before, limit)
        if not numbers:
            return []
        return await self._leasing.do(
            self._leases.lease_late, Late(numbers, now, created_before, seconds)
        )

    async def take_turns(self, destination: str, rate: Rate, now: float, *, wanted: int) -> Turns:
        """Take turns, of those that all nodes have; see `Spool.take_turns()`."""
        return await self._turns.take(destination, rate, now, wanted=wanted)

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
        return await self._change(selection, "NOT m.is_held", self._hold)

    async def release(self, selection: Selection) -> int:
        """Deliver these again; tell how many were held."""
        return await self._change(selection, "m.is_held", self._release)

    async def retry(self, selection: Selection, now: float) -> int:
        """Have these due now; tell how many messages."""

        async def retry(numbers: Sequence[int]) -> int:
            return await self._leasing.do(self._control.retry, Retry(numbers, now))

        where: LiteralString = (
            f"EXISTS (SELECT FROM recipients AS r WHERE r.message = m.id AND {FREE})"
        )
        return await self._change(selection, where, retry, now)

    async def delete(self, selection: Selection) -> int:
        """Remove these without a word to anybody; tell how many."""
        return await self._change(selection, "TRUE", self._delete)

    async def _change(
        self,
        selection: Selection,
        further: LiteralString,
        change: Callable[[Sequence[int]], Awaitable[int]],
        now: float = 0.0,
    ) -> int:
        numbers = await self._read(query.select, selection, further, now)
        return sum([await change(some) for some in chunks(numbers)])

    async def _hold(self, numbers: Sequence[int]) -> int:
        return await self._leasing.do(self._control.hold, numbers)

    async def _release(self, numbers: Sequence[int]) -> int:
        return await self._leasing.do(self._control.release, numbers)

    async def _delete(self, numbers: Sequence[int]) -> int:
        return await self._leasing.do(self._control.delete, numbers)

    async def lease_all(
        self, selection: Selection, now: float, *, seconds: float, limit: int = 1000
    ) -> Sequence[Lease]:
        """Lease these to bounce them; see `Spool.lease_all()`."""
        return await self._leasing.do(
            self._leases.lease_all, LeaseAll(selection, now, limit, seconds)
        )

    async def statistics(self) -> Statistics:
        """Tell what there is."""
        return await self._read(query.statistics)

    async def suspend(self, destination: str) -> None:
        """Deliver nothing to a destination, until `resume()`."""
        await self._leasing.do(self._control.suspend, destination)

    async def resume(self, destination: str) -> bool:
        """Deliver to it again; tell whether it was suspended."""
        return await self._leasing.do(self._control.resume, destination)

    async def suspended(self) -> Sequence[str]:
        """Tell the destinations that are suspended."""
        return await self._read(query.suspended)

    # Other nodes

    def meanwhile(self, work: Callable[[], None]) -> None:
        """Do something that needs no spool, at once: another process waits for the disk."""
        work()

    async def changed(self, seconds: float) -> Change:
        """Wait until another process may have changed something, or so many seconds at most."""
        if self._is_closed:
            raise SpoolError("the spool is closed")
        # No longer than until it is time to tell again that we are here.
        change = await self._listener.wait(min(seconds, SEEN_SECONDS))
        if not self._is_visitor and self._clock.elapsed() - self._seen_at >= SEEN_SECONDS:
            async with self._reading.use() as connection:
                await self._be_seen(connection)
            await self._sessions.touch()
            await self._turns.sweep(self._clock.now())
        return change

    async def enter(self, destination: str, most: int) -> bool:
        """Count one more session with a destination; see `SharesSessions.enter()`."""
        return await self._sessions.enter(destination, most)

    async def leave(self, destination: str) -> None:
        """Count one session less."""
        await self._sessions.leave(destination)

    async def _be_seen(self, connection: Connection) -> None:
        """Tell that we are here, and ask what time it is."""
        self._seen_at = asked = self._clock.elapsed()
        found = await connection.execute(BE_SEEN, {"key": self._key, "name": self._name})
        if (row := await found.fetchone()) is not None:
            self._clock.set(row[0], asked)

    def _tell_mail(self) -> None:
        if self._telling is None and not self._is_closed:
            self._telling = asyncio.get_running_loop().create_task(self._tell_of_mail())

    async def _tell_of_mail(self) -> None:
        try:
            loop = asyncio.get_running_loop()
            await asyncio.sleep(self._told_mail_at + MAIL_SECONDS - loop.time())
            self._told_mail_at = loop.time()
            async with self._reading.use() as connection:
                await self._channel.tell(connection, Change.MAIL)
        except SpoolError:
            pass  # they ask by themselves
        finally:
            self._telling = None

    @property
    def commits(self) -> int:
        """How often it has written changes, many of them together, and waited for the disk."""
        return self._incoming.commits + self._ending.commits + self._leasing.commits

    async def close(self) -> None:
        """Finish what is being written, and let go of the spool."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.wait((self._telling,))
        await self._listener.close()
        for writer in (self._incoming, self._ending, self._leasing):
            await writer.close()
        if not self._is_visitor:
            with contextlib.suppress(SpoolError):
                async with self._reading.use() as connection:
                    await connection.execute("DELETE FROM nodes WHERE key = %s", [self._key])
                    await connection.execute("DELETE FROM sessions WHERE node = %s", [self._key])
        await self._reading.close()
        await self._bodies.close()
        await self._sharing.close()

    async def _read(
        self,
        ask: Callable[Concatenate[Connection, _P], Awaitable[_T]],
        *arguments: _P.args,
        **keywords: _P.kwargs,
    ) -> _T:
        """Ask the database something; all of it is as it was at one moment."""
        if self._is_closed:
            raise SpoolError("the spool is closed")
        async with self._reading.use(is_snapshot=True) as connection:
            return await ask(connection, *arguments, **keywords)
