"""The client and our own server, with nothing between them: what arrives is what was sent."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox.envelope import Session
from pillarbox.login import make_secret
from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import LoggedIn, LoginRefused, Ready, Sent
from pillarbox.protocol.event import BodyType
from pillarbox.protocol.extension import Offer
from pillarbox.protocol.framing import NewlineCheck
from pillarbox.protocol.sasl import (
    STANDARD_MECHANISMS,
    Credentials,
    External,
    Password,
    ScramSecret,
    ScramUser,
    TlsFacts,
    Token,
)
from pillarbox.protocol.sasl_client import CLIENT_MECHANISMS, ClientCredentials
from pillarbox.scram import SCRAM_MECHANISMS
from pillarbox.scram_client import SCRAM_CLIENT_MECHANISMS, ScramClient
from pillarbox.testing import MemoryServer, Recorder
from tests.fuzz.strategies import messages, pieces
from tests.protocol.client_dialogue import Driver, encrypts, quits, sends

SECRET = make_secret("secret")
TLS = b"[tls]\r\n"  # how the driver notes a handshake

# What people see


def test_trace() -> None:
    lines: list[str] = []
    driver = Driver(
        iter([sends(), quits]), connection=ClientConnection("client.test", trace=lines.append)
    )
    server = MemoryServer(Recorder())
    converse(driver, server)
    assert [line for line in lines if not line.startswith("S: 250-")] == [
        "S: 220 mx.test ESMTP",
        "C: EHLO client.test",
        "S: 250 HELP",
        "C: MAIL FROM:<ann@example.org> SIZE=22",
        "C: RCPT TO:<bob@example.org>",
        "S: 250 2.1.0 Sender OK",
        "S: 250 2.1.5 Recipient OK",
        "C: BDAT 22 LAST",
        "C: (22 octets)",
        "S: 250 2.0.0 Message accepted",
        "C: QUIT",
        "S: 221 2.0.0 Goodbye",
    ]


def test_trace_of_data() -> None:
    lines: list[str] = []
    connection = ClientConnection("client.test", trace=lines.append)
    driver = Driver(
        iter([sends(data=None, chunking=False), quits]), iter([b".a\r", b"\n"]), connection
    )
    converse(driver, MemoryServer(Recorder()))
    at = lines.index("C: DATA")
    assert lines[at + 3 : at + 7] == [
        "S: 354 End data with <CR><LF>.<CR><LF>",
        "C: (4 octets)",
        "C: .",
        "S: 250 2.0.0 Message accepted",
    ]


# TLS and logins


class Known(Recorder):
    """Knows Ann, by password and by token."""

    def auth(self, _session: Session, credentials: Credentials) -> str | None:
        match credentials:
            case Password("ann", "secret", "" | "ann") | Token("ann", "secret"):
                return "ann"
        return None

    def scram_secret(self, _session: Session, user: ScramUser) -> ScramSecret | None:
        return SECRET if user.username == "ann" else None


def converse_with(
    credentials: ClientCredentials, mechanisms: set[str], facts: TlsFacts | None = None
) -> tuple[list[object], Recorder]:
    """Encrypt, log in and send a message; give what happened from the login on."""
    every = {**SCRAM_MECHANISMS, **STANDARD_MECHANISMS}
    offered = {name: every[name] for name in sorted(mechanisms)}
    offer = Offer(hostname="mx.test", offers_tls=True, requires_tls=True, mechanisms=offered)
    recorder = Known()

    def login(connection: ClientConnection) -> None:
        known = {**SCRAM_CLIENT_MECHANISMS, **CLIENT_MECHANISMS}
        connection.login(credentials, mechanisms=known)

    driver = Driver(iter([encrypts, login, sends(requires_tls=True), quits]), facts=facts)
    converse(driver, MemoryServer(recorder, offer=offer))
    first, second, *events = driver.events
    assert isinstance(first, Ready)
    assert isinstance(second, Ready)
    assert driver.is_closed
    return list(events), recorder


NAMES = [*SCRAM_MECHANISMS, *STANDARD_MECHANISMS]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("secret", ["secret", "wrong"])
def test_login_within_tls(name: str, secret: str) -> None:
    credentials: ClientCredentials = Password("ann", secret)
    if name in ("OAUTHBEARER", "XOAUTH2"):
        credentials = Token("ann", secret)
    elif name == "EXTERNAL":
        credentials = External()
    facts = TlsFacts({"tls-server-end-point": b"x" * 32})
    [login, sent], recorder = converse_with(credentials, {name}, facts)
    assert isinstance(sent, Sent)
    assert sent.outcome.is_accepted
    is_known = secret == "secret" and name != "EXTERNAL"
    if is_known:
        assert isinstance(login, LoggedIn)
    else:
        assert isinstance(login, LoginRefused)
        assert login.reply.code == 535
    assert login.mechanism == name
    assert recorder.messages[0].session.identity == ("ann" if is_known else None)
    assert recorder.messages[0].envelope.mail.requires_tls


@given(st.sets(st.sampled_from(NAMES)), st.booleans())
def test_whatever_the_server_offers(offered: set[str], has_binding: bool) -> None:
    """The strongest that both have is taken, and works."""
    facts = TlsFacts({"tls-unique": b"x"} if has_binding else {})
    [login, _], _recorder = converse_with(Password("ann", "secret"), offered, facts)
    names: tuple[str, ...] = ("SCRAM-SHA-256", "PLAIN", "LOGIN")
    usable = [name for name in names if name in offered]
    if has_binding and "SCRAM-SHA-256-PLUS" in offered:
        usable.insert(0, "SCRAM-SHA-256-PLUS")
    if usable:
        assert isinstance(login, LoggedIn), login
        assert login.mechanism == usable[0]
    else:
        assert isinstance(login, LoginRefused)
        assert login.mechanism is None


def test_somebody_takes_plus_off_the_list() -> None:
    """The client says that it could bind, and the server knows that it offered to."""
    facts = TlsFacts({"tls-unique": b"x"})
    server = MemoryServer(
        Known(), offer=Offer(hostname="mx.test", mechanisms=SCRAM_MECHANISMS, offers_tls=True)
    )
    exchange = ScramClient("SCRAM-SHA-256", Password("ann", "secret"), facts=facts)
    server.sendall(b"EHLO x\r\nSTARTTLS\r\n")
    server.protocol.tls_started(facts)
    start = exchange.start()
    assert start is not None
    server.recv()
    server.sendall(b"EHLO x\r\nAUTH SCRAM-SHA-256 " + base64.b64encode(start) + b"\r\n")
    assert server.recv().splitlines()[-1].startswith(b"535")


# Round trips to our own server


class Narrow:
    """A server in memory that hides some of its extensions, and cuts up what it says.

    Args:
        server: The server.
        hidden: Keywords that the client shall not see.
    """

    def __init__(self, server: MemoryServer, hidden: frozenset[str]) -> None:
        self._server = server
        self._hidden = hidden
        self.sendall = server.sendall

    def recv(self) -> bytes:
        lines = self._server.recv().splitlines(keepends=True)
        if any(line.startswith(b"250-PIPELINING") for line in lines):
            lines = [line for line in lines if line[4:].split()[0].decode() not in self._hidden]
        return b"".join(lines)


def converse(driver: Driver, server: MemoryServer | Narrow, size: int = 1_000_000) -> None:
    """Let both talk until the client has nothing more to say; cut up what the server says."""
    driver.pump()
    while True:
        if (said := driver.take_said()).startswith(TLS):
            assert isinstance(server, MemoryServer)
            server.protocol.tls_started(driver.facts)
            said = said.removeprefix(TLS)
        if said:
            server.sendall(said)
        try:
            heard = server.recv()
        except TimeoutError:
            return
        if not heard:
            return
        for at in range(0, len(heard), size):
            driver.hear(heard[at : at + size])


def deliver(
    data: bytes | list[bytes],
    *,
    hidden: frozenset[str] = frozenset(),
    chunking: bool = True,
    body: BodyType | None = None,
    size: int = 1_000_000,
) -> bytes:
    """Send a message to our own server, and give what arrived."""
    recorder = Recorder()
    whole = data if isinstance(data, bytes) else None
    parts = [] if isinstance(data, bytes) else [*data, b""]
    driver = Driver(iter([sends(data=whole, body=body, chunking=chunking), quits]), iter(parts))
    converse(driver, Narrow(MemoryServer(recorder), hidden), size)
    _ready, sent = driver.events
    assert isinstance(sent, Sent)
    assert sent.outcome.is_accepted, sent
    assert driver.is_closed
    [message] = recorder.messages
    assert (message.mail_from, message.rcpt_tos) == ("ann@example.org", ["bob@example.org"])
    return message.data


hidden_extensions = st.sets(st.sampled_from(["PIPELINING", "SIZE", "CHUNKING"])).map(frozenset)
clean_messages = messages.filter(lambda data: NewlineCheck().accepts(data, final=True))


@given(clean_messages, hidden_extensions, st.integers(1, 50), st.data())
def test_any_message_by_data(
    data: bytes, hidden: frozenset[str], size: int, draw: st.DataObject
) -> None:
    expected = data if not data or data.endswith(b"\r\n") else data + b"\r\n"
    assert deliver(data, hidden=hidden, chunking=False, size=size) == expected
    parts = draw.draw(pieces(data))
    assert deliver(parts, hidden=hidden, chunking=False, size=size) == expected


@given(messages, st.booleans(), st.integers(1, 50), st.data())
def test_any_octets_by_bdat(data: bytes, pipelined: bool, size: int, draw: st.DataObject) -> None:
    hidden = frozenset() if pipelined else frozenset({"PIPELINING"})
    assert deliver(data, hidden=hidden, body="BINARYMIME", size=size) == data
    parts = draw.draw(pieces(data))
    assert deliver(parts, hidden=hidden, body="BINARYMIME", size=size) == data
