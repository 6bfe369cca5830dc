"""What is found in messages, and that nothing is lost, raised or waited for."""

from __future__ import annotations

import base64
import time
from datetime import UTC, datetime, timedelta, timezone
from email.message import EmailMessage

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.catcher.message import Address, ParsedMessage, Part, Role, parse_message
from pillarbox.catcher.tree import MAX_DEPTH, MAX_PARTS
from tests.catcher.ugly import UGLY, Ugly, lines


def ids_and_types(message: ParsedMessage) -> tuple[str, ...]:
    return tuple(f"{part.id} {part.content_type}" for part in message.parts)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
def test_ugly(ugly: Ugly) -> None:
    message = parse_message(ugly.octets)
    assert ugly.text in (message.text or "")
    assert ids_and_types(message) == ugly.parts
    assert message.subject == ugly.subject
    names = tuple(part.file_name for part in message.parts if part.file_name is not None)
    assert names == ugly.names
    assert message.size == len(ugly.octets)


ORDINARY = lines("""
    Received: from a by b; Mon, 1 Jan 2024 00:00:00 +0000
    Received: from c by a; Mon, 1 Jan 2024 00:00:00 +0000
    From: =?utf-8?q?J=C3=B6rg_M=C3=BCller?= <joerg@example.org>
    To: "Ann, the first" <ann@example.org>, ben@example.org (Ben)
    Cc: Friends: carl@example.org, dora@example.org;
    Reply-To: <help@example.org>
    Subject: Hello
    Date: Tue, 2 Jan 2024 03:04:05 +0100
    Message-ID: <1@example.org>

    Hello,  there
    and   more
""")


def test_headers() -> None:
    rcpt_tos = ("ann@example.org", "EVE@example.org", "fred@example.org", "BEN@example.org")
    message = parse_message(ORDINARY, rcpt_tos=rcpt_tos)
    assert message.from_ == (Address("Jörg Müller", "joerg@example.org"),)
    assert message.to == (
        Address("Ann, the first", "ann@example.org"),
        Address("Ben", "ben@example.org"),
    )
    assert [str(address) for address in message.cc] == ["carl@example.org", "dora@example.org"]
    assert [str(address) for address in message.bcc] == ["EVE@example.org", "fred@example.org"]
    assert message.reply_to == (Address("", "help@example.org"),)
    assert message.date == datetime(2024, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1)))
    assert message.message_id == "1@example.org"
    assert [name for name, _ in message.headers][:3] == ["Received", "Received", "From"]
    assert message.header("FROM") == "Jörg Müller <joerg@example.org>"
    assert message.header("X-None") is None
    assert message.snippet == "Hello, there and more"


def test_bcc_that_was_left_in_the_header() -> None:
    message = parse_message(b"Bcc: eve@example.org\r\n\r\n", rcpt_tos=["eve@example.org", "f@x"])
    assert [address.address for address in message.bcc] == ["eve@example.org", "f@x"]


def test_addresses_of_two_headers_are_one_list() -> None:
    message = parse_message(b"To: ann@x.org\r\nTO: ben@x.org\r\n\r\n")
    assert [address.address for address in message.to] == ["ann@x.org", "ben@x.org"]


def test_without_headers_there_is_nothing() -> None:
    message = parse_message(b"\r\nHello\r\n")
    assert message.headers == ()
    assert (message.subject, message.date, message.message_id) == (None, None, None)
    assert (message.from_, message.to, message.cc, message.bcc, message.reply_to) == ((),) * 5
    assert (message.text, message.html) == ("Hello\n", None)


def test_date_without_a_zone_is_in_utc() -> None:
    message = parse_message(b"Date: Mon, 1 Jan 2024 00:00:00 -0000\r\n\r\n")
    assert message.date == datetime(2024, 1, 1, tzinfo=UTC)


# Roles


def by_id(octets: bytes) -> dict[str, Part]:
    return {part.id: part for part in parse_message(octets).parts}


