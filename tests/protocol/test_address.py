"""Paths and domains: what is one, what is none and why, what its parts are."""

from __future__ import annotations

import pytest

from pillarbox.protocol.address import (
    AddressError,
    Path,
    parse_client_name,
    parse_domain,
    parse_path,
)

LONG_LOCAL = b"a" * 64
LONG_MAILBOX = LONG_LOCAL + b"@" + b".".join([b"d" * 63, b"d" * 62, b"d" * 62])

PATHS = {
    "plain": (b"<ann@example.org>", b"ann@example.org"),
    "null": (b"<>", b""),
    "dots": (b"<a.b.c@example.org>", b"a.b.c@example.org"),
    "every octet of atext": (b"<!#$%&'*+/=?^_`{|}~-@x>", b"!#$%&'*+/=?^_`{|}~-@x"),
    "case is kept": (b"<Ann@Example.ORG>", b"Ann@Example.ORG"),
    "quoted": (b'<"ann"@x>', b'"ann"@x'),
    "quoted, empty": (b'<""@x>', b'""@x'),
    "quoted specials": (b'<"a @b>c:d,e<f"@x>', b'"a @b>c:d,e<f"@x'),
    "quoted pairs": (rb'<"a\"b\\c"@x>', rb'"a\"b\\c"@x'),
    "quoted dots": (b'<"..a..b.."@x>', b'"..a..b.."@x'),
    "one label": (b"<ann@localhost>", b"ann@localhost"),
    "digits": (b"<1@2.3>", b"1@2.3"),
    "hyphens": (b"<a@x--y.z-1>", b"a@x--y.z-1"),
    "underscore in a domain": (b"<a@my_host>", b"a@my_host"),
    "IPv4": (b"<a@[192.0.2.1]>", b"a@[192.0.2.1]"),
    "IPv4, lowest and highest": (b"<a@[0.0.255.255]>", b"a@[0.0.255.255]"),
    "IPv6": (b"<a@[IPv6:2001:db8::1]>", b"a@[IPv6:2001:db8::1]"),
    "IPv6, whole": (b"<a@[IPv6:1:2:3:4:5:6:7:8]>", b"a@[IPv6:1:2:3:4:5:6:7:8]"),
    "IPv6 in small letters": (b"<a@[ipv6:::1]>", b"a@[ipv6:::1]"),
    "IPv6 with IPv4": (b"<a@[IPv6:::ffff:192.0.2.1]>", b"a@[IPv6:::ffff:192.0.2.1]"),
    "postmaster": (b"<postmaster>", b"postmaster"),
    "postmaster in any case": (b"<PostMaster>", b"PostMaster"),
    "source route": (b"<@one,@two.example:ann@x>", b"ann@x"),
    "source route of literals": (b"<@[192.0.2.1]:ann@x>", b"ann@x"),
    "UTF-8 local part": ("<né@x>".encode(), "né@x".encode()),
    "UTF-8 quoted": ('<"né é"@x>'.encode(), '"né é"@x'.encode()),
    "UTF-8 domain": ("<a@mañana.例え>".encode(), "a@mañana.例え".encode()),
    "local part of 64 octets": (b"<" + LONG_LOCAL + b"@x>", LONG_LOCAL + b"@x"),
    "local part of 63 octets": (b"<" + LONG_LOCAL[1:] + b"@x>", LONG_LOCAL[1:] + b"@x"),
    "mailbox of 253 octets": (b"<" + LONG_MAILBOX[:-1] + b">", LONG_MAILBOX[:-1]),
    "mailbox of 254 octets": (b"<" + LONG_MAILBOX + b">", LONG_MAILBOX),
}

