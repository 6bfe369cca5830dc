"""Paths and mailboxes: what stands between the angle brackets (RFC 5321 §4.1.2, §4.1.3; RFC 6531).

A `Path` keeps the octets as they came and takes them apart only when asked: a server that counts
recipients pays nothing for domains it never looks at. Commands around a path: command.py.
"""

from __future__ import annotations

import ipaddress
import re

__all__ = [
    "MAX_LOCAL_PART_OCTETS",
    "MAX_MAILBOX_OCTETS",
    "AddressError",
    "Path",
    "parse_client_name",
    "parse_domain",
    "parse_path",
]

# RFC 5321 §4.5.3.1.1 to .3; 256 octets of path are 254 of mailbox and two brackets.
MAX_LOCAL_PART_OCTETS = 64
MAX_DOMAIN_OCTETS = 255
MAX_MAILBOX_OCTETS = 254


class AddressError(ValueError):
    """These octets are no address. The text says what is wrong and is fit for a reply."""


class Path:
    """A reverse-path or forward-path: a mailbox, or nothing for the null reverse-path.

    Args:
        octets: The mailbox in the case and quoting it came with, without brackets and without a
            source route. `b""` is the null reverse-path; `b"Postmaster"` needs no domain.
    """

    __slots__ = ("octets",)

    def __init__(self, octets: bytes) -> None:
        self.octets = octets

    @property
    def is_null(self) -> bool:
        """Whether this is the null reverse-path `<>`, the sender of bounces (RFC 5321 §4.5.5)."""
        return not self.octets

    @property
    def mailbox(self) -> str:
        """The whole address; empty for the null reverse-path."""
        return self.octets.decode()

    @property
    def local_part(self) -> str:
        """What stands before the `@`, quoted if it came quoted."""
        return self.octets[: self._at()].decode()

    @property
    def unquoted_local_part(self) -> str:
        """The local part without its quotes and backslashes.

        `"ann"@x` and `ann@x` are the same mailbox (RFC 5321 §4.1.2): look mailboxes up by this.
        """
        local_part = self.local_part
        if local_part.startswith('"'):
            return re.sub(r"\\(.)", r"\1", local_part[1:-1])
        return local_part

    @property
    def domain(self) -> str:
        """What stands behind the `@`; empty for the null reverse-path and a bare Postmaster."""
        return self.octets[self._at() + 1 :].decode()

    def _at(self) -> int:
        at = self.octets.rfind(b"@")  # a domain has none, a quoted local part may have many
        return at if at >= 0 else len(self.octets)

    def __str__(self) -> str:
        return self.mailbox

    def __repr__(self) -> str:
        return f"Path({self.octets!r})"

    def __eq__(self, other: object) -> bool:
        return self.octets == other.octets if isinstance(other, Path) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.octets)


# Every repetition is possessive: a path of 64 KiB of quotes or backslashes takes linear time.
_ATEXT = rb"A-Za-z0-9!#$%&'*+/=?^_`{|}~\x80-\xff-"
_DOT_STRING = rb"[%b]++(?:\.[%b]++)*+" % (_ATEXT, _ATEXT)
_QUOTED_STRING = rb'"(?:[\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\x20-\x7e])*+"'
# RFC 5321 has no underscore in a domain; names of containers and of Windows machines do, and a
# server that refuses them refuses the mail of its own developers.
_LABEL = rb"[A-Za-z0-9_\x80-\xff](?:-*+[A-Za-z0-9_\x80-\xff])*+"
_NAME = rb"%b(?:\.%b)*+" % (_LABEL, _LABEL)
_LITERAL = rb"\[[\x21-\x5a\x5e-\x7e]++\]"
_DOMAIN = rb"(?:%b|%b)" % (_NAME, _LITERAL)

