"""DSN parameters: tables of values and of what is none (RFC 3461 §4)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.dsn import (
    MAX_ENVID_OCTETS,
    MAX_ORCPT_OCTETS,
    Notify,
    Return,
    decode_xtext,
    encode_orcpt,
    encode_xtext,
    parse_envid,
    parse_notify,
    parse_orcpt,
    parse_ret,
)


@pytest.mark.parametrize(("value", "ret"), [("FULL", Return.FULL), ("hdrs", Return.HDRS)])
def test_ret(value: str, ret: Return) -> None:
    assert parse_ret(value) is ret


@pytest.mark.parametrize("value", [None, "", "BODY", "FULL,HDRS", "ＦＵＬＬ"])
def test_no_ret(value: str | None) -> None:
    with pytest.raises(ValueError, match="RET is FULL or HDRS"):
        parse_ret(value)


NOTIFY = {
    "NEVER": Notify.NEVER,
    "success": Notify.SUCCESS,
    "FAILURE": Notify.FAILURE,
    "DELAY": Notify.DELAY,
    "Success,DELAY": Notify.SUCCESS | Notify.DELAY,
    "DELAY,FAILURE,SUCCESS": Notify.SUCCESS | Notify.FAILURE | Notify.DELAY,
}


@pytest.mark.parametrize(("value", "notify"), NOTIFY.items())
def test_notify(value: str, notify: Notify) -> None:
    assert parse_notify(value) == notify


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", ",", "NEVER,", "NEVER,NEVER", "NEVER,DELAY", "DELAY,NEVER", "DELAY,DELAY"),
        *("SUCCESS,", ",SUCCESS", "ALWAYS", "SUCCESS FAILURE", "1"),
    ],
)
def test_no_notify(value: str | None) -> None:
    with pytest.raises(ValueError, match="NOTIFY is NEVER, or some of SUCCESS,FAILURE,DELAY"):
        parse_notify(value)


XTEXT = {
    "": "",
    "QQ314159": "QQ314159",
    "a+2Bb+3Dc": "a+b=c",
    "+20": " ",
    "+2B2B": "+2B",
    "~!": "~!",
}


@pytest.mark.parametrize(("text", "decoded"), XTEXT.items())
def test_xtext(text: str, decoded: str) -> None:
    assert decode_xtext(text) == decoded


@pytest.mark.parametrize(
    "text",
    ["+", "a+2", "+2b", "+GG", "a=b", "a b", "é", "+0A", "+0D", "+00", "+1B", "+7F", "+85", "+E9"],
)
def test_no_xtext(text: str) -> None:
    with pytest.raises(ValueError, match=r"xtext|control character|printable"):
        decode_xtext(text)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_xtext_there_and_back(text: str) -> None:
    assert decode_xtext(encode_xtext(text)) == text


@pytest.mark.parametrize("text", ["é", "a\n", "\x00", "\x7f"])
def test_what_cannot_be_xtext(text: str) -> None:
    with pytest.raises(ValueError, match="is not printable ASCII"):
        encode_xtext(text)


def test_envid() -> None:
    assert parse_envid("QQ+2B1") == "QQ+1"
    assert parse_envid("x" * MAX_ENVID_OCTETS) == "x" * MAX_ENVID_OCTETS


@pytest.mark.parametrize("value", [None, "", "x" * (MAX_ENVID_OCTETS + 1), "a+0Ab", "a=b"])
def test_no_envid(value: str | None) -> None:
    with pytest.raises(ValueError, match=r"xtext|control character"):
        parse_envid(value)


ORCPT = {
    "rfc822;ann+2Bx@example.org": ("rfc822", "ann+x@example.org"),
    "x400;/C+3D": ("x400", "/C="),
    "utf-8;n\\x{E9}@example.org": ("utf-8", "né@example.org"),
    "UTF-8;né@example.org": ("UTF-8", "né@example.org"),
    "utf-8;a\\x{2B}b\\x{3D}\\x{5C}\\x{20}c@example.org": ("utf-8", "a+b=\\ c@example.org"),
    "utf-8;\\x{E9}\\x{153}\\x{4E00}\\x{D7A3}\\x{1F600}x": (
        "utf-8",
        "é\u0153\u4e00\ud7a3\U0001f600x",
    ),
    "utf-8;n\\x{E9}né": ("utf-8", "néné"),
    "utf-8;x{E9}": ("utf-8", "x{E9}"),
    "x;" + "a" * (MAX_ORCPT_OCTETS - 2): ("x", "a" * (MAX_ORCPT_OCTETS - 2)),
}


@pytest.mark.parametrize(("value", "parsed"), ORCPT.items())
def test_orcpt(value: str, parsed: tuple[str, str]) -> None:
    assert parse_orcpt(value) == parsed


@pytest.mark.parametrize(
    "value",
    [
        *(None, "", ";", "rfc822", "rfc822;", ";ann@example.org", "-x;ann@example.org"),
        *("rfc 822;a@b", "rfc822;a+0Ab", "rfc822;né@example.org", "utf-8;a\\x{A}b"),
        *("utf-8;\\x{D800}", "utf-8;\\x{DFFF}", "utf-8;\\x{FFFFFF}", "utf-8;\\x{110000}"),
        # A plus sign, an equals sign and a backslash have one spelling each, and it is not xtext's.
        *("utf-8;a+b", "utf-8;a+2Bb", "utf-8;a+0Db", "utf-8;a=b", "utf-8;a b", "utf-8;a\\b"),
        *(
            "utf-8;\\",
            "utf-8;\\x",
            "utf-8;\\x{}",
            "utf-8;\\x{E9",
            "utf-8;\\x{e9}",
            "utf-8;\\x{0E9}",
        ),
        *("utf-8;\\x{41}", "utf-8;\\x{7F}", "utf-8;\\x{00}", "utf-8;\\x{85}", "utf-8;\u0085"),
        *("utf-8;\\X{E9}", "utf-8;\\x{10FFFF}", "x;" + "a" * MAX_ORCPT_OCTETS),
        "utf-8;" + "é" * (MAX_ORCPT_OCTETS // 2),
    ],
)
def test_no_orcpt(value: str | None) -> None:
    with pytest.raises(ValueError, match=r"ORCPT is|xtext|control character"):
        parse_orcpt(value)


@given(st.one_of(st.none(), st.text()))
def test_anything_is_read_or_refused(value: str | None) -> None:
    for parse in (parse_ret, parse_envid, parse_notify, parse_orcpt):
        try:
            parsed = parse(value)
        except ValueError:
            continue
        if isinstance(parsed, str):
            assert parsed.isprintable()
        elif isinstance(parsed, tuple):
            assert parsed[1].isprintable()


@pytest.mark.parametrize(
    ("address_type", "address", "value"),
    [
        ("rfc822", "ann@example.org", "rfc822;ann@example.org"),
        ("rfc822", "a+b=c@example.org", "rfc822;a+2Bb+3Dc@example.org"),
        ("utf-8", "ann@example.org", "utf-8;ann@example.org"),
        ("UTF-8", "é+=\\ \U0001f600@x", r"UTF-8;\x{E9}\x{2B}\x{3D}\x{5C}\x{20}\x{1F600}@x"),
    ],
)
def test_original_recipient_written(address_type: str, address: str, value: str) -> None:
    assert encode_orcpt(address_type, address) == value
    assert parse_orcpt(value) == (address_type, address)


@pytest.mark.parametrize(
    ("address_type", "address"),
    [("rfc822", ""), ("rfc822", "é"), ("a b", "x"), ("utf-8", "a\rb"), ("", "x")],
)
def test_original_recipient_that_cannot_be_written(address_type: str, address: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        encode_orcpt(address_type, address)
