"""Transcripts: dialogues as people write them down, and the player that holds them.

What to hold them with: memory.py, or a socket.
"""

from __future__ import annotations

import ast
import contextlib
import os
import re
import socket
import sys
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Literal, NoReturn, Protocol, TypeAlias, assert_never

__all__ = ["Stream", "Transcript", "TranscriptError", "Way", "play"]

Way: TypeAlias = Literal["lock-step", "octets", "burst"]
"""How a transcript is played: line by line, octet by octet, or all that the client says at once."""


class TranscriptError(AssertionError):
    """The server said something else; the text has the dialogue so far and the difference."""


class Stream(Protocol):
    """What `play()` needs of a connection. A connected `socket.socket` has it; set a timeout."""

    def sendall(self, data: bytes, /) -> None:
        """Send all the octets."""

    def recv(self, size: int, /) -> bytes:
        """Give what the server said, `b""` where it has closed.

        Raises:
            TimeoutError: It says nothing.
        """
        ...

    def shutdown(self, how: int, /) -> None:
        """Close the client's side, by `socket.SHUT_WR`."""


@dataclass(frozen=True, slots=True)
class _Send:
    octets: bytes
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _ExpectLine:
    octets: bytes
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _ExpectReply:
    """A whole reply: its code, and how the text of its first line begins."""

    code: bytes
    begin: bytes
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _ClientCloses:
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class _ServerCloses:
    text: str
    line: int


_Step: TypeAlias = _Send | _ExpectLine | _ExpectReply | _ClientCloses | _ServerCloses

_OCTETS = re.compile(r'("(?:[^"\\]|\\.)*")(?: *\* *([0-9]+))?', re.ASCII)
_REPLY = re.compile(r"([2-5][0-9]{2})(?: (.*))? \.\.\.", re.ASCII)


@dataclass(frozen=True, slots=True)
class Transcript:
    r"""A dialogue, taken apart.

    ====================== =====================================================================
    `S: 250 2.0.0 OK`      the server says exactly this line
    `S: 250 2.0.0 ...`     the server gives a whole reply, of one or more lines, that begins so
    `S: [closed]`          the server closes
    `C: NOOP`              the client sends this line and CRLF
    `C! "NO\x00\r\n" * 3`  the client sends these octets, escapes and all as in Python, so often
    `C: [closed]`          the client closes its side, and can still read
    ====================== =====================================================================

    White space around a line does not count. Empty lines and those that begin with `#` are for
    people.
    """

    steps: tuple[_Step, ...]

    @classmethod
    def parse(cls, text: str) -> Transcript:
        """Read a transcript.

        Raises:
            ValueError: A line is none of those above.
        """
        lines = ((number, line.strip()) for number, line in enumerate(text.split("\n"), 1))
        return cls(tuple(_step(line, number) for number, line in lines if line and line[0] != "#"))

    @classmethod
    def load(cls, path: FilePath) -> Transcript:
        """Read a transcript from a file."""
        return cls.parse(path.read_text(encoding="utf-8"))

    @property
    def sent(self) -> bytes:
        """All that the client says."""
        return b"".join(step.octets for step in self.steps if isinstance(step, _Send))


def _step(line: str, number: int) -> _Step:
    if line == "C: [closed]":
        return _ClientCloses(line, number)
    if line == "S: [closed]":
        return _ServerCloses(line, number)
    text = line[3:]
    if line.startswith("C! ") and (octets := _OCTETS.fullmatch(text)):
        try:
            return _Send(ast.literal_eval(f"b{octets[1]}") * int(octets[2] or 1), line, number)
        except SyntaxError:
            raise ValueError(f"line {number}: only ASCII and escapes: {line!r}") from None
    if line.startswith("C: ") or line == "C:":
        return _Send(text.encode() + b"\r\n", line, number)
    if line.startswith("S: "):
        if reply := _REPLY.fullmatch(text):
            return _ExpectReply(reply[1].encode(), (reply[2] or "").encode(), line, number)
        return _ExpectLine(text.encode() + b"\r\n", line, number)
    raise ValueError(f"line {number} is not of a transcript: {line!r}; see pillarbox.testing")


