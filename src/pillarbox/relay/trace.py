"""Trace information: the Received line that we prepend, and loops found by counting all of them.

RFC 5321 §4.4: a server that relays prepends one and never touches those that are there. The names
of protocols are those of RFC 3848 and RFC 6531 §4.3. Who prepends it: intake.py.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

from pillarbox.envelope import Envelope, Session

__all__ = ["MAX_HOPS", "HopCount", "protocol_name", "received_line"]

# RFC 5321 §6.3 wants a threshold that no mail reaches by honest ways; ten hops are many.
MAX_HOPS = 50

_RECEIVED = re.compile(rb"\r\nreceived[ \t]*:", re.IGNORECASE)
_HEADER_END = b"\r\n\r\n"
# So many octets of one part may be the beginning of what the next one completes.
_KEPT_OCTETS = 64
_DOMAIN = re.compile(r"[A-Za-z0-9._-]+")
_LITERAL = re.compile(r"\[[A-Za-z0-9.:]+\]")


def received_line(session: Session, envelope: Envelope, *, hostname: str, now: float) -> bytes:
    """Write the Received line of a message, folded, with its CRLF.

    Args:
        session: Who sends the message.
        envelope: To whom. A recipient is named only where there is no other: RFC 5321 §7.2 would
            not have one of them know of the others.
        hostname: Who takes it.
        now: The time, in seconds since 1970.
    """
    is_utf8 = envelope.mail.smtputf8
    clauses = [
        f"Received: from {_client(session, is_utf8=is_utf8)}",
        f"by {hostname} (Pillarbox) with {protocol_name(session, envelope)}",
    ]
    if (tls := session.tls) is not None:
        clauses.append(f"({tls.version} with cipher {tls.cipher})")
    clauses.append(f"id {session.id}")
    if len(envelope.rcpts) == 1:
        address = envelope.rcpts[0].path.mailbox
        if address.isascii() or is_utf8:
            clauses.append(f"for <{address}>")
    clauses[-1] += ";"
    clauses.append(_date(int(now)))
    return "\r\n\t".join(clauses).encode() + b"\r\n"


def protocol_name(session: Session, envelope: Envelope) -> str:
    """Give the protocol that a message came by, as in `with ESMTPSA`."""
    xclient = session.xclient
    if session.is_lmtp:
        name = "LMTP"
    elif not session.is_extended or (xclient is not None and xclient.protocol == "SMTP"):
        return "SMTP"  # which has neither TLS nor AUTH, says the registry
    else:
        name = "SMTP" if envelope.mail.smtputf8 else "ESMTP"
    if envelope.mail.smtputf8:
        name = f"UTF8{name}"
    if session.tls is not None:
        name += "S"
    return name if session.identity is None else f"{name}A"


def _client(session: Session, *, is_utf8: bool) -> str:
    """Name the client: what it calls itself, and in brackets what is known of it."""
    claimed = session.domain or ""
    if isinstance(session.peer, str):
        literal, known = "localhost", "a UNIX socket"
    else:
        literal = known = _address_literal(session.peer[0])
    if session.xclient is not None and session.xclient.name is not None:
        known = f"{session.xclient.name} {known}"
    is_domain = _DOMAIN.fullmatch(claimed) or _LITERAL.fullmatch(claimed)
    if not is_domain and not (is_utf8 and not claimed.isascii()):
        claimed = literal  # what it said would break the line's grammar
    return f"{claimed} ({known})"


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    return format_datetime(datetime.fromtimestamp(second, UTC))


@lru_cache(maxsize=1024)
def _address_literal(host: str) -> str:
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return "[unknown]"
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is None:
        return f"[IPv6:{address}]"
    return f"[{getattr(address, 'ipv4_mapped', None) or address}]"


class HopCount:
    """Counts the Received lines of a header that comes in parts."""

    __slots__ = ("_tail", "hops", "is_over")

    def __init__(self) -> None:
        self.hops = 0
        """How many Received lines there were so far."""
        self.is_over = False
        """Whether the header has ended, so that there will be no more."""
        self._tail = b"\r\n"  # the first line follows nothing

    @property
    def is_loop(self) -> bool:
        """Whether the message has come by so many hops that it runs in a circle."""
        return self.hops >= MAX_HOPS

    def feed(self, octets: bytes) -> None:
        """Take the next octets of the message."""
        if self.is_over:
            return
        seen = self._tail + octets
        end = seen.find(_HEADER_END)
        if end >= 0:
            self.is_over = True
            seen = seen[: end + 2]
        last = 0
        for found in _RECEIVED.finditer(seen):
            self.hops += 1
            last = found.end()
        self._tail = seen[max(last, len(seen) - _KEPT_OCTETS) :]
