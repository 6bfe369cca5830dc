"""Framing: bytes in, command lines and message bodies out (RFC 5321 §2.3.8, §4.5.2; RFC 3030 §2).

The one place that decides where a line ends, where a message ends, and which dots are stuffing.
Knows no commands: see command.py. What a message may weigh: body.py.
"""

from __future__ import annotations

import io
from typing import Protocol

__all__ = [
    "BodyReader",
    "ChunkReader",
    "DataReader",
    "LineTooLongError",
    "NewlineCheck",
    "ReceiveBuffer",
    "stuff_dots",
]


_WINDOW_OCTETS = 2048
# What may become CRLF.CRLF, or the CRLF before a stuffed dot; the longest first.
_TAILS = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")


class LineTooLongError(Exception):
    """A line over the limit has ended. Its octets are gone; the next line is whole again."""


class ReceiveBuffer:
    """What was received and not yet consumed: `data` from `offset` on.

    Both are public because the fast path of server.py matches on them in place.
    """

    __slots__ = ("_discarding", "data", "offset")

    def __init__(self) -> None:
        self.data = b""
        self.offset = 0
        self._discarding = False

    def __len__(self) -> int:
        return len(self.data) - self.offset

    def feed(self, data: bytes) -> None:
        """Take what the network gave."""
        if self.offset == len(self.data):
            self.data = data
        else:
            self.data = self.data[self.offset :] + data
        self.offset = 0

    def clear(self) -> None:
        """Forget everything."""
        self.data = b""
        self.offset = 0
        self._discarding = False

    def release(self) -> None:
        """Let go of the octets consumed.

        Call it before waiting: an object of the size of a socket read, kept while the connection
        idles, fragments the heap of a server with many.
        """
        if self.offset:
            self.data = self.data[self.offset :]
            self.offset = 0

    def take_line(self, limit: int) -> bytes | None:
        """Take one line, without its CRLF; `None` until there is a whole one.

        Only CRLF ends a line, so a bare CR or LF is left in it, for the caller to refuse.

        Args:
            limit: The most octets a line may have, CRLF counted. Of a longer one not more than
                this is kept in memory.

        Raises:
            LineTooLongError: Once, when a line over the limit has ended.
        """
        end = self.data.find(b"\r\n", self.offset)
        if end < 0:
            if self._discarding or len(self) > limit - 1:
                # All goes but a CR that the next octet may complete. A NUL stands for the rest, or
                # else the fast path would take the tail of this line for a command.
                self._discarding = True
                self.data = b"\0\r" if self.data.endswith(b"\r") else b"\0"
                self.offset = 0
            return None
        line = self.data[self.offset : end]
        self.offset = end + 2
        if self._discarding or len(line) + 2 > limit:
            self._discarding = False
            raise LineTooLongError
        return line


class BodyReader(Protocol):
    """Takes the octets of a message off the buffer, as they come."""

    is_finished: bool
    """Whether the reader's octets are all read; not to be read on then."""
    is_last: bool
    """Whether the message ends with them."""

    def read(self) -> bytes:
        """Give what there is of the body, `b""` if more is needed or it is finished."""
        ...


