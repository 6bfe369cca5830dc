"""The server's side of SMTP: octets in, events and octets out (RFC 5321).

`ServerConnection` is the whole state of one session; it does no I/O and knows no clock. Feed it by
`receive_data()`, take events one at a time from `next_event()`, answer each by `reply()`, and send
what `data_to_send()` gives. It never looks beyond an event that is not answered, so pipelining and
slow decisions stay in order.

Most commands are read by one regular expression, in place (fast.py); what it does not know goes to
the careful parsers of command.py, under the table of state.py. The message itself is body.py's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, cast

from pillarbox.protocol import command
from pillarbox.protocol.address import Path
from pillarbox.protocol.body import IncomingBody
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    BodyAborted,
    BodyPart,
    Connect,
    Event,
    Mail,
    Need,
    Rcpt,
)
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.fast import (
    DATA,
    EHLO,
    END,
    FAST,
    HELO,
    MAIL,
    MAX_FAST_ADDRESS_OCTETS,
    QUIT,
    RCPT,
    fast_mail,
)
from pillarbox.protocol.framing import (
    ChunkReader,
    DataReader,
    LineTooLongError,
    NewlineCheck,
    ReceiveBuffer,
)
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.state import COMMANDS, State

__all__ = ["MESSAGE_ACCEPTED", "RECIPIENT_OK", "SENDER_OK", "ServerConnection"]

ACCEPTED = Reply(250, "2.0.0", "OK")
MESSAGE_ACCEPTED = Reply(250, "2.0.0", "Message accepted")
SENDER_OK = Reply(250, "2.1.0", "Sender OK")
RECIPIENT_OK = Reply(250, "2.1.5", "Recipient OK")
START_MAIL_INPUT = Reply(354, None, "End data with <CR><LF>.<CR><LF>")
CANNOT_VERIFY = Reply(252, "2.5.0", "Cannot verify, but will take mail for it")
NO_EXPANSION = Reply(502, "5.5.1", "Lists are not shown")
GOODBYE = Reply(221, "2.0.0", "Goodbye")
HELP = Reply(214, "2.0.0", "Commands: EHLO HELO MAIL RCPT DATA BDAT RSET NOOP VRFY EXPN HELP QUIT")
UNKNOWN_COMMAND = Reply(500, "5.5.1", "Command not recognized")
LINE_TOO_LONG = Reply(500, "5.5.6", "Line too long")
BARE_NEWLINE = Reply(500, "5.5.2", "Only CRLF ends a line")
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", "Too many recipients")
TOO_MANY_ERRORS = Reply(421, "4.7.0", "Too many errors")
TOO_LARGE = Reply(552, "5.3.4", "Message too large")
NEEDS_BDAT = Reply(503, "5.5.1", "BODY=BINARYMIME goes by BDAT")
NEEDS_EHLO = Reply(555, "5.5.4", "Parameters need EHLO")

# Six octets of HELP make a hundred of reply: a burst of commands is answered in steps.
MAX_REPLIES_WAITING: Final = 256

_GREETING, _HELLO, _READY, _MAIL, _RCPT, _CHUNKS, _DATA, _CHUNK, _SKIP, _CLOSED = (
    State.GREETING,
    State.HELLO,
    State.READY,
    State.MAIL,
    State.RCPT,
    State.CHUNKS,
    State.DATA,
    State.CHUNK,
    State.SKIP,
    State.CLOSED,
)


class ServerConnection:
    """One SMTP session, seen from the server.

    Args:
        offer: Name, extensions and limits, shared by all sessions of a server.
        asks_connect: Give `Connect` and let its answer greet; otherwise the greeting is sent.
        asks_mail: Give `Mail`; otherwise every sender is accepted.
        asks_rcpt: Give `Rcpt`; otherwise every recipient is accepted.
    """

    __slots__ = (
        "_asks_mail",
        "_asks_rcpt",
        "_body",
        "_buffer",
        "_errors",
        "_is_eof",
        "_newlines",
        "_out",
        "_owed",
        "_skipped",
        "_state",
        "domain",
        "is_extended",
        "mail",
        "offer",
        "rcpts",
    )

    def __init__(
        self,
        offer: Offer,
        *,
        asks_connect: bool = True,
        asks_mail: bool = True,
        asks_rcpt: bool = True,
    ) -> None:
        self.offer = offer
        self.domain: str | None = None
        """What the client called itself in EHLO or HELO."""
        self.is_extended = False
        """Whether it said EHLO, so that it knows extensions."""
        self.mail: Mail | None = None
        """The sender of the open transaction."""
        self.rcpts: list[Rcpt] = []
        """The recipients accepted in it."""
        self._asks_mail = asks_mail
        self._asks_rcpt = asks_rcpt
        self._buffer = ReceiveBuffer()
        self._out: list[bytes] = []
        self._state = _GREETING
        self._owed: Event | None = None
        self._body: IncomingBody | None = None
        self._newlines: NewlineCheck | None = None
        self._skipped: tuple[ChunkReader, State] | None = None
        self._errors = 0
        self._is_eof = False
        if not asks_connect:
            self._greet(offer.greeting)

    @property
    def state(self) -> State:
        """Where the session stands."""
        return self._state

    @property
    def timeout_seconds(self) -> float:
        """How long the driver waits for the peer, from the last octets on (RFC 5321 §4.5.3.2)."""
        return self.offer.idle_timeout_seconds

    @property
    def buffered_octets(self) -> int:
        """How much was received and not consumed; stop reading while it is much."""
        return len(self._buffer)

    def receive_data(self, data: bytes) -> None:
        """Take octets from the peer; call `next_event()` next."""
        if self._state is not _CLOSED:
            self._buffer.feed(data)

    def receive_eof(self) -> None:
        """Take note that the peer will send no more; call `next_event()` next."""
        self._is_eof = True

    def data_to_send(self) -> bytes:
        """Give the octets to send now, and forget them."""
        out = self._out
        data = out[0] if len(out) == 1 else b"".join(out)
        out.clear()
        return data

    def next_event(self) -> Event | Need:
        """Give what the peer did next, or what is needed before that can be told.

        Raises:
            LocalProtocolError: The event before has not been answered.
        """
        if self._owed is not None:
            raise LocalProtocolError(
                f"{type(self._owed).__name__} is not answered; call reply() before next_event()"
            )
        buffer = self._buffer
        match = FAST.match
        while True:
            state = self._state
            if state <= _CHUNKS and (found := match(buffer.data, buffer.offset)):
                fast = found.lastindex
                if fast == RCPT:
                    if (
                        (state is _RCPT or state is _MAIL)
                        and len(self.rcpts) < self.offer.max_recipients
                        and len(address := found[1]) <= MAX_FAST_ADDRESS_OCTETS
                    ):
                        buffer.offset = found.end()
                        rcpt = Rcpt(Path(address))
                        if self._asks_rcpt:
                            self._owed = rcpt
                            return rcpt
                        self.rcpts.append(rcpt)
                        self._out.append(RECIPIENT_OK.wire)
                        self._state = _RCPT
                        continue
                elif fast == MAIL:
                    if state is _READY and (
                        mail := fast_mail(found, self.offer, is_extended=self.is_extended)
                    ):
                        buffer.offset = found.end()
                        if self._asks_mail:
                            self._owed = mail
                            return mail
                        self.mail = mail
                        self._out.append(SENDER_OK.wire)
                        self._state = _MAIL
                        continue
                elif fast == DATA:
                    if state is _RCPT:
                        buffer.offset = found.end()
                        self._data()
                        continue
                elif fast == END:
                    return self._wait()
                elif state is _HELLO and (domain := found[EHLO] or found[HELO]):
                    # A client's first command ends no transaction that anybody waits for.
                    buffer.offset = found.end()
                    self._greet_client(domain.decode(), is_extended=fast == EHLO)
                    continue
                elif state is _READY and fast == QUIT:
                    self.close(GOODBYE)
                    return NEED_CLOSE
            event = self._next_carefully()
            if event is not None:
                return event

    def _next_carefully(self) -> Event | Need | None:
        """Take one step in whatever state this is; `None` when there may be another."""
        state = self._state
        if state is _DATA or state is _CHUNK:
            return self._next_body()
        if state is _GREETING:
            self._owed = Connect()
            return self._owed
        if state is _CLOSED:
            return NEED_CLOSE
        if state is _SKIP:
            return self._next_skipped()
        return self._next_command()

    def _wait(self) -> BodyAborted | Need:
        self._buffer.release()
        if not self._is_eof:
            return NEED_DATA
        if self._body is not None and (aborted := self._body.abort(None)):
            return aborted
        return NEED_CLOSE

    # Commands

    def _next_command(self) -> Event | Need | None:
        if len(self._out) >= MAX_REPLIES_WAITING:
            return NEED_SEND
        try:
            line = self._buffer.take_line(self.offer.max_command_octets)
        except LineTooLongError:
            self._refuse(LINE_TOO_LONG)
            return None
        if line is None:
            return self._wait()
        if b"\n" in line or b"\r" in line:
            self._refuse(BARE_NEWLINE)
            return None
        verb, argument = command.split_verb(line)
        row = COMMANDS.get(verb)
        if row is None:
            self._refuse(UNKNOWN_COMMAND)
            return None
        state = self._state
        try:
            parsed = row.parse(argument)
        except RemoteProtocolError as error:
            self._refuse(row.refusals.get(state) or error.reply)
            return None
        if state in row.legal:
            return _RUN[type(parsed)](self, parsed)
        self._refuse(row.refusals[state])
        if isinstance(parsed, command.Bdat) and self._state is not _CLOSED:
            # The octets follow whatever we say: they are skipped, never run as commands.
            self._skipped = ChunkReader(self._buffer, parsed.octets, is_last=False), state
            self._state = _SKIP
        return None

    def _refuse(self, reply: Reply) -> None:
        """Answer a command that makes no sense; after too many of them, with a last word."""
        self._out.append(reply.wire)
        self._errors += 1
        if self._errors >= self.offer.max_errors:
            self.close(TOO_MANY_ERRORS)

    def _say(self, reply: Reply) -> None:
        self._out.append(reply.wire)

    def _hello(self, hello: command.Hello) -> BodyAborted | None:
        aborted = self._end_transaction()
        self._greet_client(hello.domain, is_extended=hello.is_extended)
        return aborted

    def _greet_client(self, domain: str, *, is_extended: bool) -> None:
        self.domain = domain
        self.is_extended = is_extended
        self._state = _READY
        self._say(self.offer.extended_hello if is_extended else self.offer.hello)

    def _mail(self, mail: Mail) -> Mail | None:
        limit = self.offer.max_message_bytes
        if mail.parameters and not self.is_extended:
            self._refuse(NEEDS_EHLO)
        elif limit and mail.size is not None and mail.size > limit:
            self._say(TOO_LARGE)
        elif self._asks_mail:
            self._owed = mail
            return mail
        else:
            self._answer_mail(mail, SENDER_OK)
        return None

    def _rcpt(self, rcpt: Rcpt) -> Rcpt | None:
        mail = cast("Mail", self.mail)
        try:
            command.check_smtputf8(rcpt.path, smtputf8=mail.smtputf8)
        except RemoteProtocolError as error:
            self._refuse(error.reply)
            return None
        if len(self.rcpts) >= self.offer.max_recipients:
            self._say(TOO_MANY_RECIPIENTS)
        elif self._asks_rcpt:
            self._owed = rcpt
            return rcpt
        else:
            self._answer_rcpt(rcpt, RECIPIENT_OK)
        return None

    def _rset(self, _rset: command.Rset) -> BodyAborted | None:
        aborted = self._end_transaction()
        self._say(ACCEPTED)
        return aborted

    def _quit(self, _quit: command.Quit) -> BodyAborted | None:
        aborted = self._end_transaction()
        self.close(GOODBYE)
        return aborted

    def _noop(self, _noop: command.Noop) -> None:
        self._say(ACCEPTED)

    def _help(self, _help: command.Help) -> None:
        self._say(HELP)

    def _vrfy(self, _vrfy: command.Vrfy) -> None:
        self._say(CANNOT_VERIFY)

    def _expn(self, _expn: command.Expn) -> None:
        self._say(NO_EXPANSION)

    def _end_transaction(self) -> BodyAborted | None:
        """Forget sender, recipients and message; tell whoever waits for the rest of it."""
        body = self._body
        self.mail = None
        self.rcpts = []
        self._body = None
        if _READY < self._state < _CLOSED:
            self._state = _READY
        return body.abort(None) if body is not None else None

    # The message

    def _data(self, _data: command.Data | None = None) -> None:
        if cast("Mail", self.mail).body == "BINARYMIME":
            self._refuse(NEEDS_BDAT)
            return
        self._body = IncomingBody(DataReader(self._buffer), self.offer, self._newline_check())
        self._state = _DATA
        self._say(START_MAIL_INPUT)

    def _bdat(self, bdat: command.Bdat) -> None:
        reader = ChunkReader(self._buffer, bdat.octets, is_last=bdat.is_last)
        if self._body is None:
            self._body = IncomingBody(reader, self.offer, self._newline_check())
        else:
            self._body.reader = reader
        self._state = _CHUNK

    def _newline_check(self) -> NewlineCheck | None:
        if self.offer.accept_bare_newlines or cast("Mail", self.mail).body == "BINARYMIME":
            return None
        if self._newlines is None:
            self._newlines = NewlineCheck()
        self._newlines.restart()
        return self._newlines

    def _next_body(self) -> Event | Need | None:
        body = cast("IncomingBody", self._body)
        event = body.pull()
        if event is not None:
            return event
        reader = body.reader
        if not reader.is_finished:
            return self._wait()
        if not reader.is_last:
            self._end_chunk(body)
            return None
        event = body.finish()
        if event is None:
            reply = body.refusal or cast("Reply", body.kept_reply)
            self._answer_message(reply)
        elif event.tag == BodyPart.tag:
            self._owed = event
        return event

    def _end_chunk(self, body: IncomingBody) -> None:
        reply = body.refusal or body.kept_reply
        if reply is not None and not reply.is_positive:
            # RFC 3030 §2: once a chunk has failed, the client has to begin again.
            self._answer_message(reply)
        else:
            self._say(ACCEPTED)
            self._state = _CHUNKS

    def _next_skipped(self) -> Event | Need | None:
        reader, state = cast("tuple[ChunkReader, State]", self._skipped)
        reader.read()
        if not reader.is_finished:
            return self._wait()
        self._skipped = None
        self._state = state
        return None

    # Answers

    def reply(self, reply: Reply) -> None:
        """Answer the event that `next_event()` gave; a 421 closes the session.

        While a message is still coming in, its answer may be given early: it is kept until the
        client has sent the rest.

        Raises:
            LocalProtocolError: Nothing is to be answered, or not by a 3xx reply.
        """
        if 300 <= reply.code < 400:
            raise LocalProtocolError(f"{reply.code} is no answer; take a 2xx, 4xx or 5xx reply")
        owed = self._owed
        self._owed = None
        if reply.code == 421 and (owed is not None or self._body is not None):
            self.close(reply)
        elif owed is None:
            body = self._body
            if body is None or not body.is_announced or body.kept_reply is not None:
                raise LocalProtocolError("nothing to answer; call next_event() first")
            body.kept_reply = reply
        elif owed.tag == Rcpt.tag:
            self._answer_rcpt(owed, reply)
        elif owed.tag == Mail.tag:
            self._answer_mail(owed, reply)
        elif owed.tag == BodyPart.tag:
            self._answer_message(reply)
        else:
            self._greet(reply)

    def _greet(self, reply: Reply) -> None:
        self._say(reply)
        self._state = State.HELLO if reply.is_positive else State.REFUSED

    def _answer_mail(self, mail: Mail, reply: Reply) -> None:
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self.mail = mail
            self._state = _MAIL

    def _answer_rcpt(self, rcpt: Rcpt, reply: Reply) -> None:
        mail = cast("Mail", self.mail)
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self.rcpts.append(rcpt)
            self._state = _RCPT

    def _answer_message(self, reply: Reply) -> None:
        mail = cast("Mail", self.mail)
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self._errors = 0
        self._end_transaction()

    def close(self, reply: Reply) -> None:
        """End the session with a last reply, whatever is going on: 421 at a time-out or shutdown.

        Call `data_to_send()` next; `next_event()` gives `NEED_CLOSE` from now on.
        """
        if self._state is _CLOSED:
            return
        self._say(reply)
        self._state = _CLOSED
        self._owed = None
        self._buffer.clear()


# What each parsed command does. `Any` stands for the key's own type, which mypy cannot follow.
_RUN: Final[dict[type, Callable[[ServerConnection, Any], Event | None]]] = {
    command.Hello: ServerConnection._hello,
    Mail: ServerConnection._mail,
    Rcpt: ServerConnection._rcpt,
    command.Data: ServerConnection._data,
    command.Bdat: ServerConnection._bdat,
    command.Rset: ServerConnection._rset,
    command.Noop: ServerConnection._noop,
    command.Vrfy: ServerConnection._vrfy,
    command.Expn: ServerConnection._expn,
    command.Help: ServerConnection._help,
    command.Quit: ServerConnection._quit,
}
