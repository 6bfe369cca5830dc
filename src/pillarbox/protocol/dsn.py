"""The parameters by which a sender asks for delivery status notifications (RFC 3461 §4).

A receiver only reads and keeps them; whoever delivers the message obeys them (relay/dsn.py), and
hands them on to the next server with the very octets they came with.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

__all__ = [
    "MailDsn",
    "Notify",
    "RcptDsn",
    "Return",
    "decode_xtext",
    "encode_orcpt",
    "encode_xtext",
    "parse_envid",
    "parse_notify",
    "parse_orcpt",
    "parse_ret",
]

# RFC 3461 §4.4 and §4.2: what an ENVID and an ORCPT may weigh as they are on the wire.
MAX_ENVID_OCTETS = 100
MAX_ORCPT_OCTETS = 500

_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*+")
_HEXCHAR = re.compile(r"\+([0-9A-F]{2})")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*+")
# RFC 6533 §3: utf-8-addr-xtext spells what is not a QCHAR as \x{HEXPOINT}, utf-8-addr-unitext may
# have it as it is; the third form, utf-8-address, is the second one wherever ORCPT may have it.
# HEXPOINT has one way to write each character; of ASCII it has these and controls, which we refuse.
_HEXPOINT = (
    "20|2B|3D|5C|[89A-F][0-9A-F]|[1-9A-F][0-9A-F]{2}|[1-9ABCEF][0-9A-F]{3}|D[0-7][0-9A-F]{2}"
    "|[1-9A-F][0-9A-F]{4}|10[0-9A-F]{4}"
)
_UNITEXT = re.compile(rf"(?:[!-*,-<>-\[\]-~\x80-\U0010ffff]|\\x\{{(?:{_HEXPOINT})\}})++")
_EMBEDDED = re.compile(r"\\x\{([0-9A-F]+)\}")
_NOT_QCHAR = re.compile(r"[^!-*,-<>-\[\]-~]")


class Return(enum.Enum):
    """How much of the message a notification brings back (RET=)."""

    FULL = "FULL"
    HDRS = "HDRS"


class Notify(enum.Flag):
    """When a recipient's sender wants to hear (NOTIFY=)."""

    NEVER = 0
    SUCCESS = 1
    FAILURE = 2
    DELAY = 4


@dataclass(frozen=True, slots=True)
class MailDsn:
    """What MAIL says of notifications.

    Attributes:
        ret: RET, or `None` where the server may choose.
        envid: ENVID, decoded: the sender's own name for the transaction.
    """

    ret: Return | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class RcptDsn:
    """What RCPT says of notifications.

    Attributes:
        notify: NOTIFY, or `None` where it was not given, which means failure and perhaps delay.
        orcpt_type: The address type of ORCPT, such as `rfc822`.
        orcpt: The original recipient, decoded.
    """

    notify: Notify | None = None
    orcpt_type: str | None = None
    orcpt: str | None = None


def parse_ret(value: str | None) -> Return:
    """Read RET's value.

    Raises:
        ValueError: It is neither FULL nor HDRS.
    """
    try:
        return Return((value or "").upper())
    except ValueError:
        raise ValueError("RET is FULL or HDRS") from None


def parse_envid(value: str | None) -> str:
    """Read ENVID's value.

    Raises:
        ValueError: It is no xtext, too long, or hides a control character.
    """
    if not value or len(value) > MAX_ENVID_OCTETS:
        raise ValueError(f"ENVID is xtext of 1 to {MAX_ENVID_OCTETS} octets")
    return decode_xtext(value)


def parse_notify(value: str | None) -> Notify:
    """Read NOTIFY's value.

    Raises:
        ValueError: A word is unknown or given twice, or NEVER does not stand alone (§4.1).
    """
    words = (value or "").upper().split(",")
    if words == ["NEVER"]:
        return Notify.NEVER
    notify = Notify.NEVER
    for word in words:
        if word not in ("SUCCESS", "FAILURE", "DELAY") or Notify[word] in notify:
            raise ValueError("NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY")
        notify |= Notify[word]
    return notify


def parse_orcpt(value: str | None) -> tuple[str, str]:
    """Read ORCPT's value: an address type and the decoded address.

    Raises:
        ValueError: It is not `type;xtext`, is too long, or hides a control character.
    """
    address_type, semicolon, address = (value or "").partition(";")
    if (
        not semicolon
        or not address
        or not _ADDRESS_TYPE.fullmatch(address_type)
        or len((value or "").encode()) > MAX_ORCPT_OCTETS
    ):
        raise ValueError(f"ORCPT is type;xtext of at most {MAX_ORCPT_OCTETS} octets")
    if address_type.lower() == "utf-8":
        return address_type, _decode_utf8(address)
    return address_type, decode_xtext(address)


def decode_xtext(text: str) -> str:
    """Decode xtext (§4): `+2B` is a plus sign.

    Raises:
        ValueError: It is no xtext, or what it hides is not printable ASCII.
    """
    if not _XTEXT.fullmatch(text):
        raise ValueError("Not xtext: '+' and '=' are +2B and +3D")
    decoded = _HEXCHAR.sub(lambda found: chr(int(found[1], 16)), text)
    _check_printable(decoded)
    if not decoded.isascii():
        raise ValueError("Not printable ASCII")
    return decoded


def encode_xtext(text: str) -> str:
    """Encode printable ASCII as xtext.

    Raises:
        ValueError: The text has other characters.
    """
    if not text.isascii() or not text.isprintable():
        raise ValueError(f"{text!r} is not printable ASCII, so it cannot be xtext")
    return re.sub(r"[+= ]", lambda found: f"+{ord(found[0]):02X}", text)


def encode_orcpt(address_type: str, address: str) -> str:
    """Write ORCPT's value; what `parse_orcpt()` reads again.

    Raises:
        ValueError: There is no address, no such type, or a character that does not print.
    """
    if address_type.lower() == "utf-8":
        _check_printable(address)
        # RFC 6533 §3, utf-8-addr-xtext: in ASCII, so that it needs no SMTPUTF8.
        encoded = _NOT_QCHAR.sub(lambda found: f"\\x{{{ord(found[0]):X}}}", address)
    else:
        encoded = encode_xtext(address)
    value = f"{address_type};{encoded}"
    parse_orcpt(value)
    return value


def _decode_utf8(text: str) -> str:
    """Decode the address of ORCPT=utf-8;... (RFC 6533 §3)."""
    if not _UNITEXT.fullmatch(text):
        raise ValueError("Not utf-8-addr-xtext: '+', '=' and '\\' are \\x{2B}, \\x{3D} and \\x{5C}")
    decoded = _EMBEDDED.sub(lambda found: chr(int(found[1], 16)), text)
    _check_printable(decoded)
    return decoded


def _check_printable(text: str) -> None:
    if not text.isprintable():
        raise ValueError("A control character")
