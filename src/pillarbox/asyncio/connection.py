"""One connection: the protocol and the handler, and no SMTP (see protocol/server.py for that).

A callback driver on top of wire.py. `data_received` feeds the protocol, asks the handler about one
event after the other and writes the replies of the whole batch at once. It stays synchronous until
a handler's method has to wait; one task then does the rest of that batch.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, cast

from pillarbox.asyncio.body import BodyStream
from pillarbox.asyncio.wire import Wire
from pillarbox.envelope import Body, Envelope, Session
from pillarbox.handler import Answer, Disconnect, MaybeAwaitable, Reject
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    NEED_TLS,
    Auth,
    BodyPart,
    Connect,
    Event,
    Mail,
    Rcpt,
)
from pillarbox.protocol.note import MessageAnswered
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import ScramUser
from pillarbox.protocol.server import MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK
from pillarbox.protocol.state import State

if TYPE_CHECKING:
    from pillarbox.asyncio.server import Listener, Server

__all__ = ["Connection"]

FAILED = Reply(451, "4.3.0", "Local error; try again later")
AUTH_FAILED_HERE = Reply(454, "4.7.0", "Temporary authentication failure")
CANCELLED = Reply(421, "4.3.0", "Local error; try again later")
SHUTTING_DOWN = Reply(421, "4.3.2", "Shutting down")
NO_MEMORY = Reply(452, "4.3.1", "Too much mail at once; try again later")
NO_MESSAGE_METHOD = Reply(554, "5.3.2", "No mail is taken here")
ORDINARY = (MESSAGE_ACCEPTED,)

# While a handler thinks, this much is read ahead of it; then TCP makes the client wait.
HIGH_WATER_OCTETS = 131_072


class Connection(Wire):
    """The driver of one connection. The server makes it; nobody else does."""

    __slots__ = ("_asked", "_asked_at", "_session", "_stream", "_task", "_waiter")

    def __init__(self, server: Server, listener: Listener) -> None:
        super().__init__(server, listener)
        self._session: Session | None = None
        self._asked: Event = Connect()
        self._asked_at = 0.0
        self._task: asyncio.Task[None] | None = None
        self._stream: BodyStream | None = None
        self._waiter: asyncio.Future[None] | None = None

    @property
    def session(self) -> Session:
        """What the handler knows this connection by; made when it is first asked for."""
        if self._session is None:
            self._session = Session(
                self.protocol,
                id=self._server.next_session_id(),
                peer=self.peer,
                local=self.local,
                proxy=self.proxy,
                tls=lambda: self._tls.facts() if self._tls is not None else None,
                dialogue=self._dialogue,
            )
        return self._session

    # What asyncio calls

    def data_received(self, data: bytes) -> None:
        """Take octets, and do what they ask for."""
        if self._is_layered:
            data = self._unwrap(data)
            if not data:
                return
        self._active_at = self._server.now
        if self._dialogue is not None:
            self._dialogue.received(data)
        self.protocol.receive_data(data)
        if self._task is None and not self._chokes:
            self._go_on()
            return
        self._wake()
        # uvloop reads on and on before any task gets its turn.
        if self.protocol.buffered_octets >= HIGH_WATER_OCTETS:
            self._pause()

    def eof_received(self) -> bool:
        """Answer what came before the client closed its side, then close ours."""
        self.protocol.receive_eof()
        if self._is_unfinished():
            return False
        if self._task is None:
            self._go_on()
        else:
            self._wake()
        return True  # `_go_on` closes, when all is answered

    def resume_writing(self) -> None:
        """Go on with a client that reads again."""
        super().resume_writing()
        if self._chokes or self._is_lost or self._is_unfinished():
            return
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

    def _is_waiting_for_peer(self) -> bool:
        return self._task is None or self._waiter is not None

    def drain(self) -> None:
        """Say goodbye now if no transaction is open; otherwise `_pump` does when it has ended."""
        if self._is_unfinished():
            self._transport.abort()
        elif self._task is None and self.protocol.state <= State.READY:
            self.close(SHUTTING_DOWN)

    def abort(self) -> None:
        """Drop the connection, and whatever the handler does for it."""
        self._transport.abort()
        if self._task is not None:
            self._task.cancel()

    async def more_data(self) -> None:
        """Wait until the client has sent more, or is gone."""
        self.flush()
        if self._is_paused:
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

    async def _work(self, waiting: Awaitable[object] | None) -> None:
        """Do the rest of a batch, of which one event has to wait."""
        try:
            while waiting is not None:
                await self._outcome(waiting)
                waiting = None if self._is_lost else self._pump()
        except asyncio.CancelledError:
            self.close(CANCELLED)  # nobody will answer what the client waits for
            raise
        finally:
            self._task = None
            self.flush()
            if self._is_lost:
                self._disconnect()

    def _pump(self) -> Awaitable[object] | None:
        """Handle events until one has to wait, which is given back, or no more are there."""
        next_event = self.protocol.next_event
        while True:
            event = next_event()
            if event is NEED_DATA:
                if self._server.is_draining and self.protocol.state <= State.READY:
                    self.protocol.close(SHUTTING_DOWN)
                    continue
                if self._is_paused:
                    self._resume()
                return None
            if event is NEED_SEND:
                self.flush()
                if self._chokes:
                    return None
            elif event is NEED_TLS:
                self.flush()
                if not self._chokes:  # or else what is held back is said first, and in the clear
                    self._start_tls()
                return None
            elif event is NEED_CLOSE:
                self.flush()
                if not self._chokes:  # or else what is held back is said first
                    self._shut()
                return None
            elif (waiting := self._ask(cast("Event", event))) is not None:
                return waiting

    def _ask(self, event: Event) -> Awaitable[object] | None:
        """Ask the handler about one event, and answer it or give back what has to be awaited."""
        asks = self._server.questions
        self._asked = event
        answer: object
        try:
            # The tag tells the type, at a fraction of what isinstance() costs.
            if event.tag == BodyPart.tag:
                answer = self._ask_message(event)
            elif event.tag == Rcpt.tag:
                answer = asks.rcpt(self.session, event) if asks.rcpt else None
            elif event.tag == Mail.tag:
                answer = asks.mail(self.session, event) if asks.mail else None
            elif event.tag == Connect.tag:
                answer = self._ask_connect(event)
            elif event.tag == Auth.tag:
                answer = self._ask_auth(event)
            else:
                return None  # BodyAborted, with nobody reading any more
        except Exception as error:
            self._fail(error)
            return None
        if answer is not None and hasattr(answer, "__await__"):
            return cast("Awaitable[object]", answer)
        self._settle(answer)
        return None

    def _ask_connect(self, connect: Connect) -> MaybeAwaitable:
        if connect.xclient is not None:
            if self._session is not None:
                self._session.peer, self._session.local = self.peer, self.local
            refusal = self._server.admission.readmit(self)
            if refusal is not None:
                return refusal
        connected = self._server.questions.connect
        return connected(self.session) if connected is not None else None

    def _ask_auth(self, auth: Auth) -> object:
        asks = self._server.questions
        if isinstance(auth.credentials, ScramUser):
            return asks.scram_secret(self.session, auth.credentials) if asks.scram_secret else None
        return asks.auth(self.session, auth.credentials) if asks.auth else None

    def _ask_message(self, part: BodyPart) -> MaybeAwaitable:
        asks = self._server.questions
        if asks.message is None:
            return NO_MESSAGE_METHOD
        self._asked_at = self._server.clock()
        envelope = Envelope(cast("Mail", self.protocol.mail), self.protocol.rcpts)
        if part.is_last:
            return asks.message(self.session, envelope, Body(part.data))
        self._stream = BodyStream(self, part.data)
        if asks.message_streams:
            return asks.message(self.session, envelope, self._stream)
        return self._ask_whole(envelope, self._stream)

    async def _ask_whole(self, envelope: Envelope, stream: BodyStream) -> Answer:
        """Read a large message for a handler that cannot wait for it, within what memory allows."""
        message = self._server.questions.message
        assert message is not None
        parts: list[bytes] = []
        octets = 0
        try:
            async for part in stream:
                parts.append(part)
                octets += len(part)
                if not self._server.take_memory(len(part)):
                    raise Reject(NO_MEMORY)
            answer = message(self.session, envelope, Body(b"".join(parts)))
            return await answer if isinstance(answer, Awaitable) else answer
        finally:
            self._server.take_memory(-octets)

    # Answers

    async def _outcome(self, waiting: Awaitable[object]) -> None:
        try:
            answer = await waiting
        except Exception as error:
            self._fail(error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # by abort()
            self._fail(error)  # by the handler itself: it awaited what was cancelled
        else:
            self._settle(answer)

    def _settle(self, answer: object) -> None:
        """Tell the protocol what the handler answered."""
        stream = self._stream
        if self._is_settled():
            return
        asked = self._asked
        if asked.tag == Auth.tag:
            self.protocol.answer_auth(answer)
        elif answer is None:
            if asked.tag == BodyPart.tag:
                self._answer_message(stream, asked, ORDINARY)
            else:
                self.protocol.reply(self._ordinary_reply(asked))
        elif _is_reply(answer):
            self._answer(stream, cast("Reply", answer))
        elif asked.tag == BodyPart.tag and _are_replies(answer, len(self.protocol.rcpts)):
            self._answer_message(stream, asked, cast("Sequence[Reply]", answer))
        else:
            self._server.journal.counters.handler_errors += 1
            self.session.log.error(
                "the handler answered %s with %s;"
                " return a 2xx, 4xx or 5xx Reply, or None for the ordinary one",
                type(asked).__name__,
                repr(answer),
            )
            self._answer(stream, FAILED, is_told=True)

    def _fail(self, error: BaseException) -> None:
        """Refuse as the handler wants it; or log its failure, of which the client hears nothing."""
        stream = self._stream
        if self._is_settled():
            return
        if isinstance(error, Disconnect):
            self.protocol.close(FAILED)
            self.protocol.data_to_send()  # nobody hears it
            self._transport.abort()
            return
        is_told = not isinstance(error, Reject)
        if isinstance(error, Reject):
            reply = error.reply
        else:
            reply = AUTH_FAILED_HERE if self._asked.tag == Auth.tag else FAILED
            self._server.journal.counters.handler_errors += 1
            self.session.log.error(
                "the handler failed on %s; the client was told to try again",
                type(self._asked).__name__,
                exc_info=error,
            )
        self._answer(stream, reply, is_told=is_told)

    def _answer(self, stream: BodyStream | None, reply: Reply, *, is_told: bool = False) -> None:
        """Answer with one reply, of which the log may have been told already."""
        asked = self._asked
        if asked.tag == BodyPart.tag:
            self._answer_message(stream, asked, (reply,), is_told=is_told)
            return
        if asked.tag == Rcpt.tag:
            self._server.journal.count_recipient(reply)
        self.protocol.reply(reply)

    def _answer_message(
        self,
        stream: BodyStream | None,
        part: BodyPart,
        replies: Sequence[Reply],
        *,
        is_told: bool = False,
    ) -> None:
        """Answer a message, and count it."""
        # An early answer may not be the last word: the protocol will note what was.
        if stream is None or stream.is_finished:
            journal = self._server.journal
            octets = len(part.data) if stream is None else stream.octets
            rcpt_count = len(self.protocol.rcpts)
            if replies is ORDINARY and not journal.tells_everything:
                counters = journal.counters
                counters.messages_accepted += 1
                counters.recipients_accepted += rcpt_count
                counters.message_octets += octets
            else:
                mail = self.protocol.mail
                journal.take_message(
                    self,
                    MessageAnswered(
                        mail.path.mailbox if mail is not None else "",
                        rcpt_count,
                        octets,
                        tuple(replies),
                    ),
                    seconds=self._server.clock() - self._asked_at,
                    is_told=is_told,
                )
        self.protocol.reply(*replies)

    def _is_settled(self) -> bool:
        """Tell whether no answer is wanted any more."""
        stream, self._stream = self._stream, None
        if stream is not None:
            if stream.is_failed:
                return True  # the protocol has told the client already
            # Whoever reads on after the answer must not take the next command for the body.
            stream.fail()
            self._wake()
        return self._is_lost or self.protocol.state is State.CLOSED

    def _ordinary_reply(self, asked: Event) -> Reply:
        if asked.tag == BodyPart.tag:
            return MESSAGE_ACCEPTED
        if asked.tag == Rcpt.tag:
            return RECIPIENT_OK
        if asked.tag == Mail.tag:
            return SENDER_OK
        return self._server.offer.greeting

    def _disconnect(self) -> None:
        """Tell the handler, once, that the connection is over."""
        disconnect = self._server.questions.disconnect
        if disconnect is None or self.client is None:
            return
        try:
            waiting = disconnect(self.session)
        except Exception:
            self._server.journal.counters.handler_errors += 1
            self.session.log.exception("the handler failed on disconnect")
        else:
            if waiting is not None:
                self._server.spawn(self.session, waiting)


def _is_reply(answer: object) -> bool:
    return isinstance(answer, Reply) and not 300 <= answer.code < 400


def _are_replies(answer: object, count: int) -> bool:
    return isinstance(answer, Sequence) and len(answer) == count and all(map(_is_reply, answer))


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
