"""The quick way of reading addresses gives what the `email` package gives, or leaves it alone."""

from __future__ import annotations

from email._header_value_parser import get_addr_spec, get_angle_addr

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.smtpd.house import House
from tests.smtpd.under_test import ours_only, smtpd

pytestmark = ours_only


def by_email(arg: str) -> tuple[str, str]:
    read = get_angle_addr if arg.lstrip().startswith("<") else get_addr_spec
    token, rest = read(arg)
    return token.addr_spec, rest


PIECES = [*'<>@.,:;()[]\\" \tab=?', "example", "é", "\xa0", "\u2028", "SIZE=1", "a@b", " ", "--"]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
@example("<a@b> (comment) SIZE=1")
@example("a@b .c")
@example("<a@b>\tSIZE=1")
@example("<a@b")
@example("a@b>")
def test_the_quick_way(arg: str) -> None:
    plain = smtpd._PLAIN_ADDRESS.match(arg)
    if plain and "=?" not in arg:
        assert (plain[2], arg[plain.end() :]) == by_email(arg)


@pytest.mark.parametrize(
    ("arg", "address", "rest"),
    [
        ("<ann@example.org>", "ann@example.org", ""),
        ("<ann@example.org> SIZE=1 X", "ann@example.org", "SIZE=1 X"),
        ("ann@example.org SIZE=1", "ann@example.org", "SIZE=1"),
        ("<a.b+c!#$%&'*/=?^_`{|}~-@x-y_z.example>", "a.b+c!#$%&'*/=?^_`{|}~-@x-y_z.example", ""),
        ("<é@é.example>", "é@é.example", ""),
        ("<=?utf-8?q?a?=@b>", "=?utf-8?q?a?=@b", ""),
        # From here on by the `email` package.
        ("<>", "<>", ""),
        ("postmaster", "postmaster", ""),
        ("<postmaster>", "postmaster", ""),
        ("<@x,@y:a@b>", "a@b", ""),
        ('<"a b"@c> SIZE=1', '"a b"@c', "SIZE=1"),
        ('"a b"@c SIZE=1', '"a b"@c', "SIZE=1"),
        ("<a@[192.0.2.1]>", "a@[192.0.2.1]", ""),
        ("<a@b> (comment) SIZE=1", "a@b", "SIZE=1"),
        ("<a..b@c>", "a..b@c", ""),
        ("<a@b>SIZE=1", "a@b", "SIZE=1"),
        # What it would decode.
        ('<"=?utf-8?q?a?="@b>', "", ""),
    ],
)
def test_an_address(arg: str, address: str, rest: str) -> None:
    with House() as house:
        house.connect()
        assert house.channel._getaddr(arg) == (address, rest)


@given(st.text())
def test_any_text_is_read_or_refused(arg: str) -> None:
    address, rest = smtpd.SMTPChannel._getaddr(object.__new__(smtpd.SMTPChannel), arg)
    assert isinstance(address, str)
    assert arg.endswith(rest)
    assert not smtpd._CONTROL.search(address)
