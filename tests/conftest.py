"""What the tests share: `talk`, values that are really frozen, and how long to fuzz."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import FrozenInstanceError
from typing import Any, TypeVar, get_args

import hypothesis
import pytest

from pillarbox.asyncio import Server
from pillarbox.config import Config
from pillarbox.envelope import Message
from pillarbox.handler import AnyHandler
from pillarbox.protocol import event
from pillarbox.protocol.address import Path
from pillarbox.protocol.extension import Offer
from pillarbox.testing import MemoryServer, Recorder, Stream, Transcript, Way, play
from tests.browser.chromium import ABSENT, find_chromium
from tests.grammar import check_session

_T = TypeVar("_T")

OFFER = Offer(hostname="mx.test")
TIME_LIMIT_SECONDS = 20.0
# Octet by octet through a socket: what is longer is played so on the bare core only.
MAX_OCTETS_BY_SOCKET = 5_000

hypothesis.settings.register_profile("fast", deadline=None, derandomize=True, max_examples=100)
hypothesis.settings.register_profile("long", deadline=None, max_examples=10_000)
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))


# Events and paths are frozen for the type checker alone, because freezing costs time for each
# command. Here they are frozen for good: what the core gives out, nobody changes.


def _set_once(self: object, name: str, value: object) -> None:
    if hasattr(self, name):
        raise FrozenInstanceError(f"{type(self).__name__}.{name} is set already")
    object.__setattr__(self, name, value)


for _value in (*get_args(event.Event), Path):
    type.__setattr__(_value, "__setattr__", _set_once)


# Drivers: each gives a connected socket to a server that runs on a loop of its own.


class LoopThread:
    """An event loop on a thread, for all tests of a run."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIME_LIMIT_SECONDS)

    def close(self) -> None:
        """End the loop and the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @contextlib.contextmanager
    def connected(self, handler: AnyHandler, offer: Offer) -> Iterator[socket.socket]:
        """Connect to a new server."""
        server = self.run(_listening(handler, offer))
        try:
            with socket.create_connection(("127.0.0.1", server.port), TIME_LIMIT_SECONDS) as client:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield client
        finally:
            self.run(server.close())


async def _listening(handler: AnyHandler, offer: Offer) -> Server:
    server = Server(handler, config=Config(auth_delay_seconds=0))
    server.offer = offer
    await server.listen("127.0.0.1", 0)
    return server


def _new_loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"asyncio": asyncio.new_event_loop}
    with contextlib.suppress(ImportError):
        import uvloop

        loops["uvloop"] = uvloop.new_event_loop
    return loops


NEW_LOOPS = _new_loops()


@pytest.fixture(scope="session")
def loop_threads() -> Iterator[dict[str, LoopThread]]:
    threads = {name: LoopThread(new_loop) for name, new_loop in NEW_LOOPS.items()}
    yield threads
    for thread in threads.values():
        thread.close()


# talk


class _Overheard:
    """A stream that remembers what the server said."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.said = b""
        self.sendall = stream.sendall
        self.shutdown = stream.shutdown

    def recv(self, size: int, /) -> bytes:
        data = self._stream.recv(size)
        self.said += data
        return data


class Talk:
    """Holds a dialogue in every way on every driver; see the fixture `talk`."""

    def __init__(self, threads: dict[str, LoopThread], capsys: pytest.CaptureFixture[str]) -> None:
        self._threads = threads
        self._capsys = capsys

    def __call__(
        self,
        transcript: str | Transcript,
        *,
        handler: AnyHandler | type[Any] | None = None,
        offer: Offer = OFFER,
    ) -> list[Message]:
        """Play the transcript; give the messages that a `Recorder` took, the same in each play."""
        if isinstance(transcript, str):
            transcript = Transcript.parse(transcript)
        taken: list[list[Message]] = []
        for way in get_args(Way):
            for name, thread in {"core": None, **self._threads}.items():
                if thread and way == "octets" and len(transcript.sent) > MAX_OCTETS_BY_SOCKET:
                    continue
                for made, messages in _handlers(handler):
                    with self._aloud(f"\n{name}, {type(made).__name__}"):
                        try:
                            self._play(transcript, made, offer, way, thread)
                        except BaseException as error:
                            error.add_note(f"({way} on {name}, handler {made!r})")
                            raise
                    if messages is not None:
                        taken.append(messages)
        assert all(
            [_known(message) for message in messages] == [_known(message) for message in taken[0]]
            for messages in taken
        ), taken
        return taken[0] if taken else []

    @contextlib.contextmanager
    def _aloud(self, title: str) -> Iterator[None]:
        """Let a dialogue be seen by those who want to."""
        if not os.environ.get("PILLARBOX_DEBUG"):
            yield
            return
        with self._capsys.disabled():
            sys.stderr.write(title)
            yield

    def _play(
        self,
        transcript: Transcript,
        handler: AnyHandler,
        offer: Offer,
        way: Way,
        thread: LoopThread | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            stream = _Overheard(
                stack.enter_context(thread.connected(handler, offer))
                if thread
                else MemoryServer(handler, offer=offer)
            )
            play(transcript, stream, way=way)
            check_session(stream.said)


def _handlers(
    handler: AnyHandler | type[Any] | None,
) -> Iterator[tuple[AnyHandler, list[Message] | None]]:
    if handler is None:
        # One that is asked about everything, and one that leaves all but the message to the core.
        messages: list[Message] = []
        yield messages.append, messages
        handler = Recorder
    made: AnyHandler = handler() if isinstance(handler, type) else handler
    yield made, made.messages if isinstance(made, Recorder) else None


def _known(message: Message) -> tuple[object, ...]:
    return message.mail_from, message.rcpt_tos, message.data, message.envelope.mail


@pytest.fixture
def talk(loop_threads: dict[str, LoopThread], capsys: pytest.CaptureFixture[str]) -> Talk:
    """Play a transcript line by line, octet by octet and in one burst, on the core and each driver.

    A `handler` that is a class is made anew for each play. Without one, the messages that were
    taken are the result.
    """
    return Talk(loop_threads, capsys)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Tell what was left out; in CI nothing is."""
    if find_chromium() is None:
        terminalreporter.write_line(ABSENT)