def test_roles() -> None:
    octets = lines("""
        Content-Type: multipart/mixed; boundary=mixed

        --mixed
        Content-Type: multipart/alternative; boundary=alternative

        --alternative
        Content-Type: text/plain; charset=utf-8

        plain
        --alternative
        Content-Type: multipart/related; boundary=related

        --related
        Content-Type: text/html; charset=utf-8

        <p>html
        --related
        Content-Type: image/png
        Content-ID: <logo@example.org>

        png
        --related--
        --alternative
        Content-Type: text/calendar

        BEGIN:VCALENDAR
        --alternative--
        --mixed
        Content-Type: text/plain; name=notes.txt
        Content-Disposition: inline

        notes
        --mixed
        Content-Type: text/plain
        Content-Disposition: attachment

        attached
        --mixed
        Content-Type: image/png
        Content-ID: <x@y>
        Content-Disposition: attachment; filename=x.png

        png
        --mixed
        Content-Type: text/plain
        Content-Disposition: inline

        footer
        --mixed--
    """)
    assert {id_: part.role for id_, part in by_id(octets).items()} == {
        "1.1": Role.TEXT,
        "1.2.1": Role.HTML,
        "1.2.2": Role.INLINE,
        "1.3": Role.ATTACHMENT,
        "2": Role.INLINE,
        "3": Role.ATTACHMENT,
        "4": Role.ATTACHMENT,
        "5": Role.TEXT,
    }
    message = parse_message(octets)
    assert message.text == "plain\n\nfooter\n"
    assert message.html == "<p>html"
    assert [part.id for part in message.inline] == ["1.2.2", "2"]
    assert [part.id for part in message.attachments] == ["1.3", "3", "4"]
    assert by_id(octets)["1.2.2"].content_id == "logo@example.org"


def test_part_that_is_the_whole_message() -> None:
    octets = b"Content-Type: application/pdf; name=a.pdf\r\n\r\n%PDF"
    [part] = parse_message(octets).parts
    assert (part.id, part.role, part.content_type) == ("1", Role.ATTACHMENT, "application/pdf")
    assert (part.file_name, part.octets, part.size) == ("a.pdf", b"%PDF", 4)
    assert parse_message(octets).text is None


def test_message_inside_keeps_its_octets_and_can_be_parsed() -> None:
    inner = b"Subject: inner\r\nBroken\r\n\r\n--b-not\r\ntext\r\n"
    octets = (
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: message/rfc822\r\n\r\n" + inner + b"\r\n--b--\r\n"
    )
    [part] = parse_message(octets).attachments
    assert part.octets == inner
    assert parse_message(part.octets).subject == "inner"


def test_snippet_of_html() -> None:
    octets = (
        b"Content-Type: text/html\r\n\r\n<style>p{}</style><p>Hello&nbsp;<b>you</b>" + b"x" * 300
    )
    message = parse_message(octets)
    assert message.snippet.startswith("Hello youxxx")
    assert len(message.snippet) == 200


# Nothing is lost


def leaf(content: bytes, encoding: str) -> bytes:
    match encoding:
        case "base64":
            body = base64.encodebytes(content).replace(b"\n", b"\r\n")
        case "quoted-printable":
            body = b"=\r\n".join(
                b"".join(b"=%02X" % octet for octet in content[at : at + 20])
                for at in range(0, len(content), 20)
            )
        case _:
            body = content
    return (
        b"Content-Type: application/octet-stream\r\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\r\n\r\n"
        + body
    )


@st.composite
def trees(draw: st.DrawFn, depth: int = 0) -> tuple[bytes, list[bytes]]:
    """A part, and the contents of its leaves."""
    if depth > 5 or (depth and draw(st.booleans())):
        content = draw(st.binary(max_size=200))
        return leaf(content, draw(st.sampled_from(["base64", "quoted-printable", "8bit"]))), [
            content
        ]
    boundary = f"=_{depth}_{draw(st.integers(0, 10**9))}_"
    octets = f'Content-Type: multipart/mixed; boundary="{boundary}"\r\n\r\n'.encode()
    contents = []
    for _ in range(draw(st.integers(1, 3))):
        part, inside = draw(trees(depth=depth + 1))
        octets += f"\r\n--{boundary}\r\n".encode() + part
        contents += inside
    return octets + f"\r\n--{boundary}--\r\n".encode(), contents


@given(trees())
def test_every_leaf_is_there(tree: tuple[bytes, list[bytes]]) -> None:
    octets, contents = tree
    assert [part.octets for part in parse_message(octets).parts] == contents


@given(st.binary(max_size=400))
def test_text_without_headers_is_there_whole(octets: bytes) -> None:
    message = parse_message(b"\r\n" + octets)
    assert b"".join(part.octets for part in message.parts) == octets


