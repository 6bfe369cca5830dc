"""The client's side of SMTP and LMTP: octets in, events and octets out (RFC 5321, RFC 2033).

`ClientConnection` is the whole state of one session; it does no I/O and knows no clock. Feed it by
`receive_data()`, ask `next_event()` until it needs something, and send what `data_to_send()` gives.
It says EHLO by itself; then `start_tls()` and `login()`, where they are wanted, and each
`send_message()` end in one event.

What comes before messages is initiation.py's, one message on its way transaction.py's, and which
reply answers what pipeline.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from pillarbox.protocol.address import AddressError, Path, parse_domain
from pillarbox.protocol.client_event import NEED_BODY, ClientEvent, Outcome, Refused, Sent
from pillarbox.protocol.client_state import ANSWERS, Awaited, ClientState, Timeouts
from pillarbox.protocol.dsn import MailDsn
from pillarbox.protocol.error import LocalProtocolError, RemoteProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    NEED_TLS,
    NO_MAIL_DSN,
    BodyType,
    Need,
)
from pillarbox.protocol.initiation import INITIATION_ANSWERS, Initiation
from pillarbox.protocol.offered import max_messages
from pillarbox.protocol.outgoing import AnyRecipient, OutgoingMessage
from pillarbox.protocol.pipeline import Pipeline
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import Extensions, broken
from pillarbox.protocol.sasl import TlsFacts
from pillarbox.protocol.sasl_client import (
    CLIENT_MECHANISMS,
    ClientCredentials,
    ClientMechanismFactory,
)
from pillarbox.protocol.transaction import Transaction

__all__ = ["ClientConnection"]

LOST = Reply(421, "4.4.2", "The connection was lost")
GOODBYE = Reply(221, "2.0.0", "One refusal went for all, and the session ends with it")
NOT_ENDED = Reply(421, "4.4.2", "The message was given up before its end")
SPENT = Reply(452, "4.5.3", "The server takes no more messages in this session")


class ClientConnection:
    """One SMTP session, seen from the client.

    Args:
        hostname: What this client calls itself: a domain name or an address literal.
        is_lmtp: Speak LMTP: LHLO, and an answer for each recipient.
        is_tls: TLS comes first, before the greeting (RFC 8314): the first need is `NEED_TLS`.
        timeouts: What `timeout_seconds` is taken from.
        lone_refusal_seconds: GNU Mailman refuses a message for all its recipients by one reply,
            where RFC 2033 §4.2 wants one for each. After a first refusal the other answers are
            waited for so long, and then it goes for all. Only for servers that do so: others may
            take their time for each recipient.
        trace: Called with each line of the dialogue, `C: ` or `S: ` in front; the message itself is
            one line that tells its size, and of what is secret in AUTH nothing is told.

    Raises:
        AddressError: The host name is none.
    """

    __slots__ = (
        "_event",
        "_initiation",
        "_is_eof",
        "_is_lmtp",
        "_is_stale",
        "_lone_refusal_seconds",
        "_messages",
        "_pipeline",
        "_state",
        "_transaction",
        "closing_reply",
        "hostname",
        "is_paused",
        "timeouts",
    )

    def __init__(
        self,
        hostname: str,
        *,
        is_lmtp: bool = False,
        is_tls: bool = False,
        timeouts: Timeouts | None = None,
        lone_refusal_seconds: float | None = None,
        trace: Callable[[str], None] | None = None,
    ) -> None:
        try:
            self.hostname = parse_domain(hostname.encode("ascii", "replace"))
        except AddressError as error:
            raise AddressError(f"hostname {hostname!r}: {error}") from None
        self.timeouts = timeouts or Timeouts()
        self.closing_reply: Reply | None = None
        """What ended the session: 221, 421, or words of our own where the server had none."""
        self.is_paused = False
        """Set it while what was given to send is not sent: no more of a message is given then."""
        self._pipeline = Pipeline(trace)
        self._initiation = Initiation(self._pipeline, self.hostname, is_lmtp=is_lmtp, is_tls=is_tls)
        self._is_lmtp = is_lmtp
        self._lone_refusal_seconds = lone_refusal_seconds
        self._transaction: Transaction | None = None
        self._state: ClientState | None = None  # LEAVING and CLOSED; before that, others know
        self._event: ClientEvent | None = None
        self._messages = 0  # how often MAIL was said
        self._is_stale = False  # the server still has the sender of a message that failed
        self._is_eof = False

    # What is known of the server

    @property
    def greeting(self) -> Reply | None:
        """What the server said first."""
        return self._initiation.greeting

    @property
    def extensions(self) -> Extensions:
        """What it offers: `{"PIPELINING": (), "SIZE": ("33554432",), ...}`."""
        return self._initiation.extensions

    @property
    def is_extended(self) -> bool:
        """Whether the server knows EHLO, or LHLO."""
        return self._initiation.is_extended

    @property
    def tls_facts(self) -> TlsFacts | None:
        """What is known of TLS; `None` in the clear."""
        return self._initiation.tls_facts

    @property
    def is_logged_in(self) -> bool:
        """Whether the server knows us by `login()`."""
        return self._initiation.is_logged_in

    @property
    def messages_left(self) -> int | None:
        """How many messages the server takes in this session yet (RFC 9422 MAILMAX), if it says."""
        limit = max_messages(self.extensions)
        return None if limit is None else max(0, limit - self._messages)

    # Where the session stands

    @property
    def is_open(self) -> bool:
        """Whether the session goes on and nothing is under way."""
        return self._where is ClientState.READY and self._event is None

    @property
    def is_silent(self) -> bool:
        """Whether nothing came that `next_event()` has not looked at."""
        return not self._is_eof and not self._pipeline.buffered_octets

    @property
    def is_ending(self) -> bool:
        """Whether the whole message is out, and what becomes of it is the server's to say."""
        return self._where is ClientState.ENDING

    @property
    def _where(self) -> ClientState:
        if self._state is not None:
            return self._state
        return self._initiation.state if self._transaction is None else self._transaction.state

    @property
    def steps(self) -> int:
        """Counts what is said and answered: while it stands still, one deadline runs."""
        return self._pipeline.steps

    @property
    def timeout_seconds(self) -> float:
        """How long the driver waits for the next change of `steps` (RFC 5321 §4.5.3.2)."""
        awaited = self._pipeline.awaited
        where = self._where
        if self.has_lone_refusal:
            return cast("float", self._lone_refusal_seconds)
        if where is ClientState.TLS:
            return self.timeouts.tls
        if where is ClientState.BODY or not awaited:
            return self.timeouts.block
        return ANSWERS[awaited[0]].seconds(self.timeouts)

    @property
    def has_lone_refusal(self) -> bool:
        """Whether a refusal has come that goes for all if nothing more comes: `abandon()` then."""
        transaction = self._transaction
        return (
            self._lone_refusal_seconds is not None
            and transaction is not None
            and transaction.has_lone_refusal
        )

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
            where = self._where
            if where is ClientState.CLOSED:
                return NEED_CLOSE
            if where is ClientState.WITHHELD:
                self._end(NOT_ENDED, None)
                continue
            try:
                if where is ClientState.TLS:
                    self._initiation.check_nothing_in_the_clear()
                elif (answer := self._pipeline.next_answer()) is not None:
                    self._take(*answer)
                    continue
            except RemoteProtocolError as error:
                self.abandon(error.reply)
                raise
            if self._is_eof and (where is ClientState.LEAVING or self.has_lone_refusal):
                self._end(LOST, None)
            elif self._is_eof:
                self._end(LOST, None)
                raise RemoteProtocolError("the server closed the connection", reply=LOST)
            elif where is ClientState.TLS:
                return NEED_TLS
            elif (
                self._transaction is not None and self._transaction.may_write and not self.is_paused
            ):
                if self._transaction.message.data is None:
                    return NEED_BODY
                self._transaction.write_slice()
                return NEED_SEND
            else:
                return NEED_DATA
        event, self._event = self._event, None
        return event

    # What you say

    def start_tls(self) -> None:
        """Say STARTTLS; call `next_event()` until it gives `NEED_TLS` or `TlsRefused`.

        After the handshake all that the server offered is forgotten, EHLO is said again, and
        another `Ready` or `Refused` comes (RFC 3207 §4.2).

        Raises:
            LocalProtocolError: The session is not open, or encrypted already.
        """
        self._require_open()
        self._initiation.start_tls()
        self._take_event()

    def tls_started(self, facts: TlsFacts | None = None) -> None:
        """Take note that the handshake is done; call `data_to_send()` and `next_event()` next.

        Args:
            facts: What a login may be bound to.

        Raises:
            LocalProtocolError: `next_event()` has not asked for TLS.
        """
        if self._where is not ClientState.TLS:
            raise LocalProtocolError(self._where.value)
        self._initiation.tls_started(facts or TlsFacts())

    def login(
        self,
        credentials: ClientCredentials,
        *,
        mechanisms: Mapping[str, ClientMechanismFactory] = CLIENT_MECHANISMS,
        allow_plaintext: bool = False,
    ) -> None:
        """Say who you are; call `next_event()` until it gives `LoggedIn` or `LoginRefused`.

        The strongest mechanism that the server offers is taken. Where there is none that fits,
        `LoginRefused` comes at once, with a reply of our own.

        Args:
            credentials: What there is to prove.
            mechanisms: What to choose from.
            allow_plaintext: Let a password or a token go without TLS, where all on the way read it.

        Raises:
            LocalProtocolError: The session is not open, or logged in already (RFC 4954 §4).
            ValueError: The mechanism cannot carry these credentials. Nothing was sent.
        """
        self._require_open()
        self._initiation.login(credentials, mechanisms, allow_plaintext=allow_plaintext)
        self._take_event()

    def send_message(
        self,
        mail_from: str | Path,
        rcpt_tos: Sequence[AnyRecipient],
        data: bytes | None,
        *,
        size: int | None = None,
        body: BodyType | None = None,
        smtputf8: bool = False,
        dsn: MailDsn = NO_MAIL_DSN,
        requires_tls: bool = False,
        chunking: bool = True,
        may_end: Callable[[], bool] | None = None,
    ) -> None:
        """Begin to send a message; call `next_event()` until it gives `Sent`.

        A message that needs an extension which the server does not offer is `Sent` at once, with
        replies of our own. So are recipients beyond those that the server takes of one message, and
        messages beyond those that it takes in a session (RFC 9422), to be tried again.

        Args:
            mail_from: The sender's address; empty for the null reverse-path of a bounce.
            rcpt_tos: The recipients: addresses, or a `Recipient` that says more.
            data: The message, or `None` to give it by `send_part()` at each `NEED_BODY`.
            size: The octets of a message that comes in parts, where they are known (RFC 1870).
            body: What the octets are (RFC 6152, RFC 3030); where it is not given, they are looked
                at, or described as 8BITMIME where they come in parts.
            smtputf8: The message has UTF-8 in its header (RFC 6531). Addresses are looked at.
            dsn: What the sender wants of notifications; goes to servers that offer DSN (RFC 3461).
            requires_tls: Every hop has to be encrypted and verified (RFC 8689).
            chunking: Use BDAT where the server offers it (RFC 3030), so that any octets arrive as
                they are. DATA carries lines that end in CRLF alone.
            may_end: Asked right before the last octets are given to be sent. Where it says no they
                are not, and the session is over: the server has nothing of the message.

        Raises:
            LocalProtocolError: The session is not open, or a message is under way.
            ValueError: An address is none, an argument makes no sense, or the message cannot go by
                DATA. Nothing was sent.
        """
        self._require_open()
        message = OutgoingMessage(
            mail_from,
            rcpt_tos,
            data,
            size=size,
            body=body,
            smtputf8=smtputf8,
            dsn=dsn,
            requires_tls=requires_tls,
        )
        if self._refuses(message):
            return
        message.choose_form(self.extensions, chunking=chunking)
        self._messages += 1
        self._transaction = Transaction(
            message, self._pipeline, is_lmtp=self._is_lmtp, may_end=may_end
        )
        self._transaction.begin(self.extensions, resets=self._is_stale)

    def ask(self, mail_from: str | Path, rcpt_tos: Sequence[AnyRecipient]) -> None:
        """Ask which recipients the server would take, and send nothing.

        Call `next_event()` until it gives `Sent`, whose outcome has the replies to RCPT. The next
        message, or question, begins by RSET.

        Raises:
            LocalProtocolError: The session is not open, or a message is under way.
            ValueError: An address is none. Nothing was sent.
        """
        self._require_open()
        message = OutgoingMessage(mail_from, rcpt_tos, None)
        if self._refuses(message):
            return
        self._messages += 1
        self._transaction = Transaction(
            message, self._pipeline, is_lmtp=self._is_lmtp, is_question=True
        )
        self._transaction.begin(self.extensions, resets=self._is_stale)

    def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """Give the next octets of the message; call `data_to_send()` and `next_event()` next.

        Raises:
            LocalProtocolError: `next_event()` has not asked for a part.
            ValueError: The part cannot go by DATA. What went out before cannot be taken back: close
                the connection, and nothing will have been sent.
        """
        if self._transaction is None or not self._transaction.may_write:
            raise LocalProtocolError(self._where.value)
        self._transaction.write(data, is_last=is_last)

    def quit(self) -> None:
        """Say QUIT; call `next_event()` until it gives `NEED_CLOSE`.

        Raises:
            LocalProtocolError: The session is not open, or a message is under way.
        """
        self._require_open()
        self._leave()

    def abandon(self, reply: Reply) -> None:
        """End the session without a word, as at a time-out; `reply` goes for whoever is open.

        `next_event()` tells what became of the message under way, then gives `NEED_CLOSE`.
        """
        if self._state is not ClientState.CLOSED:
            self._end(reply, None)

    def _require_open(self) -> None:
        if self._event is not None:
            raise LocalProtocolError("an event waits: call next_event() first")
        if self._where is not ClientState.READY:
            raise LocalProtocolError(self._where.value)

    def _refuses(self, message: OutgoingMessage) -> bool:
        """Tell whether the server cannot take this; then that is the event."""
        refusal = message.refusal_by(self.extensions, is_tls=self.tls_facts is not None)
        if refusal is None and self.messages_left == 0:
            refusal = SPENT
        if refusal is not None:
            self._event = Sent(message.outcome(refusal, None))
        return refusal is not None

    def _leave(self) -> None:
        self._state = ClientState.LEAVING
        self._pipeline.say((b"QUIT", Awaited.QUIT))

    # Replies

    def _take(self, reply: Reply, awaited: Awaited | None) -> None:
        """Take one reply, and say what is due after it."""
        if awaited is None:
            self._take_unasked(reply)
        elif reply.code == 421 or awaited is Awaited.QUIT:  # 421 at any time (RFC 5321 §3.8)
            self._end(reply, awaited)
        elif awaited in INITIATION_ANSWERS:
            self._initiation.take(reply, awaited)
            self._take_event()
            self._pipeline.advance()
        else:
            transaction = cast("Transaction", self._transaction)
            transaction.take(reply, awaited)
            if transaction.outcome is not None:
                self._finish(transaction, transaction.outcome)
            self._pipeline.advance()

    def _take_event(self) -> None:
        """Take what came of the initiation; QUIT follows where there will be no session."""
        self._event, self._initiation.event = self._initiation.event, None
        if isinstance(self._event, Refused) and self._state is None:
            self._leave()

    def _take_unasked(self, reply: Reply) -> None:
        """Take a goodbye, or a refusal of a message that is still on its way.

        The latter is against RFC 5321 §4.1.1.4, and plain all the same; to hang up is the one way
        to leave DATA without a message.
        """
        is_refusal = self._where is ClientState.BODY and reply.code >= 400
        if not is_refusal and reply.code != 421:
            raise broken(f"nothing was asked, and {reply} came")
        transaction = self._transaction
        is_data = transaction is not None and transaction.message.writer is not None
        self._end(reply, Awaited.DATA if is_data else Awaited.BDAT)

    def _finish(self, transaction: Transaction, outcome: Outcome) -> None:
        self._event = Sent(outcome)
        self._is_stale = transaction.is_stale
        self._transaction = None

    def _end(self, reply: Reply, awaited: Awaited | None) -> None:
        """Close, with a reply for all that is open: the server's to what was awaited, or ours."""
        was_leaving = self._state is not None
        has_lone_refusal = self.has_lone_refusal
        self._state = ClientState.CLOSED
        self.closing_reply = GOODBYE if has_lone_refusal else reply
        self._pipeline.clear()
        if self._transaction is not None and has_lone_refusal:
            self._finish(self._transaction, self._transaction.end_by_lone_refusal())
        elif self._transaction is not None:
            self._finish(self._transaction, self._transaction.end(reply, awaited))
        elif awaited is not None and not was_leaving:
            self._initiation.end(reply)
            self._take_event()
