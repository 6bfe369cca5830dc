"""Bodies: small ones are a value in the database, large ones a file beside it.

A large body goes to its file while it comes in, on threads of its own. Its octets are on the disk
when it is sealed, its name when `sync_folder()` returns, and only then may the database speak of
it. A file that the database does not know was never promised to anybody: `sweep()` removes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import os
import secrets
import threading
from collections.abc import AsyncGenerator, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from pillarbox.relay.sealed import Sealed, digest_of
from pillarbox.relay.spool import SpoolError, SpoolFull
from pillarbox.relay.sqlite.disk import Room, sync_file, sync_folder
from pillarbox.relay.sqlite.schema import explain

__all__ = ["INLINE_OCTETS", "Bodies", "BodyDraft"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# A file costs two syncs of its own, an inline body being written twice: into the log, and from
# there into the database. Measured, a file is the faster one from here on.
INLINE_OCTETS = 65_536

# What a draft holds before it goes to its thread.
FLUSH_OCTETS = 262_144

# What `read()` gives at a time.
CHUNK_OCTETS = 65_536

# Syncs of several files at once: a disk does them together.
THREADS = 8

# O_BINARY is Windows' own: elsewhere octets are octets.
BINARY = getattr(os, "O_BINARY", 0)


class Bodies:
    """The folder of large bodies, and the threads that write and read in it.

    Args:
        folder: The spool's.
        room: How much there is.
    """

    def __init__(self, folder: Path, room: Room) -> None:
        self.folder = folder / "bodies"
        self._spool = folder
        self._room = room
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="pillarbox-bodies")

    async def run(self, work: Callable[_P, _T], *arguments: _P.args, **keywords: _P.kwargs) -> _T:
        """Do something on a thread.

        Raises:
            SpoolError: The disk would not have it.
        """
        job = self._threads.submit(work, *arguments, **keywords)
        try:
            return await asyncio.wrap_future(job)
        except OSError as error:
            raise explain(error, self._spool) from error

    def check_room(self) -> None:
        """Raise if there is too little room for another body."""
        if lack := self._room.lack():
            raise SpoolFull(lack)

    def sync_folder(self) -> None:
        """Return when the names of all files are on the disk."""
        sync_folder(self.folder)

    async def forget(self, sealed: Sealed) -> None:
        """Remove the file of a body that the database does not know and never will."""
        if sealed.file is not None:
            await self.run(self.remove, sealed.file)

    def remove(self, file: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            (self.folder / file).unlink()

    def sweep(self, known: Collection[str]) -> int:
        """Remove the files that the database does not know; tell how many."""
        unknown = [name for name in os.listdir(self.folder) if name not in known]
        for name in unknown:
            self.remove(name)
        return len(unknown)

    async def read(
        self,
        file: str,
        *,
        size: int,
        digest: bytes,
        id: str,  # noqa: A002
    ) -> AsyncGenerator[bytes, None]:
        """Give a file's octets; the last of them only when all are known to be right.

        Raises:
            SpoolError: They are not what was written, or not there.
        """
        path = self.folder / file
        reading = _Reading(path)
        try:
            seen, left = hashlib.sha256(), size
            held = b""
            while octets := await self.run(reading.read):
                seen.update(octets)
                left -= len(octets)
                if left < 0:
                    break
                if held:
                    yield held
                held = octets
            if left or not hmac.compare_digest(seen.digest(), digest):
                raise damaged(path, id)
            yield held
        finally:
            self._threads.submit(reading.close)

    def close(self) -> None:
        """End the threads; nothing is read or written any more."""
        self._threads.shutdown(wait=True)


def damaged(path: Path, id: str) -> SpoolError:  # noqa: A002
    """Say that a body is not what was written."""
    return SpoolError(
        f"the body of message {id} in {path} is damaged: it is not what was written. It is not"
        f" delivered; restore it from a backup, or remove it by 'pillarbox queue delete {id}'"
    )


class _Reading:
    """A file that is read on threads; who waits may be cancelled, and close it meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._is_over = False

    def read(self) -> bytes:
        with self._lock:
            if self._is_over:
                return b""
            if self._descriptor is None:
                self._descriptor = os.open(self._path, os.O_RDONLY | BINARY)
            return os.read(self._descriptor, CHUNK_OCTETS)

    def close(self) -> None:
        with self._lock:
            self._is_over = True
            if self._descriptor is not None:
                os.close(self._descriptor)


class BodyDraft:
    """A body on its way in: in memory while it is small, else in its file.

    Args:
        bodies: Where the file is to be.
    """

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self._size = 0
        self._parts: list[bytes] = []
        self._waiting = 0
        self._digest = hashlib.sha256()
        self._file: str | None = None
        self._descriptor: int | None = None
        self._is_over = False
        self._is_lost = False
        # Whoever waited for a thread may be cancelled, and discard what the thread still writes.
        self._lock = threading.Lock()

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
        self._parts.append(bytes(octets))
        self._size += len(octets)
        self._waiting += len(octets)
        if self._waiting >= FLUSH_OCTETS:
            await self._bodies.run(self._flush)

    async def seal(self) -> Sealed:
        """End it: all octets are on the disk, though the file's name may not be.

        Raises:
            SpoolError: They cannot be written, or it is over.
        """
        self._check()
        self._is_over = True
        if self._size <= INLINE_OCTETS:
            octets = b"".join(self._parts)
            return Sealed(len(octets), digest_of(octets), octets=octets)
        try:
            return await self._bodies.run(self._seal)
        except BaseException:
            await self._let_go()
            raise

    async def discard(self) -> None:
        """Let go of all that was written; nothing happens if it was put."""
        if not self._is_over:
            self._is_over = True
            await self._let_go()

    async def _let_go(self) -> None:
        self._is_lost = True
        self._parts.clear()
        if self._size > INLINE_OCTETS:
            await self._bodies.run(self._remove)

    def _check(self) -> None:
        if self._is_over:
            raise SpoolError("the draft was put or discarded; begin a new one")
        if self._is_lost:
            raise SpoolError("octets of the draft could not be written; discard it")

    # On a thread

    def _flush(self) -> None:
        with self._lock:
            if self._is_lost:
                return  # discarded meanwhile
            self._is_lost = True  # unless all goes well
            self._bodies.check_room()
            if self._file is None:
                self._file = secrets.token_hex(12)
                self._descriptor = os.open(
                    self._bodies.folder / self._file,
                    os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY,
                    0o600,
                )
            assert self._descriptor is not None
            octets = b"".join(self._parts)
            self._parts.clear()
            self._waiting = 0
            self._digest.update(octets)
            rest = memoryview(octets)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
            self._is_lost = False

    def _seal(self) -> Sealed:
        self._flush()
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is None:
                raise SpoolError("the draft was discarded")
            try:
                sync_file(descriptor)
            finally:
                os.close(descriptor)
        return Sealed(self._size, self._digest.digest(), file=self._file)

    def _remove(self) -> None:
        with self._lock:
            descriptor, self._descriptor = self._descriptor, None
            if descriptor is not None:
                os.close(descriptor)
            if self._file is not None:
                self._bodies.remove(self._file)
