"""The values a handler is given: who is connected, who sends to whom, and the message.

`Session` is one connection, `Envelope` one transaction in it, `Body` the octets of its message.
`Message` is all three together, for handlers that are plain functions. What a handler answers:
handler.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pillarbox.protocol.event import Mail, Rcpt

if TYPE_CHECKING:
    from email.message import EmailMessage

    from pillarbox.dialogue import Dialogue
    from pillarbox.log import SessionLog
    from pillarbox.protocol.server import ServerConnection
    from pillarbox.protocol.xclient import XClient

__all__ = ["Body", "Envelope", "Message", "Session", "Tls"]


class Session:
    """One connection, from the greeting to its end.

    Attributes:
        id: Names the connection in logs.
        peer: The client's address: `(host, port)`, or a path for a UNIX socket. XCLIENT changes it.
        local: The address of ours that it connected to.
        proxy: The proxy whose PROXY header told of the client; `None` where there was none.
        state: The handler's own notes about this connection.
    """

    __slots__ = ("_dialogue", "_protocol", "_state", "_tls", "id", "local", "peer", "proxy")

    def __init__(
        self,
        protocol: ServerConnection,
        *,
        id: str,  # noqa: A002  # the word that logs and users have for it
        peer: tuple[str, int] | str,
        local: tuple[str, int] | str,
        proxy: tuple[str, int] | str | None = None,
        tls: Callable[[], Tls | None] = lambda: None,
        dialogue: Dialogue | None = None,
    ) -> None:
        self.id = id
        self.peer = peer
        self.local = local
        self.proxy = proxy
        self._protocol = protocol
        self._tls = tls
        self._dialogue = dialogue
        self._state: dict[str, Any] | None = None

    @property
    def dialogue(self) -> tuple[str, ...]:
        """What both sides have said so far, a line each (dialogue.py).

        Empty where `Config.keeps_dialogue` does not ask for it.
        """
        return self._dialogue.lines if self._dialogue is not None else ()

    @property
    def domain(self) -> str | None:
        """What the client called itself in EHLO or HELO; `None` before that."""
        return self._protocol.domain

    @property
    def is_extended(self) -> bool:
        """Whether the client said EHLO."""
        return self._protocol.is_extended

    @property
    def is_lmtp(self) -> bool:
        """Whether LMTP is spoken, so that each recipient gets a reply to the message."""
        return self._protocol.offer.is_lmtp

    @property
    def identity(self) -> str | None:
        """Who logged in by AUTH, as the handler told; `None` for nobody."""
        return self._protocol.identity

    @property
    def xclient(self) -> XClient | None:
        """What a front server said of the client by XCLIENT; `None` where none did."""
        return self._protocol.xclient

    @property
    def tls(self) -> Tls | None:
        """What TLS agreed on, however it came about; `None` without TLS."""
        return self._tls() if self._protocol.is_tls else None

    @property
    def state(self) -> dict[str, Any]:
        """Whatever the handler wants to remember until the connection ends."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def log(self) -> SessionLog:
        """A logger whose records carry `id` and the peer, and show what could drive a terminal."""
        from pillarbox.log import SessionLog

        return SessionLog(self)

    def __repr__(self) -> str:
        return f"<Session {self.id} from {self.peer!r}>"


@dataclass(frozen=True, slots=True)
class Tls:
    """What is known of an encrypted connection.

    Attributes:
        version: Such as `TLSv1.3`.
        cipher: The cipher suite's name.
        server_name: The name that the client asked for (SNI), if it named one.
        client_certificate: The client's certificate, as `ssl.SSLObject.getpeercert()` gives it, if
            it was asked for one and showed a valid one.
    """

    version: str
    cipher: str
    server_name: str | None = None
    client_certificate: Mapping[str, object] | None = None


class Envelope:
    """One transaction: a sender and the recipients that were accepted.

    Attributes:
        mail: The MAIL command: path, size, body type, parameters.
        rcpts: The RCPT commands that were accepted, in their order.
    """

    __slots__ = ("mail", "rcpts")

    def __init__(self, mail: Mail, rcpts: Sequence[Rcpt]) -> None:
        self.mail = mail
        self.rcpts = rcpts

    @property
    def mail_from(self) -> str:
        """The sender's address; empty for the null reverse-path of a bounce."""
        return self.mail.path.mailbox

    @property
    def rcpt_tos(self) -> list[str]:
        """The recipients' addresses."""
        return [rcpt.path.mailbox for rcpt in self.rcpts]

    def __repr__(self) -> str:
        return f"<Envelope from {self.mail_from!r} to {self.rcpt_tos!r}>"


class Body:
    """The octets of a message: lines end in CRLF, dots are unstuffed, nothing else is changed.

    A small message is here as a whole; a large one is still coming in. `await body.read()` and
    `async for part in body` do for both, and while nobody asks for more, nothing more is read from
    the network.
    """

    __slots__ = ("_data", "_is_read")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._is_read = False

    @property
    def is_whole(self) -> bool:
        """Whether `data` has the message, so that nothing need be awaited."""
        return True

    @property
    def data(self) -> bytes:
        """The message.

        A handler method that is a plain `def` finds it here always, an `async def` when `is_whole`.

        Raises:
            RuntimeError: The message is still coming in: `await body.read()`.
        """
        return self._data

    async def read(self) -> bytes:
        """Read what is left of the message.

        Raises:
            IncompleteBody: The client went away or the message broke a rule.
        """
        return b"".join([part async for part in self])

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        """Give the next octets, some ten thousand at a time.

        Raises:
            IncompleteBody: The client went away or the message broke a rule.
        """
        if self._is_read or not self._data:
            raise StopAsyncIteration
        self._is_read = True
        return self._data


@dataclass(frozen=True, slots=True)
class Message:
    """A message and all that is known about it: what a handler that is a plain function gets.

    Attributes:
        mail_from: The envelope's sender; empty for a bounce.
        rcpt_tos: The envelope's recipients.
        data: The octets as they came.
        envelope: The same with every parameter of MAIL and RCPT.
        session: The connection.
    """

    mail_from: str
    rcpt_tos: list[str]
    data: bytes
    envelope: Envelope = field(repr=False)
    session: Session = field(repr=False)

    def parse(self) -> EmailMessage:
        """Parse the octets by the standard library's `email`."""
        from email import message_from_bytes, policy

        return message_from_bytes(self.data, policy=policy.default)
