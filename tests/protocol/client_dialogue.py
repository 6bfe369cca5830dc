r"""Dialogues of our client with a server that follows a script; `play()` holds one in every cut.

The script is written as elsewhere: `S:` what the server says, `C:` what the client has to say to
that, `[closed]` who closes, `C: [tls]` where the handshake is done, `S!` and `C!` octets such as
`"BDAT 1\r\na" * 8`. What the client is asked to do are functions, each called when the session is
open for it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias, cast

from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import NEED_BODY, ClientEvent, Sent
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.dsn import MailDsn
from pillarbox.protocol.error import RemoteProtocolError
from pillarbox.protocol.event import (
    NEED_CLOSE,
    NEED_DATA,
    NEED_SEND,
    NEED_TLS,
    NO_MAIL_DSN,
    BodyType,
    Need,
)
from pillarbox.protocol.outgoing import AnyRecipient
from pillarbox.protocol.reply_parser import MAX_LINE_OCTETS, MAX_REPLY_OCTETS
from pillarbox.protocol.sasl import Password, TlsFacts
from pillarbox.protocol.sasl_client import ClientCredentials

__all__ = [
    "ANN",
    "CHUNKING",
    "CHUNKING_ALONE",
    "LMTP",
    "PIPELINING",
    "PLAIN",
    "TEXT",
    "TIMEOUTS",
    "Action",
    "Driver",
    "asks",
    "encrypts",
    "logs_in",
    "outcome_of",
    "play",
    "quits",
    "sends",
]

Action: TypeAlias = Callable[[ClientConnection], None]
Happening: TypeAlias = ClientEvent | str
"""An event, or what a RemoteProtocolError says."""

TIMEOUTS = Timeouts(connect=1, tls=8, greeting=2, command=3, data=4, block=5, end=6, quit=7)
ANN = Password("ann", "secret")
TEXT = b"Subject: hi\r\n\r\n.text\r\n"

# Openings, to put in front of a dialogue

PLAIN = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250 mx.test
"""
PIPELINING = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250-mx.test
    S: 250 PIPELINING
"""
CHUNKING = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250-mx.test
    S: 250-PIPELINING
    S: 250-8BITMIME
    S: 250-BINARYMIME
    S: 250 CHUNKING
"""
CHUNKING_ALONE = """
    S: 220 mx.test ESMTP
    C: EHLO client.test
    S: 250-mx.test
    S: 250 CHUNKING
"""
LMTP = """
    S: 220 mx.test LMTP
    C: LHLO client.test
    S: 250-mx.test
    S: 250 PIPELINING
"""

_OCTETS = re.compile(r'("(?:[^"\\]|\\.)*")(?: \* ([0-9]+))?', re.ASCII)


@dataclass
class Step:
    """What the server says, all of it at once, and what the client has to say to that."""

    server: bytes = b""
    server_closes: bool = False
    client: bytes = b""
    client_closes: bool = False


def steps_of(script: str) -> Iterator[Step]:
    step = Step()
    for line in filter(None, map(str.strip, script.split("\n"))):
        who, text = line[:2], line[3:]
        if who[0] == "S" and (step.client or step.client_closes):
            yield step
            step = Step()
        octets = _octets(text) if who[1] == "!" else text.encode() + b"\r\n"
        if line == "S: [closed]":
            step.server_closes = True
        elif line == "C: [closed]":
            step.client_closes = True
        elif who[0] == "S":
            step.server += octets
        else:
            step.client += octets
    yield step


def _octets(text: str) -> bytes:
    found = _OCTETS.fullmatch(text)
    assert found, text
    return cast("bytes", ast.literal_eval(f"b{found[1]}")) * int(found[2] or 1)


