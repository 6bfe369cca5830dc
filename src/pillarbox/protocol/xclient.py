"""XCLIENT: a front server tells for whom it stands, within SMTP (Postfix's XCLIENT_README).

Who may say it is the driver's to know (`Offer.offers_xclient`); what it does to a session stands in
session.py. proxy.py is the other way to tell the same, before SMTP begins.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from pillarbox.protocol.address import parse_client_name
from pillarbox.protocol.dsn import decode_xtext
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.sasl import check_identity

__all__ = ["ATTRIBUTES", "UNKNOWN_ADDRESS", "XClient", "parse_xclient"]

# RFC 4291 §2.5.2: this one "indicates the absence of an address", and no network lists it.
UNKNOWN_ADDRESS: Final = "::"

Address: TypeAlias = tuple[str, int] | str


@dataclass(frozen=True, slots=True)
class XClient:
    """What a front server said of its client, in all its XCLIENT commands together.

    Attributes:
        name: The client's name by DNS; `None` where it has none, or was not told.
        address: Its address, `::` where the front server does not know it; `None`: not told.
        port: Its port, 0 where the front server does not know it; `None`: not told.
        protocol: What it speaks, SMTP, ESMTP or LMTP; `None`: not told.
        helo: What it called itself; `None`: not known, or not told.
        login: Who logged in, at the front server; `None` for nobody.
        destination_address: The address that the client connected to, like `address`.
        destination_port: The port that it connected to, like `port`.
    """

    name: str | None = None
    address: str | None = None
    port: int | None = None
    protocol: str | None = None
    helo: str | None = None
    login: str | None = None
    destination_address: str | None = None
    destination_port: int | None = None

    def peer(self, before: Address) -> Address:
        """Give the client's address; `before` is the front server's."""
        return _moved(before, self.address, self.port)

    def local(self, before: Address) -> Address:
        """Give the address that the client connected to; `before` is the one of ours."""
        return _moved(before, self.destination_address, self.destination_port)


def _moved(before: Address, host: str | None, port: int | None) -> Address:
    if host is not None:
        return host, port or 0
    if port is not None and isinstance(before, tuple):
        return before[0], port
    return before


def parse_xclient(argument: bytes, known: XClient | None = None) -> XClient:
    """Read XCLIENT's argument, and put it over what an earlier one said.

    Raises:
        RemoteProtocolError: It is not `NAME=value ...`, or a value is none.
    """
    changes: dict[str, str | int | None] = {}
    start = 0
    while not start or start < len(argument):
        found = _ATTRIBUTE.match(argument, start)
        if found is None:
            raise _syntax("Syntax: XCLIENT ATTRIBUTE=xtext ...")
        name = found[1].decode().upper()
        if name not in ATTRIBUTES:
            raise _syntax(f"XCLIENT knows {' '.join(ATTRIBUTES)}")
        field, parse, unknown = ATTRIBUTES[name]
        if field in changes:
            raise _syntax(f"{name} given twice")
        try:
            value = decode_xtext(found[2].decode())
            is_unknown = value.upper() in ("[UNAVAILABLE]", "[TEMPUNAVAIL]")
            changes[field] = unknown if is_unknown else parse(value)
        except ValueError:
            raise _syntax(f"Not a value of {name}") from None
        start = found.end()
    return replace(known or XClient(), **changes)  # type: ignore[arg-type]  # of each its own type


# Printable ASCII alone: decode_xtext() looks for what hides behind a plus sign.
_ATTRIBUTE: Final = re.compile(rb"([A-Za-z]{1,20})=([!-~]++)(?: ++|\Z)")
_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,255}")
_PORT: Final = re.compile(r"[0-9]{1,5}")


def _syntax(text: str) -> RemoteProtocolError:
    return RemoteProtocolError(text, reply=Reply(501, "5.5.4", text))


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("not a name in DNS")
    return value


def _address(value: str) -> str:
    if value[:5].upper() == "IPV6:":
        # No zone: "%eth0" means something on one machine only.
        return str(ipaddress.IPv6Address(value[5:].replace("%", "?")))
    return str(ipaddress.IPv4Address(value))


def _port(value: str) -> int:
    if not _PORT.fullmatch(value) or int(value) > 65535:
        raise ValueError("not a port")
    return int(value)


def _protocol(value: str) -> str:
    if value.upper() not in ("SMTP", "ESMTP", "LMTP"):
        raise ValueError("not a protocol")
    return value.upper()


def _helo(value: str) -> str:
    return parse_client_name(value.encode())


_Parse: TypeAlias = Callable[[str], str | int]

ATTRIBUTES: Final[dict[str, tuple[str, _Parse, str | int | None]]] = {
    "NAME": ("name", _name, None),
    "ADDR": ("address", _address, UNKNOWN_ADDRESS),
    "PORT": ("port", _port, 0),
    "PROTO": ("protocol", _protocol, None),
    "HELO": ("helo", _helo, None),
    "LOGIN": ("login", check_identity, None),
    "DESTADDR": ("destination_address", _address, UNKNOWN_ADDRESS),
    "DESTPORT": ("destination_port", _port, 0),
}
"""Each attribute: the field it is, how it is read, and what stands for a value not known."""
