"""Servers and clients for the tests: in one thread, where the test turns the loop."""

from __future__ import annotations

import contextlib
import socket
import textwrap
import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from tests.smtpd.under_test import asyncore, smtpd

__all__ = ["Client", "Clock", "Collector", "House", "Message", "looping"]

# A reply that is due takes microseconds; one that does not come within this time does not come.
PATIENCE_SECONDS = 1.0
ENVELOPE = b"MAIL FROM:<ann@example.org>\r\nRCPT TO:<ben@example.org>\r\nDATA\r\n"

Message = tuple[Any, ...]


class Collector(smtpd.SMTPServer):
    """A server that keeps what it gets: (mailfrom, rcpttos, data, kwargs)."""

    status: str | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.messages: list[Message] = []

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> str | None:
        self.messages.append((mailfrom, rcpttos, data, kwargs))
        return self.status

    def log_info(self, *_: Any) -> None:
        """Be quiet: closing a channel is what some tests are about."""


class House:
    """A server in a loop of its own, and its clients."""

    def __init__(self, server: type[smtpd.SMTPServer] = Collector, **kwargs: Any) -> None:
        self.map: dict[int, Any] = {}
        self.server: Any = server(("127.0.0.1", 0), ("nowhere.invalid", 25), map=self.map, **kwargs)
        listener: Any = self.server.socket
        self.address: tuple[str, int] = listener.getsockname()
        self.clients: list[Client] = []

    def __enter__(self) -> House:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.socket.close()
        asyncore.close_all(self.map)

    @property
    def channels(self) -> list[Any]:
        return [item for item in self.map.values() if item is not self.server]

    @property
    def channel(self) -> Any:
        (channel,) = self.channels
        return channel

    def turn(self, seconds: float = 0.01) -> None:
        asyncore.loop(timeout=seconds, use_poll=True, map=self.map, count=1)

    def connect(self, greeting: str | None = "EHLO") -> Client:
        """Connect; greet the server, and be greeted by it."""
        client = Client(self)
        client.replies(1)
        if greeting:
            client.ask(f"{greeting} client.test\r\n")
        return client

    def until(self, is_so: Any) -> None:
        """Turn the loop until something is so, which must be soon."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not is_so():
            assert time.monotonic() < deadline, "it did not happen"
            self.turn()


class Client:
    """A client that says what the test wants; it turns the server's loop while it waits."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.socket = socket.create_connection(house.address)
        self.socket.setblocking(False)
        # What is sent in two pieces has to arrive in two.
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.is_closed = False
        house.clients.append(self)

    def send(self, octets: bytes) -> None:
        """Send, turning the loop as often as that needs."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while octets:
            try:
                octets = octets[self.socket.send(octets) :]
                deadline = time.monotonic() + PATIENCE_SECONDS
            except BlockingIOError:
                assert time.monotonic() < deadline, "the server takes nothing"
            self.house.turn(0)

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 16)
        except BlockingIOError:
            return
        except ConnectionError:
            data = b""
        self.received += data
        self.is_closed = self.is_closed or not data

    def lines(self, count: int) -> list[str]:
        deadline = time.monotonic() + PATIENCE_SECONDS
        self.read()
        while self.received.count(b"\r\n") < count and not self.is_closed:
            assert time.monotonic() < deadline, f"no reply; there is {self.received!r}"
            self.house.turn()
            self.read()
        *lines, rest = self.received.split(b"\r\n", count)
        self.received = rest
        return [line.decode("utf-8") for line in lines if line]

    def replies(self, count: int) -> list[str]:
        """Give so many replies, or as many as there are before the connection is closed."""
        replies: list[str] = []
        pieces: list[str] = []
        while len(replies) < count:
            lines = self.lines(1)
            pieces += lines
            if not lines:
                break
            if lines[0][3:4] != "-":
                replies.append("\n".join(pieces))
                pieces = []
        return replies

    def ask(self, octets: str | bytes, replies: int = 1) -> str:
        """Send commands; give the replies, and `closed` if that is what comes instead."""
        self.send(octets.encode("utf-8") if isinstance(octets, str) else octets)
        found = self.replies(replies)
        return "\n".join([*found, *(["closed"] if len(found) < replies else [])])

    def talk(self, transcript: str) -> None:
        r"""Hold a dialogue: a line `C: ` is sent, a line `S: ` is expected.

        Escapes such as `\r` and `\xe9` in what is sent are octets.
        """
        for line in textwrap.dedent(transcript).strip().splitlines():
            who, text = line[:2], line[3:]
            if who == "C:":
                self.send(text.encode().decode("unicode_escape").encode("latin-1") + b"\r\n")
            else:
                assert self.lines(1) == [text]

    def deliver(self, data: bytes) -> str:
        """Send a message in a transaction of its own; give the reply to it."""
        assert self.ask(ENVELOPE, 3).splitlines()[-1].startswith("354")
        return self.ask(data + b"\r\n.\r\n")


class Clock:
    """The time as far as `smtpd` knows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        fake = SimpleNamespace(monotonic=lambda: self.now, time=time.time, ctime=time.ctime)
        monkeypatch.setattr(smtpd, "time", fake)


@contextlib.contextmanager
def looping(channels: dict[int, Any]) -> Iterator[None]:
    """Turn a loop on a thread of its own, as programs do, until the block ends."""
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            asyncore.loop(timeout=0.01, use_poll=True, map=channels, count=1)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()
        asyncore.close_all(channels)
