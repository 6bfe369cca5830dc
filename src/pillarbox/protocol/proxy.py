"""The PROXY protocol: a load balancer tells whom it stands for (version 1 and 2).

The header comes before everything, TLS too, so this is not part of the SMTP state: the driver reads
it from peers that are listed, and from those alone. What is not exactly a header is an error, never
the beginning of SMTP.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

__all__ = ["ProxyError", "ProxyHeader", "parse_proxy_header"]

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
# Version 1: the longest line, two IPv6 addresses, with its CRLF.
MAX_LINE_OCTETS: Final = 107
# Version 2 declares up to 64 KiB; addresses and sane TLVs are far below this.
MAX_HEADER_OCTETS: Final = 4096

_LINE = re.compile(
    rb"PROXY (?:UNKNOWN(?: [^\r\n]*+)?+|(TCP4|TCP6) ([0-9A-Fa-f:.]++) ([0-9A-Fa-f:.]++)"
    rb" ([0-9]{1,5}) ([0-9]{1,5}))\r\n"
)
_ADDRESS_OCTETS: Final = {0x1: 4, 0x2: 16}


class ProxyError(ValueError):
    """These octets do not begin with a PROXY header; the text says why, for a log."""


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Whom the connection is from.

    Attributes:
        source: The client's `(host, port)`, or `None` where the proxy speaks for itself (LOCAL,
            UNKNOWN), such as for a health check.
        destination: What the client connected to.
    """

    source: tuple[str, int] | None = None
    destination: tuple[str, int] | None = None


def parse_proxy_header(data: bytes) -> tuple[ProxyHeader, int] | None:
    """Read the header that `data` begins with.

    Returns:
        The header and the octets it took, or `None` while more is needed.

    Raises:
        ProxyError: This is no header, or the addresses in it are none.
    """
    if data[:12] == SIGNATURE[: len(data)]:
        return _parse_binary(data)
    if data[:6] == b"PROXY "[: len(data)]:
        return _parse_line(data)
    raise ProxyError("no PROXY header first; is the proxy configured to send one?")


def _parse_line(data: bytes) -> tuple[ProxyHeader, int] | None:
    end = data.find(b"\r\n", 0, MAX_LINE_OCTETS)
    if end < 0:
        if len(data) >= MAX_LINE_OCTETS:
            raise ProxyError(f"a PROXY line of over {MAX_LINE_OCTETS} octets")
        return None
    found = _LINE.fullmatch(data, 0, end + 2)
    if found is None:
        raise ProxyError("a PROXY line that cannot be parsed")
    protocol, source, destination, source_port, destination_port = found.groups()
    if protocol is None:
        return ProxyHeader(), end + 2
    kind = ipaddress.IPv4Address if protocol == b"TCP4" else ipaddress.IPv6Address
    try:
        header = ProxyHeader(
            (str(kind(source.decode())), _port(source_port)),
            (str(kind(destination.decode())), _port(destination_port)),
        )
    except ValueError:
        raise ProxyError("a PROXY line with an address that is none") from None
    return header, end + 2


def _port(digits: bytes) -> int:
    port = int(digits)
    if port > 65535 or (digits.startswith(b"0") and digits != b"0"):
        raise ValueError("not a port")
    return port


def _parse_binary(data: bytes) -> tuple[ProxyHeader, int] | None:
    if len(data) < 16:
        # Refuse early what cannot become a header: a version or command that is none.
        if len(data) > 12 and data[12] not in (0x20, 0x21):
            raise ProxyError("a PROXY header of a version or command that is not known")
        return None
    if data[12] not in (0x20, 0x21):
        raise ProxyError("a PROXY header of a version or command that is not known")
    family, transport = data[13] >> 4, data[13] & 0xF
    length = int.from_bytes(data[14:16], "big")
    if length > MAX_HEADER_OCTETS:
        raise ProxyError(f"a PROXY header of over {MAX_HEADER_OCTETS} octets")
    if family > 0x3 or transport > 0x2:
        raise ProxyError("a PROXY header with an address family or transport that is none")
    end = 16 + length
    octets = _ADDRESS_OCTETS.get(family, 0)
    if data[12] == 0x21 and octets and length < 2 * octets + 4:
        raise ProxyError("a PROXY header that is shorter than its addresses")
    if len(data) < end:
        return None
    if data[12] == 0x20 or not octets or transport != 0x1:
        # LOCAL, UNSPEC, a UNIX socket or a datagram: nobody else's connection (§2.2).
        return ProxyHeader(), end
    # What follows the addresses are TLVs; none of them matters to SMTP.
    source, destination = data[16 : 16 + octets], data[16 + octets : 16 + 2 * octets]
    ports = data[16 + 2 * octets : 20 + 2 * octets]
    return (
        ProxyHeader(
            (str(ipaddress.ip_address(source)), int.from_bytes(ports[:2], "big")),
            (str(ipaddress.ip_address(destination)), int.from_bytes(ports[2:], "big")),
        ),
        end,
    )
