"""Replies: a three-digit code, an enhanced code and a text, as values (RFC 5321 §4.2, RFC 2034).

A reply is made once, compared, passed on and rendered here alone, so no other line of the project
writes reply octets. Which reply is due when: state.py and server.py.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

__all__ = ["Reply"]

# RFC 5321 §4.5.3.1.5: a reply line has at most 512 octets, its code and CRLF counted.
MAX_LINE_OCTETS = 512

_ENHANCED = re.compile(r"[245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2})", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Reply:
    r"""One reply, such as `Reply(550, "5.1.1", "No such mailbox")`.

    Return one from a handler to answer with it, or raise `Reject(reply)`. `\n` in the text begins
    a further line of the same reply.

    Args:
        code: The reply code, 200 to 599.
        enhanced: The enhanced status code (RFC 3463) that every line repeats, or `None` where RFC
            2034 §4 wants none: the greeting, the answer to EHLO or HELO, and 3xx.
        text: What people read. No control characters but `\n`.

    Raises:
        ValueError: The parts do not make a reply; the message says which part and why.
    """

    code: int
    enhanced: str | None
    text: str = ""
    wire: bytes = field(init=False, repr=False, compare=False)
    """The octets of the reply in ASCII, made once: most replies are sent a thousand times."""

    def __post_init__(self) -> None:
        """Check the parts and render them."""
        if not 200 <= self.code <= 599:
            raise ValueError(f"reply code {self.code} is not one of 200 to 599")
        if self.enhanced is not None:
            if not _ENHANCED.fullmatch(self.enhanced):
                raise ValueError(
                    f"enhanced code {self.enhanced!r} is not class.subject.detail, such as '5.1.1'"
                )
            if self.enhanced[0] != str(self.code)[0]:
                raise ValueError(
                    f"enhanced code {self.enhanced!r} does not agree with the reply code"
                    f" {self.code}: both begin with the same digit (RFC 2034 §4)"
                )
        if bad := _CONTROL.search(self.text):
            raise ValueError(
                f"reply text has the control character {bad[0]!r}; leave it out or escape it"
            )
        object.__setattr__(self, "wire", self.render())

    @property
    def is_positive(self) -> bool:
        """Whether the command succeeded (2xx)."""
        return self.code < 300

    @property
    def is_transient(self) -> bool:
        """Whether trying again later may succeed (4xx)."""
        return 400 <= self.code < 500

    def saying(self, text: str) -> Reply:
        """Make the same reply with another text."""
        return Reply(self.code, self.enhanced, text)

    def render(self, *, utf8: bool = False) -> bytes:
        r"""Give the reply's octets, every line ended by CRLF.

        Args:
            utf8: Send text beyond ASCII as UTF-8, which is allowed only to a client that asked for
                SMTPUTF8 (RFC 6531 §3.7.4.2). Others get it as `\x{E9}` (RFC 6533 §3).
        """
        prefix = f"{self.enhanced} " if self.enhanced else ""
        room = MAX_LINE_OCTETS - len("250-") - len(prefix) - len("\r\n")
        lines = [
            piece
            for line in self.text.split("\n")
            for piece in _fold(line if utf8 else _ascii(line), room)
        ]
        last = len(lines) - 1
        # An empty challenge keeps its space, which clients of RFC 4954 look for.
        trailing = "" if self.code == 334 else " "
        return b"".join(
            f"{self.code}{'-' if number < last else ' '}{prefix}{line}".rstrip(trailing).encode()
            + b"\r\n"
            for number, line in enumerate(lines)
        )

    def __str__(self) -> str:
        """Give the reply on one line, as logs want it."""
        enhanced = f"{self.enhanced} " if self.enhanced else ""
        return f"{self.code} {enhanced}{self.text.replace(chr(10), ' ')}".rstrip()


def _ascii(text: str) -> str:
    if text.isascii():
        return text
    return "".join(char if char.isascii() else f"\\x{{{ord(char):X}}}" for char in text)


def _fold(line: str, room: int) -> list[str]:
    """Cut a line into pieces of at most `room` octets, never inside a character."""
    if len(line) * 4 <= room or len(line.encode()) <= room:
        return [line]
    pieces: list[str] = []
    while len(octets := line.encode()) > room:
        piece = octets[:room].decode(errors="ignore")
        if (space := piece.rfind(" ")) > 0:
            piece = piece[: space + 1]
        pieces.append(piece.rstrip(" "))
        line = line[len(piece) :]
    pieces.append(line)
    return pieces
