"""What becomes of a message's octets, however they arrive."""

from __future__ import annotations

import io
from itertools import product
from typing import Any

import pytest

from tests.smtpd.house import ENVELOPE
from tests.smtpd.test_cost import new_pipe
from tests.smtpd.under_test import ours_only, smtpd

ALL = [
    b"".join(octets) for n in range(6) for octets in product([b"\r", b"\n", b".", b"x"], repeat=n)
]


def unstuffed(octets: bytes) -> bytes:
    """Say the same in other words (RFC 5321 §4.5.2)."""
    return b"\n".join(line.removeprefix(b".") for line in octets.split(b"\r\n"))


@ours_only
@pytest.mark.parametrize("piece", [1, 2, 3, 100])
def test_unstuffing_in_place(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smtpd, "_PIECE_OCTETS", piece)
    for octets in ALL:
        body = io.BytesIO()
        body.write(octets)
        smtpd._unstuff(body)
        assert body.getvalue() == unstuffed(octets), octets


@pytest.mark.parametrize("packet", [1, 2, 3, 100])
@pytest.mark.parametrize("arguments", [{}, {"decode_data": True}], ids=["bytes", "str"])
def test_every_short_message_in_every_packet(packet: int, arguments: dict[str, Any]) -> None:
    channel = new_pipe(**arguments)
    for octets in ALL:
        wire = octets + b"\r\n.\r\n"
        if wire.index(b"\r\n.\r\n") != len(octets) or octets.startswith(b".\r\n") or not octets:
            continue  # it ends earlier; and the empty message is fault 10
        channel.take(ENVELOPE)
        channel.take(wire, packet)
        assert channel.smtp_state == channel.COMMAND, octets
        message = channel.received_data
        assert (message.encode() if arguments else message) == unstuffed(octets), octets
