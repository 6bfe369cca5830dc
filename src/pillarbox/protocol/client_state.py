"""Where a client's session stands, what it waits for, and how long (RFC 5321 §4.3.2, §4.5.3.2).

One table says of each thing that a reply can answer what success looks like and which time-out
holds. What is done with the answer: client.py.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

__all__ = ["ANSWERS", "Answer", "Awaited", "ClientState", "Timeouts"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """How long to wait for what, in seconds; the defaults are RFC 5321 §4.5.3.2's.

    Args:
        connect: For the connection. The RFC has no word on it; the system waits two minutes.
        tls: For the handshake, on which the RFCs have no word either.
        greeting: For the 220.
        command: For the answers to EHLO, STARTTLS, AUTH, MAIL, RCPT and RSET.
        data: For the 354.
        block: For the server to take a part of the message.
        end: For the answer to the final dot or the last chunk. Who waits less makes duplicates: the
            server may be busy delivering.
        quit: For the 221, on which nothing depends.

    Raises:
        ValueError: One is not more than 0.
    """

    connect: float = 30.0
    tls: float = 60.0
    greeting: float = 300.0
    command: float = 300.0
    data: float = 120.0
    block: float = 180.0
    end: float = 600.0
    quit: float = 10.0

    def __post_init__(self) -> None:
        """Check the values."""
        for one in fields(self):
            if not getattr(self, one.name) > 0:
                raise ValueError(f"{one.name} is {getattr(self, one.name)}; it must be more than 0")

    @classmethod
    def all(cls, seconds: float) -> Timeouts:
        """Wait no longer than this for anything: where a person or a test waits."""
        return cls(**{one.name: seconds for one in fields(cls)})


class ClientState(enum.Enum):
    """Where the session stands; the value tells the developer who calls out of turn what to do."""

    OPENING = "the session is not open yet: call next_event() until it gives Ready"
    STARTTLS = "STARTTLS is said: call next_event() until it gives NEED_TLS or TlsRefused"
    TLS = "the TLS handshake is due: call tls_started() when it is done"
    LOGIN = "a login is under way: call next_event() until it gives LoggedIn or LoginRefused"
    READY = "no message is under way: call send_message() first"
    ENVELOPE = "a message is under way: call next_event() until it gives NEED_BODY or Sent"
    BODY = "a message is under way: call send_part() each time next_event() gives NEED_BODY"
    ENDING = "a message is under way: call next_event() until it gives Sent"
    WITHHELD = "a message was given up before its end: call next_event() until it gives Sent"
    LEAVING = "QUIT is said: call next_event() until it gives NEED_CLOSE"
    CLOSED = "the session is over: make another connection"


class Awaited(enum.Enum):
    """What a reply answers; the value is what people call it."""

    GREETING = "the connection"
    EHLO = "EHLO"
    LHLO = "LHLO"
    HELO = "HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    RSET = "RSET"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    END = "end of data"
    BDAT = "BDAT"
    LAST = "BDAT LAST"
    QUIT = "QUIT"

    # It is looked up a dozen times for each message, and Enum's own hash is written in Python.
    __hash__ = object.__hash__


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known of an answer before it comes.

    Attributes:
        success: The first digit of one that lets us go on: 2 or 3; AUTH has both. 4 and 5 are
            refusals, others break the protocol.
        seconds: How long to wait for it.
    """

    success: tuple[int, ...]
    seconds: Callable[[Timeouts], float]


_COMMAND: Final = Answer((2,), lambda timeouts: timeouts.command)

ANSWERS: Final[Mapping[Awaited, Answer]] = MappingProxyType(
    {
        Awaited.GREETING: Answer((2,), lambda timeouts: timeouts.greeting),
        Awaited.EHLO: _COMMAND,
        Awaited.LHLO: _COMMAND,
        Awaited.HELO: _COMMAND,
        Awaited.STARTTLS: _COMMAND,
        Awaited.AUTH: Answer((2, 3), lambda timeouts: timeouts.command),
        Awaited.RSET: _COMMAND,
        Awaited.MAIL: _COMMAND,
        Awaited.RCPT: _COMMAND,
        Awaited.DATA: Answer((3,), lambda timeouts: timeouts.data),
        Awaited.END: Answer((2,), lambda timeouts: timeouts.end),
        Awaited.BDAT: Answer((2,), lambda timeouts: timeouts.block),
        Awaited.LAST: Answer((2,), lambda timeouts: timeouts.end),
        Awaited.QUIT: Answer((2,), lambda timeouts: timeouts.quit),
    }
)
