"""The client's side of SMTP: octets in, events and octets out (RFC 5321, RFC 2920, RFC 3030).

`ClientConnection` is the whole state of one session; it does no I/O and knows no clock. Feed it by
`receive_data()`, ask `next_event()` until it needs something, and send what `data_to_send()` gives.
It says EHLO by itself; then each `send_message()` ends in one `Sent`.

What an answer does is one row of a table, at the end. Which reply answers what, pipelined or in
lock-step, is pipeline.py's; what is said of a message and what became of it outgoing.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, cast

from pillarbox.protocol.address import AddressError, Path, parse_domain
from pillarbox.protocol.client_event import NEED_BODY, ClientEvent, Outcome, Ready, Refused, Sent
from pillarbox.protocol.client_state import ANSWERS, Awaited, ClientState, Timeouts
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import NEED_CLOSE, NEED_DATA, NEED_SEND, BodyType, Need
from pillarbox.protocol.outgoing import OutgoingMessage
from pillarbox.protocol.pipeline import Pipeline
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import NO_EXTENSIONS, Extensions, broken, parse_extensions

__all__ = ["ClientConnection"]

LOST = Reply(421, "4.4.2", "The connection was lost")

# A message that is here as a whole goes out in slices of this size.
SLICE_OCTETS: Final = 262_144


class ClientConnection:
    """One SMTP session, seen from the client.

    Args:
        hostname: What this client calls itself: a domain name or an address literal.
        timeouts: What `timeout_seconds` is taken from.
        trace: Called with each line of the dialogue, `C: ` or `S: ` in front; the message itself is
            one line that tells its size.

    Raises:
        AddressError: The host name is none.
    """

    __slots__ = (
        "_event",
        "_is_eof",
        "_is_stale",
        "_message",
        "_pipeline",
        "_state",
        "closing_reply",
        "extensions",
        "greeting",
        "hostname",
        "is_extended",
        "timeouts",
    )

    def __init__(
        self,
        hostname: str,
        *,
        timeouts: Timeouts | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        try:
            self.hostname = parse_domain(hostname.encode("ascii", "replace"))
        except AddressError as error:
            raise AddressError(f"hostname {hostname!r}: {error}") from None
        self.timeouts = timeouts or Timeouts()
        self.greeting: Reply | None = None
        """What the server said first."""
        self.is_extended = False
        """Whether the server knows EHLO."""
        self.extensions: Extensions = NO_EXTENSIONS
        """What it offers: `{"PIPELINING": (), "SIZE": ("33554432",), ...}`."""
        self.closing_reply: Reply | None = None
        """What ended the session: 221, 421, or words of our own where the server had none."""
        self._pipeline = Pipeline(trace)
        self._state = ClientState.OPENING
        self._message: OutgoingMessage | None = None
        self._event: ClientEvent | None = None
        self._is_stale = False  # the server still has the sender of a message that failed
        self._is_eof = False

    @property
    def is_open(self) -> bool:
        """Whether the session goes on and no message is under way."""
        return self._state is ClientState.READY and self._event is None

    @property
    def steps(self) -> int:
        """Counts what is said and answered: while it stands still, one deadline runs."""
        return self._pipeline.steps

    @property
    def timeout_seconds(self) -> float:
        """How long the driver waits for the next change of `steps` (RFC 5321 §4.5.3.2)."""
        awaited = self._pipeline.awaited
        if self._state is ClientState.BODY or not awaited:
            return self.timeouts.block
        return ANSWERS[awaited[0]].seconds(self.timeouts)

    @property
    def buffered_octets(self) -> int:
        """How much was received and not consumed; stop reading while it is much."""
        return self._pipeline.buffered_octets

    # Octets and events

    def receive_data(self, data: bytes) -> None:
        """Take octets from the server; call `next_event()` next."""
        if self._state is not ClientState.CLOSED:
            self._pipeline.feed(data)

    def receive_eof(self) -> None:
        """Take note that the server will send no more; call `next_event()` next."""
        self._is_eof = True

    def data_to_send(self) -> bytes:
        """Give the octets to send now, and forget them."""
        return self._pipeline.data_to_send()

    def next_event(self) -> ClientEvent | Need:
        """Give what happened next, or what is needed before that can be told.

        Between messages that is `NEED_DATA`, though only a goodbye may come.

        Raises:
            RemoteProtocolError: The server broke the protocol, or closed without a word. The
                session is over; the next event tells what became of the message under way.
        """
        while self._event is None:
            if self._state is ClientState.CLOSED:
                return NEED_CLOSE
            try:
                answer = self._pipeline.next_answer()
                if answer is not None:
                    self._take(*answer)
                    continue
            except RemoteProtocolError as error:
                self.abandon(error.reply)
                raise
            if self._is_eof and self._state is ClientState.LEAVING:
                self._end(LOST, None)
            elif self._is_eof:
                self._end(LOST, None)
                raise RemoteProtocolError("the server closed the connection", reply=LOST)
            elif self._may_write():
                message = cast("OutgoingMessage", self._message)
                if message.data is None:
                    return NEED_BODY
                part, is_last = message.take_slice(SLICE_OCTETS)
                self._write(part, is_last=is_last)
                return NEED_SEND
            else:
                return NEED_DATA
        event, self._event = self._event, None
        return event

    # What you say

    def send_message(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[str | Path],
        data: bytes | None,
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
        chunking: bool = True,
    ) -> None:
        """Begin to send a message; call `next_event()` until it gives `Sent`.

        A message that needs an extension which the server does not offer is `Sent` at once, with
        replies of our own.

        Args:
            mail_from: The sender's address; empty for the null reverse-path of a bounce.
            rcpt_tos: The recipients' addresses.
            data: The message, or `None` to give it by `send_part()` at each `NEED_BODY`.
            size: The octets of a message that comes in parts, where they are known (RFC 1870).
            body: What the octets are (RFC 6152, RFC 3030); where it is not given, they are looked
                at, or described as 8BITMIME where they come in parts.
            smtputf8: The message has UTF-8 in its header (RFC 6531). Addresses are looked at.
            chunking: Use BDAT where the server offers it (RFC 3030), so that any octets arrive as
                they are. DATA carries lines that end in CRLF alone.

        Raises:
            LocalProtocolError: The session is not open, or a message is under way.
            ValueError: An address is none, an argument makes no sense, or the message cannot go by
                DATA. Nothing was sent.
        """
        self._require_open()
        message = OutgoingMessage(
            mail_from, rcpt_tos, data, size=size, body=body, smtputf8=smtputf8
        )
        refusal = message.refusal_by(self.extensions)
        if refusal is not None:
            self._event = Sent(message.outcome(refusal, None))
            return
        message.choose_form(self.extensions, chunking=chunking)
        self._message = message
        self._state = ClientState.ENVELOPE
        commands = [(b"RSET", Awaited.RSET)] if self._is_stale else []
        commands.append((message.mail_command(self.extensions), Awaited.MAIL))
        commands.extend((line, Awaited.RCPT) for line in message.rcpt_commands())
        if message.writer is not None and self._pipeline.is_pipelined:
            commands.append((b"DATA", Awaited.DATA))
        self._pipeline.say(*commands)

    def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """Give the next octets of the message; call `data_to_send()` and `next_event()` next.

        Raises:
            LocalProtocolError: `next_event()` has not asked for a part.
            ValueError: The part cannot go by DATA. What went out before cannot be taken back: close
                the connection, and nothing will have been sent.
        """
        if not self._may_write():
            raise LocalProtocolError(self._state.value)
        self._write(data, is_last=is_last)

    def quit(self) -> None:
        """Say QUIT; call `next_event()` until it gives `NEED_CLOSE`.

        Raises:
            LocalProtocolError: The session is not open, or a message is under way.
        """
        self._require_open()
        self._leave()

    def _require_open(self) -> None:
        if self._event is not None:
            raise LocalProtocolError("an event waits: call next_event() first")
        if self._state is not ClientState.READY:
            raise LocalProtocolError(self._state.value)

    def _leave(self) -> None:
        self._state = ClientState.LEAVING
        self._pipeline.say((b"QUIT", Awaited.QUIT))

    # The message

    def _may_write(self) -> bool:
        return self._state is ClientState.BODY and self._pipeline.has_room

    def _begin_body(self, message: OutgoingMessage) -> None:
        self._state = ClientState.BODY
        if message.data is not None and len(message.data) <= SLICE_OCTETS:
            self._write(message.data, is_last=True)

    def _write(self, part: bytes, *, is_last: bool) -> None:
        writer = cast("OutgoingMessage", self._message).writer
        if writer is not None:
            self._pipeline.write(writer.write(part, is_last=is_last))
            if is_last:
                self._pipeline.end_data(writer.octets)
        elif is_last:
            self._pipeline.write_chunk(b"BDAT %d LAST" % len(part), Awaited.LAST, part)
        elif part:
            self._pipeline.write_chunk(b"BDAT %d" % len(part), Awaited.BDAT, part)
        if is_last:
            self._state = ClientState.ENDING

    # Replies

    def _take(self, reply: Reply, awaited: Awaited | None) -> None:
        """Take one reply, and say what is due after it."""
        if awaited is None:
            self._take_unasked(reply)
        elif reply.code == 421:  # may come at any time (RFC 5321 §3.8)
            self._end(reply, awaited)
        else:
            _RUN[awaited](self, reply, awaited)
            self._pipeline.advance()

    def _take_unasked(self, reply: Reply) -> None:
        """Take a goodbye, or a refusal of a message that is still on its way.

        The latter is against RFC 5321 §4.1.1.4, and plain all the same; to hang up is the one way
        to leave DATA without a message.
        """
        is_refusal = self._state is ClientState.BODY and reply.code >= 400
        if not is_refusal and reply.code != 421:
            raise broken(f"nothing was asked, and {reply} came")
        is_data = self._message is not None and self._message.writer is not None
        self._end(reply, Awaited.DATA if is_data else Awaited.BDAT)

    def _greeted(self, reply: Reply, _awaited: Awaited) -> None:
        self.greeting = reply
        if reply.is_positive:
            self._hello(b"EHLO", Awaited.EHLO)
        else:
            self._refuse(reply)

    def _hello(self, verb: bytes, awaited: Awaited) -> None:
        self._pipeline.say((b"%b %b" % (verb, self.hostname.encode()), awaited))

    def _hello_answered(self, reply: Reply, awaited: Awaited) -> None:
        # After STARTTLS all that the server offered is forgotten and EHLO said again (RFC 3207
        # §4.2), after AUTH with a security layer likewise: both come through here.
        if reply.is_positive:
            self.is_extended = awaited is Awaited.EHLO
            self.extensions = parse_extensions(reply) if self.is_extended else NO_EXTENSIONS
            self._pipeline.is_pipelined = "PIPELINING" in self.extensions
            self._state = ClientState.READY
            self._event = Ready(reply)
        elif awaited is Awaited.EHLO and not reply.is_transient:
            self._hello(b"HELO", Awaited.HELO)
        else:
            self._refuse(reply)

    def _refuse(self, reply: Reply) -> None:
        self._event = Refused(reply)
        self._leave()

    def _rset_answered(self, reply: Reply, _awaited: Awaited) -> None:
        """Go on: where RSET was refused, so will MAIL be."""

    def _mail_answered(self, reply: Reply, _awaited: Awaited) -> None:
        message = cast("OutgoingMessage", self._message)
        message.mail_reply = reply
        self._is_stale = reply.is_positive
        if not reply.is_positive:
            self._pipeline.unsay()
            self._end_envelope(message, reply)

    def _rcpt_answered(self, reply: Reply, _awaited: Awaited) -> None:
        message = cast("OutgoingMessage", self._message)
        message.rcpt_replies.append(reply)
        self._end_envelope(message, reply)

    def _end_envelope(self, message: OutgoingMessage, reply: Reply) -> None:
        """Go on to the message once all recipients are answered, if it is taken for any.

        BDAT waits for that even where it could be pipelined: a server that refuses all recipients
        and does not skip the octets would run them as commands.
        """
        if not self._pipeline.is_idle:
            return
        if not message.has_recipients:
            self._finish(message.outcome(reply, None))
        elif message.writer is None:
            self._begin_body(message)
        else:
            self._pipeline.say((b"DATA", Awaited.DATA))

    def _data_answered(self, reply: Reply, awaited: Awaited) -> None:
        message = cast("OutgoingMessage", self._message)
        if reply.code >= 400:
            self._finish(message.outcome(reply, awaited.value))
        elif message.has_recipients:
            self._begin_body(message)
        else:
            # Pipelined, and taken for nobody: RFC 2920 §3.1 wants the lone dot.
            self._state = ClientState.ENDING
            self._pipeline.write(b".\r\n")
            self._pipeline.end_data(0)

    def _end_answered(self, reply: Reply, awaited: Awaited) -> None:
        # LMTP has one answer for each recipient taken (RFC 2033 §4.2), each awaited as an END.
        self._is_stale = False
        self._finish(cast("OutgoingMessage", self._message).outcome(reply, awaited.value))

    def _chunk_answered(self, reply: Reply, awaited: Awaited) -> None:
        message = cast("OutgoingMessage", self._message)
        if message.refusal is None and not reply.is_positive:
            # RFC 3030 §2: no more chunks, and RSET before anything else.
            message.refusal = reply, awaited.value
            self._state = ClientState.ENDING
        if self._state is ClientState.ENDING and self._pipeline.is_idle:
            self._is_stale = message.refusal is not None
            self._finish(message.outcome(reply, awaited.value))

    def _quit_answered(self, reply: Reply, _awaited: Awaited) -> None:
        self._end(reply, None)

    def _finish(self, outcome: Outcome) -> None:
        self._event = Sent(outcome)
        self._message = None
        self._state = ClientState.READY

    # The end

    def abandon(self, reply: Reply) -> None:
        """End the session without a word, as at a time-out; `reply` goes for whoever is open.

        `next_event()` tells what became of the message under way, then gives `NEED_CLOSE`.
        """
        if self._state is not ClientState.CLOSED:
            self._end(reply, None)

    def _end(self, reply: Reply, awaited: Awaited | None) -> None:
        """Close, with a reply for all that is open: the server's to what was awaited, or ours."""
        if self._message is not None:
            is_sent = awaited is None and self._state is ClientState.ENDING
            command = awaited.value if awaited else None
            self._finish(self._message.outcome(reply, command, is_sent=is_sent))
        elif self._state is ClientState.OPENING and awaited is not None:
            self._event = Refused(reply)
        self.closing_reply = reply
        self._state = ClientState.CLOSED
        self._pipeline.clear()


# What each answer does.
_RUN: Final[Mapping[Awaited, Callable[[ClientConnection, Reply, Awaited], None]]] = {
    Awaited.GREETING: ClientConnection._greeted,
    Awaited.EHLO: ClientConnection._hello_answered,
    Awaited.HELO: ClientConnection._hello_answered,
    Awaited.RSET: ClientConnection._rset_answered,
    Awaited.MAIL: ClientConnection._mail_answered,
    Awaited.RCPT: ClientConnection._rcpt_answered,
    Awaited.DATA: ClientConnection._data_answered,
    Awaited.END: ClientConnection._end_answered,
    Awaited.BDAT: ClientConnection._chunk_answered,
    Awaited.LAST: ClientConnection._chunk_answered,
    Awaited.QUIT: ClientConnection._quit_answered,
}
