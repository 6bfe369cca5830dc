"""Transfer encodings and charsets, decoded as far as they go."""

from __future__ import annotations

import base64
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.content import (
    decode_base64,
    decode_charset,
    decode_quoted_printable,
    decode_transfer,
)

BASE64 = {
    b"": b"",
    b"aGVsbG8=": b"hello",
    b"aGVs\r\nbG8=\r\n": b"hello",
    b"aGVsbG8": b"hello",
    b"aGVsbG8====": b"hello",
    b"aGVsbG8=IHlvdQ==": b"hello you",
    b"aGVs!bG8=": b"hello",
    b"aGVsb": b"hel",
    b"a": b"a",
    b"!!": b"!!",
}


@pytest.mark.parametrize(("octets", "expected"), BASE64.items(), ids=map(repr, BASE64))
def test_base64(octets: bytes, expected: bytes) -> None:
    assert decode_base64(octets) == expected


QUOTED_PRINTABLE = {
    b"a=3Db=3db": b"a=b=b",
    b"soft =\r\nbreak": b"soft break",
    b"soft =  \r\nbreak": b"soft break",
    b"=XY =4 =": b"=XY =4 ",
    b"a=\rb\r\nc": b"a=\rb\r\nc",
    b"\xc3\xa4=C3=A4": "ää".encode(),
}


@pytest.mark.parametrize(
    ("octets", "expected"), QUOTED_PRINTABLE.items(), ids=map(repr, QUOTED_PRINTABLE)
)
def test_quoted_printable(octets: bytes, expected: bytes) -> None:
    assert decode_quoted_printable(octets) == expected


@pytest.mark.parametrize(
    "encoding", ["base64", " BASE64 ", "base64 (RFC 2045)", "base64; x=y", "base64\t"]
)
def test_encoding_is_found(encoding: str) -> None:
    assert decode_transfer(b"aGVsbG8=", encoding) == b"hello"


@pytest.mark.parametrize("encoding", ["", "7bit", "8bit", "binary", "x-uuencode", "base 64"])
def test_other_encodings_leave_octets_alone(encoding: str) -> None:
    assert decode_transfer(b"aGVsbG8=\r\n", encoding) == b"aGVsbG8=\r\n"


@given(st.binary())
def test_round_trips(octets: bytes) -> None:
    assert decode_transfer(base64.encodebytes(octets), "base64") == octets
    encoded = quopri.encodestring(octets.replace(b"\n", b""))
    assert decode_transfer(encoded, "quoted-printable") == octets.replace(b"\n", b"")


CHARSETS = [
    (b"\xc3\xa4", None, "ä"),
    (b"\xe4", None, "ä"),
    (b"\xc3\xa4", "utf-8", "ä"),
    (b"\xe4", "utf-8", "\ufffd"),
    (b"\xc3\xa4", "US-ASCII", "ä"),
    (b"\xe4", "ISO-8859-1", "ä"),
    (b"\xa4", "iso-8859-15", "€"),
    (b"\x80", "windows-1252", "€"),
    (b"\xd6\xd0", "gb2312", "中"),
    (b"\x82\xa0", "Shift_JIS", "あ"),
    (b"\x87\x40", "Shift_JIS", "①"),
    (b'\x1b$B$"', "iso-2022-jp", "あ"),
    (b"a", " utf-8 (comment)", "a"),
    (b"\xe4", "", "ä"),
    (b"\xe4", "no such", "ä"),
    (b"\xe4", "a\0b", "ä"),
    (b"\xe4", "\udce4", "ä"),
    (b"\xe4", "x" * 100_000, "ä"),
    (b"abc", "hex", "abc"),
    (b"abc", "bz2", "abc"),
    (b"abc", "rot13", "abc"),
    (b"abc-", "punycode", "abc-"),
    (b"\\x41", "unicode_escape", "\\x41"),
    (b"\\u0041", "raw-unicode-escape", "\\u0041"),
    (b"abc", "undefined", "abc"),
    (b"abc", "aliases", "abc"),
    (b"+2AA-", "utf-7", "\ufffd"),
]


@pytest.mark.parametrize(("octets", "charset", "text"), CHARSETS, ids=repr)
def test_charsets(octets: bytes, charset: str | None, text: str) -> None:
    assert decode_charset(octets, charset) == text


CODECS = st.sampled_from(
    [
        "base64", "big5", "charmap", "cp1252", "hz", "idna", "iso2022_jp_2", "iso2022_kr", "johab",
        "koi8-r", "latin-1", "mbcs", "oem", "palmos", "ptcp154", "utf-16", "utf-32", "utf-7",
        "utf-8", "utf-8-sig", "uu",
    ]
)  # fmt: skip


@given(st.binary(), CODECS | st.text(max_size=20))
def test_nothing_raises_or_cannot_be_written(octets: bytes, charset: str) -> None:
    decode_charset(octets, charset).encode()