class DataReader:
    """The body behind DATA: up to CRLF.CRLF, stuffed dots taken out (RFC 5321 §4.5.2)."""

    __slots__ = ("_at_start", "_buffer", "is_finished", "is_last")

    def __init__(self, buffer: ReceiveBuffer) -> None:
        self._buffer = buffer
        self._at_start = True
        self.is_finished = False
        self.is_last = True

    def read(self) -> bytes:
        """Give what there is of the body, holding back octets that may begin its end."""
        buffer = self._buffer
        data, start = buffer.data, buffer.offset
        if self._at_start:
            # The CRLF of the DATA line counts as the one before the first dot (§4.1.1.4).
            if data.startswith(b".", start):
                if data.startswith(b".\r\n", start):
                    buffer.offset = start + 3
                    self.is_finished = True
                    return b""
                if len(data) - start < 3 and data[start:] in (b".", b".\r"):
                    return b""
                start += 1
            elif start == len(data):
                return b""
            self._at_start = False
        stuffed = _find_line_dot(data, start)  # answers both, is there an end and any stuffing
        if stuffed < 0:
            return self._take(start, len(data) - _held_back(data, start))
        if data.startswith(b"\r\n", stuffed + 3):
            end = stuffed
        else:
            end = data.find(b"\r\n.\r\n", stuffed + 3)
        if end < 0:
            part = self._take(start, len(data) - _held_back(data, start))
        else:
            part = data[start : end + 2]
            buffer.offset = end + 5
            self.is_finished = True
            if end == stuffed:
                return part
        return part.replace(b"\r\n.", b"\r\n")

    def _take(self, start: int, end: int) -> bytes:
        buffer = self._buffer
        buffer.offset = end
        return buffer.data[start:end]


def _find_line_dot(data: bytes, start: int) -> int:
    """Find the first CRLF followed by a dot, -1 if there is none.

    `find(b"\\r\\n.")` alone takes 0.6 ns an octet, a third of all that a large message costs. A
    single octet is found twenty times as fast, and attachments in base64 have no dot at all: only
    the neighbourhood of a dot is looked at more closely.
    """
    while (dot := data.find(b".", start)) >= 0:
        start = max(dot - 2, start)
        found = data.find(b"\r\n.", start, start + _WINDOW_OCTETS)
        if found >= 0:
            return found
        start += _WINDOW_OCTETS - 2
    return -1


def _held_back(data: bytes, start: int) -> int:
    """Count the octets at the end that may begin CRLF.CRLF, or be the CRLF before a stuffed dot."""
    if data.endswith(_TAILS):
        for tail in _TAILS:
            if data.endswith(tail, start):
                return len(tail)
    return 0


class ChunkReader:
    """The octets behind one BDAT command, exactly as many as it declared (RFC 3030 §2)."""

    __slots__ = ("_buffer", "_declared", "_remaining", "is_finished", "is_last")

    def __init__(self, buffer: ReceiveBuffer, octets: int, *, is_last: bool) -> None:
        self._buffer = buffer
        self._declared = self._remaining = octets
        self.is_last = is_last
        self.is_finished = not octets

    @property
    def octets(self) -> int:
        """How much of it was read."""
        return self._declared - self._remaining

    def read(self) -> bytes:
        """Give what there is of the chunk."""
        buffer = self._buffer
        start = buffer.offset
        buffer.offset = min(len(buffer.data), start + self._remaining)
        self._remaining -= buffer.offset - start
        self.is_finished = not self._remaining
        return buffer.data[start : buffer.offset]


class NewlineCheck:
    """Tells whether every CR and LF of a message stands in a CRLF (RFC 5321 §2.3.8).

    A message that holds a bare one is read as two messages by some next relay ("SMTP smuggling").
    The decoder of text files keeps account of the kinds of newlines in one pass, a CRLF cut in two
    included, three times as fast as counting CR, LF and CRLF.
    """

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = io.IncrementalNewlineDecoder(None, translate=False)

    def restart(self) -> None:
        """Begin a new message."""
        self._decoder.reset()

    def accepts(self, data: bytes, *, final: bool = False) -> bool:
        """Look at the next octets; `False` once there was a bare CR or LF."""
        decoder = self._decoder
        decoder.decode(str(data, "latin-1"), final)
        newlines = decoder.newlines
        return newlines == "\r\n" or newlines is None


def stuff_dots(message: bytes) -> bytes:
    """Double the dot at the beginning of each line, and add the end: what goes behind DATA.

    A message that does not end in CRLF gets one (RFC 5321 §4.1.1.4); CHUNKING keeps it as it is.
    """
    if message.startswith(b"."):
        message = b"." + message
    message = message.replace(b"\r\n.", b"\r\n..")
    return message + (b".\r\n" if message.endswith(b"\r\n") or not message else b"\r\n.\r\n")
