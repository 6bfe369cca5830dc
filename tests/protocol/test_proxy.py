"""PROXY headers: what they say, and that nothing else ever passes for one or for SMTP."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.proxy import (
    MAX_HEADER_OCTETS,
    MAX_LINE_OCTETS,
    SIGNATURE,
    ProxyError,
    ProxyHeader,
    parse_proxy_header,
)


def binary(
    addresses: bytes, *, command: int = 0x21, family: int = 0x11, length: int | None = None
) -> bytes:
    size = len(addresses) if length is None else length
    return SIGNATURE + bytes([command, family]) + size.to_bytes(2, "big") + addresses


V4 = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + b"\xc0\x00\x00\x19"
V6 = ipaddress.ip_address("2001:db8::1").packed + ipaddress.ip_address("::1").packed + V4[-4:]
TLV = b"\x04\x00\x03abc"

FROM_V4 = ProxyHeader(("192.0.2.1", 49152), ("198.51.100.2", 25))
FROM_V6 = ProxyHeader(("2001:db8::1", 49152), ("::1", 25))

HEADERS: dict[str, tuple[bytes, ProxyHeader]] = {
    "TCP4": (b"PROXY TCP4 192.0.2.1 198.51.100.2 49152 25\r\n", FROM_V4),
    "TCP6": (b"PROXY TCP6 2001:DB8::1 ::1 49152 25\r\n", FROM_V6),
    "ports": (
        b"PROXY TCP4 192.0.2.1 192.0.2.2 0 65535\r\n",
        ProxyHeader(("192.0.2.1", 0), ("192.0.2.2", 65535)),
    ),
    "unknown": (b"PROXY UNKNOWN\r\n", ProxyHeader()),
    "unknown with more": (b"PROXY UNKNOWN ffff::1 x 1\r\n", ProxyHeader()),
    "longest": (
        b"PROXY UNKNOWN" + b" ffff:f...f:ffff".ljust(MAX_LINE_OCTETS - 15, b"f") + b"\r\n",
        ProxyHeader(),
    ),
    "2, TCP4": (binary(V4), FROM_V4),
    "2, TCP6": (binary(V6, family=0x21), FROM_V6),
    "2, TLVs": (binary(V4 + TLV * 3), FROM_V4),
    "2, local": (binary(b"", command=0x20, family=0), ProxyHeader()),
    "2, local with addresses": (binary(V4, command=0x20), ProxyHeader()),
    "2, unspecified": (binary(TLV, family=0), ProxyHeader()),
    "2, datagram": (binary(V4, family=0x12), ProxyHeader()),
    "2, UNIX socket": (binary(b"x" * 216, family=0x31), ProxyHeader()),
    "2, longest": (binary(V4.ljust(MAX_HEADER_OCTETS, b"\0")), FROM_V4),
}


@pytest.mark.parametrize(("octets", "header"), HEADERS.values(), ids=HEADERS)
@pytest.mark.parametrize("rest", [b"", b"EHLO x\r\n", b"\x16\x03\x01", b"\r\n\r\n"])
def test_header(octets: bytes, header: ProxyHeader, rest: bytes) -> None:
    assert parse_proxy_header(octets + rest) == (header, len(octets))


@pytest.mark.parametrize("octets", [octets for octets, _ in HEADERS.values()], ids=HEADERS)
def test_a_prefix_means_that_more_is_needed(octets: bytes) -> None:
    for end in range(len(octets)):
        assert parse_proxy_header(octets[:end]) is None


WRONG: dict[str, bytes] = {
    "SMTP": b"EHLO client.test\r\n",
    "TLS": b"\x16\x03\x01\x02\x00",
    "an empty line": b"\r\nEHLO",
    "small": b"proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "no space": b"PROXYTCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "two spaces": b"PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "another protocol": b"PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n",
    "UNKNOWN and on": b"PROXY UNKNOWNS\r\n",
    "bare LF": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\nEHLO x\r\n",
    "bare LF within": b"PROXY UNKNOWN \nEHLO x\r\n",
    "bare CR within": b"PROXY UNKNOWN \rEHLO x\r\n",
    "too few": b"PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n",
    "too many": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n",
    "not its family": b"PROXY TCP4 ::1 ::2 1 2\r\n",
    "nor this one's": b"PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n",
    "no address": b"PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n",
    "leading zeros": b"PROXY TCP4 192.0.2.01 192.0.2.2 1 2\r\n",
    "a port too high": b"PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n",
    "a port with zeros": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 02\r\n",
    "full-width digits": "PROXY TCP4 192.0.2.1 192.0.2.2 １ 2\r\n".encode(),
    "endless": b"PROXY UNKNOWN " + b"x" * MAX_LINE_OCTETS,
    "one octet too long": b"PROXY UNKNOWN".ljust(MAX_LINE_OCTETS - 1, b" ") + b"\r\n",
    "2, version, early": SIGNATURE + b"\x11",
    "2, version": binary(V4, command=0x11),
    "2, command": binary(V4, command=0x22),
    "2, family": binary(V4, family=0x41),
    "2, transport": binary(V4, family=0x13),
    "2, short": binary(V4[:-1]),
    "2, short for v6": binary(V4, family=0x21),
    "2, huge": binary(V4, length=MAX_HEADER_OCTETS + 1),
}


@pytest.mark.parametrize("octets", WRONG.values(), ids=WRONG)
def test_no_header(octets: bytes) -> None:
    with pytest.raises(ProxyError, match="PROXY"):
        parse_proxy_header(octets)


@given(st.data())
def test_an_octet_changed_in_the_structure_never_falls_through(data: st.DataObject) -> None:
    octets, _ = data.draw(st.sampled_from(list(HEADERS.values())))
    # Signature, version and command; or the word, the protocol and the space between.
    end = 13 if octets.startswith(SIGNATURE) else 11
    at = data.draw(st.integers(0, end - 1))
    octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != octets[at]))
    changed = octets[:at] + bytes([octet]) + octets[at + 1 :]
    try:
        found = parse_proxy_header(changed + b"EHLO client.test\r\n")
    except ProxyError:
        return
    # What still is a header is one as a whole: LOCAL for PROXY, TCP6 for TCP4.
    assert found is None or found[1] == len(octets)


@given(st.one_of(st.binary(), st.binary().map(lambda octets: SIGNATURE + b"\x21" + octets)))
def test_any_octets(octets: bytes) -> None:
    try:
        found = parse_proxy_header(octets)
    except ProxyError:
        return
    if found is not None:
        assert 0 < found[1] <= len(octets)
        assert octets.startswith((b"PROXY ", SIGNATURE))
