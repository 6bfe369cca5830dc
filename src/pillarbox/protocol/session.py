"""A session but for its mail: what is heard and said, greeting, TLS, AUTH, XCLIENT, and the end.

`ServerConnection` (server.py) is built on this: it reads the commands, and keeps the transaction
and the message. Here stands who the client is. What the lines of AUTH mean: auth.py and sasl.py;
what XCLIENT says: xclient.py.
"""

from __future__ import annotations

from typing import Final, cast

from pillarbox.protocol import command, replies
from pillarbox.protocol.auth import MAX_RESPONSE_OCTETS, AuthExchange
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import Auth, Connect, Event, Need
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.framing import LineTooLongError, ReceiveBuffer
from pillarbox.protocol.note import ClientCutOff, Note
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import Failure, Question, Success, TlsFacts
from pillarbox.protocol.state import State
from pillarbox.protocol.xclient import XClient, parse_xclient

__all__ = ["MAX_REPLIES_WAITING", "ServerSession"]

# Six octets of HELP make a hundred of reply: a burst of commands is answered in steps.
MAX_REPLIES_WAITING: Final = 256

_CLOSED: Final = State.CLOSED
_HTTP_METHODS: Final = frozenset({b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT"})


class ServerSession:
    """What a session is but for its mail.

    Args:
        offer: Name, extensions and limits.
        is_tls: The connection is encrypted from its first octet on (RFC 8314).
    """

    __slots__ = (
        "_buffer",
        "_errors",
        "_exchange",
        "_idle_commands",
        "_is_barred",
        "_is_eof",
        "_out",
        "_owed",
        "_state",
        "auth_failures",
        "domain",
        "identity",
        "is_extended",
        "is_tls",
        "notes",
        "offer",
        "tls_facts",
        "xclient",
    )

    def __init__(self, offer: Offer, *, is_tls: bool) -> None:
        self.offer = offer
        self.is_tls = is_tls
        """Whether the connection is encrypted, however that came about."""
        self.tls_facts: TlsFacts | None = None
        """What SASL may know of TLS; the driver sets it where there is TLS."""
        self.identity: str | None = None
        """Who logged in."""
        self.domain: str | None = None
        """What the client called itself in EHLO or HELO."""
        self.xclient: XClient | None = None
        """What a front server said of the client."""
        self.is_extended = False
        """Whether it said EHLO, so that it knows extensions."""
        self.auth_failures = 0
        """How often the client failed to log in; the driver lets it wait for each."""
        self.notes: tuple[Note, ...] = ()
        """What was decided that no event tells of; `take_notes()` empties it."""
        self._buffer = ReceiveBuffer()
        self._out: list[bytes] = []
        self._state = State.GREETING
        self._owed: Event | None = None
        self._exchange: AuthExchange | None = None
        self._errors = self._idle_commands = 0
        self._is_eof = False
        self._bar()

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

    def take_notes(self) -> tuple[Note, ...]:
        """Give what was decided that no event tells of, and forget it."""
        notes, self.notes = self.notes, ()
        return notes

    def _note(self, note: Note) -> None:
        if len(self.notes) < MAX_REPLIES_WAITING:  # they pile up where nobody takes them
            self.notes += (note,)

    # What is said

    def _say(self, reply: Reply) -> None:
        self._out.append(reply.wire)

    def _refuse(self, reply: Reply) -> None:
        """Answer a command that makes no sense; after too many of them, with a last word."""
        self._out.append(reply.wire)
        self._count_error()

    def _count_error(self) -> None:
        self._errors += 1
        if self._errors >= self.offer.max_errors:
            self._cut_off(replies.TOO_MANY_ERRORS)

    def _is_one_too_many(self) -> bool:
        """Count a command that brought no message nearer."""
        self._idle_commands += 1
        return self._idle_commands > self.offer.max_idle_commands

    def _count_refusal(self, reply: Reply) -> None:
        """Count what the handler refused: nobody may go through a dictionary of names.

        For good is an error, of which there may be few; to try again later is as good as NOOP.
        """
        if not reply.is_transient:
            self._count_error()
        elif self._is_one_too_many():
            self._cut_off(replies.TOO_MANY_COMMANDS)

    def _cut_off(self, reply: Reply) -> None:
        """End the session for what the client does."""
        self._note(ClientCutOff(reply))
        self.close(reply)

    def close(self, reply: Reply) -> None:
        """End the session with a last reply, whatever is going on: 421 at a time-out or shutdown.

        Call `data_to_send()` next; `next_event()` gives `NEED_CLOSE` from now on.
        """
        if self._state is State.CLOSED:
            return
        self._say(reply)
        self._state = State.CLOSED
        self._owed = self._exchange = None
        self._buffer.clear()

    # Greeting

    def _greet(self, reply: Reply) -> None:
        self._say(reply)
        self._state = State.HELLO if reply.is_positive else State.REFUSED

    def _greet_client(self, domain: str, *, is_extended: bool) -> None:
        offer = self.offer
        # It is the front server that says EHLO after XCLIENT; the client said what HELO= tells.
        self.domain = domain if self.xclient is None else self.xclient.helo or domain
        self.is_extended = is_extended
        self._state = State.READY
        if not is_extended:
            self._say(offer.hello)
        else:
            self._say(offer.extended_hello_tls if self.is_tls else offer.extended_hello)

    # Commands that change nothing

    def _noop(self, _noop: command.Noop) -> None:
        self._say(replies.ACCEPTED)

    def _help(self, _help: command.Help) -> None:
        self._say(self.offer.help)

    def _vrfy(self, _vrfy: command.Vrfy) -> None:
        self._say(replies.CANNOT_VERIFY)

    def _expn(self, _expn: command.Expn) -> None:
        self._say(replies.NO_EXPANSION)

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

    # TLS

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

        What XCLIENT told stays, as it is not the client's word.

        Raises:
            LocalProtocolError: `next_event()` did not give `NEED_TLS`.
        """
        if self._state is not State.TLS:
            raise LocalProtocolError("no TLS is due; wait for next_event() to give NEED_TLS")
        # STARTTLS has no place in a transaction: there is none to forget.
        self._buffer.clear()
        self.is_tls = True
        self.tls_facts = facts
        self._begin_again()
        self._state = State.HELLO

    def _begin_again(self) -> None:
        """Forget what the client said; keep what was said for it."""
        xclient = self.xclient
        self.domain = xclient.helo if xclient is not None else None
        self.identity = xclient.login if xclient is not None else None
        self.is_extended = False
        self._bar()

    # XCLIENT

    def _xclient(self, said: command.XClientCommand) -> Connect | None:
        if not self.offer.offers_xclient:
            self._refuse(replies.XCLIENT_FORBIDDEN)
            return None
        try:
            self.xclient = parse_xclient(said.argument, self.xclient)
        except RemoteProtocolError as error:
            self._refuse(error.reply)
            return None
        self._begin_again()
        # As on a new connection: another client is there now, to be greeted or refused.
        self._state = State.GREETING
        self._owed = connect = Connect(self.xclient)
        return connect

    # AUTH

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
        question, exchange.question = exchange.question, None
        if question is not None:
            return self._advance(question)
        try:
            line = self._buffer.take_line(MAX_RESPONSE_OCTETS + len("\r\n"))
        except LineTooLongError:
            return self._advance(replies.LINE_TOO_LONG)
        if line is None:
            return self._wait()
        return self._advance(exchange.respond(line))

    def _wait(self) -> Event | Need:
        """Say what to wait for; the transaction's side knows what ends with the client."""
        raise NotImplementedError

    def answer_auth(self, answer: object) -> None:
        """Answer `Auth`: with who it is, with the secret that was asked for, `None` for nobody.

        Raises:
            LocalProtocolError: `next_event()` did not give `Auth`.
        """
        if not isinstance(self._owed, Auth):
            raise LocalProtocolError("no Auth to answer; call next_event() first")
        self._owed = None
        exchange = cast("AuthExchange", self._exchange)
        step = exchange.answer(answer)
        if isinstance(step, Question):
            # The mechanism wants to know more: that is the next event.
            exchange.question = step
            self._state = State.AUTH
        else:
            self._advance(step)

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
        self._state = State.READY
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

    def _max_line_octets(self) -> int:
        """Tell how long a command may be: AUTH brings a response with it (RFC 4954 §4)."""
        buffer = self._buffer
        if (
            self.offer.mechanisms
            and buffer.data[buffer.offset : buffer.offset + 5].upper() == b"AUTH "
        ):
            return MAX_RESPONSE_OCTETS + len("AUTH SCRAM-SHA-256-PLUS \r\n")
        return self.offer.max_command_octets
