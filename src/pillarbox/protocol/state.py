"""Which command is legal when, as one table (RFC 5321 §4.1.4; RFC 3030 §2).

A row is a verb: how its line is parsed, in which states it is legal, and what it is told elsewhere.
What a legal command does: server.py.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from types import MappingProxyType
from typing import Final

from pillarbox.protocol import command
from pillarbox.protocol.address import MAX_LOCAL_PART_OCTETS
from pillarbox.protocol.command import Command
from pillarbox.protocol.reply import Reply

__all__ = ["COMMANDS", "LMTP_COMMANDS", "Row", "State", "commands_of"]


class State(enum.IntEnum):
    """Where a session stands. Up to `CHUNKS` commands are read; then the message, or nothing."""

    REFUSED = 0
    """The greeting was a refusal: only QUIT is left (§3.1)."""
    HELLO = 1
    """The client has to say EHLO or HELO."""
    READY = 2
    """No transaction is open."""
    MAIL = 3
    """There is a sender, and no recipient yet."""
    RCPT = 4
    """There are recipients."""
    CHUNKS = 5
    """A part of the message came by BDAT; more follows (RFC 3030)."""
    DATA = 6
    """The message is coming in, up to the final dot."""
    CHUNK = 7
    """The octets of a BDAT command are coming in."""
    SKIP = 8
    """The octets of a refused BDAT command are coming in, to be thrown away."""
    GREETING = 9
    """The greeting is owed."""
    AUTH = 10
    """A response to a SASL challenge is due."""
    TLS = 11
    """The TLS handshake is due."""
    CLOSED = 12
    """All is said."""


_OPEN: Final = frozenset({State.MAIL, State.RCPT, State.CHUNKS})
_ANY: Final = frozenset({State.HELLO, State.READY, State.MAIL, State.RCPT, State.CHUNKS})


def _bad_sequence(text: str) -> Reply:
    return Reply(503, "5.5.1", text)


_HELLO_FIRST = _bad_sequence("Say EHLO first")
_REFUSED = _bad_sequence("No service here; QUIT is all that is left")
_NESTED_MAIL = _bad_sequence("A transaction is open; RSET ends it")
_NOT_NOW = _bad_sequence("{verb} has no place in a transaction; RSET ends it")
_NO_MAIL = _bad_sequence("{verb} needs a MAIL command first")
_NO_RCPT = _bad_sequence("{verb} needs a RCPT command that was accepted")
_IN_CHUNKS = _bad_sequence("BDAT has begun; LAST or RSET ends it")


@dataclass(frozen=True, slots=True)
class Row:
    """One command: its parser, the states in which it is legal, the refusals in the others."""

    parse: Callable[[bytes], Command]
    legal: frozenset[State]
    refusals: Mapping[State, Reply]


def _row(
    verb: str,
    parse: Callable[[bytes], Command],
    legal: frozenset[State] = _ANY,
    refusals: Mapping[State, Reply] = MappingProxyType({}),
) -> Row:
    named = {state: reply.saying(reply.text.format(verb=verb)) for state, reply in refusals.items()}
    return Row(parse, legal, {State.REFUSED: _REFUSED, **named})


def _lmtp(row: Row) -> Row:
    return replace(
        row,
        refusals={
            state: _bad_sequence("Say LHLO first") if reply == _HELLO_FIRST else reply
            for state, reply in row.refusals.items()
        },
    )


COMMANDS: Final[Mapping[bytes, Row]] = {
    b"EHLO": _row("EHLO", command.parse_ehlo),
    b"HELO": _row("HELO", command.parse_helo),
    b"STARTTLS": _row(
        "STARTTLS",
        command.parse_starttls,
        frozenset({State.HELLO, State.READY}),
        dict.fromkeys(_OPEN, _NOT_NOW),
    ),
    b"AUTH": _row(
        "AUTH",
        command.parse_auth,
        frozenset({State.READY}),
        {State.HELLO: _HELLO_FIRST, **dict.fromkeys(_OPEN, _NOT_NOW)},
    ),
    b"XCLIENT": _row(
        "XCLIENT",
        command.parse_xclient_command,
        frozenset({State.HELLO, State.READY}),
        dict.fromkeys(_OPEN, _NOT_NOW),
    ),
    b"MAIL": _row(
        "MAIL",
        command.parse_mail,
        frozenset({State.READY}),
        {State.HELLO: _HELLO_FIRST, **dict.fromkeys(_OPEN, _NESTED_MAIL)},
    ),
    b"RCPT": _row(
        "RCPT",
        command.parse_rcpt,
        frozenset({State.MAIL, State.RCPT}),
        {State.HELLO: _NO_MAIL, State.READY: _NO_MAIL, State.CHUNKS: _IN_CHUNKS},
    ),
    b"DATA": _row(
        "DATA",
        command.parse_data,
        frozenset({State.RCPT}),
        {
            State.HELLO: _NO_MAIL,
            State.READY: _NO_MAIL,
            State.MAIL: _NO_RCPT,
            State.CHUNKS: _IN_CHUNKS,
        },
    ),
    b"BDAT": _row(
        "BDAT",
        command.parse_bdat,
        frozenset({State.RCPT, State.CHUNKS}),
        {State.HELLO: _NO_MAIL, State.READY: _NO_MAIL, State.MAIL: _NO_RCPT},
    ),
    b"RSET": _row("RSET", command.parse_rset),
    b"NOOP": _row("NOOP", command.parse_noop),
    b"VRFY": _row("VRFY", command.parse_vrfy),
    b"EXPN": _row("EXPN", command.parse_expn),
    b"HELP": _row("HELP", command.parse_help),
    b"QUIT": _row("QUIT", command.parse_quit, _ANY | {State.REFUSED}),
}

# RFC 2033 §4.1: LMTP has LHLO in place of both.
LMTP_COMMANDS: Final[Mapping[bytes, Row]] = {
    b"LHLO": _row("LHLO", command.parse_ehlo),
    **{verb: _lmtp(row) for verb, row in COMMANDS.items() if verb not in (b"EHLO", b"HELO")},
}


@cache
def commands_of(*, is_lmtp: bool, max_local_part_octets: int) -> Mapping[bytes, Row]:
    """Give the table of a server that takes addresses of this length."""
    table = LMTP_COMMANDS if is_lmtp else COMMANDS
    if max_local_part_octets == MAX_LOCAL_PART_OCTETS:
        return table
    parsers: dict[bytes, Callable[..., Command]] = {
        b"MAIL": command.parse_mail,
        b"RCPT": command.parse_rcpt,
    }
    return {
        **table,
        **{
            verb: replace(
                table[verb], parse=partial(parse, max_local_part_octets=max_local_part_octets)
            )
            for verb, parse in parsers.items()
        },
    }
