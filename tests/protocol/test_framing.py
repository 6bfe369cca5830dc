"""Framing: where lines and messages end, in every segmentation."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable

import pytest

from pillarbox.protocol.framing import (
    ChunkReader,
    DataReader,
    LineTooLongError,
    NewlineCheck,
    ReceiveBuffer,
    stuff_dots,
)

LIMIT = 16


def lines_of(pieces: Iterable[bytes], limit: int = LIMIT) -> list[bytes | str]:
    """Read every line of a stream that comes in these pieces."""
    buffer = ReceiveBuffer()
    lines: list[bytes | str] = []
    for piece in pieces:
        buffer.feed(piece)
        while True:
            try:
                line = buffer.take_line(limit)
            except LineTooLongError:
                lines.append("too long")
                continue
            if line is None:
                break
            lines.append(line)
        buffer.release()
        assert len(buffer) < limit
    return lines


def cuts(stream: bytes) -> Iterable[list[bytes]]:
    """Give the stream whole, octet by octet, and cut once at each place."""
    yield [stream]
    yield [stream[at : at + 1] for at in range(len(stream))]
    for at in range(1, len(stream)):
        yield [stream[:at], stream[at:]]


LINES: dict[bytes, list[bytes | str]] = {
    b"": [],
    b"\r\n": [b""],
    b"NOOP\r\n": [b"NOOP"],
    b"NOOP\r\nQUIT\r\n": [b"NOOP", b"QUIT"],
    b"NOOP\r\nQUI": [b"NOOP"],
    b"NOOP\n": [],
    b"NOOP\r": [],
    b"NOOP\n\r": [],
    b"NO\nOP\r\n": [b"NO\nOP"],
    b"NO\rOP\r\n": [b"NO\rOP"],
    b"NOOP\r\r\n": [b"NOOP\r"],
    b"NOOP\n\r\n": [b"NOOP\n"],
    b"\n\r\n\r\r\n": [b"\n", b"\r"],
    b"\0\x85\xe2\x80\xa8\r\n": [b"\0\x85\xe2\x80\xa8"],
    b"x" * (LIMIT - 3) + b"\r\nNOOP\r\n": [b"x" * (LIMIT - 3), b"NOOP"],
    b"x" * (LIMIT - 2) + b"\r\nNOOP\r\n": [b"x" * (LIMIT - 2), b"NOOP"],
    b"x" * (LIMIT - 1) + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"x" * (LIMIT + 0) + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"x" * (LIMIT + 1) + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"x" * (LIMIT * 3) + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"\r" * LIMIT + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"\n" * LIMIT + b"\r\nNOOP\r\n": ["too long", b"NOOP"],
    b"x" * (LIMIT * 3): [],
    (b"x" * (LIMIT * 3) + b"\r\n") * 2 + b"NOOP\r\n": ["too long", "too long", b"NOOP"],
}


@pytest.mark.parametrize(("stream", "lines"), LINES.items(), ids=map(repr, LINES))
def test_lines(stream: bytes, lines: list[bytes | str]) -> None:
    for pieces in cuts(stream):
        assert lines_of(pieces) == lines, pieces


def test_what_stands_in_for_an_overlong_line_is_no_command() -> None:
    # The fast path reads the buffer in place: the tail of such a line must not be at its offset.
    buffer = ReceiveBuffer()
    buffer.feed(b"x" * LIMIT)
    assert buffer.take_line(LIMIT) is None
    buffer.feed(b"QUIT\r\n")
    assert not buffer.data.startswith(b"QUIT", buffer.offset)
    with pytest.raises(LineTooLongError):
        buffer.take_line(LIMIT)


def test_an_endless_line_takes_no_memory() -> None:
    buffer = ReceiveBuffer()
    piece = b"x" * 65536
    tracemalloc.start()
    for _ in range(256):
        buffer.feed(piece)
        assert buffer.take_line(2048) is None
        assert len(buffer) < 2048
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(piece)


def test_clear_forgets_half_a_line() -> None:
    buffer = ReceiveBuffer()
    buffer.feed(b"x" * (LIMIT * 2))
    assert buffer.take_line(LIMIT) is None
    buffer.clear()
    assert len(buffer) == 0
    buffer.feed(b"NOOP\r\n")
    assert buffer.take_line(LIMIT) == b"NOOP"


def test_release_lets_go_of_what_was_consumed() -> None:
    buffer = ReceiveBuffer()
    buffer.feed(b"NOOP\r\nQUI")
    assert buffer.take_line(LIMIT) == b"NOOP"
    assert len(buffer) == 3
    buffer.release()
    assert (buffer.data, buffer.offset) == (b"QUI", 0)
    buffer.release()
    assert (buffer.data, buffer.offset) == (b"QUI", 0)


def body_of(pieces: Iterable[bytes]) -> tuple[bytes, bytes] | None:
    """Read one message; give it and what is behind it, or nothing where it does not end."""
    buffer = ReceiveBuffer()
    reader = DataReader(buffer)
    body = b""
    for piece in pieces:
        buffer.feed(piece)
        while not reader.is_finished and (data := reader.read()):
            body += data
        assert reader.is_finished or len(buffer) <= len(b"\r\n.\r")
    return (body, buffer.data[buffer.offset :]) if reader.is_finished else None


BODIES: dict[bytes, bytes | None] = {
    b".\r\n": b"",
    b"..\r\n.\r\n": b".\r\n",
    b"...\r\n.\r\n": b"..\r\n",
    b".x\r\n.\r\n": b"x\r\n",
    b"\r\n.\r\n": b"\r\n",
    b"x\r\n.\r\n": b"x\r\n",
    b"x\r\n\r\n.\r\n": b"x\r\n\r\n",
    b"x\r\n..\r\n.\r\n": b"x\r\n.\r\n",
    b"x\r\n.y\r\n.\r\n": b"x\r\ny\r\n",
    b"x\r\n..y\r\n..\r\n.\r\n": b"x\r\n.y\r\n.\r\n",
    b"a.b.\r\n.\r\n": b"a.b.\r\n",
    b"x.\r\n.\r\n": b"x.\r\n",
    b"x\r\n. \r\n.\r\n": b"x\r\n \r\n",
    # Nothing but CRLF.CRLF ends a message.
    b"x\n.\n": None,
    b"x\n.\r\n": None,
    b"x\r\n.\n": None,
    b"x\r.\r": None,
    b"x\r\n.\r": None,
    b"x\r.\r\n": None,
    b"x\n\r.\n\r": None,
    b"x\r\n\0.\r\n": None,
    b"x\r\n.\0\r\n": None,
    b"x\r\n.\r\0\n": None,
    b"x\x85.\x85": None,
    b"x\x8d\x8a.\x8d\x8a": None,
    b"x\r\n.\r\r\n": None,
    b"x\r\r\n.\n": None,
    b".": None,
    b".\r": None,
    b".\n": None,
    b"": None,
    b"x\n.\n\r\n.\r\n": b"x\n.\n\r\n",
    b"x\n.\r\n\r\n.\r\n": b"x\n.\r\n\r\n",
    b"x\r\n.\nMAIL\r\n.\r\n": b"x\r\n\nMAIL\r\n",
    b"x\r\n.\rMAIL\r\n.\r\n": b"x\r\n\rMAIL\r\n",
    b"x\r.\r\n.\r\n": b"x\r.\r\n",
    b".\r\r\n.\r\n": b"\r\r\n",
    b".\n.\r\n.\r\n": b"\n.\r\n",
    b"\0\x85\xff\r\n.\r\n": b"\0\x85\xff\r\n",
}


@pytest.mark.parametrize(("stream", "body"), BODIES.items(), ids=map(repr, BODIES))
def test_body(stream: bytes, body: bytes | None) -> None:
    for pieces in cuts(stream):
        assert body_of(pieces) == (None if body is None else (body, b"")), pieces


def test_what_follows_the_end_is_left() -> None:
    for pieces in cuts(b"x\r\n.\r\nQUIT\r\n"):
        buffer = ReceiveBuffer()
        reader = DataReader(buffer)
        for piece in pieces:
            buffer.feed(piece)
            while not reader.is_finished and reader.read():
                pass
        assert buffer.data[buffer.offset :] == b"QUIT\r\n"


def test_what_was_consumed_is_not_held_back() -> None:
    buffer = ReceiveBuffer()
    reader = DataReader(buffer)
    buffer.feed(b"x")
    assert reader.read() == b"x"
    # Whoever else took the CRLF from the buffer, it is not the message's.
    buffer.feed(b"\r\n")
    buffer.offset = 2
    assert reader.read() == b""
    assert len(buffer) == 0


def test_a_chunk_is_so_many_octets() -> None:
    buffer = ReceiveBuffer()
    reader = ChunkReader(buffer, 5, is_last=True)
    assert reader.is_last
    buffer.feed(b"\r\n")
    assert reader.read() == b"\r\n"
    assert not reader.is_finished
    assert reader.read() == b""
    buffer.feed(b".\r\nQUIT\r\n")
    assert reader.read() == b".\r\n"
    assert reader.is_finished
    assert buffer.data[buffer.offset :] == b"QUIT\r\n"


def test_an_empty_chunk_is_finished_at_once() -> None:
    reader = ChunkReader(ReceiveBuffer(), 0, is_last=False)
    assert reader.is_finished
    assert not reader.is_last


def test_nothing_is_set_aside_for_what_was_only_declared() -> None:
    buffer = ReceiveBuffer()
    tracemalloc.start()
    reader = ChunkReader(buffer, 1 << 62, is_last=True)
    buffer.feed(b"x")
    assert reader.read() == b"x"
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000


NEWLINES = {
    b"": True,
    b"x": True,
    b"\r\n": True,
    b"x\r\ny\r\n\r\n": True,
    b"\0\x85\xe2\x80\xa8\x0b\x0c": True,
    b"\r": False,
    b"\n": False,
    b"x\ny": False,
    b"x\ry": False,
    b"\n\r": False,
    b"\r\r\n": False,
    b"\r\n\n": False,
    b"\r\n\r": False,
    b"\r\nx\n": False,
    b"x\n\r\n": False,
}


@pytest.mark.parametrize(("octets", "is_clean"), NEWLINES.items(), ids=map(repr, NEWLINES))
def test_newlines(octets: bytes, is_clean: bool) -> None:
    check = NewlineCheck()
    for pieces in cuts(octets):
        check.restart()
        verdicts = [check.accepts(piece) for piece in pieces]
        verdicts.append(check.accepts(b"", final=True))
        assert all(verdicts) is is_clean, pieces
        assert verdicts[-1] is is_clean, pieces


STUFFED = {
    b"": b".\r\n",
    b"x": b"x\r\n.\r\n",
    b"x\r\n": b"x\r\n.\r\n",
    b".": b"..\r\n.\r\n",
    b".\r\n": b"..\r\n.\r\n",
    b"x\r\n.y\r\n..\r\n": b"x\r\n..y\r\n...\r\n.\r\n",
    b"x\r\n.\r\n.\r\n": b"x\r\n..\r\n..\r\n.\r\n",
    b"x\n.y\r\n": b"x\n.y\r\n.\r\n",
}


@pytest.mark.parametrize(("message", "stream"), STUFFED.items(), ids=map(repr, STUFFED))
def test_stuff_dots(message: bytes, stream: bytes) -> None:
    assert stuff_dots(message) == stream
    ended = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    assert body_of([stream]) == (ended, b"")


def test_a_chunk_tells_how_much_has_come() -> None:
    buffer = ReceiveBuffer()
    reader = ChunkReader(buffer, 5, is_last=True)
    assert reader.octets == 0
    buffer.feed(b"abc")
    assert reader.read() == b"abc"
    assert reader.octets == 3
