"""The client and our own server, with nothing between them: what arrives is what was sent."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pillarbox.protocol.client import ClientConnection
from pillarbox.protocol.client_event import Sent
from pillarbox.protocol.event import BodyType
from pillarbox.protocol.framing import NewlineCheck
from pillarbox.testing import MemoryServer, Recorder
from tests.fuzz.strategies import messages, pieces
from tests.protocol.client_dialogue import Driver, quits, sends

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
        if said := driver.take_said():
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


# Whatever the server says

REPLY_LINES = [
    *(b"220 mx.test", b"250-mx.test", b"250 PIPELINING", b"250 CHUNKING", b"250-PIPELINING"),
    *(b"250 OK", b"354 Go", b"421 Bye", b"450 Later", b"550 No", b"", b"x"),
]


@given(st.data())
def test_any_server(data: st.DataObject) -> None:
    """Nothing but RemoteProtocolError comes of it, and what the client says stays commands."""
    lines = st.lists(st.sampled_from(REPLY_LINES), max_size=30)
    stream = b"".join(line + b"\r\n" for line in data.draw(lines))
    driver = Driver(iter([sends("a@b", "c@d"), sends(data=b"x" * 10), sends(), quits]))
    driver.pump()
    for piece in data.draw(pieces(stream)):
        driver.hear(piece)
    driver.hear_eof()
    assert driver.is_closed
    assert sum(isinstance(event, Sent) for event in driver.events) <= 3
    assert driver.connection.closing_reply is not None
