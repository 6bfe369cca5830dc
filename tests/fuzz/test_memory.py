"""Property 8: whatever is fed, not more is kept than the limits say."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.extension import Offer
from tests.fuzz.session import LIMITED, Session
from tests.fuzz.strategies import pieces, streams

# What a session keeps beside its buffers: names, addresses, a few dozen numbers.
SMALL_CHANGE_OCTETS = 2_000


def kept_octets(*roots: object) -> int:
    """Count the octets that can be reached from an object, in bytes and strings."""
    seen: set[int] = set()
    todo = list(roots)
    octets = 0
    while todo:
        thing = todo.pop()
        if id(thing) in seen or isinstance(thing, type | Offer):
            continue
        seen.add(id(thing))
        if isinstance(thing, bytes | bytearray | str):
            octets += len(thing)
        elif isinstance(thing, dict):
            todo += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set):
            todo += thing
        else:
            for kind in type(thing).__mro__:
                slots: Iterable[str] = getattr(kind, "__slots__", ())
                todo += [getattr(thing, name) for name in slots if hasattr(thing, name)]
    return octets


def test_what_is_counted() -> None:
    session = Session()
    assert kept_octets(session.protocol) < SMALL_CHANGE_OCTETS
    session.protocol.receive_data(b"x" * 5000)
    assert kept_octets(session.protocol) >= 5000


def limit(offer: Offer) -> int:
    """What may be kept when the server waits for the client."""
    # A message is given out as soon as it is longer than `whole_body_octets`, so that one segment
    # may come on top of them; here that is at most as large as a command.
    return (
        offer.max_command_octets
        + 2 * offer.whole_body_octets
        + offer.max_recipients * 256
        + SMALL_CHANGE_OCTETS
    )


@given(st.data(), streams)
def test_any_stream(data: st.DataObject, stream: bytes) -> None:
    session = Session(LIMITED)
    for piece in data.draw(pieces(stream)):
        session.feed(piece)
        assert kept_octets(session.protocol) < limit(LIMITED)
        assert session.protocol.buffered_octets < LIMITED.max_command_octets


OFFER = Offer(
    hostname="mx.test",
    max_message_bytes=1_000_000,
    whole_body_octets=10_000,
    max_errors=1_000_000,
    max_recipients=10,
)
BEGIN = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
ENDLESS = {
    "line": (b"", b"x" * 1000),
    "line of CR": (b"", b"\r" * 1000),
    "line of LF": (b"", b"\n" * 1000),
    "line of NUL": (b"", b"\0" * 1000),
    "address": (b"EHLO c\r\nMAIL FROM:<", b'"' * 1000),
    "command lines": (b"", b"NOOP\r\n" * 100),
    "errors": (b"", b"\r\n" * 500),
    "recipients": (BEGIN, b"RCPT TO:<c@d>\r\n" * 100),
    "senders": (b"EHLO c\r\n", b"MAIL FROM:<a@b>\r\nRSET\r\n" * 100),
    "hellos": (b"", b"EHLO c\r\n" * 100),
    "messages": (b"", (BEGIN + b"DATA\r\nx\r\n.\r\n") * 100),
    "message": (BEGIN + b"DATA\r\n", b"x" * 1000),
    "message of dots": (BEGIN + b"DATA\r\n", b"\r\n." * 400),
    "message of bare newlines": (BEGIN + b"DATA\r\n", b"\n" * 1000),
    "chunk": (BEGIN + b"BDAT 99999999999999999999\r\n", b"x" * 1000),
    "chunks": (BEGIN, b"BDAT 8\r\n\r\ntext\r\n" * 50),
    "empty chunks": (BEGIN, b"BDAT 0\r\n" * 100),
    "refused chunk": (b"BDAT 99999999999999999999\r\n", b"x" * 1000),
    "refused chunks": (b"", b"BDAT 4\r\nNOOP" * 50),
}


@pytest.mark.parametrize(("begin", "more"), ENDLESS.values(), ids=ENDLESS)
@pytest.mark.parametrize("asks", [False, True])
def test_endless(begin: bytes, more: bytes, asks: bool) -> None:
    session = Session(OFFER, asks)
    session.feed(begin)
    for _ in range(2000 // len(more) + 100):
        session.feed(more)
        session.happened.clear()
        session.said = b""
        assert kept_octets(session.protocol) < limit(OFFER), more
        assert session.protocol.buffered_octets < OFFER.max_command_octets


def test_an_answer_given_early_keeps_nothing() -> None:
    session = Session(OFFER)
    session.feed(BEGIN + b"DATA\r\n" + b"x" * 20_000)
    session.protocol.reply(OFFER.hello)
    for _ in range(100):
        session.feed(b"x" * 1000)
        assert kept_octets(session.protocol) < SMALL_CHANGE_OCTETS


@pytest.mark.parametrize("octets", [b"x" * 9000 + b"\n", b"x" * 9000 + b"\r\n" + b"\ry"])
def test_a_refused_message_keeps_nothing(octets: bytes) -> None:
    session = Session(OFFER)
    session.feed(BEGIN + b"DATA\r\n" + octets)
    session.feed(b"more")
    assert kept_octets(session.protocol) < SMALL_CHANGE_OCTETS
