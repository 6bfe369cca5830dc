"""The headers and the parts of a message, found by the standard library's `email`.

Mail that follows the rules goes a faster way, with the same outcome: quick.py. `email` does well
with nearly all the rest. This file is about the rest: what it raises on, leaves out,
or takes too long and too much memory for. Its answers about values and contents differ in each
Python version and are not asked for; see header.py and content.py.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection
from email.errors import StartBoundaryNotFoundDefect
from email.feedparser import BytesFeedParser
from email.message import Message
from typing import Any

from pillarbox.catcher.header import content_type, unfold
from pillarbox.catcher.quick import Piece, parse_quickly

__all__ = ["Node", "parse_slowly", "parse_tree"]

# Mail comes nested some five deep. Each level costs a look at every line, and frames of the stack.
MAX_DEPTH = 30
# Each part costs a kilobyte or two.
MAX_PARTS = 5_000
# Each line costs some 60 octets: this many are a message made to exhaust the memory, ...
MAX_LINES = 1_000_000
# ... unless they are as long as those of a large attachment.
MIN_LINE_OCTETS = 16
MAX_HEADER_OCTETS = 1 << 21

_HEADERS_END = re.compile(rb"\r?\n(?=\r?\n)")


class Node(Message):
    """A part as the parser sees it, which asks it whether there are others inside.

    It says no for `message/*`: a message in a message is one part, with its octets as they are.
    """

    _payload: Any
    """What the parser found, under the name that `Message` has for it."""

    def __init__(self, *, is_left_whole: bool = False) -> None:
        super().__init__()
        self.depth = 0
        self.children: list[Node] = []
        self.is_left_whole = is_left_whole
        self._type: tuple[str, dict[str, str]] | None = None

    def first(self, name: str) -> str:
        """Give the first header of a name on one line; empty without."""
        found = (value for key, value in self.raw_items() if key.lower() == name)
        return unfold(next(found, ""))

    @property
    def type(self) -> tuple[str, dict[str, str]]:
        """The content type and its parameters."""
        if self._type is None:
            self._type = content_type(self.first("content-type"), self.get_default_type())
        return self._type

    @property
    def octets(self) -> bytes:
        """The content as it came; empty for a node that has children."""
        # get_payload() would read a charset into it.
        payload = "" if self.children else str(self._payload or "")
        if not self.keys():
            # Without headers, what the parser took for the first of them is content.
            unix_from = self.get_unixfrom()
            strays = "".join(getattr(defect, "line", None) or "" for defect in self.defects)
            payload = (f"{unix_from}\r\n" if unix_from else "") + strays + payload
        return payload.encode("ascii", "surrogateescape")

    # What the parser asks and does

    def attach(self, payload: Any) -> None:
        """Take a part in."""
        assert isinstance(payload, Node)
        payload.depth = self.depth + 1
        self.children.append(payload)
        super().attach(payload)

    def get_content_type(self) -> str:
        """Give the type; the parser looks for `message/delivery-status` and for digests."""
        name = self.type[0]
        return "application/octet-stream" if name.startswith("message/") else name

    def get_content_maintype(self) -> str:
        """Say whether there are parts to look for."""
        may_split = not self.is_left_whole and self.depth < MAX_DEPTH
        if may_split and self.type[0].startswith("multipart/") and self.get_boundary():
            return "multipart"
        return "application"

    def get_boundary(self, failobj: Any = None) -> Any:
        """Give what stands between the parts."""
        return self.type[1].get("boundary", "").rstrip() or failobj


def parse_tree(octets: bytes) -> Node | Piece:
    """Find headers and parts; never raises."""
    quick = parse_quickly(octets, max_depth=MAX_DEPTH, max_parts=MAX_PARTS)
    return quick if quick is not None else parse_slowly(octets)


def parse_slowly(octets: bytes) -> Node:
    """Find the same by the standard library, in all mail."""
    lines = octets.count(b"\n") + octets.count(b"\r")
    if lines <= MAX_LINES or len(octets) >= MIN_LINE_OCTETS * lines:
        with contextlib.suppress(Exception):
            nodes = _feed(octets)
            # The parser drops what stands behind an end boundary that nothing began.
            broken = {number for number, node in enumerate(nodes) if _lacks_start(node)}
            return (_feed(octets, left_whole=broken) if broken else nodes)[0]
    return _parse_headers(octets)


def _parse_headers(octets: bytes) -> Node:
    """Take all behind the headers for one part."""
    end = _HEADERS_END.search(octets, 0, MAX_HEADER_OCTETS)
    start = end.end() if end else 0
    try:
        [node] = _feed(octets[:start], left_whole={0})
    except Exception:
        start, node = 0, Node(is_left_whole=True)
    rest = octets[start:].decode("ascii", "surrogateescape")
    node._payload = str(node._payload or "") + rest
    return node


class _TooManyPartsError(Exception):
    """The message is made to exhaust the memory."""


def _feed(octets: bytes, *, left_whole: Collection[int] = ()) -> list[Node]:
    """Run the parser; gives all nodes, the root first.

    Args:
        octets: The message.
        left_whole: The numbers of those in which not to look for parts.
    """
    nodes: list[Node] = []

    def make(**_policy: object) -> Node:
        if len(nodes) > MAX_PARTS:
            raise _TooManyPartsError
        # The parser tries the factory once before it begins.
        nodes.append(Node(is_left_whole=len(nodes) - 1 in left_whole))
        return nodes[-1]

    parser = BytesFeedParser(make)
    parser.feed(octets)
    parser.close()
    return nodes[1:]


def _lacks_start(node: Node) -> bool:
    return any(isinstance(defect, StartBoundaryNotFoundDefect) for defect in node.defects)