NO_PATHS = {
    "nothing": (b"", "angle brackets"),
    "no brackets": (b"ann@example.org", "angle brackets"),
    "no end": (b"<ann@example.org", "Not an address"),
    "two beginnings": (b"<<ann@example.org>", "Not an address"),
    "no local part": (b"<@example.org>", "Not an address"),
    "no domain": (b"<ann>", "needs a domain"),
    "nothing behind the at sign": (b"<ann@>", "Not an address"),
    "two at signs": (b"<a@b@c>", "Not an address"),
    "space": (b"<a b@c>", "Not an address"),
    "space before": (b"< a@b>", "Not an address"),
    "space behind": (b"<a@b >", "Not an address"),
    "dot first": (b"<.a@b>", "Not an address"),
    "dot last": (b"<a.@b>", "Not an address"),
    "two dots": (b"<a..b@c>", "Not an address"),
    "dot first in the domain": (b"<a@.b>", "Not an address"),
    "dot last in the domain": (b"<a@b.>", "Not an address"),
    "two dots in the domain": (b"<a@b..c>", "Not an address"),
    "hyphen first in a label": (b"<a@-b>", "Not an address"),
    "hyphen last in a label": (b"<a@b-.c>", "Not an address"),
    "comma": (b"<a,b@c>", "Not an address"),
    "NUL": (b"<a\0b@c>", "Not an address"),
    "CR": (b"<a\rb@c>", "Not an address"),
    "LF": (b"<a@b\nc>", "Not an address"),
    "ESC": (b"<a@b\x1bc>", "Not an address"),
    "DEL quoted": (b'<"a\x7f"@c>', "Not an address"),
    "CR quoted": (b'<"a\rb"@c>', "Not an address"),
    "CR behind a backslash": (b'<"a\\\rb"@c>', "Not an address"),
    "quote not closed": (b'<"a@c>', "Not an address"),
    "quote escaped at the end": (b'<"a\\"@c>', "Not an address"),
    "quoted and more": (b'<"a"b@c>', "Not an address"),
    "IPv4 of three numbers": (b"<a@[1.2.3]>", "Not an address literal"),
    "IPv4 of five numbers": (b"<a@[1.2.3.4.5]>", "Not an address literal"),
    "IPv4 with a dot behind": (b"<a@[1.2.3.4.]>", "Not an address literal"),
    "IPv4 over 255": (b"<a@[1.2.3.256]>", "Not an address literal"),
    "IPv4 with a zero before": (b"<a@[01.2.3.4]>", "Not an address literal"),
    "IPv4 in full-width digits": ("<a@[1.2.3.４]>".encode(), "Not an address"),
    "IPv4 with a line end": (b"<a@[1.2.3.4\n]>", "Not an address"),
    "IPv6 without its tag": (b"<a@[::1]>", "Not an address literal"),
    "IPv6 with two gaps": (b"<a@[IPv6:1::2::3]>", "Not an IPv6"),
    "IPv6 of nine numbers": (b"<a@[IPv6:1:2:3:4:5:6:7:8:9]>", "Not an IPv6"),
    "IPv6 with a zone": (b"<a@[IPv6:fe80::1%eth0]>", "Not an IPv6"),
    "IPv6 of nothing": (b"<a@[IPv6:]>", "Not an IPv6"),
    "empty literal": (b"<a@[]>", "Not an address"),
    "literal not closed": (b"<a@[1.2.3.4>", "Not an address"),
    "a tag that nobody registered": (b"<a@[x:y]>", "Not an address literal"),
    "source route alone": (b"<@one:>", "without a mailbox"),
    "source route to postmaster": (b"<@one:postmaster>", "needs a domain"),
    "source route with a space": (b"<@one, @two:a@b>", "Not an address"),
    "source route without a colon": (b"<@one,@two>", "Not an address"),
    "source route of a bad literal": (b"<@[1.2.3.4:a@b>", "Not an address"),
    "not UTF-8": (b"<\xff@x>", "Not valid UTF-8"),
    "overlong UTF-8": (b"<\xc0\xaf@x>", "Not valid UTF-8"),
    "half a surrogate pair": (b"<\xed\xa0\x80@x>", "Not valid UTF-8"),
    "not UTF-8 in the domain": (b"<a@x\xe9>", "Not valid UTF-8"),
    "C1 control": ("<a\x9bb@x>".encode(), "control character"),
    "local part of 65 octets": (b"<" + LONG_LOCAL + b"a@x>", "Local part over 64"),
    "local part of 65 octets, quoted": (b'<"' + b"a" * 63 + b'"@x>', "Local part over 64"),
    "local part of 65 octets in UTF-8": (("<" + "é" * 33 + "@x>").encode(), "Local part over 64"),
    "domain of 256 octets": (b"<a@" + b"d" * 256 + b">", "Domain over 255"),
    "mailbox of 255 octets": (b"<" + LONG_MAILBOX + b"d>", "Mailbox over 254"),
}


