"""The asyncio client: bytes and time, and no SMTP (see protocol/client.py for that).

`connect()` is the way in::

    async with connect("127.0.0.1", 1025) as client:
        outcome = await client.send("ann@example.org", ["bob@example.org"], message)

What a server says of a message is a value, for each recipient. What breaks the session is an
exception, with what became of the message in it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Sequence
from types import TracebackType
from typing import TypeAlias, cast

from pillarbox.config import machine_hostname
from pillarbox.protocol.address import Path
from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import NEED_BODY, ClientEvent, Outcome, Refused, Sent
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, BodyType, Need
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions

__all__ = ["Client", "SessionError", "SessionLost", "SessionRefused", "connect", "connect_unix"]

TIMED_OUT = Reply(421, "4.4.2", "The server did not answer in time")
GIVEN_UP = Reply(421, "4.4.2", "The session was given up")

# A server has no reason to say more than this at once; TCP makes it wait.
HIGH_WATER_OCTETS = 131_072
# A message that comes in small parts goes out in parts of this size: each chunk is answered.
CHUNK_OCTETS = 65_536

Dial: TypeAlias = Callable[[Callable[[], asyncio.Protocol]], Awaitable[object]]
_Chunks: TypeAlias = AsyncGenerator[tuple[bytes, bool], None]


class SessionError(Exception):
    """There is no session, or no more.

    Attributes:
        reply: What the server said, or words of our own.
        outcome: What became of the message under way, if there was one. Recipients that the server
            refused keep its replies, and `outcome.is_in_doubt` warns of duplicates.
    """

    def __init__(self, text: str, reply: Reply, outcome: Outcome | None = None) -> None:
        super().__init__(text)
        self.reply = reply
        self.outcome = outcome


class SessionRefused(SessionError):
    """The server does not want a session: it said so in its greeting, or to EHLO."""


class SessionLost(SessionError):
    """The connection broke, or the server took too long, or it broke the protocol."""


def connect(
    host: str,
    port: int,
    *,
    hostname: str | None = None,
    timeouts: Timeouts | None = None,
    trace: Callable[[str], None] | None = None,
) -> Client:
    """Make a client of the server at an address; use it by `async with`, or `open()` and `quit()`.

    Args:
        host: A name or an address.
        port: The port.
        hostname: What the client calls itself; the machine's name where it is not given.
        timeouts: How long to wait for what, in seconds: `Timeouts.all(10)` for everything.
        trace: Called with each line of the dialogue, `C: ` or `S: ` in front.

    Raises:
        ValueError: The host name is none.
    """

    def dial(factory: Callable[[], asyncio.Protocol]) -> Awaitable[object]:
        return asyncio.get_running_loop().create_connection(factory, host, port)

    return Client(dial, hostname=hostname, timeouts=timeouts, trace=trace)


def connect_unix(
    path: str,
    *,
    hostname: str | None = None,
    timeouts: Timeouts | None = None,
    trace: Callable[[str], None] | None = None,
) -> Client:
    """Make a client of the server at a UNIX socket; see `connect()`."""

    def dial(factory: Callable[[], asyncio.Protocol]) -> Awaitable[object]:
        return asyncio.get_running_loop().create_unix_connection(factory, path)

    return Client(dial, hostname=hostname, timeouts=timeouts, trace=trace)


class Client:
    """One session with a server, for one message after the other. `connect()` makes it.

    Args:
        dial: Connects a protocol of asyncio.
        hostname: See `connect()`, as for all that follow.
        timeouts: How long to wait for what.
        trace: Called with each line of the dialogue.
    """

    def __init__(
        self,
        dial: Dial,
        *,
        hostname: str | None = None,
        timeouts: Timeouts | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        self.protocol = ClientConnection(
            hostname or machine_hostname(), timeouts=timeouts, trace=trace
        )
        """The state of the session."""
        self._dial = dial
        self._is_used = False
        self._wire = _Wire(self.protocol)

    async def __aenter__(self) -> Client:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            await self.quit()
        else:
            await self.abort()

    @property
    def extensions(self) -> Extensions:
        """What the server offers: the parameters of each keyword, the keyword in capitals."""
        return self.protocol.extensions

    @property
    def is_open(self) -> bool:
        """Whether a message can be sent, as far as is known; look before reusing a session."""
        if not self.protocol.is_open:
            return False
        with contextlib.suppress(RemoteProtocolError):
            return self.protocol.next_event() is NEED_DATA
        return False

    async def open(self) -> None:
        """Connect, and wait until the server is ready; call `quit()` or `abort()` in the end.

        Raises:
            OSError: There is no connection; a `TimeoutError` where it took too long.
            SessionError: There is one, and no session.
            RuntimeError: The client was opened before.
        """
        if self._is_used:
            raise RuntimeError("this client was opened already; make another one by connect()")
        self._is_used = True
        seconds = self.protocol.timeouts.connect
        try:
            async with asyncio.timeout(seconds):
                await self._dial(lambda: self._wire)
        except TimeoutError:
            raise TimeoutError(f"no connection within {seconds:g} seconds") from None
        event = await self._next_event()
        if isinstance(event, Refused):
            with contextlib.suppress(SessionLost):
                await self._next_event()
            raise SessionRefused(f"the server refuses the session: {event.reply}", event.reply)

    async def send(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[str | Path],
        data: bytes | AsyncIterable[bytes],
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
        chunking: bool = True,
    ) -> Outcome:
        """Send a message, and tell what the server said, for each recipient.

        A refusal is no exception: look at `outcome.is_accepted` and `outcome.refused`. The session
        goes on after it, unless the server said goodbye (see `is_open`).

        Args:
            mail_from: The sender's address; empty for the null reverse-path of a bounce.
            rcpt_tos: The recipients' addresses.
            data: The message, or its parts as they come: some 64 KiB of them are kept at a time.
            size: See `ClientConnection.send_message()`, as for all that follow.
            body: What the octets are.
            smtputf8: The message has UTF-8 in its header.
            chunking: Use BDAT where the server offers it.

        Raises:
            SessionLost: The session broke before the server had said all. It is closed.
            LocalProtocolError: The session is not open yet, or another message is under way.
            ValueError: An address is none, or the message cannot go by DATA; where that shows in a
                later part, the session is closed.
        """
        if not self.is_open and (reply := self.protocol.closing_reply) is not None:
            await self._wire.close()
            raise SessionLost(f"the session is over: {reply}", reply)
        self.protocol.send_message(
            mail_from,
            rcpt_tos,
            data if isinstance(data, bytes) else None,
            size=size,
            body=body,
            smtputf8=smtputf8,
            chunking=chunking,
        )
        if isinstance(data, bytes):
            event = await self._next_event()
        else:
            async with contextlib.aclosing(_chunks(data)) as chunks:
                event = await self._next_event(chunks)
        return cast("Sent", event).outcome

    async def quit(self) -> None:
        """Say goodbye, and close. Where the session is over already, that is no error."""
        if self.is_open:
            self.protocol.quit()
            with contextlib.suppress(SessionLost):
                await self._next_event()
        await self.abort()

    async def abort(self) -> None:
        """Close without a word. A message whose end was not sent is not delivered."""
        self.protocol.abandon(GIVEN_UP)
        await self._wire.close()

    async def _next_event(self, chunks: _Chunks | None = None) -> ClientEvent | None:
        """Send and wait until something happens; `None` is the end of the session."""
        try:
            event = await self._pump(chunks)
        except RemoteProtocolError as error:
            await self._wire.close()
            raise self._lost(str(error)) from error
        except BaseException:
            await self.abort()
            raise
        if self.protocol.closing_reply is not None:
            await self._wire.close()
        return None if isinstance(event, Need) else event

    async def _pump(self, chunks: _Chunks | None) -> ClientEvent | Need:
        protocol, wire = self.protocol, self._wire
        while True:
            event = protocol.next_event()
            wire.flush()
            if event is NEED_DATA or (wire.is_choked and isinstance(event, Need)):
                if not await wire.wait():
                    protocol.abandon(TIMED_OUT)
                    raise self._lost(TIMED_OUT.text)
            elif event is NEED_BODY:
                part, is_last = await anext(cast("_Chunks", chunks))
                protocol.send_part(part, is_last=is_last)
            elif event is NEED_CLOSE or not isinstance(event, Need):
                return event

    def _lost(self, text: str) -> SessionLost:
        event = self.protocol.next_event()
        outcome = event.outcome if isinstance(event, Sent) else None
        return SessionLost(text, cast("Reply", self.protocol.closing_reply), outcome)


async def _chunks(data: AsyncIterable[bytes]) -> _Chunks:
    """Put parts together until they are worth a chunk, and tell which is the last."""
    held: list[bytes] = []
    octets = 0
    async for part in data:
        if octets >= CHUNK_OCTETS:
            yield b"".join(held), False
            held.clear()
            octets = 0
        if part:
            held.append(part)
            octets += len(part)
    yield b"".join(held), True


class _Wire(asyncio.Protocol):
    """The connection, as asyncio sees it."""

    def __init__(self, protocol: ClientConnection) -> None:
        self.is_choked = False
        """Whether the server does not take what was written."""
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_paused = False
        self._is_lost = asyncio.Event()
        self._steps = -1
        self._deadline = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._protocol.receive_data(data)
        if self._protocol.buffered_octets > HIGH_WATER_OCTETS and not self._is_paused:
            self._is_paused = True
            cast("asyncio.Transport", self._transport).pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._protocol.receive_eof()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.receive_eof()
        self._is_lost.set()
        self._wake()

    def pause_writing(self) -> None:
        self.is_choked = True

    def resume_writing(self) -> None:
        self.is_choked = False
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def flush(self) -> None:
        """Write what there is to send."""
        data = self._protocol.data_to_send()
        if data and self._transport is not None:
            self._transport.write(data)

    async def wait(self) -> bool:
        """Wait until the server says more or takes more; `False` when it did neither in time.

        The deadline is one for each step of the protocol: an answer that comes octet by octet does
        not put it off.
        """
        loop = asyncio.get_running_loop()
        if self._steps != self._protocol.steps:
            self._steps = self._protocol.steps
            self._deadline = loop.time() + self._protocol.timeout_seconds
        if self._is_paused and self._transport is not None and not self._is_lost.is_set():
            self._is_paused = False
            self._transport.resume_reading()
        self._waiter = loop.create_future()
        try:
            async with asyncio.timeout_at(self._deadline):
                await self._waiter
        except TimeoutError:
            return False
        finally:
            self._waiter = None
        return True

    async def close(self) -> None:
        """Drop the connection, and wait until it is gone."""
        if self._transport is not None:
            self._transport.abort()
            await self._is_lost.wait()
