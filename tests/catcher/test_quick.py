"""What is found at a glance is what the standard library finds line by line."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pillarbox.catcher.header import unfold
from pillarbox.catcher.quick import MAX_HEADERS, Piece, parse_quickly
from pillarbox.catcher.tree import MAX_DEPTH, MAX_PARTS, Node, parse_slowly, parse_tree
from tests.catcher.mails import MAILS
from tests.catcher.ugly import UGLY, lines


def seen(node: Node | Piece) -> dict[str, Any]:
    return {
        "headers": [(name, unfold(value)) for name, value in node.raw_items()],
        "type": node.type,
        "octets": node.octets,
        "children": [seen(child) for child in node.children],
    }


def quick(octets: bytes) -> Piece | None:
    return parse_quickly(octets, max_depth=MAX_DEPTH, max_parts=MAX_PARTS)


def agrees(octets: bytes) -> bool:
    """Tell whether it was found at a glance; if so, it must be the same."""
    found = quick(octets)
    if found is None:
        return False
    assert seen(found) == seen(parse_slowly(octets))
    return True


def made() -> Iterator[bytes]:
    message = EmailMessage()
    message["Subject"] = "Grüße " * 30
    message["To"] = "Jürgen <j@example.org>"
    message.set_content("plain")
    yield message.as_bytes(policy=SMTP)
    message.add_alternative("<p>html", subtype="html")
    message.add_attachment(b"\x00\xff", maintype="application", subtype="x", filename="ünï.bin")
    message.add_attachment(EmailMessage())
    yield message.as_bytes(policy=SMTP)


NESTED = lines("""
    Subject: nested
    X-Folded: one
     two
    X-Empty:
    Content-Type: multipart/mixed; boundary="a b"

    preamble
    --a b
    Content-Type: multipart/related; boundary=bb

    --bb
    Content-Type: text/html

    <p>--bb
    -- bb
    --bbb
    --bb
    X: headers only

    --bb

    no headers
    --bb

    --bb--
    --bb
    epilogue
    --a b \t
    Content-Type: message/rfc822

    Subject: inner
    Content-Type: multipart/mixed; boundary=bb

    --bb--
    --a b--
    epilogue
    --a b
""")

ODD = {"no headers", "nothing", "hostile"}
PLAIN = {
    **{f"mail {name}": one.octets for name, one in MAILS.items() if name not in ODD},
    **{f"made {number}": octets for number, octets in enumerate(made())},
    "nested": NESTED,
    "no body": b"Subject: x\r\n\r\n",
    "Latin-1": b"Subject: Gr\xfc\xdfe\r\n\r\n\xff\r\n",
    "bare line breaks in the text": b"Subject: x\r\n\r\na\rb\nc\0\r\r\n",
}


@pytest.mark.parametrize("octets", PLAIN.values(), ids=list(PLAIN))
def test_ordinary_mail_is_found_at_a_glance(octets: bytes) -> None:
    assert agrees(octets)
    assert isinstance(parse_tree(octets), Piece)


@pytest.mark.parametrize("ugly", UGLY, ids=lambda ugly: ugly.name)
def test_ugly_mail_is_not_mistaken(ugly: Any) -> None:
    agrees(ugly.octets)


EDITS = [
    *(b"", b"\r\n", b"\n", b"\r", b"\r\n\r\n", b" ", b"\t", b"--", b"-", b":", b"--bb", b"--bb--"),
    *(b"\r\n--bb\r\n", b"\r\n--bb--\r\n", b"\n--bb\n", b"\r--bb\r", b"\r\n--bb", b"\r\n--a b\r\n"),
    *(b"\r\n--a b--\r\n", b"--a b", b"X: y\r\n", b"From x\r\n", b"\0", b"\x0b", b"\x85", b"\xff"),
    *(
        b"\x7f",
        b"Content-Type: multipart/mixed; boundary=bb\r\n",
        b"multipart/digest",
        b"boundary=",
    ),
]


@given(
    octets=st.sampled_from(list(PLAIN.values())),
    edits=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(EDITS)), max_size=3
    ),
)
@example(octets=b"A: b\r\n\r\n", edits=[(0, 0, b"\n")])
def test_mail_that_was_tampered_with(octets: bytes, edits: list[tuple[float, int, bytes]]) -> None:
    for place, cut, put in edits:
        at = round(place * len(octets))
        octets = octets[:at] + put + octets[at + cut :]
    agrees(octets)


@given(st.lists(st.sampled_from([*EDITS, b"Content-Type: multipart/mixed; boundary=bb"])))
def test_mail_of_fragments(fragments: list[bytes]) -> None:
    agrees(b"".join(fragments))


def nested(depth: int) -> bytes:
    opening = "".join(
        f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(depth)
    )
    closing = "".join(f"\r\n--b{n}--\r\n" for n in reversed(range(depth)))
    return f"{opening}\r\ntext{closing}".encode()


@pytest.mark.parametrize("depth", [MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
def test_depth(depth: int) -> None:
    assert agrees(nested(depth)) is (depth <= MAX_DEPTH)


@pytest.mark.parametrize("count", [MAX_PARTS - 1, MAX_PARTS])
def test_parts(count: int) -> None:
    octets = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    octets += b"--b\r\n\r\nx\r\n" * count + b"--b--\r\n"
    assert agrees(octets) is (count < MAX_PARTS)


@pytest.mark.parametrize("count", [MAX_HEADERS, MAX_HEADERS + 1])
def test_headers(count: int) -> None:
    assert agrees(b"A: b\r\n" * count + b"\r\n") is (count <= MAX_HEADERS)


def test_a_boundary_that_is_everywhere_in_the_text() -> None:
    octets = b'Content-Type: multipart/mixed; boundary="-"\r\n\r\n' + b"-" * (10 << 20)
    assert quick(octets) is None