def play(transcript: Transcript | str, stream: Stream, *, way: Way = "lock-step") -> None:
    """Hold a dialogue, and close the client's side at its end.

    With `PILLARBOX_DEBUG` in the environment, the dialogue is printed on standard error.

    Args:
        transcript: Who says what.
        stream: A server that is connected and has said nothing that was read.
        way: How to cut what the client says.

    Raises:
        TranscriptError: The server says something else, or something more.
        ValueError: The transcript cannot be read.
    """
    if isinstance(transcript, str):
        transcript = Transcript.parse(transcript)
    dialogue = _Dialogue(stream)
    try:
        if way == "burst":
            # A stable sort: who speaks is all that it looks at.
            steps = sorted(transcript.steps, key=lambda step: not _is_clients(step))
        else:
            steps = list(transcript.steps)
        for step in steps:
            dialogue.take(step, by_octets=way == "octets")
        dialogue.end()
    finally:
        if os.environ.get("PILLARBOX_DEBUG"):
            sys.stderr.write(f"\n{way}:\n{dialogue}\n")


def _is_clients(step: _Step) -> bool:
    return isinstance(step, _Send | _ClientCloses)


class _Dialogue:
    """What was said so far."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._said: list[str] = []
        self._heard = b""
        self._is_closed = False
        self._is_open = True

    def __str__(self) -> str:
        return "\n".join(self._said)

    def take(self, step: _Step, *, by_octets: bool) -> None:
        """Do what a line of the transcript says."""
        match step:
            case _Send(octets):
                self._said.append(_shortened(step.text))
                self._send(
                    [octets[at : at + 1] for at in range(len(octets))] if by_octets else [octets]
                )
            case _ClientCloses():
                self._said.append(step.text)
                self._close()
            case _ServerCloses():
                if self._line() is not None:
                    self._fail(step)
            case _ExpectLine(octets):
                if self._line() != octets:
                    self._fail(step)
            case _ExpectReply(code, begin):
                self._reply(step, code, begin)
            case _:
                assert_never(step)

    def end(self) -> None:
        """Close the client's side: whatever the server then says is too much."""
        self._close()
        if self._line() is not None:
            self._fail(None)

    def _send(self, pieces: list[bytes]) -> None:
        # A server that has closed has said why before.
        with contextlib.suppress(ConnectionError):
            for piece in pieces:
                self._stream.sendall(piece)

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            with contextlib.suppress(OSError):  # the server may have closed
                self._stream.shutdown(socket.SHUT_WR)

    def _reply(self, step: _ExpectReply, code: bytes, begin: bytes) -> None:
        line = self._line()
        is_first = True
        while line is not None and line[:3] == code and line[3:4] in (b"-", b" ", b"\r"):
            text = line[4:-2]
            if is_first and begin and text != begin and not text.startswith(begin + b" "):
                break
            if line[3:4] != b"-":
                return
            is_first = False
            line = self._line()
        self._fail(step)

    def _line(self) -> bytes | None:
        r"""Read up to the next LF; `None` where the server has closed."""
        while b"\n" not in self._heard and not self._is_closed:
            try:
                data = self._stream.recv(65536)
            except ConnectionError:
                data = b""
            except TimeoutError:
                self._said.append("S: [silent]")
                return b""
            self._heard += data
            self._is_closed = not data
        line, lf, self._heard = self._heard.partition(b"\n")
        if not line and not lf:
            self._said.append("S: [closed]")
            return None
        self._said.append(f"S: {_readable(line + lf)}")
        return line + lf

    def _fail(self, step: _Step | None) -> NoReturn:
        __tracebackhide__ = True  # pytest: what matters is in the text
        *before, last = self._said
        expected = (
            f"line {step.line}: expected\n    {step.text}" if step else "expected\n    no more"
        )
        after = "".join(f"\n    {line}" for line in before)
        raise TranscriptError(f"{expected}\nbut the server said\n    {last}\nafter{after}")


def _readable(line: bytes) -> str:
    text = line.removesuffix(b"\r\n").decode(errors="backslashreplace")
    if not line.endswith(b"\r\n") or not text.isprintable():
        return repr(line)
    return text


def _shortened(text: str) -> str:
    return text if len(text) <= 100 else f"{text[:80]} … {text[-12:]}"
