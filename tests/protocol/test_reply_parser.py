"""Replies read: what is one, what is none, in every segmentation, and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.reply_parser import (
    MAX_KNOWN_REPLIES,
    MAX_LINE_OCTETS,
    MAX_REPLY_OCTETS,
    NO_EXTENSIONS,
    ReplyParser,
    parse_extensions,
    printable,
)
from tests.fuzz.strategies import pieces


def replies_of(pieces: Iterable[bytes]) -> list[Reply | str]:
    """Read every reply of a stream that comes in these pieces, up to one that is none."""
    parser = ReplyParser()
    replies: list[Reply | str] = []
    for piece in pieces:
        parser.feed(piece)
        try:
            while reply := parser.next_reply():
                replies.append(reply)
        except RemoteProtocolError as error:
            return [*replies, str(error).removeprefix("the server broke the protocol: ")]
        assert len(parser) < MAX_REPLY_OCTETS + MAX_LINE_OCTETS
    return replies


def cuts(stream: bytes) -> Iterable[list[bytes]]:
    """Give the stream whole, octet by octet, and cut once at each place."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


REPLIES = {
    b"": [],
    b"250 OK": [],
    b"250 OK\r": [],
    b"250 OK\r\n": [Reply(250, None, "OK")],
    b"250\r\n": [Reply(250, None, "")],
    b"250 \r\n": [Reply(250, None, "")],
    b"250-\r\n": [],
    b"250-\r\n250\r\n": [Reply(250, None, "\n")],
    b"250-a\r\n250 b\r\n": [Reply(250, None, "a\nb")],
    b"250 a\r\n550 b\r\n": [Reply(250, None, "a"), Reply(550, None, "b")],
    b"220 mx.test ESMTP\r\n": [Reply(220, None, "mx.test ESMTP")],
    b"354 go  on\r\n": [Reply(354, None, "go  on")],
    # No server may, no client minds (§4.3.2: the first digit decides).
    b"299 OK\r\n": [Reply(299, None, "OK")],
    b"250\tOK\r\n": ["'250\tOK\\r\\n' is no reply"],
    # Enhanced codes
    b"250 2.1.5 OK\r\n": [Reply(250, "2.1.5", "OK")],
    b"250 2.1.5\r\n": [Reply(250, "2.1.5", "")],
    b"550 5.1.1 No\r\n": [Reply(550, "5.1.1", "No")],
    b"550-5.1.1 No\r\n550 5.1.1 such\r\n": [Reply(550, "5.1.1", "No\nsuch")],
    b"550-5.1.1 No\r\n550 such\r\n": [Reply(550, "5.1.1", "No\nsuch")],
    b"550-5.1.1 No\r\n550 5.1.10 such\r\n": [Reply(550, "5.1.1", "No\n5.1.10 such")],
    b"550 4.1.1 No\r\n": [Reply(550, None, "4.1.1 No")],
    b"550 5.1 No\r\n": [Reply(550, None, "5.1 No")],
    b"550 5.01.1 No\r\n": [Reply(550, None, "5.01.1 No")],
    b"550 5.1.1000 No\r\n": [Reply(550, None, "5.1.1000 No")],
    b"550 5.1.1-No\r\n": [Reply(550, None, "5.1.1-No")],
    # Text that could harm a log or a terminal
    b"250 a\tb\r\n": [Reply(250, None, "a\tb")],
    b"250 \x1b[2J\0\x7f\r\n": [Reply(250, None, "\\x1b[2J\\x00\\x7f")],
    "250 é \x85\u2028\r\n".encode(): [Reply(250, None, "é \\x85\\u2028")],
    b"250 \xe9\r\n": [Reply(250, None, "\\xe9")],
    # What is no reply
    b"\r\n": [r"'\r\n' is no reply"],
    b"OK\r\n": [r"'OK\r\n' is no reply"],
    b"25 OK\r\n": [r"'25 OK\r\n' is no reply"],
    b"2500 OK\r\n": [r"'2500 OK\r\n' is no reply"],
    b"250OK\r\n": [r"'250OK\r\n' is no reply"],
    b"150 OK\r\n": [r"'150 OK\r\n' is no reply"],
    b"600 OK\r\n": [r"'600 OK\r\n' is no reply"],
    "２50 OK\r\n".encode(): [r"'２50 OK\r\n' is no reply"],
    b" 250 OK\r\n": [r"' 250 OK\r\n' is no reply"],
    b"250 OK\n": [r"'250 OK\n' is no reply"],
    b"250 OK\n250 OK\r\n": [r"'250 OK\n' is no reply"],
    b"250 O\rK\r\n": [r"'250 O\rK\r\n' is no reply"],
    b"250 OK\r\r\n": [r"'250 OK\r\r\n' is no reply"],
    b"250 a\r\nb\r\n": [Reply(250, None, "a"), "'b\\r\\n' is no reply"],
    b"250-a\r\n251 b\r\n": ["a 250 reply goes on with 251"],
    b"250-a\r\n550-b\r\n": ["a 250 reply goes on with 550"],
}


