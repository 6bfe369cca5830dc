"""What a server offers: its name, its extensions, its limits (RFC 5321 §2.2, §4.5.3).

One `Offer` is shared by all connections of a server; the replies that depend on it are made once.
What the parameters of MAIL and RCPT mean: command.py.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pillarbox.protocol.address import AddressError, parse_domain
from pillarbox.protocol.reply import Reply

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
        max_command_octets: The longest command line, CRLF counted. RFC 5321 §4.5.3.1.4 wants 512,
            and what the extensions add for their parameters (RFC 3461 and 4954: 500 each).
        max_errors: After this many commands that made no sense, with no message accepted between
            them, the server says 421: no program that works comes near it.
        whole_body_octets: A message of up to this size comes as one event, a larger one in parts.
        idle_timeout_seconds: How long to wait for the client. RFC 5321 §4.5.3.2.7 wants 300.
        accept_bare_newlines: Take messages with a bare CR or LF. Such a one may be two messages to
            the next relay, so this is for programs that keep mail to themselves.

    Raises:
        ValueError: A value makes no sense; the message says which and why.
    """

    hostname: str
    max_message_bytes: int = 33_554_432
    max_recipients: int = 1000
    max_command_octets: int = 2048
    max_errors: int = 100
    whole_body_octets: int = 65_536
    idle_timeout_seconds: float = 300.0
    accept_bare_newlines: bool = False

    greeting: Reply = field(init=False, repr=False)
    hello: Reply = field(init=False, repr=False)
    """The answer to HELO."""
    extended_hello: Reply = field(init=False, repr=False)
    """The answer to EHLO: a line for each extension."""

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
            ("max_command_octets", 512),
            ("max_errors", 1),
            ("whole_body_octets", 0),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; the least is {least}")
        if self.idle_timeout_seconds <= 0:
            raise ValueError("idle_timeout_seconds must be more than 0")
        replies = {
            "greeting": Reply(220, None, f"{self.hostname} ESMTP"),
            "hello": Reply(250, None, self.hostname),
            "extended_hello": Reply(250, None, "\n".join((self.hostname, *self.keywords()))),
        }
        for name, reply in replies.items():
            object.__setattr__(self, name, reply)

    def keywords(self) -> tuple[str, ...]:
        """List the extensions as EHLO shows them."""
        return (
            "PIPELINING",
            f"SIZE {self.max_message_bytes}",
            "8BITMIME",
            "SMTPUTF8",
            "CHUNKING",
            "BINARYMIME",
            "ENHANCEDSTATUSCODES",
            f"LIMITS RCPTMAX={self.max_recipients}",
            "HELP",
        )
