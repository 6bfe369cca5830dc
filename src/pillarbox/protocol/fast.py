"""The fast path: the commands of every ordinary message, told by one regular expression in place.

One match in the receive buffer splits the line, tells the verb and takes address and parameters
apart. It knows what is certainly right; all else does not match, and goes to the careful parsers of
command.py, which alone decide on errors. The two agree by test.
"""

from __future__ import annotations

import re
from typing import Final

from pillarbox.protocol.address import Path
from pillarbox.protocol.event import Mail
from pillarbox.protocol.extension import Offer

__all__ = [
    "DATA",
    "EHLO",
    "END",
    "FAST",
    "HELO",
    "MAIL",
    "MAX_FAST_ADDRESS_OCTETS",
    "QUIT",
    "RCPT",
    "fast_mail",
]

_ATOM = rb"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]++"
_ADDRESS = rb"%b(?:\.%b)*+" % (_ATOM, _ATOM) + rb"@[A-Za-z0-9]++(?:(?:\.|-++)[A-Za-z0-9]++)*+"

# RCPT first, because there may be hundreds. Case is spelled out for the two ways in which programs
# write; case-insensitive matching costs more than it brings.
FAST: Final = re.compile(
    rb"(?:RCPT TO|rcpt TO):<(%b)>\r\n"
    rb"|(?:MAIL FROM|mail FROM):<((?:%b)?+)>"
    rb"(?: (?:SIZE|size)=([0-9]{1,18}))?+(?: (?:BODY|body)=(8BITMIME|8bitmime))?+()\r\n"
    rb"|(?:DATA|data)()\r\n"
    rb"|()\Z"
    rb"|HELO ([A-Za-z0-9._-]{1,255}+)\r\n|(?:EHLO|ehlo) ([A-Za-z0-9._-]{1,255}+)\r\n"
    rb"|(?:QUIT|quit)()\r\n" % (_ADDRESS, _ADDRESS)
)
# The group that closes an alternative, `lastindex`, tells which it was. END: nothing is left.
RCPT: Final = 1
MAIL: Final = 5
DATA: Final = 6
END: Final = 7
HELO: Final = 8
EHLO: Final = 9
QUIT: Final = 10

# An address no longer than this is within every limit of RFC 5321 §4.5.3.1.
MAX_FAST_ADDRESS_OCTETS: Final = 64


def fast_mail(found: re.Match[bytes], offer: Offer, *, is_extended: bool) -> Mail | None:
    """Make a `Mail` of a match, or nothing where the careful parser has to look."""
    address, size, body = found.group(2, 3, 4)
    if len(address) > MAX_FAST_ADDRESS_OCTETS:
        return None
    if size is None and body is None:
        return Mail(Path(address))
    limit = offer.max_message_bytes
    if not is_extended or (limit and size is not None and int(size) > limit):
        return None
    raw: dict[str, str | None] = {}
    if size is not None:
        raw["SIZE"] = size.decode()
    if body is not None:
        raw["BODY"] = body.decode()
    return Mail(
        Path(address),
        None if size is None else int(size),
        None if body is None else "8BITMIME",
        smtputf8=False,
        parameters=raw,
    )
