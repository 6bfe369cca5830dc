"""The mail of a soak: each message is made of its number, so that whoever gets it can check it."""

from __future__ import annotations

import random

__all__ = ["make_text", "number_in", "sender"]


def make_text(number: int) -> bytes:
    """Make the text of a message: a few octets or some hundred thousand, and lines of dots."""
    dice = random.Random(number)
    text = bytearray(b"X-Number: %d\r\n\r\n" % number)
    lines = dice.choice((0, 1, 10, 100, 1000, 4000))
    for _ in range(dice.randint(0, lines)):
        text += dice.choice((b"", b".", b"..", b"a.", b"From ")) + b"x" * dice.randint(0, 120)
        text += b"\r\n"
    return bytes(text)


def sender(number: int) -> bytes:
    """Give the address that a message comes from."""
    return b"n%d@example.org" % number


def number_in(address: str) -> int:
    """Tell which message comes from this address."""
    return int(address.partition("@")[0].removeprefix("n"))