@dataclass
class Driver:
    """Does what a driver does, and keeps what happened."""

    actions: Iterator[Action] = field(default_factory=lambda: iter(()))
    parts: Iterator[bytes] = field(default_factory=lambda: iter(()))
    connection: ClientConnection = field(
        default_factory=lambda: ClientConnection("client.test", timeouts=TIMEOUTS)
    )
    events: list[Happening] = field(default_factory=list)
    said: bytes = b""
    part: bytes | None = None
    facts: TlsFacts | None = None
    is_closed: bool = False

    def hear(self, octets: bytes) -> None:
        self.connection.receive_data(octets)
        self.pump()

    def hear_eof(self) -> None:
        self.connection.receive_eof()
        self.pump()

    def take_said(self) -> bytes:
        said, self.said = self.said, b""
        return said

    def pump(self) -> None:
        need: Need | None = None
        while need is not NEED_DATA and need is not NEED_CLOSE:
            try:
                event = self.connection.next_event()
            except RemoteProtocolError as error:
                self.events.append(str(error).removeprefix("the server broke the protocol: "))
                continue
            self.said += self.connection.data_to_send()
            need = event if isinstance(event, Need) else None
            if event is NEED_BODY:
                self._give_part()
            elif event is NEED_TLS:
                self.said += b"[tls]\r\n"
                self.connection.tls_started(self.facts)
            elif not isinstance(event, Need):
                self.events.append(event)
                if self.connection.is_open and (action := next(self.actions, None)):
                    action(self.connection)
            else:
                assert event in (NEED_DATA, NEED_CLOSE, NEED_SEND)
        self.is_closed = need is NEED_CLOSE
        assert self.connection.buffered_octets < MAX_REPLY_OCTETS + MAX_LINE_OCTETS

    def _give_part(self) -> None:
        """Give the next part, and tell whether it is the last: one is read ahead."""
        part = next(self.parts) if self.part is None else self.part
        self.part = next(self.parts, None)
        self.connection.send_part(part, is_last=self.part is None)


def play(
    script: str,
    *actions: Action,
    parts: Sequence[bytes] = (),
    is_lmtp: bool = False,
    is_tls: bool = False,
    facts: TlsFacts | None = None,
    lone_refusal_seconds: float | None = None,
) -> list[Happening]:
    """Hold a dialogue: what the server says comes whole, octet by octet, and cut at each place.

    Returns:
        What happened, which is the same in each play.
    """
    steps = list(steps_of(script))

    def hold(cut_up: Callable[[bytes], list[bytes]]) -> list[Happening]:
        connection = ClientConnection(
            "client.test",
            is_lmtp=is_lmtp,
            is_tls=is_tls,
            timeouts=TIMEOUTS,
            lone_refusal_seconds=lone_refusal_seconds,
        )
        driver = Driver(iter(actions), iter(parts), connection, facts=facts)
        return _hold(steps, driver, cut_up)

    happened = hold(lambda said: [said])
    assert hold(_by_octets) == happened
    for at in range(1, max(len(step.server) for step in steps)):
        assert hold(partial(_cut_once, at=at)) == happened
    return happened


def _by_octets(said: bytes) -> list[bytes]:
    return [said[at : at + 1] for at in range(len(said))]


def _cut_once(said: bytes, at: int) -> list[bytes]:
    return [said[:at], said[at:]]


def _hold(
    steps: Iterable[Step], driver: Driver, cut_up: Callable[[bytes], list[bytes]]
) -> list[Happening]:
    driver.pump()
    for step in steps:
        assert not driver.is_closed
        for piece in cut_up(step.server):
            driver.hear(piece)
        if step.server_closes:
            driver.hear_eof()
        assert driver.take_said() == step.client
        assert driver.is_closed is step.client_closes
    return driver.events


# What to ask of the client


def sends(
    *rcpt_tos: AnyRecipient,
    data: bytes | None = TEXT,
    mail_from: str = "ann@example.org",
    size: int | None = None,
    body: BodyType | None = None,
    smtputf8: bool = False,
    dsn: MailDsn = NO_MAIL_DSN,
    requires_tls: bool = False,
    chunking: bool = True,
    may_end: Callable[[], bool] | None = None,
) -> Action:
    def send(connection: ClientConnection) -> None:
        connection.send_message(
            mail_from,
            rcpt_tos or ["bob@example.org"],
            data,
            size=size,
            body=body,
            smtputf8=smtputf8,
            dsn=dsn,
            requires_tls=requires_tls,
            chunking=chunking,
            may_end=may_end,
        )

    return send


def asks(*rcpt_tos: AnyRecipient, mail_from: str = "") -> Action:
    return lambda connection: connection.ask(mail_from, rcpt_tos)


def encrypts(connection: ClientConnection) -> None:
    connection.start_tls()


def logs_in(credentials: ClientCredentials = ANN, *, allow_plaintext: bool = False) -> Action:
    def login(connection: ClientConnection) -> None:
        connection.login(credentials, allow_plaintext=allow_plaintext)

    return login


def quits(connection: ClientConnection) -> None:
    connection.quit()


def outcome_of(event: Happening) -> list[str]:
    """Write an outcome down: the recipient, the command, and the reply to it."""
    assert isinstance(event, Sent), event
    return [
        f"{one.address.partition('@')[0]}, {one.command}: {one.reply}"
        for one in event.outcome.recipients
    ] + ["in doubt"] * event.outcome.is_in_doubt
