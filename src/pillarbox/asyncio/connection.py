"""One connection: octets, time and the handler, and no SMTP (see protocol/server.py for that).

A callback driver. `data_received` feeds the protocol, asks the handler about one event after the
other and writes the replies of the whole batch at once. It stays synchronous until a handler's
method has to wait; one task then does the rest of that batch.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Coroutine
from typing import TYPE_CHECKING, cast

from pillarbox.asyncio.body import BodyStream
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import IncompleteBody, MaybeAwaitable, Reject
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    BodyPart,
    Connect,
    Event,
    Mail,
    Rcpt,
)
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.server import MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK, ServerConnection
from pillarbox.protocol.state import State

if TYPE_CHECKING:
    from pillarbox.asyncio.server import Server

__all__ = ["Connection"]

log = logging.getLogger("pillarbox")

FAILED = Reply(451, "4.3.0", "Local error; try again later")
IDLE = Reply(421, "4.4.2", "Idle too long")
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down")
NO_MESSAGE_METHOD = Reply(554, "5.3.2", "No mail is taken here")

# While a handler thinks, this much is read ahead of it; then TCP makes the client wait.
HIGH_WATER_OCTETS = 131_072
# A client that does not read our last words is not waited for.
LINGER_SECONDS = 5.0


class Connection(asyncio.Protocol):
    """The driver of one connection. The server makes it; nobody else does."""

    __slots__ = (
        "_active_at",
        "_asked",
        "_is_choked",
        "_is_lost",
        "_is_paused",
        "_server",
        "_session",
        "_stream",
        "_task",
        "_transport",
        "_waiter",
        "host",
        "protocol",
    )

    def __init__(self, server: Server) -> None:
        asks = server.questions
        self.protocol = ServerConnection(
            server.offer,
            asks_connect=asks.connect is not None,
            asks_mail=asks.mail is not None,
            asks_rcpt=asks.rcpt is not None,
        )
        self.host: str | None = None
        """The client's address, as the server counts it."""
        self._server = server
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._session: Session | None = None
        self._active_at = server.now
        self._asked: Event = Connect()
        self._task: asyncio.Task[None] | None = None
        self._stream: BodyStream | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._is_choked = False
        self._is_paused = False
        self._is_lost = False

    @property
    def session(self) -> Session:
        """What the handler knows this connection by; made when it is first asked for."""
        if self._session is None:
            self._session = Session(
                self.protocol,
                id=self._server.next_session_id(),
                peer=_address(self._transport, "peername"),
                local=_address(self._transport, "sockname"),
            )
        return self._session

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet, or send away one connection too many."""
        self._transport = cast("asyncio.Transport", transport)
        refusal = self._server.admit(self, transport.get_extra_info("peername"))
        if refusal is not None:
            self._transport.write(refusal.wire)
            self._transport.close()
        else:
            self._go_on()

    def data_received(self, data: bytes) -> None:
        """Take octets, and do what they ask for."""
        self._active_at = self._server.now
        self.protocol.receive_data(data)
        if self._task is None and not self._is_choked:
            self._go_on()
            return
        self._wake()
        # uvloop reads on and on before any task gets its turn.
        if self.protocol.buffered_octets >= HIGH_WATER_OCTETS:
            self._pause()

    def eof_received(self) -> bool:
        """Answer what came before the client closed its side, then close ours."""
        self.protocol.receive_eof()
        if self._task is None:
            self._go_on()
        else:
            self._wake()
        return True  # `_go_on` closes, when all is answered

    def pause_writing(self) -> None:
        """Read no more from a client that does not read what we say."""
        self._is_choked = True
        self._pause()

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        self._is_choked = False
        self._resume()
        if self._task is None:
            self._go_on()
        else:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """End what depends on the client; a message that was complete is still handled."""
        self._is_lost = True
        self._server.forget(self)
        if self._stream is not None:
            self._stream.fail()
        self._wake()
        if self._task is None:
            self._disconnect()
        else:
            self._server.adopt(self._task)

    # What the server and the body call

    def check(self, now: float) -> None:
        """Close the connection of a client that has been silent for too long."""
        silent_seconds = now - self._active_at
        if self._transport.is_closing():
            if silent_seconds > LINGER_SECONDS:
                self._transport.abort()
        elif self._task is not None and self._waiter is None:
            self._active_at = now  # it is the handler that takes its time
        elif silent_seconds > self.protocol.timeout_seconds:
            self.close(IDLE)

    def drain(self) -> None:
        """Say goodbye now if no transaction is open; otherwise `_pump` does when it has ended."""
        if self._task is None and self.protocol.state <= State.READY:
            self.close(SHUTTING_DOWN)

    def close(self, reply: Reply) -> None:
        """Send a last reply, and close."""
        self._active_at = self._server.now
        self.protocol.close(reply)
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        """Drop the connection, and whatever the handler does for it."""
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def more_data(self) -> None:
        """Wait until the client has sent more, or is gone."""
        self.flush()
        if self._is_paused and not self._is_choked:
            self._resume()
        self._waiter = self._server.loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The pump

    def _go_on(self) -> None:
        """Handle events until one has to wait or no more are there; then write, once."""
        waiting = self._pump()
        if waiting is not None:
            self._task = task = _start(self._work(waiting), self._server.loop)
            if task.done():
                self._task = None
        self.flush()

    async def _work(self, waiting: Awaitable[Reply | None] | None) -> None:
        """Do the rest of a batch, of which one event has to wait."""
        try:
            while waiting is not None:
                self._answer(await self._outcome(waiting))
                waiting = None if self._is_lost else self._pump()
        finally:
            self._task = None
            self.flush()
            if self._is_lost:
                self._disconnect()

    def _pump(self) -> Awaitable[Reply | None] | None:
        """Handle events until one has to wait, which is given back, or no more are there."""
        next_event = self.protocol.next_event
        while True:
            event = next_event()
            if event is NEED_DATA:
                if self._server.is_draining and self.protocol.state <= State.READY:
                    self.protocol.close(SHUTTING_DOWN)
                    continue
                if self._is_paused and not self._is_choked:
                    self._resume()
                return None
            if event is NEED_SEND:
                self.flush()
                if self._is_choked:
                    return None
            elif event is NEED_CLOSE:
                self.flush()
                self._active_at = self._server.now
                self._transport.close()
                return None
            elif (waiting := self._ask(cast("Event", event))) is not None:
                return waiting

    def _ask(self, event: Event) -> Awaitable[Reply | None] | None:
        """Ask the handler about one event, and answer it or give back what has to be awaited."""
        asks = self._server.questions
        self._asked = event
        try:
            answer: MaybeAwaitable
            # The tag tells the type, at a fraction of what isinstance() costs.
            if event.tag == BodyPart.tag:
                answer = self._ask_message(event)
            elif event.tag == Rcpt.tag:
                answer = asks.rcpt(self.session, event) if asks.rcpt else None
            elif event.tag == Mail.tag:
                answer = asks.mail(self.session, event) if asks.mail else None
            elif event.tag == Connect.tag:
                answer = asks.connect(self.session) if asks.connect else None
            else:
                return None  # BodyAborted, with nobody reading any more
            if answer is not None and hasattr(answer, "__await__"):
                return answer
            reply = self._reply_of(answer)
        except Exception as error:
            reply = self._refusal(error)
        self._answer(reply)
        return None

    def _ask_message(self, part: BodyPart) -> MaybeAwaitable:
        asks = self._server.questions
        if asks.message is None:
            return NO_MESSAGE_METHOD
        envelope = Envelope(cast("Mail", self.protocol.mail), self.protocol.rcpts)
        if part.is_last:
            return asks.message(self.session, envelope, Body(part.data))
        self._stream = BodyStream(self, part.data)
        if asks.message_streams:
            return asks.message(self.session, envelope, self._stream)
        return self._ask_whole(envelope, self._stream)

    async def _ask_whole(self, envelope: Envelope, stream: BodyStream) -> Reply | None:
        """Read a large message for a handler that cannot wait for it."""
        message = self._server.questions.message
        assert message is not None
        answer = message(self.session, envelope, Body(await stream.read()))
        return await answer if isinstance(answer, Awaitable) else answer

    # Answers

    async def _outcome(self, waiting: Awaitable[Reply | None]) -> Reply:
        try:
            return self._reply_of(await waiting)
        except Exception as error:
            return self._refusal(error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # by abort()
            return self._refusal(error)  # by the handler itself: it awaited what was cancelled

    def _reply_of(self, answer: object) -> Reply:
        if isinstance(answer, Reply) and not 300 <= answer.code < 400:
            return answer
        if answer is not None:
            log.error(
                "%s: the handler answered %s with %r;"
                " return a 2xx, 4xx or 5xx Reply, or None for the ordinary one",
                self.session.id,
                type(self._asked).__name__,
                answer,
            )
            return FAILED
        if self._asked.tag == BodyPart.tag:
            return MESSAGE_ACCEPTED
        if self._asked.tag == Rcpt.tag:
            return RECIPIENT_OK
        if self._asked.tag == Mail.tag:
            return SENDER_OK
        return self._server.offer.greeting

    def _refusal(self, error: BaseException) -> Reply:
        if isinstance(error, Reject):
            return error.reply
        if not isinstance(error, IncompleteBody):
            log.error(
                "%s: the handler failed on %s; the client was told to try again",
                self.session.id,
                type(self._asked).__name__,
                exc_info=error,
            )
        return FAILED

    def _answer(self, reply: Reply) -> None:
        stream, self._stream = self._stream, None
        if stream is not None:
            if stream.is_failed:
                return  # the protocol has told the client already
            # Whoever reads on after the answer must not take the next command for the body.
            stream.fail()
            self._wake()
        if not self._is_lost and self.protocol.state is not State.CLOSED:
            self.protocol.reply(reply)

    # The transport

    def flush(self) -> None:
        """Write what the protocol has to say."""
        data = self.protocol.data_to_send()
        if data and not self._is_lost:
            self._transport.write(data)

    def _pause(self) -> None:
        if not self._is_paused and not self._transport.is_closing():
            self._is_paused = True
            self._transport.pause_reading()

    def _resume(self) -> None:
        if self._is_paused and not self._transport.is_closing():
            self._is_paused = False
            self._transport.resume_reading()

    def _disconnect(self) -> None:
        """Tell the handler, once, that the connection is over."""
        disconnect = self._server.questions.disconnect
        if disconnect is None or self.host is None:
            return
        try:
            waiting = disconnect(self.session)
        except Exception:
            log.exception("%s: the handler failed on disconnect", self.session.id)
        else:
            if waiting is not None:
                self._server.spawn(self.session.id, waiting)


def _address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | str:
    address = transport.get_extra_info(name)
    if isinstance(address, tuple):
        return address[0], address[1]
    return address or ""


if sys.version_info >= (3, 12):

    def _start(
        work: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[None]:
        return asyncio.Task(work, loop=loop, eager_start=True)

else:

    def _start(
        work: Coroutine[None, None, None], loop: asyncio.AbstractEventLoop
    ) -> asyncio.Task[None]:
        return loop.create_task(work)
