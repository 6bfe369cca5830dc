"""Bodies: small ones are a value beside their message, large ones come and go in pieces.

A large body is written while it comes in and read while it goes out: never is all of it in memory.
Where the pieces are is behind `LargeBodies`; here it is a table. They are there before the message
that names them is; what no message names was never promised to anybody, and `sweep()` removes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from typing import Final, Protocol

from pillarbox.relay.postgres.clock import DatabaseClock
from pillarbox.relay.postgres.link import Database, Pool
from pillarbox.relay.sealed import Sealed, digest_of
from pillarbox.relay.spool import SpoolError

__all__ = [
    "INLINE_OCTETS",
    "BodyDraft",
    "ChunkTable",
    "LargeBodies",
    "checked",
]

# What is in memory as a whole, here and there, is no larger.
INLINE_OCTETS: Final = 65_536

# The pieces of a large one.
CHUNK_OCTETS: Final = 262_144

# Connections for them: so many are written and read at the same time, the others take turns.
CONNECTIONS: Final = 4

# What nobody names after so long is nobody's. No client takes so long for one message.
ORPHAN_SECONDS: Final = 86_400.0


class LargeBodies(Protocol):
    """Where large bodies are. All methods raise `SpoolError` when it cannot be used."""

    async def write(self, file: str, place: int, octets: bytes) -> None:
        """Keep a piece of a body, the first at place 0."""
        ...

    async def confirm(self, file: str, size: int) -> None:
        """Return if all octets of a body are there, as safe as the message will be.

        Raises:
            SpoolError: They are not.
        """
        ...

    def read(self, file: str) -> AsyncIterator[bytes]:
        """Give the pieces of a body that are there, in their order."""
        ...

    async def remove(self, files: Sequence[str]) -> None:
        """Remove bodies, or what there is of them."""
        ...

    async def sweep(self) -> None:
        """Remove what is old and named by no message."""
        ...

    async def close(self) -> None:
        """Let go of what it takes."""
        ...


class ChunkTable:
    """Keeps them in the table `chunks`.

    A piece is committed without a wait for the disk: the log of the database is in one order, and
    so the commit of the message waits for the pieces as well.

    Args:
        database: Where.
        clock: Tells the time.
    """

    def __init__(self, database: Database, clock: DatabaseClock) -> None:
        self._clock = clock
        self._pool = Pool(database, CONNECTIONS, "SET synchronous_commit = off")

    async def write(self, file: str, place: int, octets: bytes) -> None:
        """Keep a piece of a body."""
        async with self._pool.use() as connection:
            await connection.execute(
                "INSERT INTO chunks (file, place, written, octets) VALUES (%s, %s, %s, %b)",
                [file, place, self._clock.now(), octets],
            )

    async def confirm(self, file: str, size: int) -> None:
        """Return if all octets are there: a server that began anew may have lost some."""
        async with self._pool.use() as connection:
            found = await connection.execute(
                "SELECT coalesce(sum(octet_length(octets)), 0) FROM chunks WHERE file = %s", [file]
            )
            row = await found.fetchone()
        if row is None or row[0] != size:
            raise SpoolError("the database has lost a part of the message; it is to be sent again")

    async def read(self, file: str) -> AsyncGenerator[bytes, None]:
        """Give the pieces of a body."""
        place = 0
        while True:
            async with self._pool.use() as connection:
                found = await connection.execute(
                    "SELECT octets FROM chunks WHERE file = %s AND place = %s",
                    [file, place],
                    binary=True,
                )
                row = await found.fetchone()
            if row is None:
                return
            yield row[0]
            place += 1

    async def remove(self, files: Sequence[str]) -> None:
        """Remove bodies."""
        async with self._pool.use() as connection:
            await connection.execute("DELETE FROM chunks WHERE file = ANY(%s)", [list(files)])

    async def sweep(self) -> None:
        """Remove what is older than a day and named by no message."""
        async with self._pool.use() as connection:
            await connection.execute(
                "DELETE FROM chunks WHERE file IN ("
                " SELECT c.file FROM chunks AS c WHERE c.place = 0 AND c.written < %s"
                " AND NOT EXISTS (SELECT FROM messages AS m WHERE m.file = c.file))",
                [self._clock.now() - ORPHAN_SECONDS],
            )

    async def close(self) -> None:
        """Close the connections."""
        await self._pool.close()


async def checked(
    bodies: LargeBodies,
    file: str,
    *,
    size: int,
    digest: bytes,
    id: str,  # noqa: A002
) -> AsyncGenerator[bytes, None]:
    """Give a large body's octets; the last of them only when all are known to be right.

    Raises:
        SpoolError: They are not what was written, or not there.
    """
    seen, left = hashlib.sha256(), size
    held = b""
    async for octets in bodies.read(file):
        seen.update(octets)
        left -= len(octets)
        if left < 0:
            break
        if held:
            yield held
        held = octets
    if left or not hmac.compare_digest(seen.digest(), digest):
        raise SpoolError(
            f"the body of message {id} is damaged: it is not what was written. It is not"
            f" delivered; restore it from a backup, or remove it by 'pillarbox queue delete {id}'"
        )
    yield held


class BodyDraft:
    """A body on its way in: in memory while it is small, and a piece of it at a time when not.

    Args:
        bodies: Where it goes.
    """

    def __init__(self, bodies: LargeBodies) -> None:
        self._bodies = bodies
        self._size = 0
        self._parts: list[bytes] = []
        self._waiting = 0
        self._digest = hashlib.sha256()
        self._file = secrets.token_hex(12)
        self._place = 0
        self._is_over = False
        self._is_lost = False

    @property
    def size(self) -> int:
        """How many octets were written."""
        return self._size

    async def write(self, octets: bytes) -> None:
        """Add octets.

        Raises:
            SpoolError: They cannot be written.
        """
        self._check()
        view = memoryview(octets)
        while view:
            part = bytes(view[: CHUNK_OCTETS - self._waiting])
            view = view[len(part) :]
            self._parts.append(part)
            self._size += len(part)
            self._waiting += len(part)
            if self._waiting == CHUNK_OCTETS:
                await self._flush()

    async def seal(self) -> Sealed:
        """End it: all octets are written.

        Raises:
            SpoolError: They cannot be written, or it is over.
        """
        self._check()
        self._is_over = True
        if self._size <= INLINE_OCTETS:
            octets = b"".join(self._parts)
            return Sealed(len(octets), digest_of(octets), octets=octets)
        try:
            if self._waiting:
                await self._flush()
        except BaseException:
            await self._let_go()
            raise
        return Sealed(self._size, self._digest.digest(), file=self._file)

    async def discard(self) -> None:
        """Let go of all that was written; nothing happens if it was put."""
        if not self._is_over:
            self._is_over = True
            await self._let_go()

    async def _flush(self) -> None:
        self._is_lost = True  # unless all goes well
        octets = b"".join(self._parts)
        self._parts.clear()
        self._waiting = 0
        self._digest.update(octets)
        await self._bodies.write(self._file, self._place, octets)
        self._place += 1
        self._is_lost = False

    async def _let_go(self) -> None:
        self._is_lost = True
        self._parts.clear()
        if self._place:
            with contextlib.suppress(SpoolError):  # what stays is swept
                await self._bodies.remove([self._file])

    def _check(self) -> None:
        if self._is_over:
            raise SpoolError("the draft was put or discarded; begin a new one")
        if self._is_lost:
            raise SpoolError("octets of the draft could not be written; discard it")
