"""The dialogue of a session as lines for people, put together from the octets of both sides.

Message data is left out and counted; secrets of AUTH are not shown. It is kept where the
configuration asks for it (`keeps_dialogue`), and handlers read it as `session.dialogue`.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["Dialogue"]

# A session may send messages for days: its beginning is kept, and what belongs to the last message.
MAX_LINES: Final = 400
MAX_LINE_CHARACTERS: Final = 1_000
LEFT_OUT: Final = "..."
# What a client sends behind DATA before it is asked to; honest ones wait.
MAX_HELD_OCTETS: Final = 65_536

_BDAT = re.compile(rb"BDAT +([0-9]{1,19})", re.IGNORECASE)
_AUTH = re.compile(r"(AUTH\s+\S+)\s+\S.*", re.IGNORECASE)
_END_OF_DATA: Final = b"\r\n.\r\n"


class Dialogue:
    """What both sides have said, but for the messages themselves."""

    __slots__ = (
        "_beginning",
        "_data_octets",
        "_held",
        "_is_auth",
        "_is_data",
        "_is_undecided",
        "_now",
        "_partial",
        "_skip_octets",
        "_tail",
        "_was_message",
    )

    def __init__(self) -> None:
        self._beginning: list[str] = []
        self._now: list[str] = []
        self._partial = b""
        self._tail = b""
        self._data_octets = 0
        self._skip_octets = 0
        self._held = b""
        self._is_data = self._is_auth = self._was_message = False
        self._is_undecided = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Lines as `C: NOOP` and `S: 250 2.0.0 OK`: the beginning, and what was said since the
        last message but one; `...` stands for what was left out.
        """
        between = [LEFT_OUT] if self._was_message else []
        return tuple(self._beginning + between + self._now)

    def received(self, data: bytes) -> None:
        """Take octets of the client."""
        while data:
            if self._is_undecided:
                # Whether this is a message or commands, the answer to DATA tells.
                self._held = (self._held + data)[:MAX_HELD_OCTETS]
                return
            if self._is_data:
                data = self._take_data(data)
            elif self._skip_octets:
                count = min(self._skip_octets, len(data))
                self._skip_octets -= count
                data = data[count:]
            else:
                line, newline, data = (self._partial + data).partition(b"\n")
                if not newline:
                    self._partial = line[-MAX_LINE_CHARACTERS:]
                    return
                self._partial = b""
                self._take_line(line)

    def sent(self, data: bytes) -> None:
        """Take octets of the server."""
        code = b""
        for line in data.split(b"\r\n")[:-1]:
            self._add("S: " + _text(line))
            code = line[:3]
            if code == b"354":
                self._is_data = True
                self._data_octets, self._tail = 0, b"\r\n"
            elif code != b"334":
                self._is_auth = False
        if self._is_undecided and (self._is_data or code[:1] in (b"4", b"5")):
            self._is_undecided = False
            held, self._held = self._held, b""
            self.received(held)

    def _take_line(self, line: bytes) -> None:
        text = _text(line.rstrip(b"\r"))
        if self._is_auth:
            self._add("C: ****")
            return
        self._is_auth = text[:4].upper() == "AUTH"
        if text[:5].upper() == "MAIL ":
            self._begin_message()
        self._add("C: " + (_AUTH.sub(r"\1 ****", text) if self._is_auth else text))
        self._is_undecided = text.upper() == "DATA"
        if chunk := _BDAT.match(line):
            self._skip_octets = int(chunk[1])
            self._add(f"C: ({self._skip_octets} octets of message)")

    def _take_data(self, data: bytes) -> bytes:
        """Count message data; give what comes behind its end."""
        seen = self._tail + data
        end = seen.find(_END_OF_DATA)
        if end < 0:
            self._data_octets += len(data)
            self._tail = seen[-len(_END_OF_DATA) + 1 :]
            return b""
        rest = seen[end + len(_END_OF_DATA) :]
        self._is_data = False
        octets = self._data_octets + len(data) - len(rest) - len(".\r\n")
        self._add(f"C: ({max(octets, 0)} octets of message)")
        self._add("C: .")
        return rest

    def _begin_message(self) -> None:
        if not self._beginning:
            self._beginning = self._now
            self._now = []
        elif any(line[:8].upper() == "C: MAIL " for line in self._now):
            self._now = []
            self._was_message = True

    def _add(self, line: str) -> None:
        self._now.append(line)
        if len(self._now) > MAX_LINES:
            del self._now[MAX_LINES // 2]
            self._now[MAX_LINES // 2] = LEFT_OUT


def _text(line: bytes) -> str:
    """Make a line fit to be shown: one line, no control characters."""
    text = line[:MAX_LINE_CHARACTERS].decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in text)
