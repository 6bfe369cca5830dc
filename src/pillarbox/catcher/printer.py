"""Writing to standard output from a thread of its own.

Whoever reads our output may stop reading: a pager, a pipe, Ctrl-S. Then messages wait, and with
them their clients, but not the event loop: it goes on to hear signals and other clients.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import select
import threading
from collections.abc import Callable
from typing import Protocol

__all__ = ["Printer", "RawStream"]


class RawStream(Protocol):
    """Where octets go, without a buffer: the `raw` of `sys.stdout.buffer`, or the like."""

    def write(self, octets: memoryview, /) -> int | None:
        """Write some, and tell how many; `None` where none can be taken now."""

    def fileno(self) -> int:
        """Tell what to wait for then."""


class Printer:
    """Renders and writes one message after the other.

    The thread starts with the first one, and ends with the program: it does not keep it from
    ending, even while it waits for the reader.

    Args:
        stream: Where to write. It must have no buffer: Python could not end while the thread is
            held up in one.
        encoding: Of what is written. Characters that it lacks are written as `\\u1234`.
    """

    def __init__(self, stream: RawStream, *, encoding: str = "utf-8") -> None:
        self._stream = stream
        self._encoding = encoding
        self._jobs: queue.SimpleQueue[tuple[Callable[[], str], asyncio.Future[None]]]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None

    async def print(self, render: Callable[[], str]) -> None:
        """Write what `render` gives, and return when it is written.

        Args:
            render: Is called in the thread.

        Raises:
            OSError: It cannot be written.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pillarbox-print", daemon=True)
            self._thread.start()
        done = asyncio.get_running_loop().create_future()
        self._jobs.put((render, done))
        await done

    def _run(self) -> None:
        while True:
            render, done = self._jobs.get()
            failure: Exception | None = None
            try:
                self._write(render().encode(self._encoding, "backslashreplace"))
            except Exception as error:
                failure = error
            with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
                done.get_loop().call_soon_threadsafe(_finish, done, failure)

    def _write(self, octets: bytes) -> None:
        rest = memoryview(octets)
        while rest:
            written = self._stream.write(rest)
            if written is None:  # another program has made our standard output non-blocking
                select.select((), (self._stream.fileno(),), ())
            else:
                rest = rest[written:]


def _finish(done: asyncio.Future[None], failure: Exception | None) -> None:
    if done.done():
        return  # cancelled
    if failure is None:
        done.set_result(None)
    else:
        done.set_exception(failure)
