"""The asyncio client over real sockets: our own server, and scripted ones that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path as FilePath
from typing import Any, TypeAlias, TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pillarbox import Config, Server, serve
from pillarbox.asyncio.client import CHUNK_OCTETS, Client, connect, connect_unix
from pillarbox.asyncio.client_error import SessionLost, SessionRefused
from pillarbox.asyncio.client_wire import HIGH_WATER_OCTETS
from pillarbox.protocol.client import NOT_ENDED
from pillarbox.protocol.client_event import Outcome
from pillarbox.protocol.client_state import Timeouts
from pillarbox.protocol.error import LocalProtocolError
from pillarbox.protocol.event import BodyType
from pillarbox.protocol.framing import NewlineCheck
from pillarbox.protocol.reply import Reply
from pillarbox.protocol.transaction import END_OCTETS
from pillarbox.testing import Recorder
from tests.conftest import NEW_LOOPS
from tests.fuzz.strategies import messages, pieces

_T = TypeVar("_T")
Script: TypeAlias = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Run: TypeAlias = Callable[[Coroutine[Any, Any, _T]], _T]

TEXT = b"Subject: hi\r\n\r\n.text\r\n"
SOON = Timeouts.all(0.2)  # long enough for a busy machine to answer
UNKNOWN = Reply(550, "5.1.1", "No such mailbox")
NO_LIMIT = Config(hostname="mx.test", max_message_bytes=0)


@pytest.fixture(params=NEW_LOOPS)
def run(request: pytest.FixtureRequest) -> Iterator[Run[Any]]:
    """Run a coroutine, on each event loop that there is."""
    with asyncio.Runner(loop_factory=NEW_LOOPS[request.param], debug=True) as runner:
        yield runner.run


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[int]:
    """Serve by a script, and give the port; what goes wrong in the script goes wrong here."""
    tasks: list[asyncio.Task[None]] = []

    async def follow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(ConnectionError):
                await script(reader, writer)
        finally:
            writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.append(asyncio.create_task(follow(reader, writer)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=10_000_000)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await asyncio.gather(*tasks)


def says(*lines: str) -> Script:
    """Make a server that says each of these after the next thing it hears, and then listens on."""

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in lines:
            writer.write(line.encode() + b"\r\n")
            await reader.readline()
        await reader.read()

    return script


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def send(client: Client, data: bytes | AsyncIterator[bytes] = TEXT) -> Outcome:
    return await client.send("ann@example.org", ["bob@example.org"], data)


# One message after the other


def test_session(run: Run[None]) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with (
            serve(recorder, "127.0.0.1", 0) as server,
            connect("127.0.0.1", server.port, hostname="client.test") as client,
        ):
            assert "PIPELINING" in client.extensions
            for _ in range(3):
                outcome = await send(client)
                assert outcome.is_accepted
                assert client.is_open
        assert not client.is_open
        assert str(client.protocol.closing_reply) == "221 2.0.0 Goodbye"
        assert [message.data for message in recorder.messages] == [TEXT] * 3
        assert {message.session.domain for message in recorder.messages} == {"client.test"}

    run(main())


def test_what_the_server_says_of_each_recipient(run: Run[None]) -> None:
    async def main() -> None:
        recorder = Recorder({"ben@example.org": UNKNOWN})
        async with (
            serve(recorder, "127.0.0.1", 0) as server,
            connect("127.0.0.1", server.port) as client,
        ):
            outcome = await client.send("", ["bob@example.org", "ben@example.org"], TEXT)
            assert [one.reply.code for one in outcome.recipients] == [250, 550]
            [refused] = outcome.refused
            assert (refused.address, refused.reply) == ("ben@example.org", UNKNOWN)
            outcome = await client.send("", ["ben@example.org"], parts_of(TEXT))
            assert not outcome.is_accepted
            assert (await send(client)).is_accepted
        assert len(recorder.messages) == 2

    run(main())


def test_unix_socket(run: Run[None], tmp_path: FilePath) -> None:
    async def main() -> None:
        recorder = Recorder()
        server = Server(recorder)
        await server.listen_unix(str(tmp_path / "smtp"))
        async with connect_unix(str(tmp_path / "smtp"), trace=lines.append) as client:
            assert (await send(client)).is_accepted
        await server.close()
        assert len(recorder.messages) == 1

    lines: list[str] = []
    run(main())
    assert lines[-2:] == ["C: QUIT", "S: 221 2.0.0 Goodbye"]


def test_one_message_at_a_time(run: Run[None]) -> None:
    async def main() -> None:
        async with (
            serve(Recorder(), "127.0.0.1", 0) as server,
            connect("127.0.0.1", server.port) as client,
        ):
            first = asyncio.create_task(send(client))
            await asyncio.sleep(0)
            with pytest.raises(LocalProtocolError, match="a message is under way"):
                await send(client)
            assert (await first).is_accepted

    run(main())


def test_what_cannot_be_sent_leaves_the_session_open(run: Run[None]) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with (
            serve(recorder, "127.0.0.1", 0) as server,
            connect("127.0.0.1", server.port) as client,
        ):
            with pytest.raises(ValueError, match="Not an address"):
                await client.send("ann@example.org\r\nRSET", ["bob@example.org"], TEXT)
            with pytest.raises(ValueError, match="CR or LF"):
                await client.send("", ["bob@example.org"], b"a\nb", chunking=False)
            assert (await send(client)).is_accepted
        assert len(recorder.messages) == 1

    run(main())


def test_hostname_that_is_none() -> None:
    with pytest.raises(ValueError, match="hostname"):
        connect("127.0.0.1", 1, hostname="a b")


def test_a_client_is_for_one_session(run: Run[None]) -> None:
    async def main() -> None:
        async with serve(Recorder(), "127.0.0.1", 0) as server:
            client = connect("127.0.0.1", server.port)
            with pytest.raises(LocalProtocolError, match="the session is not open yet"):
                await send(client)
            await client.open()
            await client.quit()
            with pytest.raises(RuntimeError, match="make another one by connect"):
                await client.open()

    run(main())


# What arrives is what was sent


class Delivery:
    """A server, and a client that keeps its session."""

    def __init__(self, new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self._runner = asyncio.Runner(loop_factory=new_loop)
        self._recorder = Recorder()
        self._server, self._client = self._runner.run(self._begin())

    async def _begin(self) -> tuple[Server, Client]:
        server = Server(self._recorder, config=NO_LIMIT)
        await server.listen("127.0.0.1", 0)
        client = connect("127.0.0.1", server.port)
        await client.open()
        return server, client

    def __call__(
        self, data: bytes | list[bytes], *, chunking: bool = True, body: BodyType | None = None
    ) -> bytes:
        """Send a message, whole or in parts, and give what arrived."""
        sent = data if isinstance(data, bytes) else parts_of(*data)
        outcome = self._runner.run(
            self._client.send(
                "ann@example.org", ["bob@example.org"], sent, chunking=chunking, body=body
            )
        )
        assert outcome.is_accepted
        return self._recorder.messages.pop().data

    def close(self) -> None:
        self._runner.run(self._client.quit())
        self._runner.run(self._server.close())
        self._runner.close()


@pytest.fixture(scope="module", params=NEW_LOOPS)
def deliver(request: pytest.FixtureRequest) -> Iterator[Delivery]:
    delivery = Delivery(NEW_LOOPS[request.param])
    yield delivery
    delivery.close()


clean_messages = messages.filter(lambda data: NewlineCheck().accepts(data, final=True))


@given(clean_messages, st.data())
def test_any_message_by_data(deliver: Delivery, data: bytes, draw: st.DataObject) -> None:
    expected = data if not data or data.endswith(b"\r\n") else data + b"\r\n"
    assert deliver(data, chunking=False) == expected
    assert deliver(draw.draw(pieces(data)), chunking=False) == expected


@given(messages, st.data())
def test_any_octets_by_bdat(deliver: Delivery, data: bytes, draw: st.DataObject) -> None:
    assert deliver(data, body="BINARYMIME") == data
    assert deliver(draw.draw(pieces(data)), body="BINARYMIME") == data


@pytest.mark.parametrize("chunking", [True, False])
@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_OCTETS - 1, CHUNK_OCTETS, CHUNK_OCTETS + 1, 3_000_000]
)
def test_large_message(deliver: Delivery, size: int, *, chunking: bool) -> None:
    line = b"." + b"x" * 76 + b"\r\n"
    data = (line * (size // len(line) + 1))[:size].removesuffix(b"\r")
    expected = data + b"\r\n" if data and not data.endswith(b"\r\n") and not chunking else data
    assert deliver(data, chunking=chunking) == expected
    parts = [data[at : at + 50_000] for at in range(0, size, 50_000)]
    assert deliver(parts, chunking=chunking) == expected
    octets = [data[at : at + 1] for at in range(min(size, 1000))] + [data[1000:]]
    assert deliver(octets, chunking=chunking) == expected


def test_server_that_does_not_read_slows_the_message_down(run: Run[None]) -> None:
    size = 30_000_000

    async def main() -> None:
        is_reading = asyncio.Event()
        read = given = 0

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal read
            for reply in (b"220 mx.test", b"250 mx.test", b"250 OK", b"250 OK"):
                writer.write(reply + b"\r\n")
                await reader.readline()
            writer.write(b"354 Go\r\n")
            await is_reading.wait()
            end = b""
            while end != b"\r\n.\r\n":
                octets = await reader.read(1_000_000)
                read += len(octets)
                end = (end + octets)[-5:]
            writer.write(b"250 OK\r\n")
            await reader.readline()

        async def parts() -> AsyncIterator[bytes]:
            nonlocal given
            while given < size:
                given += 1_000
                yield b"x" * 998 + b"\r\n"

        async with scripted(script) as port, connect("127.0.0.1", port) as client:
            sending = asyncio.create_task(send(client, parts()))
            before = -1
            while given != before or not given:  # until nothing moves any more
                before = given
                for _ in range(200):
                    await asyncio.sleep(0)
            assert given < size  # what the system's own buffers take
            is_reading.set()
            assert (await sending).is_accepted
        assert given == size
        assert read == size + len(b".\r\n")

    run(main())


# What goes wrong


def lost_by(run: Run[Any], client_of: Callable[[int], Client], script: Script) -> SessionLost:
    """Open a session and send a message, of which one breaks; give the error."""

    async def main() -> SessionLost:
        async with scripted(script) as port:
            client = client_of(port)
            with pytest.raises(SessionLost) as caught:
                async with client:
                    await send(client)
            assert not client.is_open
            with pytest.raises(SessionLost, match="the session is over"):
                await send(client)
            await client.quit()
            await client.abort()
            return caught.value

    error: SessionLost = run(main())
    return error


def impatient(port: int) -> Client:
    return connect("127.0.0.1", port, timeouts=SOON)


def patient(port: int) -> Client:
    return connect("127.0.0.1", port)


ENVELOPE = ("220 mx.test", "250 mx.test", "250 OK", "250 OK")


@pytest.mark.parametrize("number", range(len(ENVELOPE) + 1))
def test_server_that_falls_silent(run: Run[Any], number: int) -> None:
    error = lost_by(run, impatient, says(*ENVELOPE[:number]))
    assert str(error) == "The server did not answer in time"
    assert error.reply.is_transient
    assert (error.outcome is None) is (number < 2)
    assert error.outcome is None or not error.outcome.is_in_doubt


def test_server_that_falls_silent_after_the_message(run: Run[Any]) -> None:
    error = lost_by(run, impatient, says(*ENVELOPE, "354 Go"))
    assert error.outcome is not None
    assert error.outcome.is_in_doubt
    assert error.outcome.recipients[0].command is None


def test_server_that_says_one_octet_after_the_other(run: Run[Any]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while not writer.is_closing():
            writer.write(b"2")
            await writer.drain()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.01)

    error = lost_by(run, impatient, script)
    assert str(error) == "The server did not answer in time"


@pytest.mark.parametrize("number", range(len(ENVELOPE) + 1))
def test_server_that_closes(run: Run[Any], number: int) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for line in ENVELOPE[:number]:
            writer.write(line.encode() + b"\r\n")
            await reader.readline()

    error = lost_by(run, patient, script)
    assert str(error) == "the server closed the connection"
    assert (error.outcome is None) is (number < 2)


def test_server_that_resets(run: Run[Any]) -> None:
    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mx.test\r\n")
        await reader.readline()
        linger = struct.pack("ii", 1, 0)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        writer.transport.abort()

    assert str(lost_by(run, patient, script)) == "the server closed the connection"


@pytest.mark.parametrize("line", ["SSH-2.0-OpenSSH_9.2", "354 Go", "250-a\r\n550 b", "2" * 5000])
def test_no_server_of_ours(run: Run[Any], line: str) -> None:
    error = lost_by(run, patient, says(line))
    assert str(error).startswith("the server broke the protocol: ")


def test_what_was_answered_before_is_not_forgotten(run: Run[Any]) -> None:
    async def main() -> None:
        async with scripted(says("220 a", "250 a", "250 OK", "250 OK", "550 5.1.1 No")) as port:
            client = impatient(port)
            await client.open()
            with pytest.raises(SessionLost) as caught:
                await client.send("", ["bob@x", "ben@x", "bea@x"], TEXT)
        assert caught.value.outcome is not None
        assert [(one.command, one.reply.code) for one in caught.value.outcome.recipients] == [
            (None, 421),
            ("RCPT", 550),
            (None, 421),
        ]

    run(main())


@pytest.mark.parametrize(
    "script",
    [says("554 5.7.1 Not you", "221 Bye"), says("220 a", "450 Busy", "221"), says("421 Busy")],
)
def test_session_refused(run: Run[None], script: Script) -> None:
    async def main() -> None:
        async with scripted(script) as port:
            with pytest.raises(SessionRefused, match=r"refuses the session: .* (Not you|Busy)"):
                async with connect("127.0.0.1", port):
                    pytest.fail("there is no session")

    run(main())


def test_session_refused_and_no_word_to_quit(run: Run[None]) -> None:
    async def main() -> None:
        async with scripted(says("554 5.7.1 Not you")) as port:
            with pytest.raises(SessionRefused):
                await impatient(port).open()

    run(main())


def test_goodbye_instead_of_an_answer(run: Run[None]) -> None:
    async def main() -> None:
        script = says("220 a", "250 a", "421 4.3.2 Going down")
        async with scripted(script) as port, connect("127.0.0.1", port) as client:
            outcome = await send(client)
            assert [str(one.reply) for one in outcome.refused] == ["421 4.3.2 Going down"]
            assert not client.is_open
            with pytest.raises(SessionLost, match="the session is over: 421"):
                await send(client)

    run(main())


@pytest.mark.parametrize(
    "words", [b"421 4.4.2 Idle\r\n", b"", b"what?\r\n", b"250 OK\r\n" * 50_000]
)
def test_goodbye_between_messages(run: Run[None], words: bytes) -> None:
    async def main() -> None:
        is_idle = asyncio.Event()

        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mx.test\r\n")
            await reader.readline()
            writer.write(b"250 mx.test\r\n")
            await is_idle.wait()
            writer.write(words)
            writer.write_eof()
            await reader.read()

        async with scripted(script) as port, connect("127.0.0.1", port) as client:
            assert client.is_open
            is_idle.set()
            while client.is_open:
                assert client.protocol.buffered_octets < HIGH_WATER_OCTETS + 300_000
                await asyncio.sleep(0)
            with pytest.raises(SessionLost, match="the session is over"):
                await send(client)

    run(main())


def test_server_that_talks_and_talks_is_not_listened_to(run: Run[None]) -> None:
    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mx.test\r\n")
            await reader.readline()
            writer.write(b"250 mx.test\r\n")
            while True:
                writer.write(b"250 OK\r\n" * 10_000)
                await writer.drain()

        async with scripted(script) as port:
            client = connect("127.0.0.1", port)
            await client.open()
            while client.protocol.buffered_octets <= HIGH_WATER_OCTETS:
                await asyncio.sleep(0)
            heard = client.protocol.buffered_octets
            for _ in range(1000):
                await asyncio.sleep(0)
            assert client.protocol.buffered_octets == heard
            await client.abort()

    run(main())


def test_more_replies_at_once_than_are_listened_to(run: Run[None]) -> None:
    count = 20_000
    reply = b"250 2.1.5 A long way to say OK\r\n"

    async def main() -> None:
        async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"220 mx.test\r\n")
            await reader.readline()
            writer.write(b"250-mx.test\r\n250 PIPELINING\r\n")
            await reader.readuntil(b"DATA\r\n")
            writer.write(reply * (count + 1) + b"354 Go\r\n")
            await reader.readuntil(b"\r\n.\r\n")
            writer.write(b"250 OK\r\n")
            await reader.read()

        async with scripted(script) as port:
            client = connect("127.0.0.1", port)
            await client.open()
            outcome = await client.send("", ["bob@example.org"] * count, TEXT)
            assert outcome.is_accepted
            assert len(outcome.recipients) == count
            await client.abort()

    run(main())


def test_no_server_at_all(run: Run[None]) -> None:
    async def main() -> None:
        async with scripted(says()) as port:
            pass
        with pytest.raises(OSError, match=r"Connect call failed|refused"):
            await connect("127.0.0.1", port).open()

    run(main())


def test_connection_that_is_never_made(run: Run[None]) -> None:
    async def dial(_factory: Callable[[], asyncio.Protocol]) -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        client = Client(dial, hostname="client.test", timeouts=Timeouts(connect=0.01))
        with pytest.raises(TimeoutError, match=r"no connection within 0\.01 seconds"):
            await client.open()
        await client.quit()

    run(main())


# The program changes its mind


@pytest.mark.parametrize("size", [20, END_OCTETS, 3_000_000])
@pytest.mark.parametrize("is_whole", [True, False])
@pytest.mark.parametrize("extension", ["CHUNKING", "SIZE"])
def test_the_end_is_asked_for_when_all_else_is_out(
    run: Run[None], size: int, is_whole: bool, extension: str
) -> None:
    """Whoever reads slowly has the rest of a message wait here, and the end not behind it."""
    waiting: list[int] = []

    async def script(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        replies = ["220 mx.test", f"250-mx.test\r\n250 {extension}", "250 OK", "250 OK"]
        replies += ["354 Go"] * (extension == "SIZE")
        for reply in replies:
            writer.write(f"{reply}\r\n".encode())
            if reply != replies[-1]:
                await reader.readline()
        answered = 0
        while octets := await reader.read(100_000):
            heard.append(octets)
            chunks = b"".join(heard).count(b"BDAT")
            writer.write(b"250 OK\r\n" * (chunks - answered))
            answered = chunks

    async def main() -> None:
        async with scripted(script) as port:
            client = connect("127.0.0.1", port)

            def may_end() -> bool:
                transport = client._wire._transport
                assert transport is not None
                waiting.append(transport.get_write_buffer_size())
                return False

            await client.open()
            outcome = await client.send(
                "ann@example.org",
                ["bob@example.org"],
                data
                if is_whole
                else parts_of(*(data[at : at + 999] for at in range(0, size, 999))),
                may_end=may_end,
            )
            assert [str(one.reply) for one in outcome.recipients] == [str(NOT_ENDED)]
            assert not outcome.is_in_doubt
            assert not client.is_open

    heard: list[bytes] = []
    data = b"z" * size
    run(main())
    assert waiting == [0]
    said = b"".join(heard)
    assert b"LAST" not in said
    assert said.count(b"z") == max(0, size - END_OCTETS)
    assert not said.endswith(b".\r\n")


@pytest.mark.parametrize("size", [20, END_OCTETS + 1, 3_000_000])
def test_what_may_end_arrives_as_it_is(run: Run[None], size: int) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with (
            serve(recorder, "127.0.0.1", 0) as server,
            connect("127.0.0.1", server.port) as client,
        ):
            for chunking in (True, False):
                for sent in (data, parts_of(data[:7], data[7:])):
                    outcome = await client.send(
                        "", ["bob@x"], sent, chunking=chunking, may_end=lambda: True
                    )
                    assert outcome.is_accepted
        assert [message.data for message in recorder.messages] == [data] * 4

    line = b"." + b"x" * 76 + b"\r\n"
    data = line * (size // len(line) + 1)
    run(main())


def test_parts_that_fail_leave_no_message(run: Run[None]) -> None:
    async def parts() -> AsyncIterator[bytes]:
        yield b"x" * 2 * CHUNK_OCTETS
        yield b"y"
        raise LookupError("the file is gone")

    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, "127.0.0.1", 0) as server:
            for chunking in (True, False):
                client = connect("127.0.0.1", server.port)
                await client.open()
                with pytest.raises(LookupError):
                    await client.send("", ["bob@x"], parts(), chunking=chunking)
                assert not client.is_open
        assert recorder.messages == []

    run(main())


def test_parts_that_data_cannot_carry(run: Run[None]) -> None:
    async def main() -> None:
        recorder = Recorder()
        async with serve(recorder, "127.0.0.1", 0) as server:
            client = connect("127.0.0.1", server.port)
            await client.open()
            with pytest.raises(ValueError, match="CR or LF"):
                await client.send("", ["bob@x"], parts_of(b"a\nb"), chunking=False)
            assert not client.is_open
        assert recorder.messages == []

    run(main())


def test_message_that_is_cancelled(run: Run[None]) -> None:
    async def main() -> None:
        async with scripted(says(*ENVELOPE)) as port:
            client = connect("127.0.0.1", port)
            await client.open()
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await send(client)
            assert not client.is_open
            with pytest.raises(SessionLost, match="the session is over"):
                await send(client)

    run(main())


def test_error_in_the_block_says_no_goodbye(run: Run[None]) -> None:
    async def main() -> None:
        lines: list[str] = []
        async with serve(Recorder(), "127.0.0.1", 0) as server:
            with pytest.raises(LookupError):
                async with connect("127.0.0.1", server.port, trace=lines.append):
                    raise LookupError
        assert "C: QUIT" not in lines

    run(main())
