"""Property 10: addresses raise their own error only, come back as they are, take linear time."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.address import AddressError, Path, parse_domain, parse_path
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.fast import FAST, MAX_FAST_ADDRESS_OCTETS, RCPT
from tests.fuzz.session import Session
from tests.fuzz.strategies import domains, mailboxes, near_addresses, routes
from tests.protocol.test_command import PARSERS


@given(mailboxes, st.just(b"") | routes)
def test_what_the_abnf_makes_is_taken(mailbox: bytes, route: bytes) -> None:
    line = b"<%b%b>" % (route, mailbox)
    local_part, _, domain = mailbox.rpartition(b"@")
    if len(local_part) > 64 or len(domain) > 255 or len(mailbox) > 254:
        with pytest.raises(AddressError, match="over"):
            parse_path(line)
        return
    path, end = parse_path(line)
    assert path == Path(mailbox)
    assert end == len(line)
    assert path.local_part == local_part.decode()
    assert path.domain == domain.decode()
    if not local_part.startswith(b'"'):
        assert path.unquoted_local_part == path.local_part


@given(domains)
def test_domains_that_the_abnf_makes(domain: str) -> None:
    assert parse_domain(domain.encode()) == domain


@given(near_addresses | st.binary(max_size=40), st.booleans())
def test_anything_else_is_its_own_error(octets: bytes, brackets: bool) -> None:
    if brackets:
        octets = b"<" + octets + b">"
    path = end = None
    with contextlib.suppress(AddressError):
        path, end = parse_path(octets)
    if path is None or end is None:
        return
    assert octets[end - 1 : end] == b">"
    # What is rendered again is the same, and every part can be had.
    again, _ = parse_path(b"<%b>" % path.octets)
    assert again == path
    assert path.mailbox.encode() == path.octets
    if path.domain:
        assert f"{path.local_part}@{path.domain}" == path.mailbox
    assert isinstance(path.unquoted_local_part, str)
    assert not any(ord(char) < 32 or 127 <= ord(char) < 160 for char in path.mailbox)


@given(near_addresses | st.binary(max_size=40))
def test_every_parser_raises_its_own_error_only(argument: bytes) -> None:
    for parse in PARSERS.values():
        for text in (argument, b"FROM:" + argument, b"TO:" + argument, b"FROM:<> " + argument):
            with contextlib.suppress(RemoteProtocolError):
                parse(text)


@given(mailboxes)
def test_the_fast_path_agrees(mailbox: bytes) -> None:
    found = FAST.match(b"RCPT TO:<%b>\r\n" % mailbox)
    if found and len(mailbox) <= MAX_FAST_ADDRESS_OCTETS:
        assert found.lastindex == RCPT
        assert parse_path(b"<%b>" % mailbox)[0] == Path(found[1])


NUMBER = 65_536
HARD = {
    "quotes": b'"' * NUMBER,
    "backslashes": b'"' + b"\\" * NUMBER,
    "quoted pairs": b'"' + b'\\"' * (NUMBER // 2),
    "quoted strings": b'"a"' * (NUMBER // 3),
    "dots": b"." * NUMBER,
    "atoms": b"a." * (NUMBER // 2),
    "atom": b"a" * NUMBER,
    "at signs": b"a@" * (NUMBER // 2),
    "routes": b"@a," * (NUMBER // 3) + b"@a:",
    "routes without an end": b"@a," * (NUMBER // 3),
    "routes of hyphens": b"@" + b"a-" * (NUMBER // 2),
    "labels": b"a@" + b"a." * (NUMBER // 2),
    "hyphens": b"a@a" + b"-" * NUMBER,
    "hyphens between": b"a@" + b"a-" * (NUMBER // 2),
    "brackets": b"a@" + b"[" * NUMBER,
    "literal": b"a@[" + b"1" * NUMBER + b"]",
    "IPv6": b"a@[IPv6:" + b"1:" * (NUMBER // 2) + b"]",
    "IPv4": b"a@[" + b"1." * (NUMBER // 2) + b"]",
    "beyond ASCII": b"\xc3\xa9" * (NUMBER // 2) + b"@x",
    "not UTF-8": b"\xff" * NUMBER + b"@x",
    "opening": b"<" * NUMBER,
}


@pytest.mark.parametrize("octets", HARD.values(), ids=HARD)
def test_linear_time(octets: bytes) -> None:
    # Linear is a few milliseconds; quadratic is minutes.
    began = time.process_time()
    for line in (b"<%b>" % octets, b"<%b" % octets, octets):
        with pytest.raises(AddressError):
            parse_path(line)
        FAST.match(b"RCPT TO:" + line + b"\r\n")
        FAST.match(b"MAIL FROM:" + line)
        with pytest.raises(RemoteProtocolError):
            PARSERS[b"MAIL"](b"FROM:<a@b> " + line)
    assert time.process_time() - began < 2


def test_parameters_in_linear_time() -> None:
    began = time.process_time()
    for argument in (
        b" A" * 30_000,
        b" " * 60_000,
        b" A=" + b"x" * 60_000,
        b" A=1" * 15_000 + b"=",
    ):
        with pytest.raises(RemoteProtocolError):
            PARSERS[b"MAIL"](b"FROM:<a@b>" + argument + b" =")
    assert time.process_time() - began < 2


@given(near_addresses)
def test_in_a_session(address: bytes) -> None:
    session = Session()
    session.feed(b"EHLO c\r\nMAIL FROM:<a@b> SMTPUTF8\r\n")
    session.feed(b"RCPT TO:<%b>\r\n" % address)
    assert all(not isinstance(happened, bytes) for happened in session.happened)
