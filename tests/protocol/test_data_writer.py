"""How a message is put for DATA, in whatever pieces it comes."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.data_writer import DataWriter
from pillarbox.protocol.framing import NewlineCheck, stuff_dots
from tests.fuzz.strategies import messages, pieces

BARE_NEWLINES = [b"a\nb\r\n", b"a\rb\r\n", b"a\n", b"a\r", b"\r\r\n", b"\n\r"]


@pytest.mark.parametrize("data", BARE_NEWLINES, ids=repr)
def test_parts_are_looked_at_across_their_edges(data: bytes) -> None:
    writer = DataWriter()
    octets = [data[at : at + 1] for at in range(len(data))]
    with pytest.raises(ValueError, match="CR or LF"):  # noqa: PT012  # one of them, whichever
        for part in octets:
            writer.write(part, is_last=False)
        writer.write(b"", is_last=True)
    # What is wrong stays wrong: nobody ends this message by mistake.
    with pytest.raises(ValueError, match="CR or LF"):
        writer.write(b"", is_last=True)


@given(messages.filter(lambda data: NewlineCheck().accepts(data, final=True)), st.data())
def test_stuffing_in_any_pieces(data: bytes, draw: st.DataObject) -> None:
    writer = DataWriter()
    parts = draw.draw(pieces(data))
    sent = [writer.write(part, is_last=False) for part in parts]
    sent.append(writer.write(b"", is_last=True))
    assert b"".join(sent) == stuff_dots(data)
    assert writer.octets == len(data)


def test_stuffing_in_every_two_pieces() -> None:
    for length in range(6):
        for octets in itertools.product([b"\r\n", b".", b"a"], repeat=length):
            data = b"".join(octets)
            for at in range(len(data) + 1):
                writer = DataWriter()
                sent = writer.write(data[:at], is_last=False)
                assert sent + writer.write(data[at:], is_last=True) == stuff_dots(data)


def test_what_is_checked_is_not_looked_at_again() -> None:
    assert DataWriter(is_checked=True).write(b"a\nb", is_last=True) == b"a\nb\r\n.\r\n"
