"""The server's side of SMTP: octets in, events and octets out (RFC 5321).

`ServerConnection` is the whole state of one session; it does no I/O and knows no clock. Feed it by
`receive_data()`, take events one at a time from `next_event()`, answer each by `reply()`, and send
what `data_to_send()` gives. It never looks beyond an event that is not answered, so pipelining and
slow decisions stay in order.

Most commands are read by one regular expression, in place (fast.py); what it does not know goes to
the careful parsers of command.py, under the table of state.py. TLS, AUTH and all else that is about
the client and not about its mail is session.py's; the message itself is body.py's.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from pillarbox.protocol import command, replies
from pillarbox.protocol.address import Path
from pillarbox.protocol.auth import AuthExchange
from pillarbox.protocol.body import IncomingBody
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
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
from pillarbox.protocol.framing import ChunkReader, DataReader, LineTooLongError, NewlineCheck
from pillarbox.protocol.note import MessageAnswered
from pillarbox.protocol.replies import GOODBYE, MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.session import MAX_REPLIES_WAITING, ServerSession
from pillarbox.protocol.state import State, commands_of

__all__ = ["MESSAGE_ACCEPTED", "RECIPIENT_OK", "SENDER_OK", "ServerConnection"]

# A name of the module is found faster than one of an enumeration.
_, _HELLO, _READY, _MAIL, _RCPT, _CHUNKS, _DATA, _CHUNK, _SKIP, _GREETING, _AUTH, _TLS, _CLOSED = (
    State
)


class ServerConnection(ServerSession):
    """One SMTP session, seen from the server.

    Args:
        offer: Name, extensions and limits, shared by all sessions of a server.
        asks_connect: Give `Connect` and let its answer greet; otherwise the greeting is sent.
        asks_mail: Give `Mail`; otherwise every sender is accepted.
        asks_rcpt: Give `Rcpt`; otherwise every recipient is accepted.
        is_tls: The connection is encrypted from its first octet on (RFC 8314).
    """

    __slots__ = ("_asks_mail", "_asks_rcpt", "_body", "_newlines", "_skipped", "mail", "rcpts")

    def __init__(
        self,
        offer: Offer,
        *,
        asks_connect: bool = True,
        asks_mail: bool = True,
        asks_rcpt: bool = True,
        is_tls: bool = False,
    ) -> None:
        super().__init__(offer, is_tls=is_tls)
        self.mail: Mail | None = None
        """The sender of the open transaction."""
        self.rcpts: list[Rcpt] = []
        """The recipients accepted in it."""
        self._asks_mail = asks_mail
        self._asks_rcpt = asks_rcpt
        self._body: IncomingBody | None = None
        self._newlines: NewlineCheck | None = None
        self._skipped: tuple[ChunkReader, State] | None = None
        if not asks_connect:
            self._greet(offer.greeting)

    @property
    def incoming(self) -> IncomingBody | ChunkReader | None:
        """The message under way, if there is one: the same object from its first octet to its last.

        Its `octets` tell how much has come, so that a rate can be asked of them.
        """
        return self._skipped[0] if self._skipped is not None else self._body

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
                        if not self._asks_rcpt:
                            self._take_rcpts(found)
                            continue
                        buffer.offset = found.end()
                        self._owed = rcpt = Rcpt(Path(address))
                        return rcpt
                elif fast == MAIL:
                    if (
                        state is _READY
                        and not self._is_barred
                        and (mail := fast_mail(found, self.offer, is_extended=self.is_extended))
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
                elif (
                    state is _HELLO
                    and not self.offer.is_lmtp
                    and (domain := found[EHLO] or found[HELO])
                ):
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

    def _take_rcpts(self, found: re.Match[bytes] | None) -> None:
        """Accept a recipient, and all others that follow in the buffer."""
        buffer = self._buffer
        data = buffer.data
        rcpts = self.rcpts
        room = self.offer.max_recipients - len(rcpts)
        accepted, end = 0, buffer.offset
        while (
            found is not None
            and found.lastindex == RCPT
            and accepted < room
            and len(address := found[1]) <= MAX_FAST_ADDRESS_OCTETS
        ):
            rcpts.append(Rcpt(Path(address)))
            accepted += 1
            end = found.end()
            found = FAST.match(data, end)
        buffer.offset = end
        self._out += [RECIPIENT_OK.wire] * accepted
        self._state = _RCPT

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
        if state is _AUTH:
            return self._next_response()
        if state is _TLS:
            return NEED_TLS
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
            line = self._buffer.take_line(self._max_line_octets())
        except LineTooLongError:
            self._refuse(replies.LINE_TOO_LONG)
            return None
        if line is None:
            return self._wait()
        if b"\n" in line or b"\r" in line:
            self._refuse(replies.BARE_NEWLINE)
            return None
        verb, argument = command.split_verb(line)
        row = commands_of(
            is_lmtp=self.offer.is_lmtp, max_local_part_octets=self.offer.max_local_part_octets
        ).get(verb)
        if row is None:
            self._refuse_unknown(line, verb)
            return None
        state = self._state
        try:
            parsed = row.parse(argument)
        except RemoteProtocolError as error:
            self._refuse(row.refusals.get(state) or error.reply)
            return None
        if state in row.legal:
            if not self._leads_on(parsed) and self._is_one_too_many():
                self._cut_off(replies.TOO_MANY_COMMANDS)
                return NEED_CLOSE
            return _RUN[type(parsed)](self, parsed)
        self._refuse(row.refusals[state])
        if isinstance(parsed, command.Bdat) and self._state is not _CLOSED:
            # The octets follow whatever we say: they are skipped, never run as commands.
            self._skipped = ChunkReader(self._buffer, parsed.octets, is_last=False), state
            self._state = _SKIP
        return None

    def _leads_on(self, parsed: command.Command) -> bool:
        """Tell a command that brings a message nearer: other limits are set to these."""
        if isinstance(parsed, Rcpt):
            return len(self.rcpts) < self.offer.max_recipients
        return isinstance(parsed, command.Bdat) and (parsed.is_last or parsed.octets > 0)

    def _hello(self, hello: command.Hello) -> BodyAborted | None:
        aborted = self._end_transaction()
        self._greet_client(hello.domain, is_extended=hello.is_extended)
        return aborted

    def _mail(self, mail: Mail) -> Mail | None:
        limit = self.offer.max_message_bytes
        if self._is_barred:
            needs_tls = self.offer.requires_tls and not self.is_tls
            self._refuse(replies.NEEDS_TLS if needs_tls else replies.NEEDS_AUTH)
        elif mail.parameters and not self.is_extended:
            self._refuse(replies.NEEDS_EHLO)
        elif mail.requires_tls and not self.is_tls:
            self._refuse(replies.NO_REQUIRETLS)
        elif mail.auth is not None and not self.offer.mechanisms:
            self._refuse(command.UNKNOWN_PARAMETER)
        elif limit and mail.size is not None and mail.size > limit:
            self._say(replies.TOO_LARGE)
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
            self._say(replies.TOO_MANY_RECIPIENTS)
        elif self._asks_rcpt:
            self._owed = rcpt
            return rcpt
        else:
            self._answer_rcpt(rcpt, RECIPIENT_OK)
        return None

    def _rset(self, _rset: command.Rset) -> BodyAborted | None:
        aborted = self._end_transaction()
        self._say(replies.ACCEPTED)
        return aborted

    def _quit(self, _quit: command.Quit) -> BodyAborted | None:
        aborted = self._end_transaction()
        self.close(GOODBYE)
        return aborted

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
            self._refuse(replies.NEEDS_BDAT)
            return
        self._body = IncomingBody(DataReader(self._buffer), self.offer, self._newline_check())
        self._state = _DATA
        self._say(replies.START_MAIL_INPUT)

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
            answers = (body.refusal,) if body.refusal else body.kept_replies
            self._note_answer(body, answers)
            self._answer_message(answers)
        elif event.tag == BodyPart.tag:
            self._owed = event
        return event

    def _end_chunk(self, body: IncomingBody) -> None:
        refusal = body.known_refusal
        if refusal is not None:
            # RFC 3030 §2: once a chunk has failed, the client has to begin again.
            self._note_answer(body, (refusal,))
            self._say(refusal)
            self._end_transaction()
        else:
            self._say(replies.ACCEPTED)
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

    def reply(self, reply: Reply, *more: Reply) -> None:
        """Answer the event that `next_event()` gave; a 421 closes the session.

        The message of an LMTP session may be answered by a reply for each recipient, in their
        order; a single one stands for all (RFC 2033 §4.2).

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
            if body is None or not body.is_announced or body.kept_replies:
                raise LocalProtocolError("nothing to answer; call next_event() first")
            body.kept_replies = (reply, *more)
        elif owed.tag == Rcpt.tag:
            self._answer_rcpt(owed, reply)
        elif owed.tag == Mail.tag:
            self._answer_mail(owed, reply)
        elif owed.tag == BodyPart.tag:
            self._answer_message((reply, *more))
        elif owed.tag == Auth.tag:
            if reply.is_positive:
                self._owed = owed
                raise LocalProtocolError("Auth is accepted by answer_auth(), with an identity")
            exchange = cast("AuthExchange", self._exchange)
            if reply.is_transient:
                self._note(exchange.decided(None, reply))
                self._advance(reply)
            else:
                self._fail_login(exchange, reply)
        else:
            self._greet(reply)

    def _answer_mail(self, mail: Mail, reply: Reply) -> None:
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self.mail = mail
            self._state = _MAIL
        else:
            self._count_refusal(reply)

    def _answer_rcpt(self, rcpt: Rcpt, reply: Reply) -> None:
        mail = cast("Mail", self.mail)
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self.rcpts.append(rcpt)
            self._state = _RCPT
        else:
            self._count_refusal(reply)

    def _answer_message(self, answers: Sequence[Reply]) -> None:
        mail = cast("Mail", self.mail)
        count = len(self.rcpts) if self.offer.is_lmtp else 1
        if len(answers) == 1:
            answers = [answers[0]] * count
        elif count == 1:
            # SMTP has one reply for all: what some of them have taken is not sent again.
            answers = [next((reply for reply in answers if reply.is_positive), answers[0])]
        elif len(answers) != count:
            raise LocalProtocolError(f"{len(answers)} replies for {count} recipients")
        for reply in answers:
            self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if any(reply.is_positive for reply in answers):
            self._errors = self._idle_commands = 0
        elif self._is_one_too_many():
            self._cut_off(replies.TOO_MANY_COMMANDS)
        self._end_transaction()

    def _note_answer(self, body: IncomingBody, answers: tuple[Reply, ...]) -> None:
        mailbox = cast("Mail", self.mail).path.mailbox
        self._note(MessageAnswered(mailbox, len(self.rcpts), body.octets, answers))


# What each parsed command does. `Any` stands for the key's own type, which mypy cannot follow.
_RUN: Final[dict[type, Callable[[ServerConnection, Any], Event | None]]] = {
    command.Hello: ServerConnection._hello,
    command.StartTls: ServerConnection._starttls,
    command.Authenticate: ServerConnection._auth,
    command.XClientCommand: ServerConnection._xclient,
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
