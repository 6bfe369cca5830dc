"""Writing to standard output from a thread of its own.

Whoever reads our output may stop reading: a pager, a pipe, Ctrl-S. Then messages wait, and with
them their clients, but not the event loop: it goes on to hear signals and other clients. Clients
whose messages are kept elsewhere wait only where many do: those are gathered and written together.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import queue
import select
import threading
from collections.abc import Callable, Sequence
from typing import Protocol, TypeAlias

__all__ = ["Printer", "RawStream"]

# To wake the thread costs more than to render a small message. Nobody sees so short a time.
GATHER_SECONDS = 0.01
# They may be large.
MAX_WAITING = 100

Render: TypeAlias = Callable[[], str]
"""Gives what to write; is called in the thread."""

Failures: TypeAlias = dict[int, Exception]
"""Which of several texts could not be written, and why."""

Gathered: TypeAlias = list[tuple[Render, Callable[[Exception], object]]]
"""What is to be written together, and who is told of failures."""


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
        gather_seconds: How long `print_soon()` gathers.
    """

    def __init__(
        self,
        stream: RawStream,
        *,
        encoding: str = "utf-8",
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._stream = stream
        self._encoding = encoding
        self._gather_seconds = gather_seconds
        self._jobs: queue.SimpleQueue[tuple[Sequence[Render], Callable[[Failures], object]]]
        self._jobs = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._gathered: Gathered = []
        self._written: asyncio.Future[Failures] | None = None
        """Of what is gathered; `None` if nothing is."""
        self._waiting = 0

    async def print(self, render: Render) -> None:
        """Write what `render` gives, and return when it is written.

        Raises:
            OSError: It cannot be written.
        """
        written: asyncio.Future[Failures] = asyncio.get_running_loop().create_future()
        self._put([render], _resolving(written))
        for failure in (await written).values():
            raise failure

    async def print_soon(self, render: Render, failed: Callable[[Exception], object]) -> None:
        """Write what `render` gives, together with what comes in the next moment.

        Returns before that, unless so much waits that it is time to wait as well.

        Args:
            render: See above.
            failed: Is told why it could not be written.
        """
        written = self._written
        if written is None:
            loop = asyncio.get_running_loop()
            written = self._written = loop.create_future()
            loop.call_later(self._gather_seconds, self._hand_over)
        self._gathered.append((render, failed))
        self._waiting += 1
        if self._waiting > MAX_WAITING:
            await asyncio.wait([written])

    def finish(self, seconds: float) -> None:
        """Have what was gathered written, when the event loop has ended; wait so long for it."""
        if not self._waiting:
            return
        gathered, self._gathered, self._written = self._gathered, [], None
        failures: queue.SimpleQueue[Failures] = queue.SimpleQueue()
        self._put([render for render, _ in gathered], failures.put)
        with contextlib.suppress(queue.Empty):
            _tell(gathered, failures.get(timeout=seconds))

    def _hand_over(self) -> None:
        """Hand over what was gathered."""
        gathered, written = self._gathered, self._written
        if written is not None:
            self._gathered, self._written = [], None
            written.add_done_callback(functools.partial(self._note, gathered))
            self._put([render for render, _ in gathered], _resolving(written))

    def _note(self, gathered: Gathered, written: asyncio.Future[Failures]) -> None:
        self._waiting -= len(gathered)
        _tell(gathered, written.result())

    def _put(self, renders: Sequence[Render], tell: Callable[[Failures], object]) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="pillarbox-print", daemon=True)
            self._thread.start()
        self._jobs.put((renders, tell))

    # In the thread

    def _run(self) -> None:
        while True:
            renders, tell = self._jobs.get()
            tell(self._print(renders))

    def _print(self, renders: Sequence[Render]) -> Failures:
        """Write texts at once; one that cannot be rendered keeps no other away."""
        failures: Failures = {}
        octets = bytearray()
        for number, render in enumerate(renders):
            try:
                octets += render().encode(self._encoding, "backslashreplace")
            except Exception as error:
                failures[number] = error
        try:
            self._write(octets)
        except Exception as error:
            return dict.fromkeys(range(len(renders)), error)
        return failures

    def _write(self, octets: bytearray) -> None:
        rest = memoryview(octets)
        while rest:
            written = self._stream.write(rest)
            if written is None:  # another program has made our standard output non-blocking
                select.select((), (self._stream.fileno(),), ())
            else:
                rest = rest[written:]


def _tell(gathered: Gathered, failures: Failures) -> None:
    for number, failure in failures.items():
        _, failed = gathered[number]
        failed(failure)


def _resolving(written: asyncio.Future[Failures]) -> Callable[[Failures], object]:
    """Give what tells a future of its result, from another thread."""

    def tell(failures: Failures) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, nobody waits any more
            written.get_loop().call_soon_threadsafe(_finish, written, failures)

    return tell


def _finish(written: asyncio.Future[Failures], failures: Failures) -> None:
    if not written.done():  # or cancelled
        written.set_result(failures)