@pytest.mark.parametrize(("stream", "replies"), REPLIES.items(), ids=map(repr, REPLIES))
def test_replies(stream: bytes, replies: list[Reply | str]) -> None:
    for cut in cuts(stream):
        assert replies_of(cut) == replies


@pytest.mark.parametrize(("more", "is_taken"), [(-1, True), (0, True), (1, False)])
def test_longest_line(more: int, *, is_taken: bool) -> None:
    line = b"250 " + b"x" * (MAX_LINE_OCTETS - 6 + more) + b"\r\n"
    for cut in ([line], [line[:-1], line[-1:]], [line[at : at + 1] for at in range(len(line))]):
        [reply] = replies_of(cut)
        assert isinstance(reply, Reply) is is_taken


def test_line_without_end_is_not_kept() -> None:
    assert replies_of([b"2" * 1000] * 3) == ["a reply line has more than 2048 octets"]


@pytest.mark.parametrize(("more", "is_taken"), [(-1, True), (0, True), (1, False)])
def test_longest_reply(more: int, *, is_taken: bool) -> None:
    lines = [b"250-" + b"x" * 122 + b"\r\n"] * (MAX_REPLY_OCTETS // 128 - 1)
    lines.append(b"250 " + b"x" * (122 + more) + b"\r\n")
    for cut in ([b"".join(lines)], lines):
        [reply] = replies_of(cut)
        assert isinstance(reply, Reply) is is_taken


def test_reply_without_end_is_not_kept() -> None:
    endless = (b"250-and on\r\n" for _ in range(1_000_000))
    assert replies_of(endless) == ["a reply has more than 65536 octets"]


def test_limit_is_for_each_reply() -> None:
    line = b"250 " + b"x" * 1000 + b"\r\n"
    assert len(replies_of([line * 200])) == 200


@pytest.mark.parametrize("count", [1, MAX_KNOWN_REPLIES, MAX_KNOWN_REPLIES + 1, 1000])
def test_replies_that_come_again(count: int) -> None:
    replies: list[Reply | str] = [Reply(250, "2.6.0", f"{number} taken") for number in range(count)]
    octets = b"".join(reply.wire for reply in replies if isinstance(reply, Reply))
    assert replies_of([octets * 2]) == replies * 2


def test_lines_as_they_came() -> None:
    parser = ReplyParser()
    parser.feed(b"550-5.1.1 No \r\n550 such\xff\r\n250")
    assert parser.next_reply() is not None
    assert parser.lines == [b"550-5.1.1 No ", b"550 such\xff"]
    assert len(parser) == 3


# No digit in front: "4.0.0" is text in one reply and a code in the next.
texts = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=20
).map(lambda text: text.strip(" ").lstrip("245"))


@given(
    st.sampled_from([200, 250, 299, 400, 421, 550, 599]),
    st.none() | st.tuples(st.integers(0, 999), st.integers(0, 999)),
    st.lists(texts, min_size=1, max_size=4),
)
def test_round_trip(code: int, enhanced: tuple[int, int] | None, lines: list[str]) -> None:
    detail = None if enhanced is None else f"{code // 100}.{enhanced[0]}.{enhanced[1]}"
    reply = Reply(code, detail, "\n".join(lines))
    assert replies_of([reply.render(utf8=True)]) == [reply]


@given(st.data())
def test_any_octets_in_any_pieces(data: st.DataObject) -> None:
    stream = b"".join(
        data.draw(
            st.lists(
                st.sampled_from([b"250", b"5", b" ", b"-", b"5.1.1", b"\r\n", b"\r", b"\n", b"x"])
                | st.binary(max_size=5),
                max_size=20,
            )
        )
    )
    assert replies_of(data.draw(pieces(stream))) == replies_of([stream])


def test_printable_is_one_line() -> None:
    assert printable(bytes(range(256))).isprintable() is False  # the tab stays
    assert printable(bytes(range(256))).replace("\t", "").isprintable()


EXTENSIONS: dict[bytes, dict[str, tuple[str, ...]]] = {
    b"250 mx.test\r\n": {},
    b"250-mx.test\r\n250 PIPELINING\r\n": {"PIPELINING": ()},
    b"250-SIZE\r\n250 size 1000\r\n": {"SIZE": ("1000",)},
    b"250-mx.test\r\n250-AUTH PLAIN LOGIN\r\n250 AUTH CRAM-MD5\r\n": {
        "AUTH": ("PLAIN", "LOGIN", "CRAM-MD5")
    },
    b"250-mx.test\r\n250-AUTH=PLAIN\r\n250-\r\n250-?\r\n250 X-a\r\n": {"X-A": ()},
}


@pytest.mark.parametrize(("octets", "extensions"), EXTENSIONS.items(), ids=map(repr, EXTENSIONS))
def test_extensions(octets: bytes, extensions: dict[str, tuple[str, ...]]) -> None:
    [reply] = replies_of([octets])
    assert isinstance(reply, Reply)
    assert parse_extensions(reply) == extensions


def test_no_extensions_cannot_be_filled() -> None:
    with pytest.raises(TypeError):
        NO_EXTENSIONS["SIZE"] = ()  # type: ignore[index]  # that is the point
