"""The fast path: whatever it knows, the careful parsers know the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol import fast
from pillarbox.protocol.address import Path
from pillarbox.protocol.command import (
    parse_data,
    parse_ehlo,
    parse_helo,
    parse_mail,
    parse_quit,
    parse_rcpt,
    split_verb,
)
from pillarbox.protocol.event import Mail, Rcpt
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.fast import DATA, EHLO, END, FAST, HELO, MAIL, QUIT, RCPT, fast_mail
from tests.fuzz.strategies import command_lines

OFFER = Offer(hostname="mx.test", max_message_bytes=1000)

KNOWN = {
    b"RCPT TO:<ann@example.org>\r\n": RCPT,
    b"rcpt TO:<ann@example.org>\r\n": RCPT,
    b"RCPT TO:<a.b+c@x-1.example>\r\n": RCPT,
    b"MAIL FROM:<>\r\n": MAIL,
    b"MAIL FROM:<ann@example.org>\r\n": MAIL,
    b"mail FROM:<ann@example.org> size=12 body=8bitmime\r\n": MAIL,
    b"MAIL FROM:<ann@example.org> SIZE=12\r\n": MAIL,
    b"MAIL FROM:<ann@example.org> BODY=8BITMIME\r\n": MAIL,
    b"DATA\r\n": DATA,
    b"data\r\n": DATA,
    b"": END,
    b"EHLO client.test\r\n": EHLO,
    b"ehlo client.test\r\n": EHLO,
    b"HELO my_host-\r\n": HELO,
    b"QUIT\r\n": QUIT,
    b"quit\r\n": QUIT,
}

UNKNOWN = [
    b"Rcpt to:<ann@example.org>\r\n",
    b"RCPT TO: <ann@example.org>\r\n",
    b"RCPT TO:<>\r\n",
    b"RCPT TO:<ann@example.org>",
    b"RCPT TO:<ann@example.org>\r",
    b"RCPT TO:<ann@example.org>\n",
    b"RCPT TO:<ann@example.org> NOTIFY=NEVER\r\n",
    b"RCPT TO:<ann@-x>\r\n",
    b"RCPT TO:<ann@x->\r\n",
    b"RCPT TO:<ann@x-.y>\r\n",
    b"RCPT TO:<ann@x..y>\r\n",
    b"RCPT TO:<an..n@x>\r\n",
    b"RCPT TO:<.ann@x>\r\n",
    b'RCPT TO:<"ann"@x>\r\n',
    b"RCPT TO:<ann@[192.0.2.1]>\r\n",
    "RCPT TO:<né@x>\r\n".encode(),
    b"MAIL FROM:<ann@example.org> BODY=8BITMIME SIZE=12\r\n",
    b"MAIL FROM:<ann@example.org> SIZE=1234567890123456789\r\n",
    b"DATA \r\n",
    b"DATA\n",
    b" DATA\r\n",
    b"NOOP\r\n",
    b"EHLO\r\n",
    b"EHLO a b\r\n",
    b"EHLO [192.0.2.1]\r\n",
    b"QUIT now\r\n",
    b"\r\n",
    b"\0",
    b"EHLO client.test",
    b"EHLO client.test\n",
    b"EHLO <script>\r\n",
    b"EHLO " + b"d" * 256 + b"\r\n",
    "EHLO né.test\r\n".encode(),
    b"HELO\r\n",
    b"Quit\r\n",
]


@pytest.mark.parametrize(("line", "verb"), KNOWN.items(), ids=map(repr, KNOWN))
def test_known(line: bytes, verb: int) -> None:
    found = FAST.match(line)
    assert found
    assert found.lastindex == verb
    assert found.end() == len(line)


@pytest.mark.parametrize("line", UNKNOWN, ids=repr)
def test_left_to_the_careful_parsers(line: bytes) -> None:
    assert FAST.match(line) is None


def by_fast_path(line: bytes, *, is_extended: bool = True) -> Mail | None:
    found = FAST.match(line)
    assert found
    return fast_mail(found, OFFER, is_extended=is_extended)


def address(octets: int) -> bytes:
    return b"a@" + b"b" * (octets - 2)


TAKEN: list[tuple[bytes, bool]] = [
    (b"MAIL FROM:<>\r\n", False),
    (b"MAIL FROM:<a@b> SIZE=999\r\n", True),
    (b"MAIL FROM:<a@b> SIZE=1000\r\n", True),
    (b"MAIL FROM:<a@b> body=8bitmime\r\n", True),
    (b"MAIL FROM:<a@b> size=5 BODY=8BITMIME\r\n", True),
    (b"MAIL FROM:<%b>\r\n" % address(63), False),
    (b"MAIL FROM:<%b>\r\n" % address(64), False),
]

LEFT: list[tuple[bytes, bool]] = [
    (b"MAIL FROM:<a@b> SIZE=1001\r\n", True),
    (b"MAIL FROM:<a@b> SIZE=1\r\n", False),
    (b"MAIL FROM:<a@b> BODY=8BITMIME\r\n", False),
    (b"MAIL FROM:<%b>\r\n" % address(65), True),
]


@pytest.mark.parametrize(("line", "is_extended"), TAKEN)
def test_mail(line: bytes, is_extended: bool) -> None:
    mail = by_fast_path(line, is_extended=is_extended)
    assert mail == parse_mail(split_verb(line[:-2])[1])


@pytest.mark.parametrize(("line", "is_extended"), LEFT)
def test_mail_that_needs_a_second_look(line: bytes, is_extended: bool) -> None:
    assert by_fast_path(line, is_extended=is_extended) is None


def test_any_size_where_there_is_no_limit() -> None:
    found = FAST.match(b"MAIL FROM:<a@b> SIZE=999999999999999999\r\n")
    assert found
    mail = fast_mail(found, Offer(hostname="mx.test", max_message_bytes=0), is_extended=True)
    assert mail
    assert mail.size == 999_999_999_999_999_999


@given(st.one_of(command_lines, st.sampled_from([*filter(None, KNOWN), *UNKNOWN])))
def test_the_two_agree(line: bytes) -> None:
    found = FAST.match(line)
    if found is None:
        return
    assert line.endswith(b"\r\n")
    verb, argument = split_verb(line[:-2])
    match found.lastindex:
        case fast.RCPT:
            assert verb == b"RCPT"
            assert parse_rcpt(argument) == Rcpt(Path(found[1]))
        case fast.MAIL:
            assert verb == b"MAIL"
            offer = Offer(hostname="mx.test", max_message_bytes=0)
            mail = fast_mail(found, offer, is_extended=True)
            assert mail is None or mail == parse_mail(argument)
        case fast.EHLO:
            assert verb == b"EHLO"
            assert parse_ehlo(argument).domain == found[fast.EHLO].decode()
        case fast.HELO:
            assert verb == b"HELO"
            assert parse_helo(argument).domain == found[fast.HELO].decode()
        case fast.DATA:
            assert verb == b"DATA"
            parse_data(argument)
        case fast.QUIT:
            assert verb == b"QUIT"
            parse_quit(argument)
        case _:
            pytest.fail(f"what is {found!r}?")
