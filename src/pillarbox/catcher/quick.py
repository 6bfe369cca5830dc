"""The headers and the parts of mail that follows the rules, found without a look at each line.

The parser of `email` reads line by line, which takes a fifth of a second for an attachment of five
megabytes. Where lines end in CRLF, headers are headers and boundaries begin and end (RFC 5322 §2.1,
RFC 2046 §5.1.1), the octets say the same at a glance. Of all other mail `parse_quickly()` makes
nothing, and leaves it to tree.py: the two never differ in what they find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from pillarbox.catcher.header import content_type, unfold

__all__ = ["Piece", "parse_quickly"]

# Without controls other than tabs, and lines that end in CRLF alone.
_LINE = rb"[^\x00-\x08\x0a-\x1f\x7f]*+\r\n"
_HEADER = re.compile(rb"([!-9;-~]++):(" + _LINE + rb"(?:[ \t]" + _LINE + rb")*+)")
_SEPARATOR_END = re.compile(rb"(--)?+[ \t]*+(?:\r\n|\Z)")

MAX_HEADERS = 1_000


class Piece:
    """A part, as offsets into the message: what `Node` of tree.py is to all other mail."""

    __slots__ = ("_end", "_headers", "_source", "_start", "children", "type")

    def __init__(self, source: bytes, headers: list[tuple[str, str]], start: int, end: int) -> None:
        self._source = source
        self._headers = headers
        self._start = start
        self._end = end
        self.children: list[Piece] = []
        self.type = content_type(self.first("content-type"), "text/plain")

    def raw_items(self) -> Iterator[tuple[str, str]]:
        """Give the headers, each with its value as it came."""
        return iter(self._headers)

    def first(self, name: str) -> str:
        """Give the first header of a name on one line; empty without."""
        for key, value in self._headers:
            if key.lower() == name:
                return unfold(value)
        return ""

    @property
    def octets(self) -> bytes:
        """The content as it came; empty for a piece that has children."""
        return b"" if self.children else self._source[self._start : self._end]


class _NotPlain(Exception):
    """The rules are broken somewhere."""


def parse_quickly(octets: bytes, *, max_depth: int, max_parts: int) -> Piece | None:
    """Find headers and parts; `None` where that takes a closer look."""
    if not octets or octets.startswith(b"\r\n"):
        return None
    try:
        return _Reader(octets, max_depth, max_parts).piece(0, len(octets), 0)
    except _NotPlain:
        return None


class _Reader:
    """Reads one message."""

    def __init__(self, source: bytes, max_depth: int, max_parts: int) -> None:
        self._source = source
        self._max_depth = max_depth
        self._parts_left = max_parts

    def piece(self, start: int, end: int, depth: int) -> Piece:
        """Read what is between two places, the first at the start of a line."""
        self._parts_left -= 1
        if self._parts_left < 0 or depth > self._max_depth:
            raise _NotPlain
        headers, body = self._headers(start, end, is_whole=depth == 0)
        made = Piece(self._source, headers, body, end)
        name, about = made.type
        if name.startswith("multipart/"):
            if name == "multipart/digest":  # its parts are of another type (RFC 2046 §5.1.5)
                raise _NotPlain
            boundary = about.get("boundary", "").rstrip()
            if not boundary or not boundary.isascii() or depth >= self._max_depth:
                raise _NotPlain
            for first, last in self._between(b"--" + boundary.encode(), body, end):
                made.children.append(self.piece(first, last, depth + 1))
        return made

    def _headers(
        self, start: int, end: int, *, is_whole: bool
    ) -> tuple[list[tuple[str, str]], int]:
        """Read headers; give them, and where the body begins."""
        source = self._source
        if start == end or source.startswith(b"\r\n", start, end):
            return [], min(start + 2, end)
        headers: list[tuple[str, str]] = []
        # Where a part's body is empty, the line that ends the headers is the boundary's line break.
        limit = end if is_whole else end + 2
        at = start
        while not source.startswith(b"\r\n", at, limit):
            found = _HEADER.match(source, at, limit)
            if found is None or len(headers) >= MAX_HEADERS:
                raise _NotPlain
            name, value = found.groups()
            headers.append(
                (name.decode(), value[:-2].decode("ascii", "surrogateescape").lstrip(" \t"))
            )
            at = found.end()
        return headers, min(at + 2, end)

    def _between(self, separator: bytes, start: int, end: int) -> list[tuple[int, int]]:
        """Give what is between the separators of a body, each without the last line break."""
        source = self._source
        parts: list[tuple[int, int]] = []
        begun = -1
        at = source.find(separator, start, end)
        tries = 0
        while at >= 0:
            tries += 1
            if tries > 2 * self._parts_left + 100:
                raise _NotPlain
            behind = at + len(separator)
            before = source[at - 1]
            if at == start or (before == 0x0A and source[at - 2] == 0x0D):
                found = _SEPARATOR_END.match(source, behind, end)
                if found is not None:
                    if begun >= 0:
                        if at - 2 < begun:
                            raise _NotPlain
                        parts.append((begun, at - 2))
                    if found[1]:
                        if begun < 0:
                            raise _NotPlain
                        return parts
                    begun = found.end()
                elif source[behind : behind + 1] in b"\r\n-\t ":
                    raise _NotPlain
            elif before in b"\r\n":
                raise _NotPlain
            at = source.find(separator, behind, end)
        raise _NotPlain
