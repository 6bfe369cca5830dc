"""Addresses, encoded words, dates and parameters, as they should be and as they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.header import (
    _PLAIN,
    Address,
    addresses,
    date,
    decode_words,
    parameters,
    unfold,
)

ADDRESSES = {
    "": [],
    " , ,,": [],
    "ann@x.org": [("", "ann@x.org")],
    "<ann@x.org>": [("", "ann@x.org")],
    "Ann <ann@x.org>, ben@y.org": [("Ann", "ann@x.org"), ("", "ben@y.org")],
    '"Ann, the \\"1st\\"" <ann@x.org>': [('Ann, the "1st"', "ann@x.org")],
    '"a"  "b"\t<ann@x.org>': [("a b", "ann@x.org")],
    "ann@x.org (Ann (the) first)": [("Ann (the) first", "ann@x.org")],
    "(Ann) ann@x.org": [("Ann", "ann@x.org")],
    "Ann (from work) <ann@x.org>": [("Ann", "ann@x.org")],
    "(never ends, ann@x.org": [("never ends, ann@x.org", "")],
    '"ann b"@x.org': [("", '"ann b"@x.org')],
    '<"a>b,c"@x.org>': [("b", '"a'), ("", 'c"@x.org>')],  # wrong, and nothing is missing
    "Ann ann@x.org": [("Ann", "ann@x.org")],
    "Friends: a@x.org, B <b@x.org>; c@x.org": [("", "a@x.org"), ("B", "b@x.org"), ("", "c@x.org")],
    "undisclosed-recipients:;": [],
    "a@[IPv6:2001:db8::1], <b@[192.0.2.1]>": [
        ("", "a@[IPv6:2001:db8::1]"),
        ("", "b@[192.0.2.1]"),
    ],
    "<@relay.org:ann@x.org>": [("", "@relay.org:ann@x.org")],
    "Postmaster": [("", "Postmaster")],
    '"Ann"': [("Ann", "")],
    "<>": [],
    "<ann@x.org": [("", "<ann@x.org")],
    '"Ann <ann@x.org>, ben@y.org': [('"Ann', "ann@x.org"), ("", "ben@y.org")],
    "ann @ x.org": [("", "ann @ x.org")],
    "jörg@müller.example": [("", "jörg@müller.example")],
    "=?utf-8?q?J=C3=B6rg=2C_M?= <j@x.org>": [("Jörg, M", "j@x.org")],
    '"=?utf-8?b?SsO2cmc=?=" <j@x.org>': [("Jörg", "j@x.org")],
    "j@x.org (=?utf-8?b?SsO2cmc=?=)": [("Jörg", "j@x.org")],
    "\\": [("", "\\")],
}


@pytest.mark.parametrize(("text", "expected"), ADDRESSES.items(), ids=list(ADDRESSES))
def test_addresses(text: str, expected: list[tuple[str, str]]) -> None:
    assert [(found.name, found.address) for found in addresses(text)] == expected


def test_name_cannot_look_like_another_address() -> None:
    assert str(Address("", "ann@x.org")) == "ann@x.org"
    assert str(Address("Ann", "ann@x.org")) == "Ann <ann@x.org>"
    assert str(Address('A" <boss@x.org>, "\\', "a@x")) == '"A\\" <boss@x.org>, \\"\\\\" <a@x>'


NAMES = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=20)


@given(st.from_regex(_PLAIN, fullmatch=True))
def test_one_plain_address_is_what_it_is_in_a_list(text: str) -> None:
    assert addresses(text) == addresses(f"{text},")


@given(st.lists(st.tuples(NAMES, st.from_regex(r"[a-z]{1,9}@[a-z]{1,9}\.org", fullmatch=True))))
def test_quoted_names_are_read_back(people: list[tuple[str, str]]) -> None:
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name, _ in people)
    text = ", ".join(f'"{name}" <{people[n][1]}>' for n, name in enumerate(quoted))
    expected = [(decode_words(" ".join(name.split())), address) for name, address in people]
    assert [(found.name, found.address) for found in addresses(text)] == expected


WORDS = {
    "plain": "plain",
    "=?utf-8?q?a_b?= =?utf-8?q?c?= d": "a bc d",
    "=?utf-8?q?a?=   b =?utf-8?q?c?=": "a   b c",
    "=?utf-8?q?=C3?=\t=?UTF-8?Q?=A4?=": "ä",
    "=?utf-8?q?=C3?= =?iso-8859-1?q?=A4?=": "\ufffd¤",
    "=?utf-8*de?q?=C3=A4?=": "ä",
    "a=?utf-8?q?b?=c": "abc",
    "=?utf-8?q??=": "",
    "=?utf-8?b?w6Q?=": "ä",
    "=?utf-8?q?a b?=": "a b",
    "=?gb2312?b?1tDOxA==?=": "中文",
    "=?us-ascii?q?=E4?=": "ä",
    "=?x-none?q?=E4?=": "ä",
    "=?utf-8?x?a?=": "=?utf-8?x?a?=",
    "=?utf-8?b?w6Q": "=?utf-8?b?w6Q",
    "=?utf-8?q?=0D=0ABcc:_x?=": "\r\nBcc: x",
}


@pytest.mark.parametrize(("text", "expected"), WORDS.items(), ids=list(WORDS))
def test_encoded_words(text: str, expected: str) -> None:
    assert decode_words(text) == expected


def test_unfold() -> None:
    assert unfold(" one\r\n two\n\tthree\r four ") == "one two\tthree four"
    assert unfold(b"Gr\xfc\xdfe".decode("ascii", "surrogateescape")) == "Grüße"
    assert unfold("Grüße".encode().decode("ascii", "surrogateescape")) == "Grüße"


NEW_YEAR = datetime(2024, 1, 1, tzinfo=UTC)
DATES = {
    "Mon, 1 Jan 2024 00:00:00 +0000": NEW_YEAR,
    "1 Jan 2024 00:00 -0000 (comment)": NEW_YEAR,
    "Mon, 1 Jan 2024 01:00:00 +0100": NEW_YEAR,
    "Mon, 1 Jan 2024 00:00:00": NEW_YEAR,
    "Mon Jan  1 00:00:00 2024": NEW_YEAR,
    "": None,
    "tomorrow": None,
    "32 Jan 2024 00:00:00 +0000": None,
    "1 Jan 2024 99:00:00 +0000": None,
    "1 Jan 2024 00:00:00 +9999": None,
    "1 Jan 99999999999999999999 00:00:00 +0000": None,
}


@pytest.mark.parametrize(("text", "expected"), DATES.items(), ids=list(DATES))
def test_dates(text: str, expected: datetime | None) -> None:
    assert date(text) == expected


PARAMETERS = {
    "": ("", {}),
    " Text/Plain ; Charset = UTF-8 ": ("text/plain", {"charset": "UTF-8"}),
    'a/b; name="x;\\"y\\".pdf"; size=1': ("a/b", {"name": 'x;"y".pdf', "size": "1"}),
    "a; filename=my file.txt": ("a", {"filename": "my file.txt"}),
    'a; x="never ends; y=2': ("a", {"x": "never ends", "y": "2"}),
    "a; x=1; X=2": ("a", {"x": "1"}),
    "a; ; =z;b": ("a", {}),
    "a; f*=utf-8'en'%e2%82%ac%20r.txt; f=e.txt": ("a", {"f": "€ r.txt"}),
    'a; f*0="long"; f*1=er': ("a", {"f": "longer"}),
    "a; f*1*=%20b; f*0*=utf-8''a": ("a", {"f": "a b"}),
    "a; f*0*=utf-8''%c3; f*1*=%a4; f*2=%41": ("a", {"f": "ä%41"}),
    "a; f*=%ff": ("a", {"f": "ÿ"}),
    "a; f*=none''%ff%zz%": ("a", {"f": "ÿ%zz%"}),
    "a; f*=x'y": ("a", {"f": "x'y"}),
    'a; f="=?utf-8?q?=C3=A4.pdf?="': ("a", {"f": "ä.pdf"}),
}


@pytest.mark.parametrize(("text", "expected"), PARAMETERS.items(), ids=list(PARAMETERS))
def test_parameters(text: str, expected: tuple[str, dict[str, str]]) -> None:
    assert parameters(text) == expected


@given(st.text())
def test_nothing_raises(text: str) -> None:
    unfold(text.encode().decode("ascii", "surrogateescape"))
    decode_words(text)
    addresses(text)
    date(text)
    parameters(text)
