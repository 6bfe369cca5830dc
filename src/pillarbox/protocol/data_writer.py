"""A message put for DATA: dots stuffed, the end added, nothing that DATA cannot carry.

RFC 5321 §4.5.2. What goes by BDAT goes as it is, and needs none of this.
"""

from __future__ import annotations

from pillarbox.protocol.framing import NewlineCheck

__all__ = ["DataWriter"]


class DataWriter:
    """Puts a message for DATA, part by part: stuffs dots, adds the end (RFC 5321 §4.5.2).

    Args:
        is_checked: The message has passed `check` as a whole.
    """

    __slots__ = ("_newlines", "_tail", "octets")

    def __init__(self, *, is_checked: bool = False) -> None:
        self.octets = 0
        """How much of the message was written."""
        self._newlines = None if is_checked else NewlineCheck()
        self._tail = b"\r\n"  # the CRLF of the DATA line counts as the one before the first dot

    def check(self, part: bytes, *, is_last: bool) -> None:
        """Look for what DATA cannot carry.

        Raises:
            ValueError: There is a bare CR or LF. The next relay may take it for the end of a line,
                and so this message for two (RFC 5321 §2.3.8).
        """
        if self._newlines is not None and not self._newlines.accepts(part, final=is_last):
            raise ValueError(
                "the message has a CR or LF that is not part of a CRLF, which DATA cannot carry:"
                " end each line in CRLF, or send it as BINARYMIME to a server that offers CHUNKING"
            )

    def write(self, part: bytes, *, is_last: bool) -> bytes:
        """Give the octets that go out for this part.

        Raises:
            ValueError: See `check`.
        """
        self.check(part, is_last=is_last)
        self.octets += len(part)
        stuffed = part
        if b"\r\n." in part or b"\r\n." in self._tail + part[:2]:
            stuffed = (self._tail + part).replace(b"\r\n.", b"\r\n..")[len(self._tail) :]
        self._tail = (self._tail + part[-2:])[-2:]
        if not is_last:
            return stuffed
        return stuffed + (b".\r\n" if self._tail == b"\r\n" else b"\r\n.\r\n")