@pytest.mark.parametrize(("octets", "mailbox"), PATHS.values(), ids=PATHS)
def test_path(octets: bytes, mailbox: bytes) -> None:
    path, end = parse_path(octets)
    assert path.octets == mailbox
    assert end == len(octets)
    # A path that is rendered again is the same path.
    assert parse_path(b"<%b>" % mailbox) == (path, len(mailbox) + 2)


@pytest.mark.parametrize(("octets", "reason"), NO_PATHS.values(), ids=NO_PATHS)
def test_no_path(octets: bytes, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        parse_path(octets)


def test_lengths_in_the_tables() -> None:
    assert len(LONG_MAILBOX) == 254


def test_path_within_a_line() -> None:
    assert parse_path(b"FROM:<a@b> SIZE=1", 5) == (Path(b"a@b"), 10)


PARTS = {
    "plain": (b"ann@example.org", "ann", "ann", "example.org"),
    "null": (b"", "", "", ""),
    "postmaster": (b"Postmaster", "Postmaster", "Postmaster", ""),
    "quoted": (b'"ann"@x', '"ann"', "ann", "x"),
    "quoted at sign": (b'"a@b"@x', '"a@b"', "a@b", "x"),
    "quoted pairs": (rb'"a\"\\\b"@x', r'"a\"\\\b"', r'a"\b', "x"),
    "literal": (b"a@[IPv6:::1]", "a", "a", "[IPv6:::1]"),
    "UTF-8": ("né@例え".encode(), "né", "né", "例え"),
}


@pytest.mark.parametrize(("octets", "local", "unquoted", "domain"), PARTS.values(), ids=PARTS)
def test_parts(octets: bytes, local: str, unquoted: str, domain: str) -> None:
    path = Path(octets)
    assert path.mailbox == str(path) == octets.decode()
    assert path.local_part == local
    assert path.unquoted_local_part == unquoted
    assert path.domain == domain
    assert path.is_null is (not octets)


def test_a_path_is_its_octets() -> None:
    assert Path(b"a@b") == Path(b"a@b")
    assert Path(b"a@b") != Path(b"A@b")
    assert Path(b"a@b") != b"a@b"
    assert len({Path(b"a@b"), Path(b"a@b")}) == 1
    assert repr(Path(b"a@b")) == "Path(b'a@b')"


DOMAINS = {
    "name": b"client.test",
    "one label": b"localhost",
    "underscore": b"my_laptop",
    "IPv4": b"[192.0.2.1]",
    "IPv6": b"[IPv6:::1]",
    "UTF-8": "例え.test".encode(),
    "254 octets": b"d" * 254,
    "255 octets": b"d" * 255,
}

NO_DOMAINS = {
    "nothing": (b"", "Not a domain"),
    "two": (b"a b", "Not a domain"),
    "dot at the end": (b"example.org.", "Not a domain"),
    "line end behind": (b"example.org\n", "Not a domain"),
    "ESC": (b"a\x1b[31m", "Not a domain"),
    "angle brackets": (b"<script>", "Not a domain"),
    "bare IPv6": (b"::1", "Not a domain"),
    "bad literal": (b"[1.2.3]", "Not an address literal"),
    "256 octets": (b"d" * 256, "Domain over 255"),
    "not UTF-8": (b"\xff", "Not valid UTF-8"),
    "C1 control": (b"\xc2\x85", "control character"),
}


@pytest.mark.parametrize("octets", DOMAINS.values(), ids=DOMAINS)
def test_domain(octets: bytes) -> None:
    assert parse_domain(octets) == octets.decode()


@pytest.mark.parametrize(("octets", "reason"), NO_DOMAINS.values(), ids=NO_DOMAINS)
def test_no_domain(octets: bytes, reason: str) -> None:
    with pytest.raises(AddressError, match=reason):
        parse_domain(octets)


@pytest.mark.parametrize(
    "name",
    ["client.test", "my_machine-", "[192.0.2.1]", "[IPv6:::1]", "::1", "x" * 255, "né.test"],
)
def test_client_name(name: str) -> None:
    assert parse_client_name(name.encode()) == name


@pytest.mark.parametrize(
    "octets",
    [
        b"",
        b"a b",
        b"<script>",
        b"a\x00",
        b"\xff",
        "a\u0085".encode(),
        "a\u202eb".encode(),
        b"x" * 256,
    ],
)
def test_no_client_name(octets: bytes) -> None:
    with pytest.raises(AddressError, match=r"UTF-8|name of a machine"):
        parse_client_name(octets)
