"""Replies read: octets in, `Reply` values out, and what EHLO offers (RFC 5321 §4.2, §4.1.1.1).

The client's half of reply.py. It takes what RFC 5321 §4.2 asks a client to take (any text, none at
all), refuses what would put it out of step, and remembers no more than one reply of bounded size.
Which reply answers what: client.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.framing import ReceiveBuffer
from pillarbox.protocol.reply import Reply

__all__ = [
    "MAX_KNOWN_REPLIES",
    "MAX_LINE_OCTETS",
    "MAX_REPLY_OCTETS",
    "NO_EXTENSIONS",
    "Extensions",
    "ReplyParser",
    "broken",
    "parse_extensions",
    "printable",
]

Extensions: TypeAlias = Mapping[str, tuple[str, ...]]
"""What a server offers: the parameters of each keyword, the keyword in capitals."""

NO_EXTENSIONS: Final[Extensions] = MappingProxyType({})

BROKEN = Reply(451, "4.5.0", "The server broke the protocol")

# RFC 5321 §4.5.3.1.5 has 512, CRLF counted; there are servers that put a whole policy on a line.
MAX_LINE_OCTETS: Final = 2048
# The longest honest reply is EHLO's, of some thirty lines.
MAX_REPLY_OCTETS: Final = 65_536
# A server says the same few lines for each message; to make a value of one takes longer than all
# else that is done with it.
MAX_KNOWN_REPLIES: Final = 16

# The second digit is 0 to 5 by the grammar; nobody goes by it, so neither do we (§4.3.2).
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])[^\r]*+)?+\r\n")
_ENHANCED = re.compile(r"([245]\.(?:0|[1-9][0-9]{0,2})\.(?:0|[1-9][0-9]{0,2}))(?: |\Z)")
_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
# What `Reply` has no place for: a server's text ends up in logs and on terminals.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")


class ReplyParser:
    """Takes the server's octets, gives its replies."""

    __slots__ = ("_buffer", "_known", "_lines", "_octets", "lines")

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        """The lines of the last reply as they came, without their CRLF."""
        self._buffer = ReceiveBuffer()
        self._known: dict[bytes, Reply] = {}
        self._lines: list[bytes] = []
        self._octets = 0

    def __len__(self) -> int:
        """Count the octets received that no reply has been made of."""
        return len(self._buffer) + self._octets

    def feed(self, data: bytes) -> None:
        """Take what the network gave."""
        self._buffer.feed(data)

    def next_reply(self) -> Reply | None:
        """Give the next reply; `None` until it is whole.

        Raises:
            RemoteProtocolError: This is no reply, or one over the limits. The parser is of no use
                any more: where the next reply begins, nobody knows.
        """
        buffer = self._buffer
        while (end := buffer.data.find(b"\n", buffer.offset)) >= 0:
            line = buffer.data[buffer.offset : end + 1]
            buffer.offset = end + 1
            if not self._lines and (known := self._known.get(line)) is not None:
                self.lines = [line[:-2]]
                return known
            if self._take(line):
                return self._finish()
        # The line feed is still to come, so this line is one octet longer at the least.
        if len(buffer) >= MAX_LINE_OCTETS:
            raise broken(f"a reply line has more than {MAX_LINE_OCTETS} octets")
        buffer.release()
        return None

    def _take(self, line: bytes) -> bool:
        """Take one line; tell whether it ends the reply."""
        if len(line) > MAX_LINE_OCTETS:
            raise broken(f"a reply line has more than {MAX_LINE_OCTETS} octets")
        self._octets += len(line)
        if self._octets > MAX_REPLY_OCTETS:
            raise broken(f"a reply has more than {MAX_REPLY_OCTETS} octets")
        found = _LINE.fullmatch(line)
        if found is None:
            raise broken(f"'{printable(line[:100])}' is no reply")
        if self._lines and not line.startswith(code := self._lines[0][:3]):
            # RFC 5321 §4.2.1: the code is the same on every line.
            raise broken(f"a {code.decode()} reply goes on with {found[1].decode()}")
        self._lines.append(line[:-2])
        return found[2] != b"-"

    def _finish(self) -> Reply:
        self.lines, self._lines = self._lines, []
        self._octets = 0
        if len(self.lines) > 1:
            return _reply(self.lines)
        if len(self._known) >= MAX_KNOWN_REPLIES:
            self._known.clear()
        reply = self._known[self.lines[0] + b"\r\n"] = _reply(self.lines)
        return reply


def _reply(lines: list[bytes]) -> Reply:
    code = int(lines[0][:3])
    texts = [printable(line[4:]) for line in lines]
    found = _ENHANCED.match(texts[0])
    if found is None or int(found[1][0]) != code // 100:
        return Reply(code, None, "\n".join(texts))
    enhanced = found[1]
    return Reply(code, enhanced, "\n".join(_without(enhanced, text) for text in texts))


def _without(enhanced: str, line: str) -> str:
    """Take the enhanced code off a line that repeats it (RFC 2034 §4)."""
    found = _ENHANCED.match(line)
    return line[found.end() :] if found and found[1] == enhanced else line


def broken(what: str) -> RemoteProtocolError:
    """Say what the server did; what is open then is to be tried again."""
    return RemoteProtocolError(f"the server broke the protocol: {what}", reply=BROKEN)


def printable(octets: bytes) -> str:
    r"""Make text of what a server said, controls and what is no UTF-8 as `\x1b`."""
    text = octets.decode(errors="backslashreplace")
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def parse_extensions(reply: Reply) -> Extensions:
    """Read what a positive reply to EHLO offers; a line that is no keyword is passed over."""
    extensions: dict[str, tuple[str, ...]] = {}
    for line in reply.text.split("\n")[1:]:
        keyword, *parameters = line.split() or [""]
        if _KEYWORD.fullmatch(keyword):
            key = keyword.upper()
            extensions[key] = (*extensions.get(key, ()), *parameters)
    return MappingProxyType(extensions)
