"""Getting to know the server: greeting, EHLO, STARTTLS, AUTH (RFC 5321 §3.1, RFC 3207, RFC 4954).

What comes before and between messages, and what is known of the server by it. The session that it
belongs to is client.py; what is said in AUTH is client_auth.py's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, cast

from pillarbox.protocol.client_auth import AuthLine, ClientAuthExchange
from pillarbox.protocol.client_event import (
    ClientEvent,
    LoggedIn,
    LoginRefused,
    Ready,
    Refused,
    TlsRefused,
)
from pillarbox.protocol.client_state import Awaited, ClientState
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.offered import mechanisms_of
from pillarbox.protocol.pipeline import Pipeline
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import NO_EXTENSIONS, Extensions, broken, parse_extensions
from pillarbox.protocol.sasl import SaslError, TlsFacts
from pillarbox.protocol.sasl_client import (
    ClientCredentials,
    ClientMechanismFactory,
    choose_mechanism,
)

__all__ = ["INITIATION_ANSWERS", "Initiation"]

NO_STARTTLS = Reply(454, "4.7.4", "The server offers no STARTTLS")


class Initiation:
    """What is known of the server, and what is being done to know more.

    Args:
        pipeline: What the session says its commands by.
        hostname: What this client calls itself.
        is_lmtp: Whether LMTP is spoken.
        is_tls: Whether TLS comes before the greeting.
    """

    __slots__ = (
        "_exchange",
        "_hostname",
        "_is_lmtp",
        "_pipeline",
        "event",
        "extensions",
        "greeting",
        "is_extended",
        "is_logged_in",
        "state",
        "tls_facts",
    )

    def __init__(self, pipeline: Pipeline, hostname: str, *, is_lmtp: bool, is_tls: bool) -> None:
        self.state = ClientState.TLS if is_tls else ClientState.OPENING
        """`OPENING`, `STARTTLS`, `TLS` or `LOGIN`; `READY` when nothing is being done."""
        self.event: ClientEvent | None = None
        """What came of it, for the session to take."""
        self.greeting: Reply | None = None
        self.extensions: Extensions = NO_EXTENSIONS
        self.is_extended = False
        self.tls_facts: TlsFacts | None = None
        self.is_logged_in = False
        self._pipeline = pipeline
        self._hostname = hostname.encode()
        self._is_lmtp = is_lmtp
        self._exchange: ClientAuthExchange | None = None

    # What is asked for; the session sees to it that nothing else is under way

    def start_tls(self) -> None:
        """Say STARTTLS.

        Raises:
            LocalProtocolError: The session is encrypted already.
        """
        if self.tls_facts is not None:
            raise LocalProtocolError("the session is encrypted already")
        if "STARTTLS" not in self.extensions:
            self.event = TlsRefused(NO_STARTTLS)
            return
        self.state = ClientState.STARTTLS
        self._pipeline.say((b"STARTTLS", Awaited.STARTTLS))

    def check_nothing_in_the_clear(self) -> None:
        """See that nothing came where the handshake is due.

        Raises:
            RemoteProtocolError: Something did. Whoever puts words in here, in the clear, wants them
                taken for the server's own behind TLS (the client's side of CVE-2011-0411).
        """
        if self._pipeline.buffered_octets:
            raise broken("octets in the clear came where the TLS handshake is due")

    def tls_started(self, facts: TlsFacts) -> None:
        """Forget what was learnt in the clear, and ask again (RFC 3207 §4.2)."""
        self.tls_facts = facts
        self.extensions = NO_EXTENSIONS
        self.is_extended = False
        self.state = ClientState.OPENING
        self._pipeline.begin_anew()
        if self.greeting is not None:
            self._begin_hello()

    def login(
        self,
        credentials: ClientCredentials,
        mechanisms: Mapping[str, ClientMechanismFactory],
        *,
        allow_plaintext: bool,
    ) -> None:
        """Say AUTH.

        Raises:
            LocalProtocolError: The session is logged in already (RFC 4954 §4).
            ValueError: The mechanism cannot carry these credentials.
        """
        if self.is_logged_in:
            raise LocalProtocolError("the session is logged in already")
        chosen = choose_mechanism(
            credentials,
            mechanisms_of(self.extensions),
            mechanisms=mechanisms,
            facts=self.tls_facts,
            allow_plaintext=allow_plaintext,
        )
        if isinstance(chosen, Reply):
            self.event = LoginRefused(None, chosen)
            return
        self._exchange = ClientAuthExchange(*chosen)
        self.state = ClientState.LOGIN
        self._say_in_auth(self._exchange.start())

    def _say_in_auth(self, line: AuthLine) -> None:
        self._pipeline.say_secret(line.octets, Awaited.AUTH, shown=line.shown)

    # Answers

    def take(self, reply: Reply, awaited: Awaited) -> None:
        """Take an answer, and say what is due after it; look at `event` then.

        Raises:
            RemoteProtocolError: There is no way on from here.
        """
        _RUN[awaited](self, reply, awaited)

    def end(self, reply: Reply) -> None:
        """Take the 421 that ends the session in place of an answer."""
        match self.state:
            case ClientState.OPENING:
                self.event = Refused(reply)
            case ClientState.STARTTLS:
                self.event = TlsRefused(reply)
            case ClientState.LOGIN:
                self.event = LoginRefused(cast("ClientAuthExchange", self._exchange).name, reply)

    def _greeted(self, reply: Reply, _awaited: Awaited) -> None:
        self.greeting = reply
        if reply.is_positive:
            self._begin_hello()
        else:
            self.event = Refused(reply)

    def _begin_hello(self) -> None:
        if self._is_lmtp:
            self._hello(b"LHLO", Awaited.LHLO)
        else:
            self._hello(b"EHLO", Awaited.EHLO)

    def _hello(self, verb: bytes, awaited: Awaited) -> None:
        self._pipeline.say((b"%b %b" % (verb, self._hostname), awaited))

    def _hello_answered(self, reply: Reply, awaited: Awaited) -> None:
        if reply.is_positive:
            self.is_extended = awaited is not Awaited.HELO
            self.extensions = parse_extensions(reply) if self.is_extended else NO_EXTENSIONS
            self._pipeline.is_pipelined = "PIPELINING" in self.extensions
            self.state = ClientState.READY
            self.event = Ready(reply)
        elif awaited is Awaited.EHLO and not reply.is_transient:
            self._hello(b"HELO", Awaited.HELO)
        else:
            self.event = Refused(reply)

    def _starttls_answered(self, reply: Reply, _awaited: Awaited) -> None:
        if reply.is_positive:
            self.state = ClientState.TLS
        else:
            self.state = ClientState.READY
            self.event = TlsRefused(reply)

    def _auth_answered(self, reply: Reply, _awaited: Awaited) -> None:
        exchange = cast("ClientAuthExchange", self._exchange)
        if reply.code >= 400:
            self._end_login(LoginRefused(exchange.name, exchange.given_up or reply))
        elif exchange.given_up is not None:
            raise broken(f"'*' was answered by {reply}")
        elif reply.code == 334:
            self._say_in_auth(exchange.respond(reply.text))
        elif not reply.is_positive:
            raise broken(f"AUTH was answered by {reply}")
        else:
            try:
                exchange.check_success()
            except SaslError as error:
                # Somebody who does not know the secret plays the server.
                raise broken(f"{exchange.name}: {error}") from None
            self.is_logged_in = True
            self._end_login(LoggedIn(exchange.name, reply))

    def _end_login(self, event: LoggedIn | LoginRefused) -> None:
        self._exchange = None
        self.state = ClientState.READY
        self.event = event


# What each answer does.
_RUN: Final[Mapping[Awaited, Callable[[Initiation, Reply, Awaited], None]]] = {
    Awaited.GREETING: Initiation._greeted,
    Awaited.EHLO: Initiation._hello_answered,
    Awaited.LHLO: Initiation._hello_answered,
    Awaited.HELO: Initiation._hello_answered,
    Awaited.STARTTLS: Initiation._starttls_answered,
    Awaited.AUTH: Initiation._auth_answered,
}

INITIATION_ANSWERS: Final = frozenset(_RUN)
"""What an initiation takes the answers to."""
