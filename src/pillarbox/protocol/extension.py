"""What a server offers: its name, its extensions, its limits (RFC 5321 §2.2, §4.5.3).

One `Offer` is shared by all connections of a server; the replies that depend on it are made once.
What the parameters of MAIL and RCPT mean: command.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pillarbox.protocol.address import MAX_LOCAL_PART_OCTETS, AddressError, parse_domain
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import MechanismFactory
from pillarbox.protocol.xclient import ATTRIBUTES

__all__ = ["Offer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The name, extensions and limits of a server.

    Args:
        hostname: The server's domain name or address literal, for the greeting.
        max_message_bytes: The octets of the largest message taken, announced as SIZE and enforced;
            0 is no limit. 32 MiB is what mail with attachments needs and what `smtpd` had.
        max_recipients: The most recipients of one message, announced as LIMITS RCPTMAX (RFC 9422).
            RFC 5321 §4.5.3.1.8 wants 100 at least.
        max_local_part_octets: The longest local part of an address. RFC 5321 §4.5.3.1.1 wants 64 to
            be taken; lists and senders that count bounces write longer ones, with tokens in them.
        max_command_octets: The longest command line, CRLF counted. RFC 5321 §4.5.3.1.4 wants 512,
            and what the extensions add for their parameters (RFC 3461 and 4954: 500 each).
        max_errors: After this many commands that made no sense, or senders and recipients that the
            handler refused for good (5xx), with no message accepted between them, the server says
            421. No program that works comes near it; who tries out names to see which exist does.
        whole_body_octets: A message of up to this size comes as one event, a larger one in parts.
        idle_timeout_seconds: How long to wait for the client. RFC 5321 §4.5.3.2.7 wants 300.
        is_lmtp: Speak LMTP (RFC 2033): LHLO, and a reply for each recipient of a message.
        offers_tls: Offer STARTTLS (RFC 3207).
        requires_tls: Refuse MAIL without TLS.
        mechanisms: The SASL mechanisms to offer, by name; none means no AUTH (RFC 4954).
        requires_auth: Refuse MAIL before AUTH.
        allows_plaintext_auth: Offer AUTH without TLS, where passwords can be overheard.
        max_auth_failures: After this many the server says 421: guessing has to cost connections.
        max_idle_commands: After this many commands with no message accepted between them the
            server says 421: NOOP in a loop is no mail. Senders and recipients to try again later
            (4xx) count, and messages that are refused.
        offers_xclient: Let this client say for whom it stands (XCLIENT).
        accept_bare_newlines: Take messages with a bare CR or LF. Such a one may be two messages to
            the next relay, so this is for programs that keep mail to themselves.

    Raises:
        ValueError: A value makes no sense; the message says which and why.
    """

    hostname: str
    max_message_bytes: int = 33_554_432
    max_recipients: int = 1000
    max_local_part_octets: int = MAX_LOCAL_PART_OCTETS
    max_command_octets: int = 2048
    max_errors: int = 100
    whole_body_octets: int = 65_536
    idle_timeout_seconds: float = 300.0
    accept_bare_newlines: bool = False
    is_lmtp: bool = False
    offers_tls: bool = False
    requires_tls: bool = False
    mechanisms: Mapping[str, MechanismFactory] = field(default_factory=dict)
    requires_auth: bool = False
    allows_plaintext_auth: bool = False
    max_auth_failures: int = 3
    max_idle_commands: int = 1000
    offers_xclient: bool = False

    greeting: Reply = field(init=False, repr=False)
    hello: Reply = field(init=False, repr=False)
    """The answer to HELO."""
    extended_hello: Reply = field(init=False, repr=False)
    """The answer to EHLO or LHLO: a line for each extension."""
    extended_hello_tls: Reply = field(init=False, repr=False)
    """The same within TLS."""
    help: Reply = field(init=False, repr=False)
    """The answer to HELP."""

    def __post_init__(self) -> None:
        """Check the values and make the replies."""
        try:
            parse_domain(self.hostname.encode("ascii"))
        except (AddressError, UnicodeEncodeError):
            raise ValueError(
                f"hostname {self.hostname!r} is not a domain name or an address literal;"
                " write one such as 'mx.example.org' or '[192.0.2.1]'"
            ) from None
        for name, least in (
            ("max_message_bytes", 0),
            ("max_recipients", 1),
            ("max_local_part_octets", MAX_LOCAL_PART_OCTETS),
            ("max_command_octets", 512),
            ("max_errors", 1),
            ("whole_body_octets", 0),
            ("max_auth_failures", 1),
            ("max_idle_commands", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; the least is {least}")
        if self.idle_timeout_seconds <= 0:
            raise ValueError("idle_timeout_seconds must be more than 0")
        if self.requires_auth and not self.mechanisms:
            raise ValueError("AUTH is required, but there is nobody to log in: give logins")
        if self.requires_tls and not self.offers_tls:
            raise ValueError("TLS is required, but there is no certificate: give one and its key")
        replies = {
            "greeting": Reply(220, None, f"{self.hostname} {'LMTP' if self.is_lmtp else 'ESMTP'}"),
            "hello": Reply(250, None, self.hostname),
            "extended_hello": self._hello(is_tls=False),
            "extended_hello_tls": self._hello(is_tls=True),
            "help": Reply(214, "2.0.0", f"Commands: {' '.join(self._verbs())}"),
        }
        for name, reply in replies.items():
            object.__setattr__(self, name, reply)

    def _hello(self, *, is_tls: bool) -> Reply:
        return Reply(250, None, "\n".join((self.hostname, *self.keywords(is_tls=is_tls))))

    def _verbs(self) -> tuple[str, ...]:
        return (
            *(["LHLO"] if self.is_lmtp else ["EHLO", "HELO"]),
            *(["STARTTLS"] if self.offers_tls else []),
            *(["AUTH"] if self.mechanisms else []),
            *(["XCLIENT"] if self.offers_xclient else []),
            *("MAIL", "RCPT", "DATA", "BDAT", "RSET", "NOOP", "VRFY", "EXPN", "HELP", "QUIT"),
        )

    def keywords(self, *, is_tls: bool = False) -> tuple[str, ...]:
        """List the extensions as EHLO shows them; some are for one side of STARTTLS alone."""
        mechanisms = self.mechanism_names(is_tls=is_tls)
        return (
            "PIPELINING",
            f"SIZE {self.max_message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "BINARYMIME",
            "DSN",
            "ENHANCEDSTATUSCODES",
            f"LIMITS RCPTMAX={self.max_recipients}",
            *(["STARTTLS"] if self.offers_tls and not is_tls else []),
            *(["REQUIRETLS"] if is_tls else []),
            *([f"AUTH {' '.join(mechanisms)}"] if mechanisms else []),
            *([f"XCLIENT {' '.join(ATTRIBUTES)}"] if self.offers_xclient else []),
            "HELP",
        )

    def mechanism_names(self, *, is_tls: bool) -> list[str]:
        """List the SASL mechanisms that may be used now.

        -PLUS binds to TLS, EXTERNAL takes the identity from it, and without TLS there are only
        those that the operator allows to be overheard.
        """
        if not is_tls and not self.allows_plaintext_auth:
            return []
        return [
            name
            for name in self.mechanisms
            if is_tls or not (name.endswith("-PLUS") or name == "EXTERNAL")
        ]
