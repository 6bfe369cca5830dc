"""Properties 3 and 4: a reference of DATA that anybody can check; messages that come back whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pillarbox.protocol.event import BodyPart, Need
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.framing import DataReader, NewlineCheck, ReceiveBuffer, stuff_dots
from pillarbox.protocol.server import ServerConnection
from tests.fuzz.session import Session, hold
from tests.fuzz.strategies import messages, pieces

IS_LONG = settings().max_examples > 1000
ALPHABET = [b"\r", b"\n", b".", b"a", b"\0", b"\x85"]
LENGTH = 7 if IS_LONG else 6


def reference(stream: bytes) -> tuple[bytes, bytes] | None:
    """Read the message that follows DATA: its octets, and what is behind it (RFC 5321 §4.5.2)."""
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    if end < 0:
        return None
    lines = stream[:end].split(b"\r\n")
    body = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)
    return body, stream[end + 3 :]


def has_bare_newline(body: bytes) -> bool:
    return re.search(rb"\r(?!\n)|(?<!\r)\n", body) is not None


def fast(segments: list[bytes]) -> tuple[bytes, bytes] | None:
    buffer = ReceiveBuffer()
    reader = DataReader(buffer)
    body = b""
    rest = b""
    for segment in segments:
        if reader.is_finished:
            rest += segment
            continue
        buffer.feed(segment)
        while not reader.is_finished and (part := reader.read()):
            body += part
    return (body, buffer.data[buffer.offset :] + rest) if reader.is_finished else None


def strings(most: int) -> Iterator[bytes]:
    for length in range(most + 1):
        yield from map(b"".join, product(ALPHABET, repeat=length))


def test_the_reference_itself() -> None:
    assert reference(b".\r\nQUIT") == (b"", b"QUIT")
    assert reference(b"a\r\n..\r\n.b\r\n.\r\n") == (b"a\r\n.\r\nb\r\n", b"")
    assert reference(b"a\n.\r\n") is None


@pytest.mark.timeout(600)
def test_every_stream_of_a_few_octets() -> None:
    for stream in strings(LENGTH):
        # An end behind it, so that each of them is a message.
        for whole in (stream, stream + b"\r\n.\r\n"):
            expected = reference(whole)
            assert fast([whole]) == expected, whole
            octets = [whole[at : at + 1] for at in range(len(whole))]
            assert fast(octets) == expected, whole


@pytest.mark.timeout(600)
def test_every_stream_of_a_few_octets_cut_once() -> None:
    for stream in strings(LENGTH - 1):
        whole = stream + b"\r\n.\r\n"
        expected = reference(whole)
        for at in range(1, len(whole)):
            assert fast([whole[:at], whole[at:]]) == expected, (whole, at)


@pytest.mark.timeout(600)
def test_every_bare_newline_of_a_few_octets() -> None:
    check = NewlineCheck()
    for octets in strings(LENGTH):
        check.restart()
        check.accepts(octets)
        assert check.accepts(b"", final=True) is not has_bare_newline(octets), octets


@pytest.mark.timeout(600)
def test_every_message_of_a_few_octets_is_one_or_none() -> None:
    offer = Offer(hostname="mx.test")
    before = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
    for message in strings(LENGTH - 2):
        stream = message + b"\r\n.\r\n"
        found = reference(stream)
        assert found
        protocol = ServerConnection(offer, asks_connect=False, asks_mail=False, asks_rcpt=False)
        protocol.receive_data(before + stream)
        event = protocol.next_event()
        if has_bare_newline(found[0]):
            assert isinstance(event, Need), message
            assert b"\r\n550 5.6.11 " in protocol.data_to_send(), message
        else:
            assert event == BodyPart(found[0], is_last=True), message


@given(st.data(), messages)
def test_any_stream(data: st.DataObject, stream: bytes) -> None:
    assert fast(data.draw(pieces(stream))) == reference(stream)


@given(st.data(), messages)
def test_any_message(data: st.DataObject, message: bytes) -> None:
    stream = message + b"\r\n.\r\n"
    assert fast(data.draw(pieces(stream))) == reference(stream)


@given(st.lists(messages, max_size=5))
def test_newlines_in_segments(segments: list[bytes]) -> None:
    check = NewlineCheck()
    for segment in segments:
        check.accepts(segment)
    assert check.accepts(b"", final=True) is not has_bare_newline(b"".join(segments))


# Property 4.


@given(st.data(), messages)
def test_what_was_stuffed_comes_back(data: st.DataObject, message: bytes) -> None:
    ended = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    assert fast(data.draw(pieces(stuff_dots(message)))) == (ended, b"")


@given(st.data(), messages, st.integers(0, 100))
def test_a_message_by_data_and_by_chunks(data: st.DataObject, message: bytes, whole: int) -> None:
    ended = message if message.endswith(b"\r\n") or not message else message + b"\r\n"
    offer = Offer(hostname="mx.test", whole_body_octets=whole)
    begin = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
    by_data = hold([begin, b"DATA\r\n", *data.draw(pieces(stuff_dots(message)))], offer)
    chunks = b"".join(b"BDAT %d\r\n%b" % (len(part), part) for part in data.draw(pieces(ended)))
    by_chunks = hold([begin, *data.draw(pieces(chunks + b"BDAT 0 LAST\r\n"))], offer)
    assert by_data.happened == by_chunks.happened
    assert by_data.happened[2:] == ([] if has_bare_newline(ended) else [ended])


@given(st.data(), st.binary(max_size=100))
def test_binary_octets_by_chunks(data: st.DataObject, message: bytes) -> None:
    session = Session(Offer(hostname="mx.test", whole_body_octets=20))
    session.feed(b"EHLO c\r\nMAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<c@d>\r\n")
    for part in data.draw(pieces(message)):
        session.feed(b"BDAT %d\r\n%b" % (len(part), part))
    session.feed(b"BDAT 0 LAST\r\n")
    assert session.happened[2:] == [message]
