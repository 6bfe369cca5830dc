"""A session on the bare core: feed it in pieces, answer by rule, note what came of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_SEND,
    NEED_TLS,
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
from pillarbox.protocol.sasl import STANDARD_MECHANISMS, Password
from pillarbox.protocol.server import MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK, ServerConnection

__all__ = ["LIMITED", "LOGINS", "MECHANISMS", "Happened", "Session", "hold"]

# Every limit within reach of a short stream.
LIMITED = Offer(
    hostname="mx.test",
    max_message_bytes=60,
    max_recipients=2,
    max_command_octets=512,
    max_errors=5,
    whole_body_octets=8,
)

MECHANISMS = {name: STANDARD_MECHANISMS[name] for name in ("PLAIN", "LOGIN")}

# The same with logins, and for a front server.
LOGINS = replace(
    LIMITED, mechanisms=MECHANISMS, allows_plaintext_auth=True, offers_xclient=True, max_errors=8
)

Happened = Connect | Auth | Mail | Rcpt | bytes
"""What a session comes to: clients, logins, senders and recipients, and whole messages."""

NO_MAILBOX = Reply(550, "5.1.1", "No such mailbox")
LATER = Reply(450, "4.2.1", "Later")


@dataclass
class Session:
    """One session.

    Args:
        offer: The limits.
        asks: Whether a handler is asked about senders and recipients.
        refuses: Whether it refuses every recipient.
    """

    offer: Offer = LIMITED
    asks: bool = True
    refuses: bool = False
    said: bytes = b""
    happened: list[Happened] = field(default_factory=list)
    is_closed: bool = False
    protocol: ServerConnection = field(init=False)
    _parts: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.protocol = ServerConnection(
            self.offer, asks_connect=self.asks, asks_mail=self.asks, asks_rcpt=self.asks
        )
        self.pump()

    def feed(self, data: bytes) -> bytes:
        """Feed the server, and let it go on; give what it says to it."""
        before = len(self.said)
        if data and not self.is_closed:
            self.protocol.receive_data(data)
            self.pump()
        return self.said[before:]

    def eof(self) -> None:
        """Close the client's side; nothing may be left open then."""
        if not self.is_closed:
            self.protocol.receive_eof()
            self.pump()
        assert self.is_closed

    def pump(self) -> None:
        while True:
            event = self.protocol.next_event()
            if not isinstance(event, Need):
                self._decide(event)
                continue
            self.said += self.protocol.data_to_send()
            self.is_closed = event is NEED_CLOSE
            if event is NEED_TLS:
                self.protocol.tls_started()
            elif event is not NEED_SEND:
                return

    def _decide(self, event: Event) -> None:
        reply = self.protocol.reply
        match event:
            case Connect(xclient):
                if xclient is not None:
                    self.happened.append(event)
                reply(self.offer.greeting)
            case Auth(_, credentials):
                self.happened.append(event)
                is_ann = credentials == Password("ann", "secret")
                self.protocol.answer_auth("ann" if is_ann else None)
            case Mail():
                self.happened.append(event)
                reply(SENDER_OK)
            case Rcpt(path):
                self.happened.append(event)
                is_refused = self.refuses or path.domain == "dead"
                reply(NO_MAILBOX if is_refused else LATER if "2" in path.domain else RECIPIENT_OK)
            case BodyPart(data, is_last):
                self._parts.append(data)
                if is_last:
                    self.happened.append(b"".join(self._parts))
                    self._parts.clear()
                    reply(MESSAGE_ACCEPTED)
            case BodyAborted():
                assert self._parts, "nobody has seen anything of this message"
                self._parts.clear()


def hold(pieces: Iterable[bytes], offer: Offer = LIMITED, *, asks: bool = True) -> Session:
    """Feed a whole stream in these pieces, and close the client's side."""
    session = Session(offer, asks)
    for piece in pieces:
        session.feed(piece)
    session.eof()
    return session
