"""A message and its envelope from what a user gives: a file that may be mail or plain text.

Mail is sent as it stands, but for its line ends and Bcc; text gets a header. Who sends to whom
comes from the options, or else from the header. How it is sent: send.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from email.utils import format_datetime, getaddresses, localtime, make_msgid

from pillarbox.cli.errors import Failure
from pillarbox.protocol.address import AddressError, parse_path

__all__ = ["Letter", "read_letter"]

# A block of fields, up to an empty line or the end (RFC 5322 §2.2).
_HEADER = re.compile(
    rb"(?:[!-9;-~]++[ \t]*+:[^\n]*+(?:\n|\Z)(?:[ \t][^\n]*+(?:\n|\Z))*+)++(?=\r?\n|\Z)"
)
_FIELD = re.compile(rb"(?m)^([!-9;-~]++)[ \t]*+:([^\n]*+(?:\n(?:[ \t][^\n]*+\n?)*+)?)")
# "Bob:" on a line of its own begins a letter, and "Note: ..." a text; it takes one of these to
# make a header.
_KNOWN_FIELD = re.compile(
    rb"(?i)(?:from|sender|reply-to|to|cc|bcc|subject|date|message-id|received|return-path"
    rb"|mime-version|(?:content|x|resent|list|arc|dkim)-.*)"
)
_NEWLINE = re.compile(rb"\r\n|\r|\n")

SUBJECT = "A message from pillarbox"


@dataclass(frozen=True, slots=True)
class Letter:
    """A message and its envelope.

    Attributes:
        mail_from: The sender; empty for the null reverse-path.
        rcpt_tos: The recipients.
        smtputf8: The header has UTF-8.
        compose: Gives the octets; for text, with a date and a Message-ID of its own each time.
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    smtputf8: bool
    compose: Callable[[], bytes]


def read_letter(
    octets: bytes, *, mail_from: str | None, rcpt_tos: Sequence[str], is_binary: bool = False
) -> Letter:
    """Find out what the user gave, and for whom it is.

    Args:
        octets: The file.
        mail_from: The sender, where it was given; `<>` or nothing for the null reverse-path.
        rcpt_tos: The recipients that were given.
        is_binary: Keep the ends of lines as they are (BINARYMIME).

    Raises:
        Failure: There is no sender, no recipient, or what there is is no address.
    """
    if not is_binary:
        octets = _NEWLINE.sub(b"\r\n", octets)
    header = _header_of(octets)
    fields = [(name.lower(), value) for name, value in _FIELD.findall(header)]
    if mail_from is None:
        senders = _addresses(fields, b"sender") or _addresses(fields, b"from")
        if not senders:
            raise Failure("there is no sender; give one by --from ann@example.org")
        mail_from = senders[0]
    if not rcpt_tos:
        rcpt_tos = [*_addresses(fields, b"to", b"cc", b"bcc")]
        if not rcpt_tos:
            raise Failure("there is no recipient; give one by --to bob@example.org")
        if any(name == b"bcc" for name, _ in fields):
            octets = _without_bcc(header) + octets[len(header) :]
            header = _header_of(octets)
    sender = _checked(mail_from, "--from")
    recipients = tuple(dict.fromkeys(_checked(address, "--to") for address in rcpt_tos))
    if "" in recipients:
        raise Failure("--to is empty; write bob@example.org")
    if header:
        return Letter(sender, recipients, _is_utf8_beyond_ascii(header), lambda: octets)
    if octets and not octets.endswith(b"\r\n") and not is_binary:
        octets += b"\r\n"
    return Letter(
        sender,
        recipients,
        not "".join((sender, *recipients)).isascii(),
        lambda: _header(sender, recipients, octets, is_binary=is_binary) + octets,
    )


def _header_of(octets: bytes) -> bytes:
    """Give the header; nothing where this is no mail but text."""
    found = _HEADER.match(octets)
    if found is None:
        return b""
    names = (name for name, _ in _FIELD.findall(found[0]))
    return found[0] if any(map(_KNOWN_FIELD.fullmatch, names)) else b""


def _addresses(fields: Iterable[tuple[bytes, bytes]], *names: bytes) -> list[str]:
    values = [value.decode(errors="replace") for name, value in fields if name in names]
    unfolded = [re.sub(r"\r?\n", "", value).strip() for value in values]
    return [address for _, address in getaddresses(unfolded) if address]


def _without_bcc(header: bytes) -> bytes:
    """Leave out who is not to be seen (RFC 5322 §3.6.3), as sendmail does."""
    return _FIELD.sub(lambda found: b"" if found[1].lower() == b"bcc" else found[0], header)


def _checked(address: str, option: str) -> str:
    """Check an address before it goes into a header."""
    bare = address[1:-1] if address.startswith("<") and address.endswith(">") else address
    try:
        octets = bare.encode()
        _, end = parse_path(b"<%b>" % octets)
    except (AddressError, UnicodeEncodeError):
        end = -1
    if end < 0 or end != len(octets) + 2:
        raise Failure(f"{option} {address!r} is no address; write ann@example.org")
    return bare


def _is_utf8_beyond_ascii(header: bytes) -> bool:
    try:
        return not header.isascii() and bool(header.decode())
    except UnicodeDecodeError:
        return False  # what is no UTF-8 gains nothing from SMTPUTF8


def _header(sender: str, recipients: Sequence[str], body: bytes, *, is_binary: bool) -> bytes:
    """Give text what RFC 5322 §3.6 wants of a message, and the empty line."""
    domain = sender.rpartition("@")[2] if sender.isascii() else ""
    lines = [
        f"From: {sender or '<>'}",
        f"To: {(',' + chr(13) + chr(10) + ' ').join(recipients)}",
        f"Subject: {SUBJECT}",
        f"Date: {format_datetime(localtime())}",
        f"Message-ID: {make_msgid(domain=domain or 'localhost')}",
    ]
    if is_binary or not body.isascii():
        encoding = "binary" if is_binary else "8bit"
        lines += [
            "MIME-Version: 1.0",
            f"Content-Type: text/plain; charset={_charset(body)}",
            f"Content-Transfer-Encoding: {encoding}",
        ]
    return "\r\n".join((*lines, "", "")).encode()


def _charset(body: bytes) -> str:
    try:
        body.decode()
    except UnicodeDecodeError:
        return "unknown-8bit"  # RFC 1428 §3
    return "utf-8"
