"""The server's side of SMTP: octets in, events and octets out (RFC 5321).

`ServerConnection` is the whole state of one session; it does no I/O and knows no clock. Feed it by
`receive_data()`, take events one at a time from `next_event()`, answer each by `reply()`, and send
what `data_to_send()` gives. It never looks beyond an event that is not answered, so pipelining and
slow decisions stay in order.

Most commands are read by one regular expression, in place (fast.py); what it does not know goes to
the careful parsers of command.py, under the table of state.py. The message itself is body.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

from pillarbox.protocol import command, replies
from pillarbox.protocol.address import Path
from pillarbox.protocol.auth import MAX_RESPONSE_OCTETS, AuthExchange
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
from pillarbox.protocol.framing import (
    ChunkReader,
    DataReader,
    LineTooLongError,
    NewlineCheck,
    ReceiveBuffer,
)
from pillarbox.protocol.note import ClientCutOff, MessageAnswered, Note
from pillarbox.protocol.replies import GOODBYE, MESSAGE_ACCEPTED, RECIPIENT_OK, SENDER_OK
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Failure, Question, Success, TlsFacts
from pillarbox.protocol.state import COMMANDS, LMTP_COMMANDS, State

__all__ = ["MESSAGE_ACCEPTED", "RECIPIENT_OK", "SENDER_OK", "ServerConnection"]

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
        is_tls: The connection is encrypted from its first octet on (RFC 8314).
    """

    __slots__ = (
        "_asks_mail",
        "_asks_rcpt",
        "_body",
        "_buffer",
        "_errors",
        "_exchange",
        "_idle_commands",
        "_is_barred",
        "_is_eof",
        "_newlines",
        "_out",
        "_owed",
        "_skipped",
        "_state",
        "auth_failures",
        "domain",
        "identity",
        "is_extended",
        "is_tls",
        "mail",
        "notes",
        "offer",
        "rcpts",
        "tls_facts",
    )

    def __init__(
        self,
        offer: Offer,
        *,
        asks_connect: bool = True,
        asks_mail: bool = True,
        asks_rcpt: bool = True,
        is_tls: bool = False,
    ) -> None:
        self.offer = offer
        self.is_tls = is_tls
        """Whether the connection is encrypted, however that came about."""
        self.tls_facts: TlsFacts | None = None
        """What SASL may know of TLS; the driver sets it where there is TLS."""
        self.identity: str | None = None
        """Who logged in."""
        self.domain: str | None = None
        """What the client called itself in EHLO or HELO."""
        self.is_extended = False
        """Whether it said EHLO, so that it knows extensions."""
        self.mail: Mail | None = None
        """The sender of the open transaction."""
        self.rcpts: list[Rcpt] = []
        """The recipients accepted in it."""
        self.notes: tuple[Note, ...] = ()
        """What was decided that no event tells of; `take_notes()` empties it."""
        self._asks_mail = asks_mail
        self._asks_rcpt = asks_rcpt
        self._buffer = ReceiveBuffer()
        self._out: list[bytes] = []
        self._state = _GREETING
        self._owed: Event | None = None
        self._body: IncomingBody | None = None
        self._newlines: NewlineCheck | None = None
        self._skipped: tuple[ChunkReader, State] | None = None
        self._exchange: AuthExchange | None = None
        self.auth_failures = 0
        """How often the client failed to log in; the driver lets it wait for each."""
        self._errors = self._idle_commands = 0
        self._is_barred = False
        self._is_eof = False
        self._bar()
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

    @property
    def incoming(self) -> IncomingBody | ChunkReader | None:
        """The message under way, if there is one: the same object from its first octet to its last.

        Its `octets` tell how much has come, so that a rate can be asked of them.
        """
        return self._skipped[0] if self._skipped is not None else self._body

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

    def take_notes(self) -> tuple[Note, ...]:
        """Give what was decided that no event tells of, and forget it."""
        notes, self.notes = self.notes, ()
        return notes

    def _note(self, note: Note) -> None:
        if len(self.notes) < MAX_REPLIES_WAITING:  # they pile up where nobody takes them
            self.notes += (note,)

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
        if state is State.AUTH:
            return self._next_response()
        if state is State.TLS:
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
        row = (LMTP_COMMANDS if self.offer.is_lmtp else COMMANDS).get(verb)
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

    def _is_one_too_many(self) -> bool:
        """Count a command that brought no message nearer."""
        self._idle_commands += 1
        return self._idle_commands > self.offer.max_idle_commands

    def _end_flood(self) -> None:
        """Count what was refused: whoever guesses names has an end, as NOOP in a loop has."""
        if self._is_one_too_many():
            self._cut_off(replies.TOO_MANY_COMMANDS)

    def _max_line_octets(self) -> int:
        """Tell how long a command may be: AUTH brings a response with it (RFC 4954 §4)."""
        buffer = self._buffer
        if (
            self.offer.mechanisms
            and buffer.data[buffer.offset : buffer.offset + 5].upper() == b"AUTH "
        ):
            return MAX_RESPONSE_OCTETS + len("AUTH SCRAM-SHA-256-PLUS \r\n")
        return self.offer.max_command_octets

    def _refuse_unknown(self, line: bytes, verb: bytes) -> None:
        if verb in _HTTP_METHODS and b" HTTP/" in line:
            # A browser was made to talk to us: what follows would be "commands" (cross-protocol
            # scripting).
            self._cut_off(replies.NO_HTTP_HERE)
        elif verb == b"LHLO":
            self._refuse(replies.NO_LHLO_HERE)
        elif self.offer.is_lmtp and verb in (b"EHLO", b"HELO"):
            self._refuse(replies.NO_EHLO_HERE)
        else:
            self._refuse(replies.UNKNOWN_COMMAND)

    def _refuse(self, reply: Reply) -> None:
        """Answer a command that makes no sense; after too many of them, with a last word."""
        self._out.append(reply.wire)
        self._errors += 1
        if self._errors >= self.offer.max_errors:
            self._cut_off(replies.TOO_MANY_ERRORS)

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
        if not is_extended:
            self._say(self.offer.hello)
        else:
            self._say(self.offer.extended_hello_tls if self.is_tls else self.offer.extended_hello)

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

    def _noop(self, _noop: command.Noop) -> None:
        self._say(replies.ACCEPTED)

    def _help(self, _help: command.Help) -> None:
        self._say(replies.HELP)

    def _vrfy(self, _vrfy: command.Vrfy) -> None:
        self._say(replies.CANNOT_VERIFY)

    def _expn(self, _expn: command.Expn) -> None:
        self._say(replies.NO_EXPANSION)

    def _end_transaction(self) -> BodyAborted | None:
        """Forget sender, recipients and message; tell whoever waits for the rest of it."""
        body = self._body
        self.mail = None
        self.rcpts = []
        self._body = None
        if _READY < self._state < _CLOSED:
            self._state = _READY
        return body.abort(None) if body is not None else None

    # TLS and AUTH

    def _bar(self) -> None:
        """Find out whether MAIL has to wait for TLS or AUTH."""
        offer = self.offer
        self._is_barred = (offer.requires_tls and not self.is_tls) or (
            offer.requires_auth and self.identity is None
        )

    def _starttls(self, _starttls: command.StartTls) -> None:
        if self.is_tls:
            self._refuse(replies.TLS_ACTIVE)
        elif not self.offer.offers_tls:
            self._refuse(replies.NO_TLS)
        else:
            self._say(replies.READY_FOR_TLS)
            self._state = State.TLS
            # What came in the clear behind STARTTLS was put there by somebody on the way
            # (CVE-2011-0411); it is never looked at.
            self._buffer.clear()

    def tls_started(self, facts: TlsFacts | None = None) -> None:
        """Begin again within TLS: nothing that was said before counts (RFC 3207 §4.2).

        Raises:
            LocalProtocolError: `next_event()` did not give `NEED_TLS`.
        """
        if self._state is not State.TLS:
            raise LocalProtocolError("no TLS is due; wait for next_event() to give NEED_TLS")
        self._buffer.clear()
        self._end_transaction()
        self.domain = self.identity = None
        self.is_extended = False
        self.is_tls = True
        self.tls_facts = facts
        self._bar()
        self._state = _HELLO

    def _auth(self, auth: command.Authenticate) -> Event | None:
        names = self.offer.mechanism_names(is_tls=self.is_tls)
        if not self.offer.mechanisms:
            self._refuse(replies.NO_AUTH)
        elif self.identity is not None:
            self._refuse(replies.AUTH_DONE)
        elif not names:
            self._refuse(replies.AUTH_NEEDS_TLS)
        elif auth.mechanism not in names:
            self._refuse(replies.AUTH_UNKNOWN)
        else:
            mechanism = self.offer.mechanisms[auth.mechanism](self._facts_for(auth.mechanism))
            self._exchange = AuthExchange(auth.mechanism, mechanism)
            return self._advance(self._exchange.start(auth.initial))
        return None

    def _facts_for(self, mechanism: str) -> TlsFacts | None:
        """Give what a mechanism may know of TLS.

        Bindings are for -PLUS, and for its twin without, which has to notice a client that did not
        see -PLUS on the list. Where it is not on the list, the client is right (RFC 5802 §6).
        """
        facts = self.tls_facts
        if facts is None or mechanism.endswith("-PLUS"):
            return facts
        has_plus = f"{mechanism}-PLUS" in self.offer.mechanisms
        return facts if has_plus else TlsFacts(client_name=facts.client_name)

    def _next_response(self) -> Event | Need | None:
        exchange = cast("AuthExchange", self._exchange)
        try:
            line = self._buffer.take_line(MAX_RESPONSE_OCTETS + len("\r\n"))
        except LineTooLongError:
            return self._advance(replies.LINE_TOO_LONG)
        if line is None:
            return self._wait()
        return self._advance(exchange.respond(line))

    def answer_auth(self, answer: object) -> None:
        """Answer `Auth`: with who it is, with the secret that was asked for, `None` for nobody.

        Raises:
            LocalProtocolError: `next_event()` did not give `Auth`.
        """
        if not isinstance(self._owed, Auth):
            raise LocalProtocolError("no Auth to answer; call next_event() first")
        self._owed = None
        event = self._advance(cast("AuthExchange", self._exchange).answer(answer))
        self._owed = event

    def _advance(self, step: Reply | Question | Success | Failure) -> Auth | None:
        """Do what a step of the exchange asks for."""
        if isinstance(step, Question):
            exchange = cast("AuthExchange", self._exchange)
            exchange.claims(step.credentials)
            self._owed = Auth(exchange.name, step.credentials)
            return self._owed
        if isinstance(step, Reply) and step.code == 334:
            self._say(step)
            self._state = State.AUTH
            return None
        exchange = cast("AuthExchange", self._exchange)
        self._exchange = None
        self._state = _READY
        if isinstance(step, Success):
            self.identity = step.identity
            self._bar()
            self._say(replies.AUTH_SUCCEEDED)
            self._note(exchange.decided(step.identity, replies.AUTH_SUCCEEDED))
        elif isinstance(step, Reply):
            self._refuse(step)
        else:
            self._say(replies.AUTH_FAILED)
            self._note(exchange.decided(None, replies.AUTH_FAILED))
            self.auth_failures += 1
            if self.auth_failures >= self.offer.max_auth_failures:
                self._cut_off(replies.TOO_MANY_FAILURES)
        return None

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
        refusal = body.refusal
        kept = body.kept_replies
        if refusal is None and kept and not any(reply.is_positive for reply in kept):
            refusal = kept[0]
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
            self._note(cast("AuthExchange", self._exchange).decided(None, reply))
            self._advance(reply)
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
        else:
            self._end_flood()

    def _answer_rcpt(self, rcpt: Rcpt, reply: Reply) -> None:
        mail = cast("Mail", self.mail)
        self._out.append(reply.render(utf8=True) if mail.smtputf8 else reply.wire)
        if reply.is_positive:
            self.rcpts.append(rcpt)
            self._state = _RCPT
        else:
            self._end_flood()

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
        else:
            self._end_flood()
        self._end_transaction()

    def _note_answer(self, body: IncomingBody, answers: tuple[Reply, ...]) -> None:
        mailbox = cast("Mail", self.mail).path.mailbox
        self._note(MessageAnswered(mailbox, len(self.rcpts), body.octets, answers))

    def _cut_off(self, reply: Reply) -> None:
        """End the session for what the client does."""
        self._note(ClientCutOff(reply))
        self.close(reply)

    def close(self, reply: Reply) -> None:
        """End the session with a last reply, whatever is going on: 421 at a time-out or shutdown.

        Call `data_to_send()` next; `next_event()` gives `NEED_CLOSE` from now on.
        """
        if self._state is _CLOSED:
            return
        self._say(reply)
        self._state = _CLOSED
        self._owed = None
        self._skipped = self._exchange = None
        self._buffer.clear()


_HTTP_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"})

# What each parsed command does. `Any` stands for the key's own type, which mypy cannot follow.
_RUN: Final[dict[type, Callable[[ServerConnection, Any], Event | None]]] = {
    command.Hello: ServerConnection._hello,
    command.StartTls: ServerConnection._starttls,
    command.Authenticate: ServerConnection._auth,
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
