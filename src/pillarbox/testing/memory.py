"""A server in memory: the protocol core and a handler, with nothing between them; and a handler.

No network, no clock, no event loop: what goes wrong here goes wrong in every driver. The same for
the asyncio driver: transport.py.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Mapping, Sequence
from typing import assert_never, cast

from pillarbox.asyncio.connection import FAILED, NO_MESSAGE_METHOD
from pillarbox.envelope import Body, Envelope, Message, Session
from pillarbox.handler import AnyHandler, Reject, questions
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_SEND,
    Auth,
    BodyAborted,
    BodyPart,
    Connect,
    Event,
    Mail,
    Need,
    Rcpt,
)
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import ScramUser
from pillarbox.protocol.server import MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK, ServerConnection

__all__ = ["MemoryServer", "Recorder"]


class Recorder:
    """A handler that takes every message, but for the addresses that it is told to refuse.

    Args:
        refusals: What to answer to MAIL and RCPT with these addresses.
        reply: What to answer to a message.
    """

    def __init__(
        self, refusals: Mapping[str, Reply] | None = None, *, reply: Reply | None = None
    ) -> None:
        self.refusals = refusals or {}
        self.reply = reply
        self.messages: list[Message] = []
        """What was taken, in its order."""
        self.calls: list[str] = []
        """The names of the methods that were called, in their order."""

    def connect(self, _session: Session) -> None:
        """Greet everybody."""
        self.calls.append("connect")

    def mail(self, _session: Session, mail: Mail) -> Reply | None:
        """Take every sender that is not to be refused."""
        self.calls.append("mail")
        return self.refusals.get(mail.path.mailbox)

    def rcpt(self, _session: Session, rcpt: Rcpt) -> Reply | None:
        """Take every recipient that is not to be refused."""
        self.calls.append("rcpt")
        return self.refusals.get(rcpt.path.mailbox)

    def message(self, session: Session, envelope: Envelope, body: Body) -> Reply | None:
        """Keep the message."""
        self.calls.append("message")
        if self.reply is None or self.reply.is_positive:
            self.messages.append(
                Message(envelope.mail_from, envelope.rcpt_tos, body.data, envelope, session)
            )
        return self.reply

    def disconnect(self, _session: Session) -> None:
        """Take note."""
        self.calls.append("disconnect")


class MemoryServer:
    """The protocol core and a handler, with no network and no clock: a `Stream` to `play()` on.

    An `async def` handler may await its body, which is always whole here, and nothing that takes
    time.

    Args:
        handler: What decides.
        offer: Limits and names; the hostname is mx.test where none is given.
    """

    def __init__(self, handler: AnyHandler, *, offer: Offer | None = None) -> None:
        self._asks = questions(handler)
        self.protocol = ServerConnection(
            offer or Offer(hostname="mx.test"),
            asks_connect=self._asks.connect is not None,
            asks_mail=self._asks.mail is not None,
            asks_rcpt=self._asks.rcpt is not None,
        )
        self.session = Session(
            self.protocol, id="memory", peer=("192.0.2.1", 49152), local=("192.0.2.25", 25)
        )
        self.is_closed = False
        self.failures: list[Exception] = []
        """What the handler raised that was no `Reject`."""
        self._parts: list[bytes] = []
        self._out = bytearray()
        self._pump()

    def sendall(self, data: bytes, /) -> None:
        """Feed the server.

        Raises:
            BrokenPipeError: It has closed.
        """
        if self.is_closed:
            raise BrokenPipeError("the server has closed")
        self.protocol.receive_data(data)
        self._pump()

    def recv(self, size: int = 65536, /) -> bytes:
        """Give what the server said, `b""` where it has closed.

        Raises:
            TimeoutError: It says nothing.
        """
        data = bytes(self._out[:size])
        del self._out[:size]
        if not data and not self.is_closed:
            raise TimeoutError("the server says nothing; it waits for the client")
        return data

    def shutdown(self, how: int = socket.SHUT_WR, /) -> None:
        """Close the client's side."""
        if not self.is_closed:
            self.protocol.receive_eof()
            self._pump()

    def _pump(self) -> None:
        while not isinstance(step := self.protocol.next_event(), Need):
            try:
                reply = self._decide(step)
            except Reject as error:
                reply = error.reply
            except Exception as error:
                self.failures.append(error)
                reply = FAILED
            if reply is not None:
                self.protocol.reply(reply)
        self._out += self.protocol.data_to_send()
        if step is NEED_SEND:
            self._pump()
        elif step is NEED_CLOSE:
            self.is_closed = True
            if self._asks.disconnect is not None:
                self._asks.disconnect(self.session)

    def _decide(self, event: Event) -> Reply | None:
        asks = self._asks
        match event:
            case Connect(xclient):
                if xclient is not None:
                    self.session.peer = xclient.peer(self.session.peer)
                    self.session.local = xclient.local(self.session.local)
                answer = asks.connect(self.session) if asks.connect is not None else None
                return _settled(answer, self.protocol.offer.greeting)
            case Mail():
                assert asks.mail is not None
                return _settled(asks.mail(self.session, event), SENDER_OK)
            case Rcpt():
                assert asks.rcpt is not None
                return _settled(asks.rcpt(self.session, event), RECIPIENT_OK)
            case BodyPart(data, is_last):
                self._parts.append(data)
                return self._message() if is_last else None
            case BodyAborted():
                self._parts.clear()
                return None
            case Auth():
                self._authenticate(event)
                return None
            case _:
                assert_never(event)

    def _authenticate(self, auth: Auth) -> None:
        asks = self._asks
        answer: object = None
        if isinstance(auth.credentials, ScramUser):
            if asks.scram_secret is not None:
                answer = _finished(asks.scram_secret(self.session, auth.credentials))
        elif asks.auth is not None:
            answer = _finished(asks.auth(self.session, auth.credentials))
        self.protocol.answer_auth(answer)

    def _message(self) -> Reply | None:
        body = Body(b"".join(self._parts))
        self._parts.clear()
        if self._asks.message is None:
            return NO_MESSAGE_METHOD
        envelope = Envelope(cast("Mail", self.protocol.mail), self.protocol.rcpts)
        answer = _finished(self._asks.message(self.session, envelope, body))
        if isinstance(answer, Sequence) and answer and not isinstance(answer, str | bytes):
            self.protocol.reply(*answer)
            return None
        return _settled(answer, MESSAGE_ACCEPTED)


def _finished(answer: object) -> object:
    """Finish what the handler began: it has nothing to wait for."""
    if isinstance(answer, Awaitable):
        try:
            next(answer.__await__())
        except StopIteration as finished:
            return finished.value
        raise RuntimeError("the handler waits; MemoryServer has no time: use `serve()`")
    return answer


def _settled(answer: object, ordinary: Reply) -> Reply:
    answer = _finished(answer)
    if not isinstance(answer, Reply | None):
        raise TypeError(f"the handler answered {answer!r}; return a Reply or None")
    return answer or ordinary