FRAGMENTS = st.sampled_from(
    [
        b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b":", b";", b'"', b"\\", b"(", b"<", b"=",
        b"From ", b"From: ", b"To: ", b"Subject: ", b"Date: ", b"Content-Type: ", b"text/html",
        b"multipart/mixed; boundary=b", b"multipart/digest; boundary=", b"message/rfc822",
        b"message/delivery-status", b"message/partial", b"; charset=", b"utf-7", b"punycode",
        b"Content-Transfer-Encoding: ", b"base64", b"quoted-printable", b"x-uuencode",
        b"Content-Disposition: attachment; filename*", b"filename*0*=", b"=?utf-8?q?", b"=?b?b?",
        b"?=", b"--b", b"--b--", b"<p>", b"<!--", b"<a href=", b"&#", b"&amp;", b"\x00", b"\xff",
        b"\xc3\xa4", b"=E2=80=AE", b"99999999999999999999", b"*", b"''", b"%", b"name=",
    ]
)  # fmt: skip


@given(st.lists(FRAGMENTS | st.binary(max_size=5), max_size=60).map(b"".join))
def test_nothing_raises(octets: bytes) -> None:
    message = parse_message(octets, rcpt_tos=["ann@example.org"])
    assert message.parts
    assert len(message.snippet) <= 200
    for text in (message.text, message.html, message.subject, *(v for _, v in message.headers)):
        (text or "").encode()  # no surrogates


def test_what_email_makes_is_read_back() -> None:
    made = EmailMessage()
    made["Subject"] = "Grüße " * 30
    made["To"] = "Jürgen <j@example.org>"
    made.set_content("Ünï " * 200)
    made.add_alternative("<p>Ünï</p>", subtype="html")
    made.add_attachment(b"\x00\xff", maintype="application", subtype="x", filename="ünï.bin")
    message = parse_message(bytes(made))
    assert message.subject == "Grüße " * 29 + "Grüße"
    assert message.to == (Address("Jürgen", "j@example.org"),)
    assert message.text == "Ünï " * 200 + "\n"
    assert message.html == "<p>Ünï</p>\n"
    assert [(part.file_name, part.octets) for part in message.attachments] == [
        ("ünï.bin", b"\x00\xff")
    ]


# Limits


def nested(depth: int) -> bytes:
    opening = (
        f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth)
    )
    return "".join(opening).encode() + b"\r\ninnermost\r\n"


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
def test_depth_is_bounded(depth: int) -> None:
    [part] = parse_message(nested(depth)).parts
    assert (part.octets == b"innermost") is (depth <= MAX_DEPTH)
    assert part.octets.endswith(b"innermost")


@pytest.mark.parametrize("count", [MAX_PARTS - 1, MAX_PARTS])
def test_parts_are_bounded(count: int) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    octets += b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n"
    assert len(parse_message(octets).parts) == (count if count < MAX_PARTS else 1)


MIB = 1 << 20

SLOW = {
    "attachment": b"Content-Transfer-Encoding: base64\r\n\r\n" + b"QUJD" * 19 * 140_000,
    "text": b"\r\n" + "Zeile äöü\r\n".encode() * 800_000,
    "one line": b"\r\n" + b"x" * 10 * MIB,
    "short lines": b"\r\n" + b"\r\n" * 5 * MIB,
    "headers": b"a:\r\n" * 2 * MIB,
    "parts": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\n\r\n0123456789\r\n" * 500_000,
    "parameters": b"Content-Type: multipart/mixed" + b";" * MIB + b"\r\n\r\n",
    "quoted parameters": b"Content-Type: multipart/mixed" + b';a="' * (MIB // 4) + b"\r\n\r\n",
    "words": b"Subject: " + b"=?utf-8?q?x?= " * (MIB // 14) + b"\r\n\r\n",
    "half words": b"Subject: " + b"=?u?q?" * (MIB // 6) + b"\r\n\r\n",
    "comments": b"To: " + b"(" * MIB + b"\r\n\r\n",
    "escapes": b'To: "' + b'\\"' * (MIB // 2) + b"\r\n\r\n",
    "angles": b"To: " + b"<" * MIB + b"\r\n\r\n",
    "quotes": b"To: " + b'"" ' * (MIB // 3) + b"\r\n\r\n",
    "folds": b"To: " + b"a\r\n " * (MIB // 4) + b"\r\n\r\n",
    "deep": nested(3_000) + b"\r\n" * (1 << 17),
}


@pytest.mark.parametrize("octets", SLOW.values(), ids=list(SLOW))
def test_time_is_bounded(octets: bytes) -> None:
    """10 MiB of anything, or 1 MiB in a header, take a second here and not minutes."""
    began = time.process_time()
    parse_message(octets)
    assert time.process_time() - began < 5