_domain = re.compile(_DOMAIN)
_path = re.compile(
    rb"<(?P<route>@%b(?:,@%b)*+:)?+"
    rb"(?:(?P<local>%b|%b)(?:@(?P<domain>%b))?+)?+>"
    % (_DOMAIN, _DOMAIN, _DOT_STRING, _QUOTED_STRING, _DOMAIN)
)
# Names of machines as they are: an underscore, a hyphen at the end, an IPv6 address that forgot
# its tag. §4.1.4 lets no message fail for them; what is kept out is what harms logs and headers.
_client_name = re.compile(r"[A-Za-z0-9._:%\[\]\xa0-\U0010ffff-]{1,255}")
_ipv4 = re.compile(rb"(?:(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])(?:\.(?!\Z)|\Z)){4}")


def parse_path(
    octets: bytes, start: int = 0, *, max_local_part_octets: int = MAX_LOCAL_PART_OCTETS
) -> tuple[Path, int]:
    """Read the path in angle brackets that begins at `start`.

    A source route is recognised and dropped (RFC 5321 §4.1.1.3, appendix F.2). Octets beyond ASCII
    are taken as UTF-8; whether the client may send them is the caller's to decide.

    Returns:
        The path, and the offset of the octet after `>`.

    Raises:
        AddressError: There is no path, or one over the limits.
    """
    if not octets.startswith(b"<", start):
        raise AddressError("An address stands in angle brackets: <user@example.org>")
    found = _path.match(octets, start)
    if found is None:
        raise AddressError("Not an address")
    route, local_part, domain = found.group("route", "local", "domain")
    if local_part is None:
        if route is not None:
            raise AddressError("A source route without a mailbox")
        return Path(b""), found.end()
    if domain is None:
        if route is not None or local_part.lower() != b"postmaster":
            raise AddressError("An address needs a domain: <user@example.org>")
        return Path(local_part), found.end()
    if len(local_part) > max_local_part_octets:
        raise AddressError(f"Local part over {max_local_part_octets} octets")
    _check_domain(domain)
    mailbox = b"%b@%b" % (local_part, domain)
    if len(mailbox) > MAX_MAILBOX_OCTETS:
        raise AddressError(f"Mailbox over {MAX_MAILBOX_OCTETS} octets")
    _check_utf8(mailbox)
    return Path(mailbox), found.end()


def parse_domain(octets: bytes) -> str:
    """Read a domain name or an address literal, as EHLO gives it (RFC 5321 §4.1.1.1).

    Raises:
        AddressError: It is neither.
    """
    if not _domain.fullmatch(octets):
        raise AddressError("Not a domain name or an address literal")
    _check_domain(octets)
    return _check_utf8(octets)


def parse_client_name(octets: bytes) -> str:
    """Read what a client calls itself, which need not be right, only harmless (§4.1.4).

    Raises:
        AddressError: It is nothing that may stand in a log or a header.
    """
    try:
        name = octets.decode()
    except UnicodeDecodeError:
        raise AddressError("Not valid UTF-8") from None
    if not _client_name.fullmatch(name) or not name.isprintable():
        raise AddressError("Not the name of a machine")
    return name


def _check_domain(domain: bytes) -> None:
    if len(domain) > MAX_DOMAIN_OCTETS:
        raise AddressError(f"Domain over {MAX_DOMAIN_OCTETS} octets")
    if domain.startswith(b"["):
        literal = domain[1:-1]
        if literal[:5].lower() == b"ipv6:":
            try:
                # No zone: "%eth0" means something on one machine only.
                ipaddress.IPv6Address(literal[5:].decode().replace("%", "?"))
            except ValueError:
                raise AddressError("Not an IPv6 address literal") from None
        elif not _ipv4.fullmatch(literal):
            # The general literal wants a registered tag, and none is but IPv6 (RFC 5321 §4.1.3).
            raise AddressError("Not an address literal: write [192.0.2.1] or [IPv6:2001:db8::1]")


def _check_utf8(octets: bytes) -> str:
    try:
        text = octets.decode()
    except UnicodeDecodeError:
        raise AddressError("Not valid UTF-8") from None
    # The C1 controls hide in two octets each (RFC 6531 §3.3 leaves them out by UTF8-non-ascii's
    # use in internet text; terminals obey them).
    if not text.isascii() and any("\x80" <= char <= "\x9f" for char in text):
        raise AddressError("A control character")
    return text
