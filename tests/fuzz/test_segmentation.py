"""Properties 1 and 2: however a stream is cut, whenever it comes, it means the same."""

from __future__ import annotations

from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.extension import Offer
from tests.fuzz.session import LIMITED, LOGINS, Session, hold
from tests.fuzz.strategies import commands, cut, messages, pieces, streams

WHOLE = Offer(hostname="mx.test")
OFFERS = {"limited": LIMITED, "whole bodies": WHOLE, "logins": LOGINS}

MESSAGE = b"EHLO c\r\nMAIL FROM:<a@b>\r\nRCPT TO:<d@e>\r\n"
EXAMPLES = {
    "a message": MESSAGE + b"DATA\r\na\r\n..b\r\n.\r\nQUIT\r\n",
    "an empty message": MESSAGE + b"DATA\r\n.\r\nNOOP\r\n",
    "dots": MESSAGE + b"DATA\r\n...\r\n.a\r\n.\r\r\n.\r\n",
    "bare newlines": MESSAGE + b"DATA\r\na\n.\r\n\r.\r\n.\r\nNOOP\r\n",
    "too large": MESSAGE + b"DATA\r\n" + b"0123456789\r\n" * 9 + b".\r\nNOOP\r\n",
    "chunks": MESSAGE + b"BDAT 4\r\na\r\n.BDAT 5 LAST\r\n\r\n.\r\nNOOP\r\n",
    "chunks that are refused": b"EHLO c\r\nBDAT 6\r\nQUIT\r\nBDAT 3 LAST\r\n.\r\nNOOP\r\n",
    "reset in chunks": MESSAGE + b"BDAT 9\r\n012345678RSET\r\nNOOP\r\n",
    "commands with bare newlines": b"NOOP\nNOOP\rNOOP\r\r\nNOOP\r\n\nNOOP\r\nNOOP\r\n",
    "an overlong line": MESSAGE + b"x" * 600 + b"\r\r\nDATA\r\n.\r\n",
    "the tail of an overlong line": MESSAGE + b"x" * 600 + b"DATA\r\nNOOP\r\n",
    "a login": b"EHLO c\r\nAUTH PLAIN AGFubgBzZWNyZXQ=\r\n" + MESSAGE[8:] + b"DATA\r\n.\r\n",
    "a login in steps": b"EHLO c\r\nAUTH LOGIN\r\nYW5u\r\nc2VjcmV0\r\nAUTH PLAIN\r\nNOOP\r\n",
    "a login that is given up": b"EHLO c\r\nAUTH PLAIN\r\n*\r\nAUTH LOGIN\r\n!\r\nNOOP\r\n",
    "logins that fail": b"EHLO c\r\n" + b"AUTH PLAIN AGEAYg==\r\n" * 3 + b"NOOP\r\n",
    "another client": b"XCLIENT LOGIN=ann\r\n" + MESSAGE + b"XCLIENT PORT=1\r\nRSET\r\nXCLIENT\r\n",
    "errors": b"A\r\nB\r\nC\r\nD\r\nE\r\nNOOP\r\n",
}


def outcome(segments: list[bytes], offer: Offer, *, asks: bool) -> tuple[object, ...]:
    session = hold(segments, offer, asks=asks)
    return session.happened, session.said


@pytest.mark.parametrize("stream", EXAMPLES.values(), ids=EXAMPLES)
@pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS)
@pytest.mark.parametrize("asks", [False, True])
def test_each_cut_and_each_two_near_line_ends(stream: bytes, offer: Offer, asks: bool) -> None:
    expected = outcome([stream], offer, asks=asks)
    assert outcome([stream[at : at + 1] for at in range(len(stream))], offer, asks=asks) == expected
    near = [
        at
        for at in range(1, len(stream))
        if set(stream[at - 1 : at + 1]) & set(b"\r\n.") and not stream[at - 1 : at + 1].isalnum()
    ]
    for at in range(1, len(stream)):
        assert outcome(cut(stream, [at]), offer, asks=asks) == expected, at
    for places in combinations(near, 2):
        assert outcome(cut(stream, list(places)), offer, asks=asks) == expected, places


@given(st.data(), streams, st.sampled_from(list(OFFERS.values())), st.booleans())
def test_any_stream_cut_anywhere(
    data: st.DataObject, stream: bytes, offer: Offer, asks: bool
) -> None:
    expected = outcome([stream], offer, asks=asks)
    assert outcome([stream[at : at + 1] for at in range(len(stream))], offer, asks=asks) == expected
    assert outcome(data.draw(pieces(stream)), offer, asks=asks) == expected


@given(st.data(), st.binary(max_size=200))
def test_any_octets_cut_anywhere(data: st.DataObject, stream: bytes) -> None:
    for asks in (False, True):
        for offer in (LIMITED, LOGINS):
            expected = outcome([stream], offer, asks=asks)
            assert outcome(data.draw(pieces(stream)), offer, asks=asks) == expected


# Property 2. What a client sends that waits for each reply, and a message only behind 354, has the
# same replies in one burst. A response to a challenge is one more line.


@given(
    st.lists(st.tuples(commands, messages), max_size=10),
    st.sampled_from([LIMITED, LOGINS]),
    st.booleans(),
)
def test_lock_step_equals_pipelined(
    steps: list[tuple[bytes, bytes]], offer: Offer, asks: bool
) -> None:
    polite = Session(offer, asks)
    sent = b""
    for command, message in steps:
        line = command + b"\r\n"
        sent += line
        if polite.feed(line).startswith(b"354"):
            body = (b"\r\n" + message).replace(b"\r\n.", b"\r\n..")[2:] + b"\r\n.\r\n"
            sent += body
            polite.feed(body)
        if polite.is_closed:
            break
    polite.eof()
    hasty = hold([sent], offer, asks=asks)
    assert (hasty.happened, hasty.said) == (polite.happened, polite.said)
